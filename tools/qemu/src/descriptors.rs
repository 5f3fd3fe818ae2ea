// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which of QEMU's file descriptors are ours: a table that is read without a lock, for every `read`, `ioctl` and `close` of the process.

use crate::config::MOST_VOLUMES;
use std::io;
use std::os::fd::{AsRawFd as _, IntoRawFd as _, RawFd};
use std::sync::atomic::{AtomicU8, Ordering};

/// What a descriptor stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Descriptor {
    /// The VFIO container: the guest's memory map.
    Container,
    /// The VFIO group of a volume.
    Group(usize),
    /// The vfio-ccw device of a volume.
    Device(usize),
}

const NOT_OURS: u8 = 0;
const CONTAINER: u8 = 1;
const GROUPS: u8 = 2;
const DEVICES: u8 = 128;
const _: () = assert!(GROUPS as usize + MOST_VOLUMES <= DEVICES as usize && DEVICES as usize + MOST_VOLUMES <= 256);

/// More descriptors than QEMU opens; pages of the table that are never looked at cost nothing.
const MOST: usize = 1 << 16;

static TABLE: [AtomicU8; MOST] = [const { AtomicU8::new(NOT_OURS) }; MOST];

fn entry(fd: RawFd) -> Option<&'static AtomicU8> {
    TABLE.get(usize::try_from(fd).ok()?)
}

/// What `fd` stands for, if it is ours.
#[inline]
pub fn find(fd: RawFd) -> Option<Descriptor> {
    // Acquire: pairs with the Release in `make`.
    match entry(fd)?.load(Ordering::Acquire) {
        NOT_OURS => None,
        CONTAINER => Some(Descriptor::Container),
        code if code >= DEVICES => Some(Descriptor::Device(usize::from(code - DEVICES))),
        code => Some(Descriptor::Group(usize::from(code - GROUPS))),
    }
}

/// Makes a descriptor of our own, a real open file so that its number is nobody else's.
pub fn make(what: Descriptor) -> io::Result<RawFd> {
    let numbered = |first: u8, index: usize| u8::try_from(index).ok().filter(|_| index < MOST_VOLUMES).map(|index| first + index);
    let code = match what {
        Descriptor::Container => Some(CONTAINER),
        Descriptor::Group(index) => numbered(GROUPS, index),
        Descriptor::Device(index) => numbered(DEVICES, index),
    };
    let code = code.ok_or(io::ErrorKind::InvalidInput)?;
    let file = rustix::fs::memfd_create("fctl-vfio", rustix::fs::MemfdFlags::CLOEXEC)?;
    let entry = entry(file.as_raw_fd()).ok_or_else(|| io::Error::from_raw_os_error(libc::EMFILE))?;
    // Release: pairs with the Acquire in `find`; whoever gets the number later finds what it stands for.
    entry.store(code, Ordering::Release);
    Ok(file.into_raw_fd())
}

/// Forgets a descriptor that is about to be closed.
pub fn forget(fd: RawFd) {
    if let Some(entry) = entry(fd) {
        entry.store(NOT_OURS, Ordering::Release);
    }
}
