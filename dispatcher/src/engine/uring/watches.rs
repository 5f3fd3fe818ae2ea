// SPDX-License-Identifier: MIT OR Apache-2.0
//! What goes through the ring beside operations: doorbells that are watched, notifications, and the descriptor that an embedder's own loop waits on.

use super::slot::{token, KIND_NOTIFY, KIND_UNWATCH, KIND_WATCH};
use super::UringEngine;
use io_uring::{opcode, types};
use std::io;
use std::os::fd::RawFd;

/// What one `eventfd` write adds.
static ONE: u64 = 1;

impl UringEngine {
    /// Watches a descriptor: each time it becomes readable, [`Reaped::Readable`] tells.
    pub(crate) fn watch(&mut self, watch: u32, file: RawFd) {
        self.wakeup.watch(file);
        #[allow(clippy::cast_sign_loss, clippy::cast_possible_truncation, reason = "POLLIN is 1")]
        let events = libc::POLLIN as u32;
        let entry = opcode::PollAdd::new(types::Fd(file), events).multi(true).build();
        self.push_or_hold(entry.user_data(token(KIND_WATCH, 0, watch)));
    }

    /// Ends a watch of this descriptor.
    pub(crate) fn unwatch(&mut self, watch: u32, file: RawFd) {
        self.wakeup.unwatch(file);
        let entry = opcode::AsyncCancel::new(token(KIND_WATCH, 0, watch)).build();
        self.push_or_hold(entry.user_data(token(KIND_UNWATCH, 0, watch)));
    }

    /// Writes to an eventfd: a notification. The caller sees to it that a ring has at most one outstanding.
    pub(crate) fn notify(&mut self, ring: u32, file: RawFd) {
        let entry = opcode::Write::new(types::Fd(file), (&raw const ONE).cast(), 8).offset(u64::MAX).build();
        self.push_or_hold(entry.user_data(token(KIND_NOTIFY, 0, ring)));
    }

    /// Gives up a notification that the other side may be blocking.
    pub(crate) fn cancel_notify(&mut self, ring: u32) {
        let entry = opcode::AsyncCancel::new(token(KIND_NOTIFY, 0, ring)).build();
        self.push_or_hold(entry.user_data(token(KIND_UNWATCH, 0, ring)));
    }

    /// Readable when there is something to reap, from [`arm`](Self::arm) on.
    pub(crate) fn fd(&self) -> RawFd {
        self.wakeup.fd()
    }

    /// Has [`fd`](Self::fd) tell what happens from now on. What happened before must be looked for after this.
    pub(crate) fn arm(&mut self) -> io::Result<()> {
        self.enable()?;
        self.wakeup.arm(&self.ring.submitter())
    }
}
