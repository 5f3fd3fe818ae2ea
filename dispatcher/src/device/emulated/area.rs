// SPDX-License-Identifier: MIT OR Apache-2.0
//! The storage area that one CCW designates, walked from its first byte to its last: directly, or through IDAWs or MIDAWs.
//! Principles of Operation ch. 15.
//!
//! Entries of a list are fetched once, when the first of their bytes is wanted; what is never used is never checked.

use crate::memory::Memory;
use fctl_ringabi::arch::{Ccw, CcwFlags, Idaw1, Idaw2, IdawFormat, Midaw, MidawFlags};

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
#[derive(Clone, Copy, Debug)]
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

/// A place in the area of one CCW.
#[derive(Clone, Copy, Debug)]
pub(super) struct Area {
    shape: Shape,
    /// Bytes of the count that are not used yet.
    left: u32,
    /// Lists and direct areas lie below this address.
    limit: u64,
    /// Next entry of the list.
    list: u64,
    /// True until the first entry has been fetched.
    fresh: bool,
    /// Next byte of the current entry (or of the area itself), and how many it still has.
    at: u64,
    entry_left: u32,
    entry_skipped: bool,
}

impl Area {
    /// An area without bytes.
    pub const EMPTY: Self =
        Self { shape: Shape::Skipped, left: 0, limit: 0, list: 0, fresh: true, at: 0, entry_left: 0, entry_skipped: false };

    /// The area of a CCW. `input`: of a command that stores, so that the skip flag counts.
    #[inline]
    pub fn new(ccw: &Ccw, idaws: IdawFormat, limit: u64, input: bool) -> Self {
        let shape = if input && ccw.flags.contains(CcwFlags::SKIP) {
            Shape::Skipped
        } else if ccw.flags.contains(CcwFlags::INDIRECT) {
            Shape::Idaws(idaws)
        } else if ccw.flags.contains(CcwFlags::MODIFIED_INDIRECT) {
            Shape::Midaws { input }
        } else {
            Shape::Direct
        };
        let address = u64::from(ccw.address);
        Self { shape, left: u32::from(ccw.count), limit, list: address, at: address, ..Self::EMPTY }
    }

    /// Bytes of the count that are not used yet.
    #[inline]
    pub fn left(&self) -> u32 {
        self.left
    }

    /// The next bytes, at most `most` (not 0); only to be asked while some are [`left`](Self::left).
    #[inline(always)]
    pub fn range(&mut self, memory: &Memory, most: u32) -> Result<Range, BadAddress> {
        let most = most.min(self.left);
        if !matches!(self.shape, Shape::Direct) {
            return self.range_elsewhere(memory, most);
        }
        // Saturating: an honest address is far below the end, and so is any that begins below the limit.
        if self.at.saturating_add(u64::from(most)) > self.limit {
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
                if self.entry_left == 0 {
                    self.fetch_idaw(memory, format)?;
                }
                Some(self.at)
            }
            Shape::Midaws { input } => {
                if self.entry_left == 0 {
                    self.fetch_midaw(memory, input)?;
                }
                if self.entry_skipped {
                    None
                } else {
                    Some(self.at)
                }
            }
        };
        Ok(Range { address, length: most.min(self.entry_left) })
    }

    /// Uses up the first bytes of the last [`range`](Self::range).
    #[inline(always)]
    pub fn consume(&mut self, bytes: u32) {
        self.left = self.left.saturating_sub(bytes);
        self.entry_left = self.entry_left.saturating_sub(bytes);
        self.at = self.at.wrapping_add(u64::from(bytes));
    }

    fn fetch_idaw(&mut self, memory: &Memory, format: IdawFormat) -> Result<(), BadAddress> {
        let entry = self.next_entry(u64::from(format.entry_len()))?;
        let address = match format {
            IdawFormat::One2K => Idaw1::from_bytes(&memory.fetch(entry).map_err(|_| BadAddress)?).address().ok_or(BadAddress)?,
            IdawFormat::Two4K | IdawFormat::Two2K => Idaw2::from_bytes(&memory.fetch(entry).map_err(|_| BadAddress)?).address(),
        };
        if !self.fresh && !format.may_follow(address, false) {
            return Err(BadAddress);
        }
        self.fresh = false;
        self.at = address;
        self.entry_left = u32::from(format.forward_len(address));
        Ok(())
    }

    fn fetch_midaw(&mut self, memory: &Memory, input: bool) -> Result<(), BadAddress> {
        let entry = self.next_entry(16)?;
        if !self.fresh && entry & 0xFFF == 0 {
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
        self.fresh = false;
        self.at = midaw.address();
        self.entry_left = count;
        self.entry_skipped = input && flags.contains(MidawFlags::SKIP);
        Ok(())
    }

    /// The address of the next entry, aligned and in range.
    fn next_entry(&mut self, size: u64) -> Result<u64, BadAddress> {
        let entry = self.list;
        let end = entry.saturating_add(size);
        if entry % size != 0 || end > self.limit {
            return Err(BadAddress);
        }
        self.list = end;
        Ok(entry)
    }
}
