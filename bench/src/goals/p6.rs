// SPDX-License-Identifier: MIT OR Apache-2.0
//! P6: what 65,536 subchannels cost: time for a START when the load walks them in random order, time when they only are there, and memory.

use super::{Comparison, Setting};
use crate::allocator::in_use;
use crate::error::{Doing as _, Measured};
use crate::guest::Program;
use crate::guest_memory::GuestMemory;
use crate::method::Wanted;
use crate::pump::{throughput, Shape, Throughput, Until};
use crate::report::Row;
use crate::subject::{id, Subject};
use crate::volume_file::Random;
use fctl_dispatcher::device::null::Null;
use fctl_ringabi::arch::Orb;
use fctl_ringabi::Descriptor;

const FEW: u32 = 256;
const MANY: u32 = 65_536;

const SHAPE: Shape = Shape { batch: 32, depth: 256 };

/// Starts of subchannels in the order of a random permutation, again and again.
struct Walk {
    order: Vec<u16>,
    next: usize,
}

impl Walk {
    fn new(subchannels: u32) -> Measured<Self> {
        let mut order = (0..subchannels).map(u16::try_from).collect::<Result<Vec<_>, _>>().doing("number subchannels")?;
        let mut random = Random::new();
        for last in (1..order.len()).rev() {
            let other = usize::try_from(random.below(last as u64 + 1)).doing("shuffle")?;
            order.swap(last, other);
        }
        Ok(Self { order, next: 0 })
    }
}

impl Program for Walk {
    #[inline]
    fn prepare(&mut self, _place: u16, tag: u64) -> Descriptor {
        // Null devices end starts in order, so the one that comes round again is free.
        let number = self.order[self.next];
        self.next += 1;
        if self.next == self.order.len() {
            self.next = 0;
        }
        Descriptor::start(id(number), &Orb::new(u32::from(number), 0x1000), tag)
    }

    #[inline]
    fn done(&mut self, _place: u16) -> bool {
        true
    }
}

/// A run with so many subchannels attached, of which so many are walked; and the bytes that attaching took.
fn run(setting: &Setting<'_>, memory: &GuestMemory, attached: u32, walked: u32) -> Measured<(Throughput, u64)> {
    let placement = setting.placement;
    let walk = Walk::new(walked)?;
    let before = in_use();
    let (subject, guest) = Subject::start(placement, memory, attached, || Box::new(Null))?;
    let bytes = in_use().saturating_sub(before);
    let (until, clock) = (Until::Times(setting.options.times()), subject.clock());
    let measured = placement.on_guest(|| throughput(&mut guest.wire(walk, true), SHAPE, until, placement, Some(clock)))?;
    subject.stop(measured.round_trips)?;
    Ok((measured, bytes))
}

/// Measures P6.
///
/// # Errors
/// A side did wrong.
#[allow(clippy::cast_precision_loss, reason = "bytes of memory, far below 2^52")]
pub fn measure(setting: &Setting<'_>) -> Measured<Vec<Row>> {
    let mut walked = Comparison::new("P6", "a START, 65,536 walked at random", "256 walked", "ns", "≤ 2");
    let mut idle = Comparison::new("P6", "a START, 65,280 others idle", "no others", "ns", "1, as same side twice");
    let mut memory_row = Comparison::absolute("P6", "memory of a subchannel, device apart", "bytes", "≤ 512");
    let memory = GuestMemory::new(1 << 20)?;
    let quiet = &setting.quiet;
    // What a dispatcher takes that has few.
    let mut bytes = Vec::new();
    for _ in setting.pairs() {
        let mut nanoseconds = |attached, walked| -> Measured<f64> {
            let mut taken = 0;
            let measured = quiet.run(|| {
                let (measured, bytes) = run(setting, &memory, attached, walked)?;
                taken = bytes;
                Ok(measured)
            })?;
            bytes.push((attached, taken));
            Ok(1e9 / measured.per_second)
        };
        let (first, many) = (nanoseconds(FEW, FEW)?, nanoseconds(MANY, MANY)?);
        let (again, others) = (nanoseconds(FEW, FEW)?, nanoseconds(MANY, FEW)?);
        walked.pair(many, first, Some(Wanted::AtMost(2.0)));
        idle.pair(others, again, None);
        for row in [&mut walked, &mut idle] {
            row.control(first, again);
        }
    }
    for pair in bytes.chunks(2) {
        if let [(few, with_few), (many, with_many)] = *pair {
            let each = with_many.saturating_sub(with_few) as f64 / f64::from(many - few);
            memory_row.figure(each, Some(Wanted::AtMost(512.0)));
        }
    }
    Ok(vec![walked.row(), idle.row(), memory_row.row()])
}

#[cfg(test)]
mod tests {
    use super::Walk;

    #[test]
    fn a_walk_goes_to_each_subchannel_once_a_round() {
        let walk = Walk::new(1000).unwrap();
        let mut sorted = walk.order.clone();
        sorted.sort_unstable();
        assert!(sorted.iter().copied().eq(0..1000) && walk.order != sorted);
    }
}
