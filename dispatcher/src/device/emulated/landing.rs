// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where the data of a read lands: in guest memory itself; or, where a sink stores for the guest, in a private buffer from which the sink gets it
//! when the kernel has done its part.

use super::area::{BadAddress, Range};
use super::program::ProgramCheck;
use super::scratch::{Pages, Scratch};
use super::Direction;
use crate::engine::{Segments, MOST_SEGMENTS};
use crate::memory::{DirtyLog, Memory, Stores};
use std::sync::Arc;

/// Ranges or segments kept free for the last block of a piece, so that pieces end at block boundaries.
const SPARE: usize = 8;

/// How the data of a piece gets to the guest.
enum Way {
    Direct,
    /// As direct, and the log is told when the operation has ended, however it did. It is the log of the memory that the piece was gathered from.
    Logged(Arc<dyn DirtyLog>),
    Staged,
}

/// A range of guest memory in a piece; without an address its bytes are skipped.
#[derive(Clone, Copy)]
struct Part {
    address: Option<u64>,
    length: usize,
    /// The CCW that designates it.
    at: u32,
}

/// The landing place of one device's reads. It belongs to the kernel while an operation is in flight.
pub(super) struct Landing {
    scratch: Scratch,
    buffer: Pages,
    way: Way,
    /// In order; empty for a direct piece.
    parts: Vec<Part>,
    /// How many bytes of the buffer have been passed on.
    passed: usize,
    /// The first part that was not wholly passed on.
    next: usize,
}

impl Landing {
    pub fn new() -> Self {
        Self { scratch: Scratch::new(), buffer: Pages::none(), way: Way::Direct, parts: Vec::new(), passed: 0, next: 0 }
    }

    /// Begins a piece of at most `most` bytes; nothing is in the kernel. Buffer and list are made when they are first needed, and kept.
    #[inline(always)]
    pub fn begin(&mut self, direction: Direction, memory: &Memory, most: u32) {
        if !(matches!(self.way, Way::Direct) && (direction == Direction::Write || matches!(memory.stores(), Stores::Direct))) {
            self.begin_otherwise(direction, memory, most);
        }
    }

    /// [`begin`](Self::begin) of a piece that is not direct, or the first direct one after such a piece.
    #[inline(never)]
    fn begin_otherwise(&mut self, direction: Direction, memory: &Memory, most: u32) {
        self.way = match memory.stores() {
            _ if direction == Direction::Write => Way::Direct,
            Stores::Direct => Way::Direct,
            Stores::Logged(log) => Way::Logged(Arc::clone(log)),
            Stores::Sink(_) => {
                self.buffer.grow(most as usize);
                Way::Staged
            }
        };
        if !self.is_direct() {
            self.parts.clear();
            self.parts.reserve(MOST_SEGMENTS);
            (self.passed, self.next) = (0, 0);
        }
    }

    /// Whether the kernel moves the piece straight between volume and guest memory, and nobody is to be told.
    #[inline(always)]
    pub fn is_direct(&self) -> bool {
        matches!(self.way, Way::Direct)
    }

    /// True if a piece should end at the next block boundary, because few more ranges fit.
    #[inline(always)]
    pub fn is_nearly_full(&self, segments: &Segments) -> bool {
        let used = match self.way {
            Way::Direct => segments.count(),
            Way::Logged(_) => segments.count().max(self.parts.len()),
            Way::Staged => self.parts.len(),
        };
        used + SPARE >= MOST_SEGMENTS
    }

    /// Adds a range, which the CCW at `at` designates, to the piece. Gives how many bytes of it: fewer only when the list is full.
    pub fn add(&mut self, memory: &Memory, range: Range, at: u32, segments: &mut Segments) -> Result<usize, BadAddress> {
        let length = range.length as usize;
        if matches!(self.way, Way::Staged) {
            if range.address.is_some_and(|address| !memory.contains(address, length as u64)) {
                return Err(BadAddress);
            }
            let added = if self.keep(range.address, length, at) { length } else { 0 };
            return Ok(self.buffer.add(added, segments));
        }
        let Some(address) = range.address else {
            return Ok(self.scratch.discard(length, segments));
        };
        let before = segments.bytes();
        let added = memory.segments(address, length, segments).map_err(|_| BadAddress)?;
        if matches!(self.way, Way::Logged(_)) && added != 0 && !self.keep(Some(address), added, at) {
            // Segments may join where parts do not, so this list can be full first.
            segments.truncate(before);
            return Ok(0);
        }
        Ok(added)
    }

    /// Keeps a part, joined to the one before where the two touch. False if there is no room.
    fn keep(&mut self, address: Option<u64>, length: usize, at: u32) -> bool {
        if let Some(last) = self.parts.last_mut() {
            let behind = last.address.map(|address| address.wrapping_add(last.length as u64));
            if behind == address {
                last.length += length;
                return true;
            }
        }
        let room = self.parts.len() < MOST_SEGMENTS;
        if room {
            self.parts.push(Part { address, length, at });
        }
        room
    }

    /// The operation has ended, in whatever way: what the kernel may have stored into is told.
    #[inline(always)]
    pub fn ended(&self) {
        if let Way::Logged(log) = &self.way {
            for part in &self.parts {
                if let Some(address) = part.address {
                    log.mark(address, part.length as u64);
                }
            }
        }
    }

    /// The operation has moved the next `moved` bytes of the piece: what lies in the buffer goes to where it belongs.
    #[inline]
    pub fn pass_on(&mut self, memory: &Memory, moved: usize) -> Result<(), ProgramCheck> {
        if !matches!(self.way, Way::Staged) {
            return Ok(());
        }
        let bytes = self.buffer.bytes();
        let end = self.passed.saturating_add(moved);
        while let Some(part) = self.parts.get_mut(self.next).filter(|_| self.passed < end) {
            let length = part.length.min(end - self.passed);
            let piece = bytes.get(self.passed..self.passed + length).unwrap_or_default();
            if let Some(address) = &mut part.address {
                // The memory may have been replaced since the piece was gathered, so this checks again.
                memory.store(*address, piece).map_err(|_| ProgramCheck { at: part.at })?;
                *address = address.wrapping_add(length as u64);
            }
            part.length -= length;
            self.passed += length;
            self.next += usize::from(part.length == 0);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::HostRange;
    use std::sync::Mutex;

    #[derive(Default)]
    struct Marks(Mutex<Vec<(u64, u64)>>);

    impl DirtyLog for Marks {
        fn mark(&self, address: u64, length: u64) {
            self.0.lock().unwrap().push((address, length));
        }
    }

    /// What lies apart in the guest may touch here: then there are more parts than segments. Each is told when the operation has ended, not before.
    #[test]
    fn nothing_is_told_to_the_log_before_the_operation_has_ended() {
        let layout = std::alloc::Layout::from_size_align(0x2000, 0x1000).unwrap();
        // SAFETY: the layout is not empty. The pages are never freed.
        let host = unsafe { std::alloc::alloc_zeroed(layout) };
        let ranges = [
            HostRange { address: 0x1000, host, length: 0x1000 },
            HostRange { address: 0x5000, host: host.wrapping_add(0x1000), length: 0x1000 },
        ];
        // SAFETY: the pages are never freed, and nobody else looks at them.
        let memory = unsafe { Memory::from_host_ranges(&ranges, Arc::new(())) }.unwrap();
        let marks = Arc::new(Marks::default());
        let memory = memory.with_dirty_log(marks.clone());
        let (mut landing, mut segments) = (Landing::new(), Segments::default());
        landing.begin(Direction::Read, &memory, 0x1000);
        let mut added = 0;
        for n in 0..200 {
            let address = if n % 2 == 0 { 0x1FFE } else { 0x5000 };
            let range = Range { address: Some(address), length: 2 };
            match landing.add(&memory, range, 0, &mut segments) {
                Ok(0) => break,
                Ok(more) => added += more,
                Err(_) => panic!("it is inside"),
            }
        }
        assert_eq!((added, segments.bytes()), (2 * MOST_SEGMENTS, 2 * MOST_SEGMENTS));
        assert_eq!(*marks.0.lock().unwrap(), []);
        landing.ended();
        let marked: u64 = marks.0.lock().unwrap().iter().map(|mark| mark.1).sum();
        assert_eq!(marked, 2 * MOST_SEGMENTS as u64);
    }
}
