// SPDX-License-Identifier: MIT OR Apache-2.0
//! QEMU's image locks, by which no image is opened by two QEMUs, taken for a volume as QEMU takes them (`block/file-posix.c`).
//!
//! An image's byte 100 + n stands for "somebody uses permission n", byte 200 + n for "somebody does not share permission n". Who opens an
//! image locks the bytes of what it uses and does not share, all of them shared locks of the open file, then looks whether somebody else has a byte that
//! stands against it. A volume's own lock covers the whole file; these bytes are carved out of it, so that QEMUs that get along with us do.

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};

const USED: i64 = 100;
const NOT_SHARED: i64 = 200;

/// Permissions, by their number in QEMU.
const PERMISSIONS: [(i64, &str); 4] = [(0, "consistent read"), (1, "write"), (2, "write unchanged"), (3, "resize")];

/// What an open volume uses: like a disk of QEMU's.
const fn uses(permission: i64, read_only: bool) -> bool {
    permission == 0 || permission == 1 && !read_only
}

/// What it lets others do.
const fn shares(permission: i64) -> bool {
    permission == 0 || permission == 2
}

/// Takes QEMU's locks on a volume's open file, in place of the volume's own lock on those bytes.
///
/// # Errors
/// Somebody else's use stands against it (`WouldBlock`), or the host cannot.
pub fn take(file: BorrowedFd<'_>, read_only: bool) -> io::Result<()> {
    for (permission, _) in PERMISSIONS {
        set(file, USED + permission, uses(permission, read_only))?;
        set(file, NOT_SHARED + permission, !shares(permission))?;
    }
    for (permission, name) in PERMISSIONS {
        let against = uses(permission, read_only) && held_by_another(file, NOT_SHARED + permission)?
            || !shares(permission) && held_by_another(file, USED + permission)?;
        if against {
            return Err(io::Error::new(io::ErrorKind::WouldBlock, format!("its QEMU lock \"{name}\" is held")));
        }
    }
    Ok(())
}

/// Whether a QEMU, and no dispatcher, has the file that could not be locked.
pub fn held_by_qemu(file: BorrowedFd<'_>) -> io::Result<bool> {
    if held_by_another(file, 0)? {
        return Ok(false);
    }
    for (permission, _) in PERMISSIONS {
        if held_by_another(file, USED + permission)? || held_by_another(file, NOT_SHARED + permission)? {
            return Ok(true);
        }
    }
    Ok(false)
}

#[allow(clippy::cast_possible_truncation, reason = "lock types are 0, 1 or 2")]
fn request(kind: i32, byte: i64) -> libc::flock {
    libc::flock { l_type: kind as libc::c_short, l_whence: libc::SEEK_SET as libc::c_short, l_start: byte, l_len: 1, l_pid: 0 }
}

fn set(file: BorrowedFd<'_>, byte: i64, locked: bool) -> io::Result<()> {
    let mut request = request(if locked { libc::F_RDLCK } else { libc::F_UNLCK }, byte);
    control(file, libc::F_OFD_SETLK, &mut request)
}

fn held_by_another(file: BorrowedFd<'_>, byte: i64) -> io::Result<bool> {
    let mut request = request(libc::F_WRLCK, byte);
    control(file, libc::F_OFD_GETLK, &mut request)?;
    Ok(i32::from(request.l_type) != libc::F_UNLCK)
}

fn control(file: BorrowedFd<'_>, command: i32, request: &mut libc::flock) -> io::Result<()> {
    // SAFETY: an open descriptor, and a pointer to one `flock` that is ours.
    let result = unsafe { libc::fcntl(file.as_raw_fd(), command, std::ptr::from_mut(request)) };
    if result == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
