// SPDX-License-Identifier: MIT OR Apache-2.0
//! A bare io_uring loop that reads what it is told over a ring: the least that somebody would write by hand instead of a dispatcher.
//!
//! Offsets come over an `rtrb` ring from the guest's CPU; the loop on the dispatcher's CPU queues a read for each of a batch, makes one
//! `io_uring_enter`, and sends the results over a second ring.

use super::beside;
use super::picks::Picks;
use crate::error::{BenchError, Doing as _, Measured};
use crate::fba::buffer;
use crate::guest_memory::GuestMemory;
use crate::ledger::Ledger;
use crate::placement::Placement;
use crate::pump::{latency, throughput, Latency, Shape, Throughput, Times, Until, Wire};
use crate::thread_clock::ThreadClock;
use crate::volume_file::{VolumeFile, PIECE_BYTES};
use io_uring::{opcode, types, IoUring};
use rtrb::{Consumer, Producer, RingBuffer};
use std::fs::File;
use std::os::fd::AsRawFd as _;
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
    result: i32,
}

struct Reads<'a> {
    orders: Producer<Order>,
    answers: Consumer<Answer>,
    picks: Picks<'a>,
}

impl Wire for Reads<'_> {
    const SIDE: &'static str = "bare io_uring loop";

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
        for Answer { tag, result } in chunk {
            let place = ledger.close(tag).ok_or_else(|| Self::unknown(tag))?;
            self.picks.check(Self::SIDE, place, usize::try_from(result) == Ok(PIECE_BYTES))?;
        }
        Ok(there)
    }
}

/// The loop on the dispatcher's CPU.
struct Loop<'a> {
    ring: IoUring,
    orders: Consumer<Order>,
    answers: Producer<Answer>,
    file: &'a File,
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
            if count > 0 || (self.in_flight > 0 && self.ring.submission().taskrun()) {
                self.enter(count)?;
            }
            ended.extend(self.ring.completion().map(|entry| Answer { tag: entry.user_data(), result: entry.result() }));
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
        let file = types::Fd(self.file.as_raw_fd());
        let length = u32::try_from(PIECE_BYTES).doing("count bytes")?;
        let mut queue = self.ring.submission();
        for Order { tag, offset } in self.orders.read_chunk(count).doing("read a batch from the ring")? {
            #[allow(clippy::cast_possible_truncation, reason = "the place is the low half of a tag")]
            let into = self.memory.at(buffer(tag as u16), PIECE_BYTES);
            let entry = opcode::Read::new(file, into, length).offset(offset).build().user_data(tag);
            // SAFETY: `at` has checked the buffer, which is used for no other read before this one's answer was taken; the memory and the file outlive
            // the loop, which ends only when nothing is in flight.
            unsafe { queue.push(&entry) }.doing("queue a read")?;
        }
        self.in_flight += count;
        Ok(())
    }

    fn enter(&mut self, count: usize) -> Measured<()> {
        let count = u32::try_from(count).doing("count a batch")?;
        // SAFETY: no argument is passed; the flag (IORING_ENTER_GETEVENTS) only asks for completions.
        unsafe { self.ring.submitter().enter::<libc::sigset_t>(count, 0, 1, None) }.doing("enter io_uring")?;
        Ok(())
    }
}

/// A ring with the same set-up as that of the dispatcher's engine, for `depth` reads.
///
/// # Errors
/// The kernel refuses it.
pub fn ring(depth: u16) -> Measured<IoUring> {
    IoUring::builder()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_taskrun_flag()
        .build(u32::from(depth).next_power_of_two() * 2)
        .map_err(|error| BenchError::NotRun(format!("io_uring: {error}")))
}

fn run<T: Send>(
    placement: Placement,
    volume: &VolumeFile,
    memory: &GuestMemory,
    shape: Shape,
    act: impl FnOnce(&mut Reads<'_>, ThreadClock) -> Measured<T> + Send,
) -> Measured<T> {
    let file = File::open(volume.path()).doing("open the volume")?;
    let (orders_in, orders) = RingBuffer::new(usize::from(shape.depth) * 2);
    let (answers, answers_out) = RingBuffer::new(usize::from(shape.depth) * 2);
    let serve = |stop: &AtomicBool, ready: &dyn Fn()| {
        let ring = ring(shape.depth)?;
        ready();
        let batch = shape.batch.into();
        Loop { ring, orders, answers, file: &file, memory, batch, in_flight: 0, placement }.run(stop)
    };
    let mut wire = Reads { orders: orders_in, answers: answers_out, picks: Picks::new(memory, volume, shape.depth) };
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
    shape: Shape,
    times: Times,
) -> Measured<Throughput> {
    run(placement, volume, memory, shape, |wire, clock| throughput(wire, shape, Until::Times(times), placement, Some(clock)))
}

/// Latency of one read at a time.
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
    placement.two_cpus()?;
    let shape = Shape { batch: 1, depth: places };
    run(placement, volume, memory, shape, |wire, clock| latency(wire, places, times, clock))
}
