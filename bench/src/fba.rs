// SPDX-License-Identifier: MIT OR Apache-2.0
//! The channel programs of the FBA load: one 4 KiB read each, written as a guest's driver writes them.

use crate::guest::Program;
use crate::guest_memory::GuestMemory;
use crate::subject::id;
use crate::volume_file::{stamp, Random, PIECE_BYTES};
use fctl_ringabi::arch::{Ccw, CcwFlags, Orb};
use fctl_ringabi::Descriptor;

/// How the 4 KiB are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// One Read CCW of 4096 bytes.
    Whole,
    /// As Linux sends it: eight of 512, data-chained.
    Chained,
}

impl Reading {
    const fn ccws(self) -> usize {
        match self {
            Self::Whole => 3,
            Self::Chained => 2 + BLOCKS as usize,
        }
    }
}

/// Guest memory of one subchannel: the buffer, then a page for program and parameters.
const PLACE_BYTES: usize = 2 * PIECE_BYTES;
/// What a program needs: its CCWs, and right behind them the parameters, as Linux' driver allocates them.
const PROGRAM_BYTES: usize = 128;

const DEFINE_EXTENT: u8 = 0x63;
const LOCATE_COMMAND: u8 = 0x43;
const READ: u8 = 0x42;
/// Blocks of 512 bytes in a read.
const BLOCKS: u16 = 8;

/// Guest memory for `places` subchannels.
///
/// # Errors
/// There is no such memory.
pub fn memory(places: u16) -> crate::error::Measured<GuestMemory> {
    GuestMemory::new(usize::from(places) * PLACE_BYTES)
}

/// Where a place's buffer is.
pub const fn buffer(place: u16) -> usize {
    place as usize * PLACE_BYTES
}

/// Where a place's program is: not at the same offset of every page, as programs of an allocator are not.
const fn program_of(place: u16) -> usize {
    buffer(place) + PIECE_BYTES + (place as usize % 31) * PROGRAM_BYTES
}

/// Random reads by FBA subchannels.
pub struct FbaReads<'a> {
    memory: &'a GuestMemory,
    /// Bytes of CCWs in front of a program's parameters.
    ccws: usize,
    pieces: u64,
    random: Random,
    expected: Vec<u64>,
}

impl<'a> FbaReads<'a> {
    /// Reads of a volume of `pieces` pieces by subchannels `0..places`, whose CCWs are written now.
    pub fn new(memory: &'a GuestMemory, places: u16, pieces: u64, reading: Reading) -> Self {
        for place in 0..places {
            for (at, ccw) in (0..).zip(program(place, reading)) {
                memory.put(program_of(place) + at * Ccw::SIZE, &ccw.to_format1());
            }
        }
        Self { memory, ccws: reading.ccws() * Ccw::SIZE, pieces, random: Random::new(), expected: vec![0; places.into()] }
    }
}

fn program(place: u16, reading: Reading) -> Vec<Ccw> {
    #[allow(clippy::cast_possible_truncation, reason = "guest memory is at most 65536 places of 8 KiB")]
    let (data, extent) = (buffer(place) as u32, (program_of(place) + reading.ccws() * Ccw::SIZE) as u32);
    let ccw = |command, flags, count, address| Ccw { command, flags, count, address };
    let chain = CcwFlags::CHAIN_COMMAND;
    let mut ccws = vec![ccw(DEFINE_EXTENT, chain, 16, extent), ccw(LOCATE_COMMAND, chain, 8, extent + 16)];
    match reading {
        Reading::Whole => ccws.push(ccw(READ, CcwFlags::empty(), BLOCKS * 512, data)),
        Reading::Chained => ccws.extend((0..BLOCKS).map(|block| {
            let flags = if block + 1 < BLOCKS { CcwFlags::CHAIN_DATA } else { CcwFlags::empty() };
            ccw(READ, flags, 512, data + u32::from(block) * 512)
        })),
    }
    ccws
}

impl Program for FbaReads<'_> {
    #[inline]
    fn prepare(&mut self, place: u16, tag: u64) -> Descriptor {
        let piece = self.random.below(self.pieces);
        let program = program_of(place);
        self.expected[usize::from(place)] = stamp(piece);
        #[allow(
            clippy::cast_possible_truncation,
            reason = "blocks of a volume are numbered in 32 bits; an address is below 2 GiB"
        )]
        let (start, cpa) = ((piece * u64::from(BLOCKS)) as u32, program as u32);
        // As the driver of Linux does for each request: the extent is what is read, numbered from 0, no write allowed; all of it is located.
        let [s0, s1, s2, s3] = start.to_be_bytes();
        let [l0, l1, l2, l3] = (u32::from(BLOCKS) - 1).to_be_bytes();
        let [c0, c1] = BLOCKS.to_be_bytes();
        self.memory.put(program + self.ccws, &[0x40, 0, 2, 0, s0, s1, s2, s3, 0, 0, 0, 0, l0, l1, l2, l3]);
        self.memory.put(program + self.ccws + 16, &[0x06, 0, c0, c1, 0, 0, 0, 0]);
        Descriptor::start(id(place), &Orb::new(u32::from(place), cpa), tag)
    }

    #[inline]
    fn done(&mut self, place: u16) -> bool {
        self.memory.word(buffer(place)) == self.expected[usize::from(place)]
    }
}
