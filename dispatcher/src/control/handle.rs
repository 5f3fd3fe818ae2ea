// SPDX-License-Identifier: MIT OR Apache-2.0
//! The handle: what an embedder holds of a running dispatcher.

use super::Mailbox;
use crate::device::SubchannelDevice;
use crate::engine::EngineCounters;
use crate::host::HostEnds;
use crate::memory::Memory;
use crate::metrics::{Counters, Latencies};
use crate::reactor::{AttachError, GuestId, Inventory, Reactor, RingEnds, RingId, RingStatus, Stuck, SubchannelOptions};
use fctl_ringabi::arch::SubsystemId;
use std::sync::{mpsc, Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Subchannels that were still busy when the deadline came, by subsystem-identification word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StillBusy(pub Vec<u32>);

impl std::fmt::Display for StillBusy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} subchannels are still busy:", self.0.len())?;
        for word in self.0.iter().take(8) {
            write!(f, " {word:#010x}")?;
        }
        f.write_str(if self.0.len() > 8 { " …" } else { "" })
    }
}

/// Why a request to a running dispatcher failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// The dispatcher has stopped.
    #[error("the dispatcher has stopped")]
    Stopped,
    /// It could not be attached or detached.
    #[error(transparent)]
    Attach(#[from] AttachError),
    /// The deadline came first. What is in flight stays owned by the dispatcher until the kernel gives it back.
    #[error("the deadline came first: {0}")]
    Deadline(StillBusy),
}

/// A running dispatcher. May be used from any thread; each call waits for the reactor's answer, so none may be made from the thread that runs the
/// reactor (use [`Reactor`]'s own functions there).
///
/// Dropping the handle stops a reactor that has a thread of its own, and waits until the kernel has given back every buffer.
pub struct Handle {
    mailbox: Arc<Mailbox>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Handle {
    pub(super) fn new(mailbox: Arc<Mailbox>, thread: Option<JoinHandle<()>>) -> Self {
        Self { mailbox, thread: Mutex::new(thread) }
    }

    /// Has the reactor execute `request` between two turns, and waits for what it gives.
    fn ask<T: Send + 'static>(&self, request: impl FnOnce(&mut Reactor) -> T + Send + 'static) -> Result<T, ControlError> {
        let (reply, answer) = mpsc::sync_channel(1);
        let command = Box::new(move |reactor: &mut Reactor| {
            // Who asked may have gone.
            let _ = reply.send(request(reactor));
        });
        self.mailbox.send(command).map_err(|_| ControlError::Stopped)?;
        answer.recv().map_err(|_| ControlError::Stopped)
    }

    /// Attaches a guest: its memory, and subchannel numbers of its own.
    ///
    /// # Errors
    /// The dispatcher has stopped.
    pub fn attach_guest(&self, memory: Memory) -> Result<GuestId, ControlError> {
        self.ask(move |reactor| reactor.attach_guest(memory))
    }

    /// Attaches a formatted ring pair of a guest.
    ///
    /// # Errors
    /// As [`Reactor::attach_ring`].
    pub fn attach_ring(&self, guest: GuestId, ends: RingEnds) -> Result<RingId, ControlError> {
        Ok(self.ask(move |reactor| reactor.attach_ring(guest, ends))??)
    }

    /// Attaches the ring of a [`HostRing`](crate::host::HostRing).
    ///
    /// # Errors
    /// As [`Reactor::attach_host_ring`].
    pub fn attach_host_ring(&self, guest: GuestId, ends: HostEnds) -> Result<RingId, ControlError> {
        Ok(self.ask(move |reactor| reactor.attach_host_ring(guest, ends))??)
    }

    /// Attaches a subchannel with its device to its home ring.
    ///
    /// # Errors
    /// As [`Reactor::attach_subchannel`].
    pub fn attach_subchannel(
        &self,
        home: RingId,
        id: SubsystemId,
        options: SubchannelOptions,
        device: Box<dyn SubchannelDevice>,
    ) -> Result<(), ControlError> {
        Ok(self.ask(move |reactor| reactor.attach_subchannel(home, id, options, device))??)
    }

    /// Stops taking descriptors from a ring and waits until what runs has ended by itself. The ring stays attached.
    ///
    /// # Errors
    /// The deadline came first: the error says what is still busy. Or as [`Reactor::drain`].
    pub fn drain(&self, ring: RingId, within: Duration) -> Result<(), ControlError> {
        self.ask_later(within, move |reactor, deadline, reply| reactor.drain(ring, deadline, reply))
    }

    /// Stops what runs on a ring and takes the ring and its subchannels away.
    ///
    /// # Errors
    /// The deadline came first: the error says what is still busy; the ring goes by itself as soon as it can. Or as [`Reactor::detach_ring`].
    pub fn detach_ring(&self, ring: RingId, within: Duration) -> Result<(), ControlError> {
        self.ask_later(within, move |reactor, deadline, reply| reactor.detach_ring(ring, deadline, reply))
    }

    /// Resets a subchannel, and waits until that is done: what runs is stopped, status, sense and reservation are withdrawn, what was taken gets its final,
    /// and the guest is not notified of any of it.
    ///
    /// # Errors
    /// The deadline came first: the error says what is still busy; it becomes reset as soon as it can. Or as [`Reactor::reset_subchannel`].
    pub fn reset_subchannel(&self, guest: GuestId, id: SubsystemId, within: Duration) -> Result<(), ControlError> {
        self.ask_later(within, move |reactor, deadline, reply| reactor.reset_subchannel(guest, id, deadline, reply))
    }

    /// Resets all subchannels of a guest, as [`reset_subchannel`](Self::reset_subchannel).
    ///
    /// # Errors
    /// The deadline came first. Or as [`Reactor::reset_guest`].
    pub fn reset_guest(&self, guest: GuestId, within: Duration) -> Result<(), ControlError> {
        self.ask_later(within, move |reactor, deadline, reply| reactor.reset_guest(guest, deadline, reply))
    }

    /// Resets all subchannels of all guests, as [`reset_subchannel`](Self::reset_subchannel).
    ///
    /// # Errors
    /// The deadline came first, or the dispatcher has stopped.
    pub fn reset_all(&self, within: Duration) -> Result<(), ControlError> {
        self.ask_later(within, move |reactor, deadline, reply| {
            reactor.reset_all(deadline, reply);
            Ok(())
        })
    }

    /// Takes a subchannel with its device away, and waits until that is done.
    ///
    /// # Errors
    /// The deadline came first: the error says so; the subchannel goes by itself as soon as it can. Or as [`Reactor::detach_subchannel`].
    pub fn detach_subchannel(&self, guest: GuestId, id: SubsystemId, within: Duration) -> Result<(), ControlError> {
        self.ask_later(within, move |reactor, deadline, reply| reactor.detach_subchannel(guest, id, deadline, reply))
    }

    /// Replaces a guest's memory, and waits until the kernel does not use the old one any more, which is then dropped. See
    /// [`Reactor::replace_memory`] for what happens to what is running.
    ///
    /// # Errors
    /// The deadline came first: the error says who still uses the old memory, which is kept until then. Or as [`Reactor::replace_memory`].
    pub fn replace_memory(&self, guest: GuestId, memory: Memory, within: Duration) -> Result<(), ControlError> {
        self.ask_later(within, move |reactor, deadline, reply| reactor.replace_memory(guest, memory, deadline, reply))
    }

    fn ask_later<F>(&self, within: Duration, request: F) -> Result<(), ControlError>
    where
        F: FnOnce(&mut Reactor, Option<Instant>, Box<dyn FnOnce(Vec<u32>) + Send>) -> Result<(), AttachError> + Send + 'static,
    {
        let (reply, answer) = mpsc::sync_channel(1);
        let deadline = Instant::now().checked_add(within);
        self.ask(move |reactor| {
            request(
                reactor,
                deadline,
                Box::new(move |busy| {
                    let _ = reply.send(busy);
                }),
            )
        })??;
        let busy = answer.recv().map_err(|_| ControlError::Stopped)?;
        if busy.is_empty() {
            return Ok(());
        }
        Err(ControlError::Deadline(StillBusy(busy)))
    }

    /// Takes a guest away that has no rings any more.
    ///
    /// # Errors
    /// As [`Reactor::detach_guest`].
    pub fn detach_guest(&self, guest: GuestId) -> Result<(), ControlError> {
        Ok(self.ask(move |reactor| reactor.detach_guest(guest))??)
    }

    /// Statistics.
    ///
    /// # Errors
    /// The dispatcher has stopped.
    pub fn counters(&self) -> Result<Counters, ControlError> {
        self.ask(|reactor| reactor.counters())
    }

    /// Statistics of the engine.
    ///
    /// # Errors
    /// The dispatcher has stopped.
    pub fn engine_counters(&self) -> Result<EngineCounters, ControlError> {
        self.ask(|reactor| reactor.engine_counters())
    }

    /// The latencies since the last call.
    ///
    /// # Errors
    /// The dispatcher has stopped.
    pub fn latencies(&self) -> Result<Latencies, ControlError> {
        let spare = Latencies::default();
        self.ask(move |reactor| reactor.exchange_latencies(spare))
    }

    /// What is attached.
    ///
    /// # Errors
    /// The dispatcher has stopped.
    pub fn inventory(&self) -> Result<Inventory, ControlError> {
        self.ask(|reactor| reactor.inventory())
    }

    /// Where a ring stands; none if it is not attached.
    ///
    /// # Errors
    /// The dispatcher has stopped.
    pub fn ring_status(&self, ring: RingId) -> Result<Option<RingStatus>, ControlError> {
        self.ask(move |reactor| reactor.ring_status(ring))
    }

    /// What does not answer now: volumes with an operation that has been in the kernel for longer than [`Builder::stuck_after`](crate::Builder::stuck_after).
    ///
    /// # Errors
    /// The dispatcher has stopped.
    pub fn stuck(&self) -> Result<Vec<Stuck>, ControlError> {
        self.ask(|reactor| reactor.stuck().to_vec())
    }

    /// Stops in order: every ring is detached, everything in flight is waited for. A reactor with a thread of its own has
    /// ended when this returns.
    ///
    /// # Errors
    /// It has stopped already.
    pub fn stop(&self) -> Result<(), ControlError> {
        self.ask(Reactor::stop)?;
        self.join();
        Ok(())
    }

    fn join(&self) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // A reactor that panicked has been reported by the panic itself.
            let _ = thread.join();
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if self.thread.lock().unwrap_or_else(PoisonError::into_inner).is_some() {
            // Fails only if it has stopped already.
            let _ = self.stop();
            self.join();
        }
    }
}
