// SPDX-License-Identifier: MIT OR Apache-2.0
//! A plain io_uring loop: one thread queues reads and takes what has ended. Nobody is asked to do anything, so there is no way to and fro.

use super::picks::Picks;
use super::uring_file::{ring, Reads, Tuning};
use crate::error::Measured;
use crate::guest_memory::GuestMemory;
use crate::ledger::Ledger;
use crate::placement::Placement;
use crate::pump::{latency, Latency, Times, Wire};
use crate::thread_clock::ThreadClock;
use crate::volume_file::VolumeFile;

struct Plain<'a> {
    reads: Reads<'a>,
    picks: Picks<'a>,
}

impl Wire for Plain<'_> {
    const SIDE: &'static str = "plain io_uring loop";

    #[inline]
    fn send(&mut self, ledger: &mut Ledger, count: u64) -> Measured<()> {
        for _ in 0..count {
            let request = ledger.open();
            let offset = self.picks.next(request.place);
            let into = self.picks.target(request.place);
            // SAFETY: `target` has checked the buffer, which is used for no other read before this one's answer was taken; the memory outlives the ring.
            unsafe { self.reads.queue(into, offset, request.tag) }?;
        }
        // One system call queues them and takes what has ended meanwhile.
        self.reads.submit()
    }

    #[inline]
    fn receive(&mut self, ledger: &mut Ledger, most: u64) -> Measured<u64> {
        if self.reads.keeps_completions() {
            self.reads.submit()?;
        }
        let mut count = 0;
        while count < most {
            let Some((tag, whole)) = self.reads.ended().next() else { break };
            let place = ledger.close(tag).ok_or_else(|| Self::unknown(tag))?;
            self.picks.check(Self::SIDE, place, whole)?;
            count += 1;
        }
        Ok(count)
    }
}

/// Latency of one read at a time, on the guest's CPU.
///
/// # Errors
/// The kernel refuses; a read was lost or wrong.
pub fn one_at_a_time(
    placement: Placement,
    volume: &VolumeFile,
    memory: &GuestMemory,
    tuning: Tuning,
    places: u16,
    times: Times,
) -> Measured<Latency> {
    let file = tuning.open(volume)?;
    placement.on_guest(|| {
        let mut ring = ring(places)?;
        let mut wire = Plain { reads: Reads::new(&mut ring, &file, tuning)?, picks: Picks::new(memory, volume, places) };
        latency(&mut wire, places, times, ThreadClock::own()?)
    })
}

#[cfg(test)]
mod tests {
    use super::{one_at_a_time, Tuning};
    use crate::fba;
    use crate::peers::tests::{placement, TIMES};
    use crate::volume_file::VolumeFile;

    #[test]
    fn it_reads_what_it_is_told() {
        let volume = VolumeFile::new(&std::env::temp_dir(), 4 << 20).unwrap();
        let memory = fba::memory(8).unwrap();
        for tuning in [Tuning::Bare, Tuning::AsOurs] {
            let measured = one_at_a_time(placement(), &volume, &memory, tuning, 8, TIMES).unwrap();
            assert!(measured.round_trips > 0 && !measured.histogram.is_empty(), "{tuning:?}");
        }
    }
}
