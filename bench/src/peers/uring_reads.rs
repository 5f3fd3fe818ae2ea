// SPDX-License-Identifier: MIT OR Apache-2.0
//! An io_uring loop that reads what it is told over a ring: the least that somebody would write by hand instead of a dispatcher.
//!
//! Offsets come over an `rtrb` ring from the guest's CPU; the loop on the dispatcher's CPU queues a read for each of a batch, makes one
//! `io_uring_enter`, and sends the results over a second ring.

use super::beside;
use super::picks::Picks;
use super::uring_file::{ring, Reads, Tuning};
use crate::error::{Doing as _, Measured};
use crate::fba::buffer;
use crate::guest_memory::GuestMemory;
use crate::ledger::Ledger;
use crate::placement::Placement;
use crate::pump::{latency, throughput, Latency, Shape, Throughput, Times, Until, Wire};
use crate::thread_clock::ThreadClock;
use crate::volume_file::{VolumeFile, PIECE_BYTES};
use rtrb::{Consumer, Producer, RingBuffer};
use std::sync::atomic::{AtomicBool, Ordering};

/// A read to be made.
#[derive(Clone, Copy, Debug)]
struct Order {
    tag: u64,
    offset: u64,
}

/// What came of it.
#[derive(Clone, Copy, Debug, Default)]
struct Answer {
    tag: u64,
    whole: bool,
}

struct Fed<'a> {
    orders: Producer<Order>,
    answers: Consumer<Answer>,
    picks: Picks<'a>,
}

impl Wire for Fed<'_> {
    const SIDE: &'static str = "ring-fed io_uring loop";

    #[inline]
    fn send(&mut self, ledger: &mut Ledger, count: u64) -> Measured<()> {
        let room = usize::try_from(count).doing("count a batch")?;
        let chunk = self.orders.write_chunk_uninit(room).doing("write a batch to the ring")?;
        chunk.fill_from_iter((0..count).map(|_| {
            let request = ledger.open();
            Order { tag: request.tag, offset: self.picks.next(request.place) }
        }));
        Ok(())
    }

    #[inline]
    fn receive(&mut self, ledger: &mut Ledger, most: u64) -> Measured<u64> {
        let there = (self.answers.slots() as u64).min(most);
        let count = usize::try_from(there).doing("count a batch")?;
        let chunk = self.answers.read_chunk(count).doing("read a batch from the ring")?;
        for Answer { tag, whole } in chunk {
            let place = ledger.close(tag).ok_or_else(|| Self::unknown(tag))?;
            self.picks.check(Self::SIDE, place, whole)?;
        }
        Ok(there)
    }
}

/// The loop on the dispatcher's CPU.
struct Loop<'a> {
    reads: Reads<'a>,
    orders: Consumer<Order>,
    answers: Producer<Answer>,
    memory: &'a GuestMemory,
    batch: usize,
    in_flight: usize,
    placement: Placement,
}

impl Loop<'_> {
    fn run(&mut self, stop: &AtomicBool) -> Measured<()> {
        let mut ended = Vec::with_capacity(self.batch * 4);
        while !stop.load(Ordering::Relaxed) || self.in_flight > 0 {
            let count = self.orders.slots().min(self.batch);
            if count > 0 {
                self.queue(count)?;
            }
            if count > 0 || (self.in_flight > 0 && self.reads.keeps_completions()) {
                self.reads.submit()?;
            }
            ended.extend(self.reads.ended().map(|(tag, whole)| Answer { tag, whole }));
            if !ended.is_empty() {
                self.in_flight -= ended.len();
                self.answers.push_entire_slice(&ended).doing("write a batch to the ring")?;
                ended.clear();
            } else if count == 0 {
                self.placement.relax();
            }
        }
        Ok(())
    }

    fn queue(&mut self, count: usize) -> Measured<()> {
        for Order { tag, offset } in self.orders.read_chunk(count).doing("read a batch from the ring")? {
            #[allow(clippy::cast_possible_truncation, reason = "the place is the low half of a tag")]
            let into = self.memory.at(buffer(tag as u16), PIECE_BYTES);
            // SAFETY: `at` has checked the buffer, which is used for no other read before this one's answer was taken; the memory outlives the loop, which
            // ends only when nothing is in flight.
            unsafe { self.reads.queue(into, offset, tag) }?;
        }
        self.in_flight += count;
        Ok(())
    }
}

fn run<T: Send>(
    placement: Placement,
    volume: &VolumeFile,
    memory: &GuestMemory,
    tuning: Tuning,
    shape: Shape,
    act: impl FnOnce(&mut Fed<'_>, ThreadClock) -> Measured<T> + Send,
) -> Measured<T> {
    let file = tuning.open(volume)?;
    let (orders_in, orders) = RingBuffer::new(usize::from(shape.depth) * 2);
    let (answers, answers_out) = RingBuffer::new(usize::from(shape.depth) * 2);
    let serve = |stop: &AtomicBool, ready: &dyn Fn()| {
        let mut ring = ring(shape.depth)?;
        let reads = Reads::new(&mut ring, &file, tuning)?;
        ready();
        let batch = shape.batch.into();
        let mut served = Loop { reads, orders, answers, memory, batch, in_flight: 0, placement };
        served.run(stop)
    };
    let mut wire = Fed { orders: orders_in, answers: answers_out, picks: Picks::new(memory, volume, shape.depth) };
    beside(placement, serve, |clock| act(&mut wire, clock))
}

/// Reads a second.
///
/// # Errors
/// The kernel refuses; a read was lost or wrong.
pub fn reads(
    placement: Placement,
    volume: &VolumeFile,
    memory: &GuestMemory,
    tuning: Tuning,
    shape: Shape,
    times: Times,
) -> Measured<Throughput> {
    run(placement, volume, memory, tuning, shape, |wire, clock| {
        throughput(wire, shape, Until::Times(times), placement, Some(clock))
    })
}

/// Latency of one read at a time.
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
    placement.two_cpus()?;
    let shape = Shape { batch: 1, depth: places };
    run(placement, volume, memory, tuning, shape, |wire, clock| latency(wire, places, times, clock))
}
