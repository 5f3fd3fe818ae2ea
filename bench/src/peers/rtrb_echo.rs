// SPDX-License-Identifier: MIT OR Apache-2.0
//! Two SPSC rings of the crate `rtrb` with 64-byte entries, and a thread that copies from one into the other: what a ring pair costs
//! when the one who serves it does nothing.

use super::beside;
use crate::error::{BenchError, Doing as _, Measured};
use crate::ledger::Ledger;
use crate::placement::Placement;
use crate::pump::{latency, throughput, Latency, Shape, Throughput, Times, Until, Wire};
use crate::thread_clock::ThreadClock;
use rtrb::{Consumer, Producer, RingBuffer};
use std::sync::atomic::Ordering;

/// As many bytes as a descriptor or a completion, on one cache line.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Entry([u64; 8]);

/// Entries of each ring, as in the submission ring of our side.
const ENTRIES: usize = 512;

struct Echo {
    out: Producer<Entry>,
    back: Consumer<Entry>,
}

impl Wire for Echo {
    const SIDE: &'static str = "rtrb echo";

    #[inline]
    fn send(&mut self, ledger: &mut Ledger, count: u64) -> Measured<()> {
        let room = usize::try_from(count).doing("count a batch")?;
        let chunk = self.out.write_chunk_uninit(room).doing("write a batch to the ring")?;
        chunk.fill_from_iter((0..count).map(|_| {
            let request = ledger.open();
            // Every word depends on the request, so that a whole entry is really written.
            let (tag, place) = (request.tag, u64::from(request.place));
            Entry([place, tag, tag ^ 1, tag ^ 2, tag ^ 3, tag ^ 4, tag ^ 5, !tag])
        }));
        Ok(())
    }

    #[inline]
    fn receive(&mut self, ledger: &mut Ledger, most: u64) -> Measured<u64> {
        let there = (self.back.slots() as u64).min(most);
        let count = usize::try_from(there).doing("count a batch")?;
        let chunk = self.back.read_chunk(count).doing("read a batch from the ring")?;
        for Entry([place, tag, .., last]) in chunk {
            let found = ledger.close(tag).ok_or_else(|| Self::unknown(tag))?;
            if u64::from(found) != place || last != !tag {
                return Err(BenchError::Wrong { side: Self::SIDE, fault: format!("entry of tag {tag:#x} came back changed") });
            }
        }
        Ok(there)
    }
}

fn run<T: Send>(
    placement: Placement,
    batch: usize,
    act: impl FnOnce(&mut Echo, ThreadClock) -> Measured<T> + Send,
) -> Measured<T> {
    let (out, mut requests) = RingBuffer::<Entry>::new(ENTRIES);
    let (mut answers, back) = RingBuffer::<Entry>::new(ENTRIES);
    let mut echo = Echo { out, back };
    let serve = move |stop: &std::sync::atomic::AtomicBool, ready: &dyn Fn()| {
        ready();
        while !stop.load(Ordering::Relaxed) {
            let count = requests.slots().min(batch);
            if count == 0 {
                std::hint::spin_loop();
                continue;
            }
            // The guest has no more outstanding than either ring holds, so there is room.
            let from = requests.read_chunk(count).doing("read a batch from the ring")?;
            let to = answers.write_chunk_uninit(count).doing("write a batch to the ring")?;
            to.fill_from_iter(from);
        }
        Ok(())
    };
    beside(placement, serve, move |clock| act(&mut echo, clock))
}

/// Round trips a second.
///
/// # Errors
/// There is only one CPU; an entry was lost or changed.
pub fn round_trips(placement: Placement, shape: Shape, times: Times) -> Measured<Throughput> {
    placement.two_cpus()?;
    run(placement, shape.batch.into(), |echo, clock| throughput(echo, shape, Until::Times(times), placement, Some(clock)))
}

/// Median latency of one entry at a time, in nanoseconds.
///
/// # Errors
/// There is only one CPU; an entry was lost or changed.
pub fn one_at_a_time(placement: Placement, places: u16, times: Times) -> Measured<Latency> {
    placement.two_cpus()?;
    run(placement, 1, |echo, clock| latency(echo, places, times, clock))
}
