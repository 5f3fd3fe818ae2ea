// SPDX-License-Identifier: MIT OR Apache-2.0
//! The reactor: intake, merge, issue, reap, deliver; and its single sleep point.
//!
//! Everything that a turn touches belongs to the reactor's thread. Others reach it through the control mailbox only.

mod answers;
mod attach;
mod books;
mod generations;
mod intake;
mod issue;
mod lines;
mod queues;
mod reset;
mod ring;
mod settle;
mod stuck;
mod table;
mod through;
mod timers;
mod wait;

pub use attach::{AttachError, GuestId, Inventory, RingEnds, RingId, RingStatus, SubchannelOptions};
pub use stuck::Stuck;
pub use wait::WaitPolicy;

use crate::affinity;
use crate::clock;
use crate::control::{Builder, Mailbox};
use crate::device::Events;
use crate::engine::{EngineCounters, Reaped, UringEngine, UringError};
use crate::metrics::{Counters, Latencies};
use books::Books;
use fctl_ringabi::announce_then_look;
use queues::Queues;
use ring::{Ring, State};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{fence, Ordering};
use std::sync::Arc;
use std::time::Duration;
use table::{Entry, Guest, Slab};
use timers::Timers;
use wait::{Next, Waiting};

/// The most starts of one ring that a turn issues. Of a ring whose devices do not use the engine it takes no more descriptors either. Of others it takes up to 256, less the
/// starts that it accepted before and has not issued yet, but never less than 64, so that a clear need not wait for the starts before it to be issued. Of these, no more
/// than 64 may be anything but starts that carry their ORB, do not ask for *accepted* and find nothing in their way.
pub const MOST_PER_RING_AND_TURN: u32 = 64;

/// The watch number of the control mailbox; rings have their own places.
const MAILBOX_WATCH: u32 = u32::MAX;

/// A guest that overdrew its completion ring may make room without ringing: looked at this often while asleep.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// The loop, and all that it owns. See the crate's documentation for the three ways to run it.
pub struct Reactor {
    rings: Slab<Ring>,
    guests: Slab<Guest>,
    subchannels: Slab<Entry>,
    queues: Queues,
    timers: Timers,
    events: Events,
    books: Books,
    waiting: Waiting,
    policy: WaitPolicy,
    stuck: stuck::Watch,
    /// Places of the rings that someone waits for, or that are going.
    busy_rings: Vec<u32>,
    /// Guests and rings that were ever attached.
    attached: u32,
    resets: Vec<reset::Reset>,
    replaced: Vec<generations::Replaced>,
    stopping: bool,
    mailbox: Arc<Mailbox>,
    // Last: dropping it waits for the kernel, and what the kernel uses must live until then. Fields are dropped in order, so guests' memory is
    // given up by `Drop` below, after the engine is quiet.
    engine: UringEngine,
}

impl Reactor {
    pub(crate) fn new(settings: &Builder, mailbox: Arc<Mailbox>) -> Result<Self, UringError> {
        let policy = settings.wait;
        let mut engine = UringEngine::with_workers(settings.engine_slots, settings.workers)?;
        engine.watch(MAILBOX_WATCH, mailbox.fd());
        Ok(Self {
            rings: Slab::default(),
            guests: Slab::default(),
            subchannels: Slab::default(),
            queues: Queues::default(),
            timers: Timers::default(),
            events: Events::default(),
            books: Books::new(settings.latencies),
            waiting: Waiting::new(policy, false),
            policy,
            stuck: stuck::Watch::new(settings.stuck_after),
            busy_rings: Vec::new(),
            attached: 0,
            resets: Vec::new(),
            replaced: Vec::new(),
            stopping: false,
            mailbox,
            engine,
        })
    }

    /// Has the kernel's workers run on these CPUs only; for the thread that has built the reactor and is to run it.
    pub(crate) fn place_workers(&self, cpus: &[usize]) {
        self.engine.place_workers(cpus);
    }

    /// Runs until it is stopped, on the calling thread. Never returns before the kernel has given back every buffer.
    pub fn run_here(&mut self) {
        self.waiting = Waiting::new(self.policy, affinity::allowed_cpus().len() == 1 && affinity::online_is_one());
        while !self.finished() {
            if self.turn(MOST_PER_RING_AND_TURN) {
                self.waiting.productive();
                continue;
            }
            match self.waiting.idle(clock::now) {
                Next::Poll => std::hint::spin_loop(),
                Next::Yield => std::thread::yield_now(),
                Next::Sleep => self.sleep(None),
            }
        }
        self.mailbox.close();
    }

    /// True when [`stop`](crate::Handle::stop) was asked for and nothing is in flight any more.
    pub fn finished(&self) -> bool {
        self.stopping && self.rings.len() == 0 && self.engine.in_flight_count() == 0
    }

    /// One turn of the loop: takes at most `budget` descriptors from each ring (64 or more mean [as many as a turn may take](MOST_PER_RING_AND_TURN)), issues what
    /// still matters, but no more than 64 starts of each ring, takes what has ended, publishes. Makes at most one system call, and none when there is nothing for the kernel. True if anything was done.
    #[inline]
    pub fn turn(&mut self, budget: u32) -> bool {
        let mut productive = !self.mailbox.is_empty() && self.read_mailbox();
        productive |= self.run_timers();
        let took = self.intake(budget);
        productive |= took;
        productive |= self.issue(took);
        if self.engine.wants_enter() {
            // What fails has been logged, and is tried again in the next turn.
            let _ = self.engine.enter_turn(None);
        } else {
            self.engine.poll();
        }
        productive |= self.reap();
        if !self.queues.undelivered.is_empty() {
            productive |= self.deliver_waiting();
        }
        if productive {
            self.publish();
        }
        if !self.busy_rings.is_empty() {
            self.settle_rings();
        }
        if !self.resets.is_empty() {
            self.settle_resets();
        }
        if !self.replaced.is_empty() {
            self.settle_memory();
        }
        if self.engine.in_flight_count() > 0 || !self.stuck.found.is_empty() {
            self.watch_for_stuck();
        }
        productive
    }

    /// Takes what came out of the kernel.
    #[inline]
    fn reap(&mut self) -> bool {
        let Some(mut next) = self.engine.reap() else {
            return false;
        };
        self.books.look_at_clock();
        loop {
            match next {
                Reaped::Operation { slot, owner: Some(owner), result } => self.operation_ended(slot, owner, result),
                Reaped::Operation { .. } | Reaped::Nothing => {}
                // Waking up was all there was to it: the next look at the rings finds what is there.
                Reaped::Readable { watch, again: true } => {
                    if watch == MAILBOX_WATCH {
                        self.mailbox.drain_doorbell();
                    }
                }
                Reaped::Readable { watch, again: false } => self.watch_ended(watch),
                Reaped::Notified { ring } => {
                    if let Some(entry) = self.rings.get_mut(ring) {
                        entry.notification_outstanding = false;
                        if core::mem::take(&mut entry.notify_again) {
                            self.notify(ring);
                        }
                    }
                }
            }
            match self.engine.reap() {
                Some(other) => next = other,
                None => return true,
            }
        }
    }

    fn watch_ended(&mut self, watch: u32) {
        if watch == MAILBOX_WATCH {
            self.mailbox.drain_doorbell();
            self.engine.watch(MAILBOX_WATCH, self.mailbox.fd());
        } else if let Some(ring) = self.rings.get_mut(watch) {
            if matches!(ring.state, State::Detaching) {
                ring.watched = false;
            } else {
                let file = std::os::fd::AsRawFd::as_raw_fd(&ring.doorbell);
                self.engine.watch(watch, file);
            }
        }
    }

    /// Makes the turn's completions visible, and wakes guests that sleep.
    #[inline]
    fn publish(&mut self) {
        let mut published = false;
        for place in 0..self.rings.places() {
            let Some(ring) = self.rings.get_mut(place) else { continue };
            let answered = core::mem::take(&mut ring.answered);
            if !ring.port.publish() && !answered {
                continue;
            }
            published = true;
            if let Some(host) = &mut ring.host {
                host.published();
            }
            if core::mem::take(&mut ring.notify_wanted) {
                self.notify(place);
            }
        }
        // Now that the guests have them, the books.
        self.books.end_turn(published);
    }

    /// Wakes a guest if it sleeps. At most one notification is outstanding: who needs another one gets it when that one has ended.
    #[inline]
    fn notify(&mut self, place: u32) {
        let Some(ring) = self.rings.get_mut(place) else { return };
        if ring.notification_outstanding {
            ring.notify_again = true;
        } else if ring.must_notify() {
            ring.notification_outstanding = true;
            self.books.counters.notifications += 1;
            self.engine.notify(place, std::os::fd::AsRawFd::as_raw_fd(&ring.notification));
        }
    }

    /// The single sleep point. Announces sleep in all rings, fences, looks once more, sleeps.
    fn sleep(&mut self, most: Option<Duration>) {
        let began = clock::now();
        if !self.announce_sleep() {
            return;
        }
        let mut timeout = most;
        let mut earlier = |other: Duration| timeout = Some(timeout.map_or(other, |time| time.min(other)));
        if let Some(due) = self.timers.next() {
            earlier(Duration::from_nanos(due.saturating_sub(began)));
        }
        if self.must_look_again() {
            earlier(LOOK_AGAIN);
        }
        if self.engine.in_flight_count() > 0 || !self.stuck.found.is_empty() {
            earlier(self.stuck.between_looks());
        }
        self.books.counters.sleeps += 1;
        let _ = self.engine.enter_turn(Some(timeout));
        self.wake();
        self.waiting.slept(clock::now().saturating_sub(began));
    }

    /// Announces sleep to all guests. False if there is something to do after all; everything is awake again then.
    ///
    /// For an embedder with a loop of its own: after an unproductive [`turn`](Self::turn), call this; if it is true, wait until [`fd`](AsFd::as_fd)
    /// is readable or [`next_timer`](Self::next_timer) has come, then call [`wake`](Self::wake) and go on.
    pub fn prepare_sleep(&mut self) -> bool {
        // Before the last look, so that nothing can come in between.
        if let Err(error) = self.engine.arm() {
            tracing::error!(%error, "io_uring takes no eventfd");
            return false;
        }
        // What the kernel was not given yet would wake nobody.
        !self.engine.has_staged() && self.announce_sleep()
    }

    fn announce_sleep(&mut self) -> bool {
        // The fence pairs with the one in the poster's `Waker::must_wake`.
        let idle = announce_then_look(self, Self::announce, || fence(Ordering::SeqCst), Self::is_idle);
        if !idle {
            self.wake();
        }
        idle
    }

    fn announce(&mut self) {
        for place in 0..self.rings.places() {
            if let Some(ring) = self.rings.get_mut(place) {
                ring.port.give_back();
                if ring.serving() {
                    ring.port.announce_sleep();
                }
            }
        }
    }

    fn is_idle(&mut self) -> bool {
        // What only waits for a guest to make room is looked at again later; it does not keep us awake.
        self.rings.iter().all(|(_, ring)| !ring.serving() || ring.stalled || ring.port.is_empty())
            && self.mailbox.is_empty()
            && !self.queues.any()
            && (self.queues.waiting.is_empty() || self.engine.free_slots() == 0)
            && !self.engine.wants_enter_or_has_reaped()
    }

    /// Says to all guests that no doorbell is needed.
    pub fn wake(&mut self) {
        self.stuck.look_soon();
        for place in 0..self.rings.places() {
            if let Some(ring) = self.rings.get_mut(place) {
                ring.port.awake();
            }
        }
    }

    /// The time after which a turn must be made, if there is one: a timer, or a look at operations that do not end.
    pub fn next_timer(&self) -> Option<Duration> {
        let timer = self.timers.next().map(|due| Duration::from_nanos(due.saturating_sub(clock::now())));
        let look = (self.engine.in_flight_count() > 0).then(|| self.stuck.between_looks());
        let again = self.must_look_again();
        [timer, look, again.then_some(LOOK_AGAIN)].into_iter().flatten().min()
    }

    /// Something may change that wakes nobody: a guest makes room, a deadline comes.
    fn must_look_again(&self) -> bool {
        !self.queues.undelivered.is_empty()
            || !self.busy_rings.is_empty()
            || !self.resets.is_empty()
            || !self.replaced.is_empty()
            || self.rings.iter().any(|(_, ring)| ring.stalled)
    }

    fn read_mailbox(&mut self) -> bool {
        let mailbox = Arc::clone(&self.mailbox);
        let mut any = false;
        while let Some(command) = mailbox.take() {
            any = true;
            command(self);
        }
        any
    }

    /// Statistics of this reactor.
    pub fn counters(&self) -> Counters {
        self.books.counters
    }

    /// Statistics of its engine.
    pub fn engine_counters(&self) -> EngineCounters {
        self.engine.counters()
    }

    /// The latencies since the last call.
    pub fn take_latencies(&mut self) -> Latencies {
        self.exchange_latencies(Latencies::default())
    }

    /// The latencies since the last call; the reactor goes on with `spare`, so that it need not make one.
    pub(crate) fn exchange_latencies(&mut self, spare: Latencies) -> Latencies {
        self.books.exchange_latencies(spare)
    }
}

impl AsFd for Reactor {
    /// Readable when there is something to do, once [`prepare_sleep`](Self::prepare_sleep) was true.
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the descriptor belongs to the engine, which lives as long as `self`.
        unsafe { BorrowedFd::borrow_raw(self.engine.fd()) }
    }
}

impl Drop for Reactor {
    /// Waits for the kernel before any memory that it may use is given up. On another thread than the one that made the turns the kernel does not answer;
    /// with operations in flight, devices and guests' memory are then leaked rather than freed under it, and in any case the kernel keeps the io_uring, with the files that it
    /// watches and reads, until that thread ends.
    fn drop(&mut self) {
        if !self.engine.quiesce() {
            tracing::error!(
                in_flight = self.engine.in_flight_count(),
                "a reactor was dropped on another thread than its own, with operations in the kernel: devices and guest memory are leaked"
            );
            std::mem::forget(core::mem::take(&mut self.subchannels));
            std::mem::forget(core::mem::take(&mut self.guests));
            std::mem::forget(core::mem::take(&mut self.replaced));
        }
        self.mailbox.close();
    }
}
