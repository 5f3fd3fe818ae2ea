// SPDX-License-Identifier: MIT OR Apache-2.0
//! The volume lock: an open-file-description lock over the whole file.
//!
//! Locks of this sort belong to the open file, not to the process: two dispatchers in one process exclude each other too, and closing some
//! other descriptor of the same file does not lose the lock (which POSIX locks do).

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};

/// How a volume is locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sharing {
    /// With everybody who reads only.
    Shared,
    /// With nobody.
    Exclusive,
}

/// Why there is no lock.
#[derive(Debug)]
pub(super) enum LockError {
    /// Somebody else has one, of this process if the kernel tells.
    Held(Option<i32>),
    /// The host cannot.
    Host(io::Error),
}

/// Locks the whole file until it is closed.
pub(super) fn lock(file: BorrowedFd<'_>, sharing: Sharing) -> Result<(), LockError> {
    let mut request = whole_file(sharing);
    let Err(error) = control(file, libc::F_OFD_SETLK, &mut request) else {
        return Ok(());
    };
    match error.raw_os_error() {
        Some(libc::EAGAIN | libc::EACCES) => {
            let mut holder = whole_file(sharing);
            // An open file's lock is reported with process -1: only a POSIX lock in the way names its owner.
            let told = control(file, libc::F_OFD_GETLK, &mut holder).is_ok() && holder.l_type != unlocked() && holder.l_pid > 0;
            Err(LockError::Held(told.then_some(holder.l_pid)))
        }
        _ => Err(LockError::Host(error)),
    }
}

/// Lock types are small constants that the C library gives as `int`, the structure holds as `short`.
#[allow(clippy::cast_possible_truncation, reason = "0, 1 or 2")]
const fn short(constant: libc::c_int) -> libc::c_short {
    constant as libc::c_short
}

const fn unlocked() -> libc::c_short {
    short(libc::F_UNLCK)
}

fn whole_file(sharing: Sharing) -> libc::flock {
    let kind = match sharing {
        Sharing::Shared => libc::F_RDLCK,
        Sharing::Exclusive => libc::F_WRLCK,
    };
    // Start 0 and length 0: to the end, wherever that will be. Process 0, as these locks demand.
    libc::flock { l_type: short(kind), l_whence: short(libc::SEEK_SET), l_start: 0, l_len: 0, l_pid: 0 }
}

fn control(file: BorrowedFd<'_>, command: libc::c_int, request: &mut libc::flock) -> io::Result<()> {
    // SAFETY: the descriptor is open (borrowed), and both commands take a pointer to one `flock`, which is exclusively ours.
    let result = unsafe { libc::fcntl(file.as_raw_fd(), command, std::ptr::from_mut(request)) };
    if result == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
