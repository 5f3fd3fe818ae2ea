// SPDX-License-Identifier: MIT OR Apache-2.0
//! The bytes that a command exchanges with the unit itself.

use super::area::Range;
use super::program::{Program, ProgramCheck};
use super::{ControlUnit, Emulated, Phase, ENDED_WELL, MOST_UNIT_BYTES};
use crate::device::DeviceContext;
use crate::memory::Memory;

impl<U: ControlUnit> Emulated<U> {
    /// The unit sends this many bytes.
    #[inline(never)]
    pub(super) fn send(&mut self, cx: &mut DeviceContext<'_>, length: usize) -> Phase {
        let bytes = self.bytes.get(..length).unwrap_or(&self.bytes);
        let sent = walk(&mut self.program, cx.memory, bytes.len(), |range, from| {
            let part = bytes.get(from..from + range.length as usize).unwrap_or_default();
            range.address.is_none_or(|address| cx.memory.store(address, part).is_ok())
        });
        match sent {
            Ok(sent) => self.complete(cx, ENDED_WELL, sent < bytes.len()),
            Err(check) => self.program_check(cx, check, ENDED_WELL),
        }
    }

    /// [`receive`](Self::receive) where the CCW itself has the address of all that the unit takes, and that is whole doublewords in the main region, as DEFINE EXTENT's
    /// and LOCATE's parameters nearly always are (measured: 94 instructions less for each). None, and nothing is done, where it is not so.
    #[inline(always)]
    pub(super) fn receive_whole<const N: usize>(&mut self, cx: &mut DeviceContext<'_>, command: u8) -> Option<Phase> {
        let length = u32::try_from(N).ok()?;
        let bytes = cx.memory.doublewords::<N>(self.program.area.next(length)?)?;
        self.program.area.consume(length);
        self.program.moved();
        let status = self.unit.received(command, &bytes);
        Some(self.complete(cx, status, false))
    }

    /// The unit takes up to this many bytes.
    #[inline(never)]
    pub(super) fn receive(&mut self, cx: &mut DeviceContext<'_>, command: u8, length: usize) -> Phase {
        let length = length.min(MOST_UNIT_BYTES);
        let bytes = &mut self.bytes;
        let received = walk(&mut self.program, cx.memory, length, |range, from| {
            let part = bytes.get_mut(from..from + range.length as usize).unwrap_or_default();
            range.address.is_none_or(|address| cx.memory.fetch_into(address, part).is_ok())
        });
        match received {
            Ok(received) => {
                let status = self.unit.received(command, self.bytes.get(..received).unwrap_or_default());
                self.complete(cx, status, received < length)
            }
            Err(check) => self.program_check(cx, check, ENDED_WELL),
        }
    }
}

/// Walks `length` bytes of the storage areas of a command, through data chaining, as far as the CCWs reach. `visit` gets each range and
/// how many bytes came before it; false from it means that the range is not in the guest's memory.
fn walk(
    program: &mut Program,
    memory: &Memory,
    length: usize,
    mut visit: impl FnMut(Range, usize) -> bool,
) -> Result<usize, ProgramCheck> {
    let mut walked = 0;
    while walked < length {
        if program.area.left() == 0 {
            if !program.ccw.chains_data() {
                break;
            }
            program.chain_data(memory)?;
        }
        let bad = ProgramCheck { at: program.at };
        let most = u32::try_from(length - walked).unwrap_or(u32::MAX);
        let range = program.area.range(memory, most).map_err(|_| bad)?;
        if !visit(range, walked) {
            return Err(bad);
        }
        program.area.consume(range.length);
        program.moved();
        walked += range.length as usize;
    }
    Ok(walked)
}
