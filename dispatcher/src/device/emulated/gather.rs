// SPDX-License-Identifier: MIT OR Apache-2.0
//! Gathering the next piece of a transfer: the storage areas of the program's CCWs become segments of one operation.

use super::area::BadAddress;
use super::landing::Landing;
use super::moving::{Moving, Trouble};
use super::program::{Program, ProgramCheck};
use super::{scratch, Direction, Fault};
use crate::engine::Segments;
use crate::memory::Memory;

/// The most ranges of guest memory that are looked at for one piece; a piece of many small ones that happen to touch ends here.
const MOST_RANGES: usize = 1024;

impl Moving {
    /// Gathers the next piece.
    pub fn gather(&mut self, program: &mut Program, memory: &Memory, landing: &mut Landing, grain: u32, segments: &mut Segments) {
        // Whole blocks, at least one, so that a piece does not end inside a block.
        let grain = u64::from(grain);
        let most = (grain - self.in_block(grain)).max(u64::from(self.transfer.block));
        let want = self.left().min(most);
        landing.begin(self.transfer.direction, memory, most);
        for _ in 0..MOST_RANGES {
            let got = segments.bytes() as u64;
            let place = self.done + got;
            if got >= want {
                break;
            }
            if program.area.left() == 0 {
                if !program.ccw.chains_data() {
                    self.exhausted = true;
                    break;
                }
                if self.in_block(place) != 0 {
                    self.trouble = Some(Trouble::Unit(Fault::Overrun));
                    break;
                }
                if let Err(check) = program.chain_data(memory) {
                    self.trouble = Some(Trouble::Program(check));
                    break;
                }
            }
            let mut most = want - got;
            if landing.is_nearly_full(segments) {
                match self.missing_in_block(place) {
                    0 if got != 0 => break,
                    rest => most = most.min(if rest == 0 { u64::from(self.transfer.block) } else { rest }),
                }
            }
            match add(program, memory, landing, most, segments) {
                Ok(0) => break,
                Ok(_) => {}
                Err(BadAddress) => {
                    self.trouble = Some(Trouble::Program(ProgramCheck { at: program.at }));
                    break;
                }
            }
        }
        self.finish_piece(segments);
    }

    /// Sees to it that a write does not leave a block half written.
    fn finish_piece(&mut self, segments: &mut Segments) {
        let end = self.done + segments.bytes() as u64;
        self.short |= self.exhausted && end < self.transfer.length;
        if self.transfer.direction == Direction::Read {
            return;
        }
        if self.trouble.is_some() {
            let whole = (end - self.in_block(end)).saturating_sub(self.done);
            segments.truncate(usize::try_from(whole).unwrap_or(usize::MAX));
        } else if self.exhausted {
            // What does not fit any more is written by itself, next time.
            let rest = self.missing_in_block(end).min(self.transfer.length.saturating_sub(end));
            scratch::zeros(usize::try_from(rest).unwrap_or(0), segments);
        }
    }
}

/// Adds the program's next range. Gives how many bytes it got; 0 if the list is full.
fn add(
    program: &mut Program,
    memory: &Memory,
    landing: &mut Landing,
    most: u64,
    segments: &mut Segments,
) -> Result<u32, BadAddress> {
    let range = program.area.range(memory, u32::try_from(most).unwrap_or(u32::MAX))?;
    let added = landing.add(memory, range, program.at, segments)?;
    let added = u32::try_from(added).unwrap_or(range.length);
    program.area.consume(added);
    if added != 0 {
        program.moved();
    }
    Ok(added)
}
