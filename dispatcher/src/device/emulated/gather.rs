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
    #[inline(always)]
    pub fn gather(&mut self, program: &mut Program, memory: &Memory, landing: &mut Landing, grain: u32, segments: &mut Segments) {
        // Whole blocks, at least one, so that a piece does not end inside a block.
        let block = self.transfer.block;
        let most = (grain - grain.checked_rem(block).unwrap_or(0)).max(block);
        let want = u32::try_from(self.left()).unwrap_or(u32::MAX).min(most);
        landing.begin(self.transfer.direction, memory, most);
        let mut got = 0;
        for _ in 0..MOST_RANGES {
            if got >= want {
                break;
            }
            if program.area.left() == 0 {
                if !program.ccw.chains_data() {
                    self.exhausted = true;
                    break;
                }
                if self.in_block(self.done + u64::from(got)) != 0 {
                    self.trouble = Some(Trouble::Unit(Fault::Overrun));
                    break;
                }
                if let Err(check) = program.chain_data(memory) {
                    self.trouble = Some(Trouble::Program(check));
                    break;
                }
            }
            match add(program, memory, landing, want - got, segments) {
                Some(added) => got += added,
                None => match self.add_otherwise(program, memory, landing, got, want, segments) {
                    0 => break,
                    added => got += added,
                },
            }
        }
        self.finish_piece(segments);
    }

    /// Adds the program's next range, whatever it is. Gives how many bytes; 0 if the piece ends here.
    #[inline(never)]
    fn add_otherwise(
        &mut self,
        program: &mut Program,
        memory: &Memory,
        landing: &mut Landing,
        got: u32,
        want: u32,
        segments: &mut Segments,
    ) -> u32 {
        let mut most = want - got;
        if landing.is_nearly_full(segments) {
            match self.missing_in_block(self.done + u64::from(got)) {
                0 if got != 0 => return 0,
                0 => most = most.min(self.transfer.block),
                rest => most = most.min(rest),
            }
        }
        let added = program.area.range(memory, most).and_then(|range| {
            let added = landing.add(memory, range, program.at, segments)?;
            Ok(u32::try_from(added).unwrap_or(range.length))
        });
        match added {
            Ok(0) => 0,
            Ok(added) => {
                program.area.consume(added);
                program.moved();
                added
            }
            Err(BadAddress) => {
                self.trouble = Some(Trouble::Program(ProgramCheck { at: program.at }));
                0
            }
        }
    }

    /// Notes how far the program's data reaches, and sees to the end of a write.
    #[inline(always)]
    fn finish_piece(&mut self, segments: &mut Segments) {
        if self.exhausted {
            let end = self.done + segments.bytes() as u64;
            self.short |= end < self.transfer.length;
        }
        if self.transfer.direction == Direction::Write && (self.exhausted || self.trouble.is_some()) {
            self.finish_write_piece(segments);
        }
    }

    /// Sees to it that a write does not leave a block half written.
    #[inline(never)]
    fn finish_write_piece(&mut self, segments: &mut Segments) {
        let end = self.done + segments.bytes() as u64;
        if self.trouble.is_some() {
            let whole = (end - u64::from(self.in_block(end))).saturating_sub(self.done);
            segments.truncate(usize::try_from(whole).unwrap_or(usize::MAX));
        } else {
            // What does not fit any more is written by itself, next time.
            let rest = u64::from(self.missing_in_block(end)).min(self.transfer.length.saturating_sub(end));
            scratch::zeros(usize::try_from(rest).unwrap_or(0), segments);
        }
    }
}

/// Adds what is left in the CCW's area, or as much of it as is wanted, if that is as it is nearly always: its address is in the CCW, it is one piece of memory, the kernel
/// moves it straight there, and there is room. Gives how many bytes; none, and nothing is done, if it is not so. (The general way takes about 110 instructions more for each
/// CCW.)
#[inline(always)]
fn add(program: &mut Program, memory: &Memory, landing: &Landing, most: u32, segments: &mut Segments) -> Option<u32> {
    let length = most.min(program.area.left());
    let address = program.area.next(length)?;
    if !landing.is_direct() || landing.is_nearly_full(segments) || !memory.segment(address, length, segments) {
        return None;
    }
    program.area.consume(length);
    program.moved();
    Some(length)
}
