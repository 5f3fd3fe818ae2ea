// SPDX-License-Identifier: MIT OR Apache-2.0
//! The way into the kernel: `io_uring_enter` by a ring that is registered with the thread that makes the turns.
//!
//! A ring that is named by its descriptor costs the kernel a reference to the open file and back, for each call (measured with one 4 KiB read at a time from the page
//! cache of ext4: ×1.07). A registered ring is a number in a table of the *thread's*: on another thread it would be another ring or none, so a ring is entered
//! that way on the thread that has registered it, and on no other.

use io_uring::IoUring;
use std::cell::Cell;
use std::io;
use std::os::fd::{AsRawFd as _, RawFd};
use std::sync::atomic::{AtomicU64, Ordering};

// Linux `include/uapi/linux/io_uring.h`.
const IORING_REGISTER_RING_FDS: u32 = 20;
const IORING_UNREGISTER_RING_FDS: u32 = 21;
const IORING_ENTER_GETEVENTS: u32 = 1 << 0;
const IORING_ENTER_REGISTERED_RING: u32 = 1 << 4;

/// `struct io_uring_rsrc_update`.
#[repr(C)]
struct Update {
    offset: u32,
    reserved: u32,
    data: u64,
}

thread_local! {
    /// The number of a thread that has registered a ring; 0 before that.
    static THREAD: Cell<u64> = const { Cell::new(0) };
}

/// How many threads have registered a ring. In a process no number comes twice, as a thread's address in memory may. Relaxed: only the count matters.
static THREADS: AtomicU64 = AtomicU64::new(0);

/// Where a ring is registered.
#[derive(Clone, Copy, Debug)]
struct Registered {
    index: u32,
    thread: u64,
}

/// How a ring is entered.
#[derive(Debug, Default)]
pub(super) struct Entrance {
    registered: Option<Registered>,
}

impl Entrance {
    /// Registers the ring with this thread, which the kernel from now on holds to making all its turns (Linux 6.1). Without that, or where the thread has 16 rings already, the
    /// ring is named by its descriptor.
    pub(super) fn open(&mut self, ring: &IoUring) {
        #[allow(clippy::cast_sign_loss, reason = "an open descriptor is not negative")]
        let mut update = Update { offset: u32::MAX, reserved: 0, data: ring.as_raw_fd() as u64 };
        if register(ring, IORING_REGISTER_RING_FDS, &mut update).is_ok() {
            let thread = THREAD.get();
            let thread = if thread == 0 { THREADS.fetch_add(1, Ordering::Relaxed) + 1 } else { thread };
            THREAD.set(thread);
            self.registered = Some(Registered { index: update.offset, thread });
        }
    }

    /// The ring goes. If another thread has registered it, it goes with that thread.
    pub(super) fn close(&mut self, ring: &IoUring) {
        if let Some(index) = self.index() {
            if let Err(error) = register(ring, IORING_UNREGISTER_RING_FDS, &mut Update { offset: index, reserved: 0, data: 0 }) {
                tracing::debug!(%error, "a ring stays registered");
            }
            self.registered = None;
        }
    }

    /// Where the ring is registered with this very thread.
    #[inline]
    fn index(&self) -> Option<u32> {
        self.registered.filter(|registered| registered.thread == THREAD.get()).map(|registered| registered.index)
    }

    /// Gives the kernel `submit` entries of the queue, and has it wait for `want` completions; `ask` for those that come only when asked for.
    pub(super) fn enter(&self, ring: &IoUring, submit: u32, want: u32, ask: bool) -> io::Result<()> {
        let asked = if ask { IORING_ENTER_GETEVENTS } else { 0 };
        #[allow(clippy::cast_possible_wrap, reason = "a thread has at most 16 registered rings")]
        let (named, flags) = match self.index() {
            Some(index) => (index as RawFd, asked | IORING_ENTER_REGISTERED_RING),
            None => (ring.as_raw_fd(), asked),
        };
        let nothing = std::ptr::null::<libc::sigset_t>();
        // SAFETY: both names are this ring's: the descriptor is open as long as `ring` is borrowed, and what this thread has registered stays in its place until `close`, or
        // the thread's end. The kernel reads the ring's submission queue, whose entries `push` answers for, writes its completion queue, and takes no argument.
        let result = unsafe { libc::syscall(libc::SYS_io_uring_enter, named, submit, want, flags, nothing, 0_usize) };
        answer(result)
    }
}

fn register(ring: &IoUring, operation: u32, update: &mut Update) -> io::Result<()> {
    // SAFETY: both operations take an array of updates, here of one, which is exclusively ours and has the kernel's layout.
    let result =
        unsafe { libc::syscall(libc::SYS_io_uring_register, ring.as_raw_fd(), operation, std::ptr::from_mut(update), 1_u32) };
    answer(result)
}

fn answer(result: libc::c_long) -> io::Result<()> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
