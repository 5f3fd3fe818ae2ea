// SPDX-License-Identifier: MIT OR Apache-2.0
//! The ledger: which requests are outstanding, and where. Every completion is checked off in it.

/// What a tag carries: the place in the low half, a sequence number above.
const PLACE_BITS: u32 = 16;

/// Requests that are outstanding, each in a *place* (a subchannel, a buffer) of its own. A place is used again only
/// when its request has been answered, and places are used in turn.
#[derive(Debug)]
pub struct Ledger {
    /// The outstanding tag of each place; 0 is none.
    open: Box<[u64]>,
    free: Box<[u16]>,
    /// How many places were taken and given back, ever.
    taken: u64,
    given_back: u64,
    mask: usize,
}

/// A request to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Comes back with the completion.
    pub tag: u64,
    /// Where it goes: a subchannel, a buffer.
    pub place: u16,
}

impl Ledger {
    /// A ledger of `places` places, at most 65,535.
    pub fn new(places: u16) -> Self {
        let room = usize::from(places).next_power_of_two();
        let mut free = vec![0; room].into_boxed_slice();
        for (place, number) in free.iter_mut().zip(0..places) {
            *place = number;
        }
        Self { open: vec![0; places.into()].into(), free, taken: 0, given_back: u64::from(places), mask: room - 1 }
    }

    /// Places that are free.
    #[inline(always)]
    pub fn free(&self) -> u64 {
        self.given_back - self.taken
    }

    /// Requests that are outstanding.
    pub fn outstanding(&self) -> u64 {
        self.open.len() as u64 - self.free()
    }

    /// Answers so far.
    #[inline(always)]
    pub fn answered(&self) -> u64 {
        self.given_back - self.open.len() as u64
    }

    /// Opens a request in the place that was free for longest; the caller has looked that one is [`free`](Self::free).
    #[inline(always)]
    #[allow(clippy::cast_possible_truncation, reason = "masked to the ring of free places")]
    pub fn open(&mut self) -> Request {
        debug_assert!(self.free() > 0, "no place is free");
        let place = self.free[self.taken as usize & self.mask];
        self.taken += 1;
        let tag = self.taken << PLACE_BITS | u64::from(place);
        self.open[usize::from(place)] = tag;
        Request { tag, place }
    }

    /// Checks off an answer and gives its place; none if nothing with this tag is outstanding.
    #[inline(always)]
    #[allow(clippy::cast_possible_truncation, reason = "the place is the low half; masked to the ring of free places")]
    pub fn close(&mut self, tag: u64) -> Option<u16> {
        let place = tag as u16;
        let open = self.open.get_mut(usize::from(place))?;
        if *open != tag || tag == 0 {
            return None;
        }
        *open = 0;
        self.free[self.given_back as usize & self.mask] = place;
        self.given_back += 1;
        Some(place)
    }
}

#[cfg(test)]
mod tests {
    use super::Ledger;

    #[test]
    fn places_are_used_in_turn_and_answers_may_come_in_any_order() {
        let mut ledger = Ledger::new(3);
        let [a, b, c] = [(); 3].map(|()| ledger.open());
        assert_eq!((a.place, b.place, c.place, ledger.free()), (0, 1, 2, 0));
        assert_eq!(ledger.close(b.tag), Some(1));
        assert_eq!(ledger.close(a.tag), Some(0));
        assert_eq!((ledger.open().place, ledger.open().place), (1, 0));
        assert_eq!((ledger.outstanding(), ledger.answered()), (3, 2));
    }

    #[test]
    fn an_answer_that_comes_twice_or_from_nowhere_is_found() {
        let mut ledger = Ledger::new(2);
        let request = ledger.open();
        assert_eq!(ledger.close(0), None);
        assert_eq!(ledger.close(7), None);
        assert_eq!(ledger.close(request.tag + (1 << 16)), None);
        assert_eq!(ledger.close(request.tag), Some(request.place));
        assert_eq!(ledger.close(request.tag), None);
    }
}
