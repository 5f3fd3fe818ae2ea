// SPDX-License-Identifier: MIT OR Apache-2.0
//! A plain bare io_uring loop: one thread queues reads and takes what has ended. Nobody is asked to do anything, so there is no way to and fro.

use super::picks::Picks;
use crate::error::{Doing as _, Measured};
use crate::guest_memory::GuestMemory;
use crate::ledger::Ledger;
use crate::placement::Placement;
use crate::pump::{latency, Latency, Times, Wire};
use crate::thread_clock::ThreadClock;
use crate::volume_file::{VolumeFile, PIECE_BYTES};
use io_uring::{opcode, types, IoUring};
use std::fs::File;
use std::os::fd::AsRawFd as _;

struct Plain<'a> {
    ring: IoUring,
    file: &'a File,
    picks: Picks<'a>,
}

impl Wire for Plain<'_> {
    const SIDE: &'static str = "plain bare io_uring loop";

    #[inline]
    fn send(&mut self, ledger: &mut Ledger, count: u64) -> Measured<()> {
        let file = types::Fd(self.file.as_raw_fd());
        let length = u32::try_from(PIECE_BYTES).doing("count bytes")?;
        for _ in 0..count {
            let request = ledger.open();
            let offset = self.picks.next(request.place);
            let entry = opcode::Read::new(file, self.picks.target(request.place), length).offset(offset).build();
            // SAFETY: `target` has checked the buffer, which is used for no other read before this one's answer was taken; the memory and the file
            // outlive the ring.
            unsafe { self.ring.submission().push(&entry.user_data(request.tag)) }.doing("queue a read")?;
        }
        // One system call queues them and takes what has ended meanwhile.
        self.enter(u32::try_from(count).doing("count a batch")?)
    }

    #[inline]
    fn receive(&mut self, ledger: &mut Ledger, most: u64) -> Measured<u64> {
        if self.ring.submission().taskrun() {
            self.enter(0)?;
        }
        let mut count = 0;
        while count < most {
            let Some(entry) = self.ring.completion().next() else { break };
            let place = ledger.close(entry.user_data()).ok_or_else(|| Self::unknown(entry.user_data()))?;
            self.picks.check(Self::SIDE, place, usize::try_from(entry.result()) == Ok(PIECE_BYTES))?;
            count += 1;
        }
        Ok(count)
    }
}

impl Plain<'_> {
    fn enter(&mut self, count: u32) -> Measured<()> {
        // SAFETY: no argument is passed; the flag (IORING_ENTER_GETEVENTS) only asks for completions.
        unsafe { self.ring.submitter().enter::<libc::sigset_t>(count, 0, 1, None) }.doing("enter io_uring")?;
        Ok(())
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
    places: u16,
    times: Times,
) -> Measured<Latency> {
    let file = File::open(volume.path()).doing("open the volume")?;
    placement.on_guest(|| {
        let ring = super::uring_reads::ring(places)?;
        let mut wire = Plain { ring, file: &file, picks: Picks::new(memory, volume, places) };
        latency(&mut wire, places, times, ThreadClock::own()?)
    })
}

#[cfg(test)]
mod tests {
    use super::one_at_a_time;
    use crate::fba;
    use crate::peers::tests::{placement, TIMES};
    use crate::volume_file::VolumeFile;

    #[test]
    fn it_reads_what_it_is_told() {
        let volume = VolumeFile::new(&std::env::temp_dir(), 4 << 20).unwrap();
        let memory = fba::memory(8).unwrap();
        let measured = one_at_a_time(placement(), &volume, &memory, 8, TIMES).unwrap();
        assert!(measured.round_trips > 0 && !measured.histogram.is_empty());
    }
}
