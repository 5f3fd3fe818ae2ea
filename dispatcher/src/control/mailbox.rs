// SPDX-License-Identifier: MIT OR Apache-2.0
//! The mailbox: commands for the reactor's thread, to be executed between turns.

use crate::reactor::Reactor;
use crossbeam_queue::ArrayQueue;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use vmm_sys_util::eventfd::{EventFd, EFD_CLOEXEC, EFD_NONBLOCK};

/// What the reactor is asked to do.
pub(crate) type Command = Box<dyn FnOnce(&mut Reactor) + Send>;

/// Commands that can wait at once; who finds it full tries again.
const CAPACITY: usize = 64;

/// Commands on their way to the reactor. Lock-free; rung by an eventfd that the reactor watches in its own ring.
pub(crate) struct Mailbox {
    commands: ArrayQueue<Command>,
    doorbell: EventFd,
    closed: AtomicBool,
}

impl Mailbox {
    pub(crate) fn new() -> std::io::Result<Self> {
        Ok(Self {
            commands: ArrayQueue::new(CAPACITY),
            doorbell: EventFd::new(EFD_CLOEXEC | EFD_NONBLOCK)?,
            closed: AtomicBool::new(false),
        })
    }

    /// Puts a command in and rings. The command comes back when the reactor is gone.
    pub(crate) fn send(&self, mut command: Command) -> Result<(), Command> {
        loop {
            // Pairs with the Release in `close`; a command that slips in behind it is dropped by `close` or by the last owner, and its
            // caller sees the reply's end hang up.
            if self.closed.load(Ordering::Acquire) {
                return Err(command);
            }
            match self.commands.push(command) {
                Ok(()) => break,
                Err(full) => command = full,
            }
            std::thread::yield_now();
        }
        // A counter that is full rings as well as one that was added to.
        let _ = self.doorbell.write(1);
        if self.closed.load(Ordering::Acquire) {
            while self.commands.pop().is_some() {}
        }
        Ok(())
    }

    /// The next command.
    pub(crate) fn take(&self) -> Option<Command> {
        self.commands.pop()
    }

    /// True if no command waits.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.commands.is_empty()
    }

    /// Takes the doorbell's count, so that it can ring again.
    pub(crate) fn drain_doorbell(&self) {
        let _ = self.doorbell.read();
    }

    /// The reactor is gone: nothing is taken any more.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        while self.commands.pop().is_some() {}
    }

    pub(crate) fn fd(&self) -> RawFd {
        self.doorbell.as_raw_fd()
    }
}
