// SPDX-License-Identifier: MIT OR Apache-2.0
//! libblkio (crate `blkio`) on the guest's CPU: its io_uring driver reads the file in the same thread; its virtio-blk-vhost-user driver has the
//! [storage daemon](super::storage_daemon) read it on the dispatcher's CPU.

use super::picks::Picks;
use super::storage_daemon::{Polling, StorageDaemon};
use crate::error::{BenchError, Doing as _, Measured};
use crate::guest_memory::GuestMemory;
use crate::ledger::Ledger;
use crate::placement::Placement;
use crate::pump::{latency, throughput, Latency, Shape, Throughput, Times, Until, Wire};
use crate::thread_clock::ThreadClock;
use crate::volume_file::{VolumeFile, PIECE_BYTES};
use blkio::{Blkio, Blkioq, Completion, MemoryRegion, ReqFlags};
use std::mem::MaybeUninit;
use std::path::Path;

/// Answers that are taken at once.
const MOST: usize = 64;

struct Queue<'a> {
    // Dropped in this order: the queue before what it belongs to.
    queue: Blkioq,
    _blkio: Blkio,
    picks: Picks<'a>,
    /// Sleeps until an answer comes.
    waits: bool,
}

impl<'a> Queue<'a> {
    fn open(driver: &str, path: &Path, memory: &GuestMemory, picks: Picks<'a>, waits: bool) -> blkio::Result<Self> {
        let mut blkio = Blkio::new(driver)?;
        blkio.set_str("path", &path.to_string_lossy())?;
        blkio.set_bool("read-only", true)?;
        blkio.connect()?;
        let polled = driver != "io_uring" && !waits;
        if polled {
            // A queue that is polled: the daemon sends no notifications.
            blkio.set_i32("num-queues", 0)?;
            blkio.set_i32("num-poll-queues", 1)?;
        }
        let region = MemoryRegion {
            addr: memory.at(0, memory.bytes()) as usize,
            iova: 0,
            len: memory.bytes(),
            fd: memory.fd(),
            fd_offset: 0,
            flags: 0,
        };
        let started = blkio.start()?;
        blkio.map_mem_region(&region)?;
        let queues = if polled { started.poll_queues } else { started.queues };
        let queue = queues.into_iter().next().ok_or_else(|| blkio::Error::new(blkio::Errno::NODEV, "no queue"))?;
        Ok(Self { queue, _blkio: blkio, picks, waits })
    }
}

impl Wire for Queue<'_> {
    const SIDE: &'static str = "libblkio";

    #[inline]
    fn send(&mut self, ledger: &mut Ledger, count: u64) -> Measured<()> {
        for _ in 0..count {
            let request = ledger.open();
            let offset = self.picks.next(request.place);
            let tag = usize::try_from(request.tag).doing("make a tag")?;
            self.queue.read(offset, self.picks.target(request.place), PIECE_BYTES, tag, ReqFlags::empty());
        }
        self.queue.do_io(&mut [], 0, None, None).doing("submit to libblkio")?;
        Ok(())
    }

    #[inline]
    fn receive(&mut self, ledger: &mut Ledger, most: u64) -> Measured<u64> {
        let most = usize::try_from(most).unwrap_or(MOST).min(MOST);
        let mut found = [const { MaybeUninit::<Completion>::uninit() }; MOST];
        let least = usize::from(self.waits && ledger.outstanding() > 0);
        let count = self.queue.do_io(&mut found[..most], least, None, None).doing("take from libblkio")?;
        for completion in &found[..count] {
            // SAFETY: `do_io` has filled as many as it said.
            let completion = unsafe { completion.assume_init_ref() };
            let tag = completion.user_data as u64;
            let place = ledger.close(tag).ok_or_else(|| Self::unknown(tag))?;
            self.picks.check(Self::SIDE, place, completion.ret == 0)?;
        }
        Ok(count as u64)
    }
}

/// What is read: the file, into which memory, by how many places.
#[derive(Clone, Copy)]
pub struct What<'a> {
    /// The file.
    pub volume: &'a VolumeFile,
    /// The buffers.
    pub memory: &'a GuestMemory,
    /// Reads outstanding at most.
    pub places: u16,
}

impl<'a> What<'a> {
    fn queue(&self, daemon: Option<&StorageDaemon>, waits: bool) -> Measured<Queue<'a>> {
        let (driver, path) = daemon.map_or(("io_uring", self.volume.path()), |daemon| ("virtio-blk-vhost-user", daemon.socket()));
        let picks = Picks::new(self.memory, self.volume, self.places);
        Queue::open(driver, path, self.memory, picks, waits)
            .map_err(|error| BenchError::NotRun(format!("libblkio, {driver}: {error}")))
    }
}

/// Reads a second by the io_uring driver.
///
/// # Errors
/// The driver cannot be had; a read was lost or wrong.
pub fn file_reads(placement: Placement, what: What<'_>, shape: Shape, times: Times) -> Measured<Throughput> {
    placement.on_guest(|| throughput(&mut what.queue(None, false)?, shape, Until::Times(times), placement, None))
}

/// Reads a second by the storage daemon.
///
/// # Errors
/// The daemon or the driver cannot be had; a read was lost or wrong.
pub fn daemon_reads(placement: Placement, what: What<'_>, shape: Shape, times: Times) -> Measured<Throughput> {
    let daemon = StorageDaemon::start(placement, what.volume, Polling::Yes)?;
    placement.on_guest(|| throughput(&mut what.queue(Some(&daemon), false)?, shape, Until::Times(times), placement, None))
}

/// Latency of one read at a time by the storage daemon: both sides poll, or neither.
///
/// # Errors
/// The daemon or the driver cannot be had; a read was lost or wrong.
pub fn daemon_one_at_a_time(placement: Placement, what: What<'_>, polling: Polling, times: Times) -> Measured<Latency> {
    let daemon = StorageDaemon::start(placement, what.volume, polling)?;
    let waits = polling == Polling::No;
    let measured =
        placement.on_guest(|| latency(&mut what.queue(Some(&daemon), waits)?, what.places, times, ThreadClock::own()?))?;
    // Where both sides sleep, shares of the time say nothing.
    Ok(if waits { Latency { share: 1.0, ..measured } } else { measured })
}

#[cfg(test)]
mod tests {
    use super::{daemon_one_at_a_time, daemon_reads, file_reads, What};
    use crate::error::BenchError;
    use crate::fba;
    use crate::peers::storage_daemon::Polling;
    use crate::peers::tests::{placement, TIMES};
    use crate::pump::Shape;
    use crate::volume_file::VolumeFile;

    /// Each read is checked by the wire, so a run that ends has read what it was told.
    #[test]
    fn the_file_and_the_daemon_give_what_is_in_the_volume() {
        let volume = VolumeFile::new(&std::env::temp_dir(), 4 << 20).unwrap();
        let memory = fba::memory(32).unwrap();
        let what = What { volume: &volume, memory: &memory, places: 32 };
        let shape = Shape { batch: 8, depth: 32 };
        assert!(file_reads(placement(), what, shape, TIMES).unwrap().round_trips > 0);
        let daemon = daemon_reads(placement(), what, shape, TIMES).map(|measured| measured.round_trips);
        let single = daemon_one_at_a_time(placement(), what, Polling::No, TIMES).map(|measured| measured.round_trips);
        for result in [daemon, single] {
            match result {
                Ok(count) => assert!(count > 0),
                Err(BenchError::NotRun(reason)) => println!("not run: the daemon's part ({reason})"),
                Err(error) => panic!("{error}"),
            }
        }
    }
}
