// SPDX-License-Identifier: MIT OR Apache-2.0
//! The guest's channel programs: DEFINE EXTENT, LOCATE, READ or WRITE, in the shapes that guests use.

use crate::content::{Block, BLOCK_WORDS};
use crate::shared::{Words, AREA_BYTES, MOST_BLOCKS};
use fctl_ringabi::arch::{Ccw, CcwFlags, Orb, OrbControl};
use fctl_ringabi::WordMemory as _;
use std::sync::atomic::Ordering;

/// DEFINE EXTENT.
pub const DEFINE_EXTENT: u8 = 0x63;
/// LOCATE.
pub const LOCATE: u8 = 0x43;
/// READ.
pub const READ: u8 = 0x42;
/// WRITE.
pub const WRITE: u8 = 0x41;
/// NO-OPERATION.
const NOP: u8 = 0x03;

/// Where the parameters of DEFINE EXTENT and LOCATE, and the IDAWs, stand in an area's first page; the CCWs stand at its beginning.
const EXTENT_AT: u32 = 0xC00;
const LOCATE_AT: u32 = 0xC80;
const IDAWS_AT: u32 = 0xE00;
/// Where the blocks begin.
const BLOCKS_AT: u32 = 4096;
/// A page of blocks: what one IDAW designates.
const PAGE_BLOCKS: u32 = 8;

/// What an area holds while nobody may write to it.
pub const CANARY: u64 = 0xCA4A_12E5_0F7A_BE11;

/// Which way the blocks go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// To the guest.
    Read,
    /// To the volume.
    Write,
}

/// How the blocks are described.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// One CCW for each block, data-chained: what Linux sends.
    Chained,
    /// One CCW for all.
    Single,
    /// One CCW with format-2 IDAWs that put the pages in reverse order. Whole pages only.
    Indirect,
    /// LOCATE and READ or WRITE for each block, command-chained.
    Pairs,
}

/// One channel program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Program {
    /// Which way.
    pub direction: Direction,
    /// How.
    pub shape: Shape,
    /// First block of the volume.
    pub first: u32,
    /// How many blocks: 1 to [`MOST_BLOCKS`].
    pub count: u32,
}

/// An area of guest memory: a page for the program, and the blocks.
#[derive(Clone, Debug)]
pub struct Area {
    memory: Words,
    /// Guest address of the first byte.
    address: u32,
}

impl Area {
    /// The area with this number.
    pub fn new(memory: Words, number: u32) -> Self {
        Self { memory, address: number * AREA_BYTES }
    }

    fn put(&self, offset: u32, bytes: [u8; 8]) {
        // Relaxed: publishing the descriptor orders it.
        self.memory.store((self.address + offset) as usize / 8, u64::from_le_bytes(bytes), Ordering::Relaxed);
    }

    /// Word index of a block's place.
    fn place(&self, slot: u32) -> usize {
        (self.address + BLOCKS_AT) as usize / 8 + slot as usize * BLOCK_WORDS
    }

    /// Writes a block to its place.
    fn put_block(&self, slot: u32, block: &Block) {
        let place = self.place(slot);
        self.memory.store(place, block[0], Ordering::Relaxed);
        self.memory.store_body(place, block);
    }

    /// Reads a block from its place.
    fn block(&self, slot: u32) -> Block {
        let place = self.place(slot);
        let mut block = [self.memory.load(place, Ordering::Relaxed); BLOCK_WORDS];
        self.memory.load_body(place, &mut block);
        block
    }

    /// Fills the places of the first `count` blocks with what no block ever holds.
    pub fn fill_canary(&self, count: u32) {
        (0..count).for_each(|slot| self.put_block(slot, &[CANARY; BLOCK_WORDS]));
    }

    /// The first of the first `count` blocks that is no longer as [`fill_canary`](Self::fill_canary) left it.
    pub fn disturbed(&self, count: u32) -> Option<u32> {
        (0..count).find(|&slot| self.block(slot) != [CANARY; BLOCK_WORDS])
    }

    /// Writes a program that does nothing. Behind all others, so that both can be there at once.
    pub fn write_nop(&self) -> Orb {
        let at = EXTENT_AT + 0x40;
        self.put(at, Ccw { command: NOP, flags: CcwFlags::SUPPRESS_LENGTH, count: 1, address: self.address }.to_format1());
        Orb::new(self.address, self.address + at)
    }
}

impl Program {
    /// The blocks of the volume that it moves.
    pub const fn blocks(&self) -> std::ops::Range<u32> {
        self.first..self.first + self.count
    }

    /// Where the `index`th block stands in the area.
    const fn slot(&self, index: u32) -> u32 {
        match self.shape {
            Shape::Indirect => {
                let last_page = self.count / PAGE_BLOCKS - 1;
                (last_page - index / PAGE_BLOCKS) * PAGE_BLOCKS + index % PAGE_BLOCKS
            }
            _ => index,
        }
    }

    /// Puts a block where the program will write it from.
    pub fn put_block(&self, area: &Area, index: u32, block: &Block) {
        area.put_block(self.slot(index), block);
    }

    /// The block as the program has read it.
    pub fn block(&self, area: &Area, index: u32) -> Block {
        area.block(self.slot(index))
    }

    /// Writes the program into an area; gives the ORB that starts it.
    pub fn write(&self, area: &Area) -> Orb {
        let (mask, operation, command) = match self.direction {
            Direction::Read => (0x40, 0x06, READ),
            Direction::Write => (0x00, 0x05, WRITE),
        };
        let chained = CcwFlags::CHAIN_COMMAND;
        let [s0, s1, s2, s3] = self.first.to_be_bytes();
        let [l0, l1, l2, l3] = (self.count - 1).to_be_bytes();
        area.put(EXTENT_AT, [mask, 0, 0x02, 0x00, s0, s1, s2, s3]);
        area.put(EXTENT_AT + 8, [0, 0, 0, 0, l0, l1, l2, l3]);
        let mut ccws = Ccws { area, at: 0 };
        ccws.add(DEFINE_EXTENT, chained, 16, EXTENT_AT);
        if self.shape == Shape::Pairs {
            for index in 0..self.count {
                let [b0, b1, b2, b3] = index.to_be_bytes();
                area.put(LOCATE_AT + index * 8, [operation, 0, 0, 1, b0, b1, b2, b3]);
                ccws.add(LOCATE, chained, 8, LOCATE_AT + index * 8);
                let more = if index + 1 < self.count { chained } else { CcwFlags::empty() };
                ccws.add(command, more, 512, BLOCKS_AT + index * 512);
            }
            return self.orb(area);
        }
        let [_, _, c0, c1] = self.count.to_be_bytes();
        area.put(LOCATE_AT, [operation, 0, c0, c1, 0, 0, 0, 0]);
        ccws.add(LOCATE, chained, 8, LOCATE_AT);
        match self.shape {
            Shape::Chained => {
                for index in 0..self.count {
                    let more = if index + 1 < self.count { CcwFlags::CHAIN_DATA } else { CcwFlags::empty() };
                    ccws.add(command, more, 512, BLOCKS_AT + index * 512);
                }
            }
            Shape::Indirect => {
                let pages = self.count / PAGE_BLOCKS;
                for page in 0..pages {
                    let address = u64::from(area.address + BLOCKS_AT + (pages - 1 - page) * 4096);
                    area.put(IDAWS_AT + page * 8, address.to_be_bytes());
                }
                ccws.add(command, CcwFlags::INDIRECT, self.count * 512, IDAWS_AT);
            }
            Shape::Single | Shape::Pairs => ccws.add(command, CcwFlags::empty(), self.count * 512, BLOCKS_AT),
        }
        self.orb(area)
    }

    fn orb(&self, area: &Area) -> Orb {
        Orb::new(area.address, area.address).with_control(OrbControl::PREFETCH | OrbControl::FORMAT_2_IDAW)
    }
}

/// Writes CCWs one behind the other.
struct Ccws<'a> {
    area: &'a Area,
    at: u32,
}

impl Ccws<'_> {
    fn add(&mut self, command: u8, flags: CcwFlags, count: u32, offset: u32) {
        let count = u16::try_from(count).unwrap_or(u16::MAX);
        self.area.put(self.at, Ccw { command, flags, count, address: self.area.address + offset }.to_format1());
        self.at += 8;
    }
}

// The longest program, and the longest list of LOCATE parameters, end before what stands behind them.
const _: () = assert!((1 + 2 * MOST_BLOCKS) * 8 <= EXTENT_AT);
const _: () = assert!(LOCATE_AT + MOST_BLOCKS * 8 <= IDAWS_AT && IDAWS_AT + MOST_BLOCKS / PAGE_BLOCKS * 8 <= BLOCKS_AT);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::block;
    use crate::shared::{map, Layout, Part};
    use fctl_dispatcher::region::sealed_memory_file;
    use fctl_ringabi::arch::CcwFormat;

    fn area() -> Area {
        let layout = Layout { subchannels: 1, owned: 64 };
        let part = Part { offset: 0, bytes: layout.memory().unwrap().bytes };
        Area::new(map(&sealed_memory_file("fctl-area", part.bytes).unwrap(), part).unwrap(), 1)
    }

    fn ccw(area: &Area, index: u32) -> Ccw {
        let word = area.memory.load((area.address + index * 8) as usize / 8, Ordering::Relaxed);
        Ccw::decode(CcwFormat::One, &word.to_le_bytes())
    }

    #[test]
    fn the_program_that_linux_sends() {
        let area = area();
        let program = Program { direction: Direction::Write, shape: Shape::Chained, first: 0x0102_0304, count: 3 };
        let orb = program.write(&area);
        assert_eq!((orb.cpa(), orb.check()), (AREA_BYTES, Ok(())));
        let commands: Vec<_> = (0..5).map(|index| (ccw(&area, index).command, ccw(&area, index).flags.bits())).collect();
        assert_eq!(commands, [(0x63, 0x40), (0x43, 0x40), (0x41, 0x80), (0x41, 0x80), (0x41, 0)]);
        let extent = area.memory.load((area.address + EXTENT_AT) as usize / 8, Ordering::Relaxed);
        assert_eq!(extent.to_le_bytes(), [0, 0, 2, 0, 1, 2, 3, 4]);
        assert_eq!(ccw(&area, 4).address, AREA_BYTES + 4096 + 1024);
    }

    #[test]
    fn idaws_put_the_pages_in_reverse_order() {
        let area = area();
        let program = Program { direction: Direction::Read, shape: Shape::Indirect, first: 0, count: 16 };
        program.write(&area);
        let last = ccw(&area, 2);
        assert_eq!((last.command, last.flags, last.count), (READ, CcwFlags::INDIRECT, 8192));
        let idaw = area.memory.load((area.address + IDAWS_AT) as usize / 8, Ordering::Relaxed);
        assert_eq!(u64::from_be_bytes(idaw.to_le_bytes()), u64::from(AREA_BYTES) + 4096 + 4096);
        assert_eq!((program.slot(0), program.slot(7), program.slot(8), program.slot(15)), (8, 15, 0, 7));
    }

    #[test]
    fn a_canary_tells_which_block_was_touched() {
        let area = area();
        area.fill_canary(MOST_BLOCKS);
        assert_eq!(area.disturbed(MOST_BLOCKS), None);
        area.put_block(3, &block(1, 2, 3));
        assert_eq!(area.disturbed(MOST_BLOCKS), Some(3));
        assert_eq!(area.disturbed(3), None);
    }
}
