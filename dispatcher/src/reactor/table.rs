// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is attached: guests with their subchannel numbers, and the subchannels themselves.

use crate::device::{Capabilities, SubchannelDevice};
use crate::engine::SlotId;
use crate::memory::Memory;
use crate::subchannel::Subchannel;
use fctl_ringabi::arch::SubsystemId;

/// What of an entry comes first.
const HOT_BYTES: usize = 128;

/// In no table.
pub(super) const NOWHERE: u32 = u32::MAX;

/// Queues that a subchannel can stand in; each at most once.
pub(super) mod queued {
    pub(crate) const CLEAR: u8 = 1;
    pub(crate) const HALT: u8 = 2;
    pub(crate) const START: u8 = 4;
    pub(crate) const ENGINE: u8 = 8;
    pub(crate) const UNDELIVERED: u8 = 16;
}

/// A subchannel with its device and its home. What a start needs that runs through comes first, and lies in two cache lines: with many subchannels these are not in the
/// processor's cache (measured with 65,536 at random, four interleaved runs, against an entry of five lines or six in any order, all of them asked for: ×1.0 to ×1.65,
/// median ×1.22).
#[repr(C, align(64))]
pub(super) struct Entry {
    pub(super) device: Box<dyn SubchannelDevice>,
    /// The number of the turn in which a start of it last [ran through](Subchannel::run_through).
    pub(super) ran_through: u64,
    pub(super) ring: u32,
    pub(super) guest: u32,
    pub(super) slot: Option<SlotId>,
    pub(super) subsystem: SubsystemId,
    pub(super) capabilities: Capabilities,
    pub(super) queued: u8,
    /// As it was attached, for a reset.
    pub(super) enabled: bool,
    pub(super) subchannel: Subchannel,
}

const _: () = assert!(core::mem::offset_of!(Entry, subchannel) + Subchannel::HOT_BYTES <= HOT_BYTES);

/// A guest: its memory and its own subchannel numbers.
pub(super) struct Guest {
    pub(super) memory: Memory,
    /// For each subchannel set, the place of each number in the table of subchannels.
    numbers: [Vec<u32>; 4],
    pub(super) rings: u32,
    /// Which guest it is: its place was another one's before.
    pub(super) number: u32,
}

impl Guest {
    pub(super) fn new(memory: Memory, number: u32) -> Self {
        Self { memory, numbers: Default::default(), rings: 0, number }
    }

    /// The place of a subchannel, if this guest has it.
    pub(super) fn find(&self, id: SubsystemId) -> Option<u32> {
        Some(self.place(id)).filter(|&place| place != NOWHERE)
    }

    /// The place of a subchannel; [`NOWHERE`], where nothing is ever found, if this guest does not have it.
    #[inline]
    pub(super) fn place(&self, id: SubsystemId) -> u32 {
        let numbers = self.numbers.get(usize::from(id.ssid()));
        numbers.and_then(|numbers| numbers.get(usize::from(id.number()))).copied().unwrap_or(NOWHERE)
    }

    pub(super) fn insert(&mut self, id: SubsystemId, place: u32) {
        let Some(numbers) = self.numbers.get_mut(usize::from(id.ssid())) else {
            return;
        };
        let number = usize::from(id.number());
        if numbers.len() <= number {
            numbers.resize(number + 1, NOWHERE);
        }
        numbers[number] = place;
    }

    pub(super) fn remove(&mut self, id: SubsystemId) {
        if let Some(place) = self.numbers.get_mut(usize::from(id.ssid())).and_then(|set| set.get_mut(usize::from(id.number()))) {
            *place = NOWHERE;
        }
    }
}

/// A table whose places are used again.
#[derive(Debug)]
pub(super) struct Slab<T> {
    places: Vec<Option<T>>,
    free: Vec<u32>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { places: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slab<T> {
    pub(super) fn insert(&mut self, value: T) -> u32 {
        if let Some(place) = self.free.pop() {
            self.places[place as usize] = Some(value);
            return place;
        }
        self.places.push(Some(value));
        #[allow(clippy::cast_possible_truncation, reason = "places are numbered in 32 bits; memory ends long before")]
        let place = (self.places.len() - 1) as u32;
        place
    }

    pub(super) fn remove(&mut self, place: u32) -> Option<T> {
        let value = self.places.get_mut(place as usize)?.take()?;
        self.free.push(place);
        Some(value)
    }

    #[inline]
    pub(super) fn get(&self, place: u32) -> Option<&T> {
        self.places.get(place as usize)?.as_ref()
    }

    #[inline]
    pub(super) fn get_mut(&mut self, place: u32) -> Option<&mut T> {
        self.places.get_mut(place as usize)?.as_mut()
    }

    /// Says that the beginning of this place will be looked at soon.
    #[inline]
    pub(super) fn anticipate(&self, place: u32) {
        if let Some(place) = self.places.get(place as usize) {
            crate::prefetch::lines(core::ptr::from_ref(place).cast(), HOT_BYTES);
        }
    }

    /// One more than the greatest place ever used.
    #[inline]
    pub(super) fn places(&self) -> u32 {
        #[allow(clippy::cast_possible_truncation, reason = "places are numbered in 32 bits")]
        let places = self.places.len() as u32;
        places
    }

    pub(super) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        (0u32..).zip(&self.places).filter_map(|(place, value)| Some((place, value.as_ref()?)))
    }
}
