// SPDX-License-Identifier: MIT OR Apache-2.0
//! The guest's process: this program again, with three inherited files and nothing else.

use crate::guest::{DOORBELL_FD, MEMORY_FD, NOTIFICATION_FD};
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};

/// The first number that is none of those which the guest inherits.
const ABOVE: RawFd = NOTIFICATION_FD + 1;

/// Starts the guest. Its standard input, output and error are /dev/null, its environment is empty.
pub fn spawn(memory: BorrowedFd<'_>, doorbell: BorrowedFd<'_>, notification: BorrowedFd<'_>) -> io::Result<Child> {
    // Copies with high numbers, so that none is written over while the others are put in their places.
    let high = |fd| rustix::io::fcntl_dupfd_cloexec(fd, 64).map_err(io::Error::from);
    let copies: [(OwnedFd, RawFd); 3] =
        [(high(memory)?, MEMORY_FD), (high(doorbell)?, DOORBELL_FD), (high(notification)?, NOTIFICATION_FD)];
    let moves = copies.each_ref().map(|(copy, number)| (copy.as_raw_fd(), *number));
    let mut command = Command::new("/proc/self/exe");
    command.arg0("fctl").arg("guest").env_clear().stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    // SAFETY: between fork and exec only dup2 and close_range are called, both of which are safe there; nothing allocates (`moves` is
    // an array of integers), and the numbers written over belong to nobody in the child any more: exec follows.
    unsafe {
        command.pre_exec(move || {
            for (from, to) in moves {
                if libc::dup2(from, to) < 0 {
                    return Err(io::Error::last_os_error());
                }
            }
            // Whatever this process itself has inherited stays here.
            let flags = libc::CLOSE_RANGE_CLOEXEC;
            if libc::syscall(libc::SYS_close_range, ABOVE, u32::MAX, flags) < 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(())
        });
    }
    command.spawn()
}
