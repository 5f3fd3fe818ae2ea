// SPDX-License-Identifier: MIT OR Apache-2.0
//! Our side: a dispatcher on its CPU with one guest, one ring and some subchannels.

use crate::error::{BenchError, Doing as _, Measured};
use crate::guest::RingGuest;
use crate::guest_memory::GuestMemory;
use crate::placement::Placement;
use crate::thread_clock::ThreadClock;
use fctl_dispatcher::affinity::pin;
use fctl_dispatcher::device::SubchannelDevice;
use fctl_dispatcher::engine::EngineCounters;
use fctl_dispatcher::metrics::Counters;
use fctl_dispatcher::region::{sealed_memory_file, Region, RegionWords};
use fctl_dispatcher::{Builder, Handle, Reactor, RingEnds, SubchannelOptions, WaitPolicy, MOST_PER_RING_AND_TURN};
use fctl_ringabi::arch::SubsystemId;
use fctl_ringabi::{GuestPort, Header, RingSizes};
use std::sync::mpsc;
use std::thread::JoinHandle;
use vmm_sys_util::eventfd::{EventFd, EFD_CLOEXEC};

/// Submission entries of the ring: the least that never makes a guest wait that has 256 outstanding, since slots are given
/// back by the quarter. Completions have twice as many.
const SUBMISSION_ENTRIES: u32 = 512;

/// The subchannel with this number.
pub const fn id(number: u16) -> SubsystemId {
    SubsystemId::new(0, number)
}

/// How a dispatcher is set if nothing else is said: it polls, but on one CPU, where that would only keep the guest from running.
pub fn usual(placement: Placement) -> Builder {
    Builder::default().wait(if placement.one_cpu() { WaitPolicy::default() } else { WaitPolicy::busy() })
}

/// A running dispatcher and what a measurement needs of it.
pub struct Subject {
    handle: Handle,
    thread: JoinHandle<()>,
    clock: ThreadClock,
}

impl Subject {
    /// Starts a dispatcher on its CPU, and gives it a guest with `memory`, whose subchannels are `0..count`.
    ///
    /// # Errors
    /// The system refuses something.
    pub fn start(
        placement: Placement,
        memory: &GuestMemory,
        count: u32,
        device: impl FnMut() -> Box<dyn SubchannelDevice>,
    ) -> Measured<(Self, RingGuest)> {
        Self::start_with(placement, usual(placement), memory, count, device)
    }

    /// The same with settings of the caller's.
    ///
    /// # Errors
    /// The system refuses something.
    pub fn start_with(
        placement: Placement,
        settings: Builder,
        memory: &GuestMemory,
        count: u32,
        device: impl FnMut() -> Box<dyn SubchannelDevice>,
    ) -> Measured<(Self, RingGuest)> {
        let subject = Self::spawn(placement, settings)?;
        let guest = attach(&subject.handle, memory, count, device)?;
        Ok((subject, guest))
    }

    /// Starts a dispatcher that serves nobody yet.
    ///
    /// # Errors
    /// The system refuses something.
    pub fn spawn(placement: Placement, settings: Builder) -> Measured<Self> {
        let (report, ready) = mpsc::sync_channel(1);
        let thread = std::thread::Builder::new().name("fctl-reactor".into()).spawn(move || {
            let built = pin(placement.dispatcher)
                .doing("pin the dispatcher's thread")
                .and_then(|()| settings.build().doing("build a dispatcher"))
                .and_then(|(reactor, handle)| Ok((reactor, handle, ThreadClock::own()?)));
            let answer = match built {
                Ok((mut reactor, handle, clock)) => {
                    if report.send(Ok((handle, clock))).is_ok() {
                        reactor.run_here();
                    }
                    return;
                }
                Err(error) => Err(error),
            };
            // Who asked may have gone; then nobody wants to know.
            drop(report.send(answer));
        });
        let thread = thread.doing("start the dispatcher's thread")?;
        let (handle, clock) = ready.recv().doing("start the dispatcher's thread")??;
        Ok(Self { handle, thread, clock })
    }

    /// Where to attach.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// CPU time of the dispatcher's thread.
    pub fn clock(&self) -> ThreadClock {
        self.clock
    }

    /// Stops the dispatcher and gives its own account of what was done.
    ///
    /// # Errors
    /// The account does not add up to `round_trips` instructions that were executed.
    pub fn stop(self, round_trips: u64) -> Measured<(Counters, EngineCounters)> {
        let (counters, engine) = self.end()?;
        audit(&counters, round_trips)?;
        Ok((counters, engine))
    }

    /// Stops the dispatcher and gives its own account, whatever it is.
    ///
    /// # Errors
    /// It does not stop.
    pub fn end(self) -> Measured<(Counters, EngineCounters)> {
        let counters = self.handle.counters().doing("ask for counters")?;
        let engine = self.handle.engine_counters().doing("ask for counters")?;
        self.handle.stop().doing("stop the dispatcher")?;
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        Ok((counters, engine))
    }
}

/// Looks whether the dispatcher's own account agrees with what the guest has seen.
///
/// # Errors
/// It does not.
pub fn audit(counters: &Counters, round_trips: u64) -> Measured<()> {
    // Starts that ran, or other instructions, which have no fate of their own.
    let account = [counters.taken, counters.finals, counters.ran + counters.taken - counters.starts];
    if account != [round_trips; 3] {
        let fault = format!("the guest saw {round_trips} instructions end, the dispatcher's taken, finals, ran are {account:?}");
        return Err(BenchError::Wrong { side: "fctl", fault });
    }
    Ok(())
}

/// A dispatcher and its guest in one thread: what is measured is work alone, and an instruction count has no waiting in it.
///
/// # Errors
/// The system refuses something.
pub fn here(
    memory: &GuestMemory,
    count: u32,
    device: impl FnMut() -> Box<dyn SubchannelDevice> + Send,
) -> Measured<(Reactor, RingGuest)> {
    let (mut reactor, handle) = Builder::default().wait(WaitPolicy::busy()).build().doing("build a dispatcher")?;
    // The handle waits for the reactor's answers, so it needs a thread of its own.
    std::thread::scope(|scope| {
        let setting_up = scope.spawn(|| attach(&handle, memory, count, device));
        while !setting_up.is_finished() {
            reactor.turn(MOST_PER_RING_AND_TURN);
            // Few turns, so that they do not show in an instruction count.
            std::thread::sleep(std::time::Duration::from_micros(20));
        }
        let guest = setting_up.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        // What the last doorbell of the handle has left in the kernel is no part of what is counted.
        while reactor.turn(MOST_PER_RING_AND_TURN) {}
        Ok((reactor, guest))
    })
}

/// A formatted ring pair: the ends for the dispatcher, and the port for a guest with a mapping of its own, as another process would have.
///
/// # Errors
/// The system refuses something.
pub fn ring() -> Measured<(RingEnds, GuestPort<RegionWords>)> {
    let mut sizes = RingSizes::new(SUBMISSION_ENTRIES);
    sizes.completion_entries = 2 * SUBMISSION_ENTRIES;
    let header = Header::layout(sizes).doing("lay out a ring")?;
    let bytes = header.region_bytes().next_multiple_of(4096);
    let file = sealed_memory_file("fctl-bench-ring", bytes).doing("make a ring's memory")?;
    let region = Region::from_memory_file(&file, 0, bytes).doing("map a ring")?;
    header.format(region.words()).doing("format a ring")?;
    let own = Region::from_memory_file(&file, 0, bytes).doing("map a ring")?;
    let port = GuestPort::open(own.words().clone()).doing("open a ring")?;
    let eventfd = || EventFd::new(EFD_CLOEXEC).doing("make an eventfd");
    Ok((RingEnds { region, doorbell: eventfd()?, notification: eventfd()? }, port))
}

/// Gives a dispatcher a guest with `memory`, a ring, and subchannels `0..count`, at most 65,536.
fn attach(
    handle: &Handle,
    memory: &GuestMemory,
    count: u32,
    mut device: impl FnMut() -> Box<dyn SubchannelDevice>,
) -> Measured<RingGuest> {
    let (ends, port) = ring()?;
    let (poster, reader) = port.split();
    let doorbell = ends.doorbell.try_clone().doing("share the doorbell")?;
    let guest = handle.attach_guest(memory.mapped()?).doing("attach a guest")?;
    let ring = handle.attach_ring(guest, ends).doing("attach a ring")?;
    for number in 0..count {
        let number = u16::try_from(number).doing("number a subchannel")?;
        let options = SubchannelOptions::new(number);
        handle.attach_subchannel(ring, id(number), options, device()).doing("attach a subchannel")?;
    }
    Ok(RingGuest::new(poster, reader, doorbell))
}
