// SPDX-License-Identifier: MIT OR Apache-2.0
//! What an embedder with a loop of its own waits for.
//!
//! Not the io_uring's own descriptor: polling it sees nothing of completions that are deferred until their thread asks for them. An eventfd
//! registered with the io_uring sees them, but not reliably those that the writing of another eventfd has caused, such as a doorbell (both seen
//! on Linux 6.18). So both are in one epoll set: the doorbells themselves, and an eventfd for all other completions.

use io_uring::Submitter;
use rustix::event::epoll;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use vmm_sys_util::eventfd::{EventFd, EFD_CLOEXEC, EFD_NONBLOCK};

/// A descriptor that is readable when something happened since [`arm`](Self::arm).
pub(super) struct Wakeup {
    set: OwnedFd,
    completions: EventFd,
    registered: bool,
}

impl Wakeup {
    pub(super) fn new() -> io::Result<Self> {
        let set = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let wakeup = Self { set, completions: EventFd::new(EFD_CLOEXEC | EFD_NONBLOCK)?, registered: false };
        wakeup.add(wakeup.completions.as_raw_fd())?;
        Ok(wakeup)
    }

    pub(super) fn fd(&self) -> RawFd {
        self.set.as_raw_fd()
    }

    fn add(&self, file: RawFd) -> rustix::io::Result<()> {
        // SAFETY: an open descriptor, kept open by whoever asks for it to be watched; borrowed for this call only.
        let file = unsafe { BorrowedFd::borrow_raw(file) };
        // By edges: nobody reads a doorbell's count, each ring of it counts.
        epoll::add(&self.set, file, epoll::EventData::new_u64(0), epoll::EventFlags::IN | epoll::EventFlags::ET)
    }

    /// A doorbell: one that is there already stays.
    pub(super) fn watch(&self, file: RawFd) {
        match self.add(file) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(error) => tracing::error!(%error, "a doorbell cannot be put into the epoll set"),
        }
    }

    /// A doorbell that goes. It may stay open elsewhere, so that closing it is not enough.
    pub(super) fn unwatch(&self, file: RawFd) {
        // SAFETY: as in `add`.
        let file = unsafe { BorrowedFd::borrow_raw(file) };
        // One that is not there is as good as taken away.
        let _ = epoll::delete(&self.set, file);
    }

    /// Has completions make it readable.
    pub(super) fn register(&mut self, submitter: &Submitter<'_>) -> io::Result<()> {
        if !self.registered {
            submitter.register_eventfd(self.completions.as_raw_fd())?;
            self.registered = true;
        }
        Ok(())
    }

    /// Forgets what happened before.
    pub(super) fn arm(&mut self, submitter: &Submitter<'_>) -> io::Result<()> {
        self.register(submitter)?;
        let mut events = [MaybeUninit::uninit(); 64];
        while epoll::wait(&self.set, &mut events, Some(&rustix::event::Timespec::default()))?.0.len() == 64 {}
        Ok(())
    }
}
