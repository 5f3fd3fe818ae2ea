// SPDX-License-Identifier: MIT OR Apache-2.0
//! The storage area that one CCW designates, walked from its first byte to its last: directly, or through IDAWs or MIDAWs.
//! Principles of Operation ch. 15.
//!
//! Entries of a list are fetched once, when the first of their bytes is wanted; what is never used is never checked.

use super::word::CcwWord;
use crate::memory::Memory;
use fctl_ringabi::arch::{CcwFlags, CommandClass, Idaw1, Idaw2, IdawFormat, Midaw, MidawFlags, Orb};

/// Flags of a CCW whose bytes lie, or seem to lie, elsewhere than at its address.
const ELSEWHERE: CcwFlags = CcwFlags::SKIP.union(CcwFlags::INDIRECT).union(CcwFlags::MODIFIED_INDIRECT);

/// Something about a CCW's data is wrong: a program check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BadAddress;

/// Consecutive bytes of the area.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    /// Guest address; none if the bytes are skipped. Whether it is inside the memory is not known yet.
    pub address: Option<u64>,
    /// How many, at least 1.
    pub length: u32,
}

/// How the next bytes are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// The CCW has the address.
    Direct,
    /// Input is skipped as a whole: no address is looked at.
    Skipped,
    /// A list of IDAWs.
    Idaws(IdawFormat),
    /// A list of MIDAWs, whose skip flags count for `input` alone.
    Midaws { input: bool },
}

/// A list of IDAWs or MIDAWs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct List {
    /// Next entry.
    next: u64,
    /// True until the first entry has been fetched.
    fresh: bool,
    /// How many bytes the current entry still has. (Means nothing while the area is direct.)
    left: u32,
    skipped: bool,
}

/// A place in the area of one CCW.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Area {
    shape: Shape,
    /// Bytes of the count that are not used yet.
    left: u32,
    /// Next byte: of the area itself, or of the current entry.
    at: u64,
    /// Lists and direct areas lie below this address.
    limit: u64,
    list: List,
}

impl Area {
    /// An area without bytes, of a program whose lists and direct areas lie below `limit`.
    pub const fn empty(limit: u64) -> Self {
        let list = List { next: 0, fresh: true, left: 0, skipped: false };
        Self { shape: Shape::Direct, left: 0, at: 0, limit, list }
    }

    /// Becomes the area of a CCW, without bytes of the one before. `command` is the one in control: only for input the skip flag counts.
    #[inline(always)]
    pub fn begin(&mut self, ccw: CcwWord, command: u8, orb: &Orb) {
        self.shape = Shape::Direct;
        self.left = u32::from(ccw.count());
        self.at = u64::from(ccw.address());
        if ccw.flags().intersects(ELSEWHERE) {
            self.begin_elsewhere(ccw.flags(), command, orb);
        }
    }

    #[inline(never)]
    fn begin_elsewhere(&mut self, flags: CcwFlags, command: u8, orb: &Orb) {
        let input = CommandClass::of(command).is_input();
        self.shape = if input && flags.contains(CcwFlags::SKIP) {
            Shape::Skipped
        } else if flags.contains(CcwFlags::INDIRECT) {
            Shape::Idaws(orb.idaw_format())
        } else if flags.contains(CcwFlags::MODIFIED_INDIRECT) {
            Shape::Midaws { input }
        } else {
            Shape::Direct
        };
        self.list = List { next: self.at, ..Self::empty(0).list };
    }

    /// Lists and direct areas of the program, and its CCWs, lie below this address.
    #[inline(always)]
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// Bytes of the count that are not used yet.
    #[inline(always)]
    pub fn left(&self) -> u32 {
        self.left
    }

    /// As if all but these bytes were used; where they are means nothing any more.
    pub fn set_left(&mut self, left: u32) {
        self.left = left;
    }

    /// Where the next bytes are, if the CCW has their address itself, and there are as many.
    #[inline(always)]
    pub fn next(&self, bytes: u32) -> Option<u64> {
        let inside = bytes <= self.left && self.at.wrapping_add(u64::from(bytes)) <= self.limit;
        (self.shape == Shape::Direct && inside).then_some(self.at)
    }

    /// The next bytes, at most `most` (not 0); only to be asked while some are [`left`](Self::left).
    #[inline(always)]
    pub fn range(&mut self, memory: &Memory, most: u32) -> Result<Range, BadAddress> {
        let most = most.min(self.left);
        if self.shape != Shape::Direct {
            return self.range_elsewhere(memory, most);
        }
        // An address in a CCW has 31 bits or 32, a count 16: no sum of them overflows.
        if self.at.wrapping_add(u64::from(most)) > self.limit {
            return Err(BadAddress);
        }
        Ok(Range { address: Some(self.at), length: most })
    }

    /// The same, of an area that the CCW does not address itself.
    #[inline(never)]
    fn range_elsewhere(&mut self, memory: &Memory, most: u32) -> Result<Range, BadAddress> {
        let address = match self.shape {
            Shape::Skipped => return Ok(Range { address: None, length: most }),
            Shape::Direct => return Err(BadAddress),
            Shape::Idaws(format) => {
                if self.list.left == 0 {
                    self.fetch_idaw(memory, format)?;
                }
                Some(self.at)
            }
            Shape::Midaws { input } => {
                if self.list.left == 0 {
                    self.fetch_midaw(memory, input)?;
                }
                (!self.list.skipped).then_some(self.at)
            }
        };
        Ok(Range { address, length: most.min(self.list.left) })
    }

    /// Uses up the first bytes of the last [`range`](Self::range).
    #[inline(always)]
    pub fn consume(&mut self, bytes: u32) {
        self.left = self.left.wrapping_sub(bytes);
        self.list.left = self.list.left.wrapping_sub(bytes);
        self.at = self.at.wrapping_add(u64::from(bytes));
    }

    fn fetch_idaw(&mut self, memory: &Memory, format: IdawFormat) -> Result<(), BadAddress> {
        let entry = self.next_entry(u64::from(format.entry_len()))?;
        let address = match format {
            IdawFormat::One2K => Idaw1::from_bytes(&memory.fetch(entry).map_err(|_| BadAddress)?).address().ok_or(BadAddress)?,
            IdawFormat::Two4K | IdawFormat::Two2K => Idaw2::from_bytes(&memory.fetch(entry).map_err(|_| BadAddress)?).address(),
        };
        if !self.list.fresh && !format.may_follow(address, false) {
            return Err(BadAddress);
        }
        self.list.fresh = false;
        self.at = address;
        self.list.left = u32::from(format.forward_len(address));
        Ok(())
    }

    fn fetch_midaw(&mut self, memory: &Memory, input: bool) -> Result<(), BadAddress> {
        let entry = self.next_entry(16)?;
        if !self.list.fresh && entry & 0xFFF == 0 {
            // The list has crossed a 4K boundary.
            return Err(BadAddress);
        }
        let midaw = Midaw::from_bytes(&memory.fetch(entry).map_err(|_| BadAddress)?);
        let (flags, count) = (midaw.flags(), u32::from(midaw.count()));
        // The data-transfer-interruption facility is not provided, so its flag is as wrong as a reserved one.
        let wrong = !midaw.is_valid() || flags.contains(MidawFlags::DATA_TRANSFER_INTERRUPTION);
        // The counts must add up to the CCW's, and exactly the entry that exhausts it is the last one.
        if wrong || count > self.left || (count == self.left) != flags.contains(MidawFlags::LAST) {
            return Err(BadAddress);
        }
        self.list.fresh = false;
        self.at = midaw.address();
        self.list.left = count;
        self.list.skipped = input && flags.contains(MidawFlags::SKIP);
        Ok(())
    }

    /// The address of the next entry, aligned and in range.
    fn next_entry(&mut self, size: u64) -> Result<u64, BadAddress> {
        let entry = self.list.next;
        let end = entry.saturating_add(size);
        if entry % size != 0 || end > self.limit {
            return Err(BadAddress);
        }
        self.list.next = end;
        Ok(entry)
    }
}
