// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which piece of the volume is read into which buffer, and whether it came: what all peers that read have in common.

use crate::error::{BenchError, Measured};
use crate::fba::buffer;
use crate::guest_memory::GuestMemory;
use crate::volume_file::{stamp, Random, VolumeFile, PIECE_BYTES};

/// Random pieces into the buffers of places.
pub struct Picks<'a> {
    memory: &'a GuestMemory,
    pieces: u64,
    random: Random,
    expected: Vec<u64>,
}

impl<'a> Picks<'a> {
    /// Reads of `volume` into the buffers of `places` places.
    pub fn new(memory: &'a GuestMemory, volume: &VolumeFile, places: u16) -> Self {
        Self { memory, pieces: volume.pieces(), random: Random::new(), expected: vec![0; places.into()] }
    }

    /// The offset of the next piece, which goes to `place`.
    #[inline]
    pub fn next(&mut self, place: u16) -> u64 {
        let piece = self.random.below(self.pieces);
        self.expected[usize::from(place)] = stamp(piece);
        piece * PIECE_BYTES as u64
    }

    /// Where the piece of a place goes.
    #[inline]
    pub fn target(&self, place: u16) -> *mut u8 {
        self.memory.at(buffer(place), PIECE_BYTES)
    }

    /// Looks whether the piece has come.
    ///
    /// # Errors
    /// It has not, or it is another one.
    #[inline]
    pub fn check(&self, side: &'static str, place: u16, ended_well: bool) -> Measured<()> {
        let found = self.memory.word(buffer(place));
        if ended_well && found == self.expected[usize::from(place)] {
            return Ok(());
        }
        let how = if ended_well { "well" } else { "with an error" };
        Err(BenchError::Wrong { side, fault: format!("the read into buffer {place} ended {how}, its first word is {found:#x}") })
    }
}
