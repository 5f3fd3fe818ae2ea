// SPDX-License-Identifier: MIT OR Apache-2.0
//! Rings: attached, looked at, drained, detached.

use super::arguments::{duplicate, eventfd, given, object, place, tell, text, Extensible};
use super::dispatcher::fctl;
use super::error::{guarded, Done, Failure, FCTL_E_ARGUMENT, FCTL_E_MEMORY, FCTL_E_SYSTEM};
use super::guest::Guest;
use fctl_dispatcher::region::{sealed_memory_file, Region};
use fctl_dispatcher::RingEnds;
use fctl_ringabi::{Header, RingSizes};
use std::ffi::{c_char, c_int};
use std::fs::File;
use std::os::fd::IntoRawFd as _;
use std::time::Duration;

/// Ring option: the ring lies in the guest's own memory, at `guest_address`; else in the memory file `memory_file`, at `offset`.
pub const FCTL_RING_IN_GUEST: u32 = 1;

/// A ring pair and its ends.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct fctl_ring_options {
    /// sizeof(struct fctl_ring_options).
    pub size: usize,
    /// The guest's number.
    pub guest: u64,
    /// FCTL_RING_*.
    pub flags: u32,
    /// If not 0: format the ring first, with so many submission entries (a power of two, 8 to 65,536), four times as many completion entries, and the host's
    /// monotonic clock. If 0 it is formatted already.
    pub entries: u32,
    /// Length of the region in bytes: at least fctl_ring_bytes(entries).
    pub bytes: u64,
    /// Guest address, for FCTL_RING_IN_GUEST: a multiple of FCTL_ALIGNMENT.
    pub guest_address: u64,
    /// Without FCTL_RING_IN_GUEST: offset in the memory file, a multiple of the page size.
    pub offset: u64,
    /// Without FCTL_RING_IN_GUEST: a memory file that can neither shrink nor grow, as fctl_memory_file makes.
    pub memory_file: c_int,
    /// An eventfd that the guest rings when the dispatcher sleeps (an ioeventfd, for KVM).
    pub doorbell: c_int,
    /// An eventfd that the dispatcher writes when the guest sleeps (an irqfd, for KVM). All three descriptors stay the caller's, who may close them.
    pub notification: c_int,
    /// Zero.
    pub reserved: u32,
}

// SAFETY: integers only, the first a usize.
unsafe impl Extensible for fctl_ring_options {
    const NAME: &'static str = "struct fctl_ring_options";
    const LEAST: usize = 64;
}

/// Where a ring stands.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct fctl_ring_status {
    /// sizeof(struct fctl_ring_status).
    pub size: usize,
    /// Completions owed to descriptors that were taken.
    pub owed: u64,
    /// Not 0 while descriptors are being taken.
    pub serving: u32,
    /// FCTL_FENCE_* if the guest broke the protocol, else 0.
    pub fenced: u32,
}

// SAFETY: integers only, the first a usize.
unsafe impl Extensible for fctl_ring_status {
    const NAME: &'static str = "struct fctl_ring_status";
    const LEAST: usize = 24;
}

fn header(entries: u32) -> Done<Header> {
    Header::layout(RingSizes::new(entries)).map_err(|error| Failure::of(FCTL_E_ARGUMENT, &error))
}

/// Bytes that a ring pair with so many submission entries needs; 0 if there is no such ring pair.
#[no_mangle]
pub extern "C" fn fctl_ring_bytes(entries: u32) -> u64 {
    header(entries).map_or(0, |header| header.region_bytes())
}

/// Makes a memory file of `bytes` bytes that can neither shrink nor grow, for a ring or a guest's memory. Returns its descriptor, which is the caller's.
///
/// # Safety
/// `name` is null or a string.
#[no_mangle]
pub unsafe extern "C" fn fctl_memory_file(name: *const c_char, bytes: u64) -> c_int {
    guarded(|| {
        // SAFETY: as the caller says.
        let name = unsafe { text(name, "name") }?.to_string_lossy();
        let file = sealed_memory_file(&name, bytes).map_err(|error| Failure::of(FCTL_E_SYSTEM, &error))?;
        Ok(file.into_raw_fd())
    })
}

fn region(options: &fctl_ring_options, guest: &Guest) -> Done<Region> {
    if options.flags & !FCTL_RING_IN_GUEST != 0 || options.reserved != 0 {
        let found = options.flags | options.reserved;
        return Err(Failure::new(
            FCTL_E_ARGUMENT,
            format!("flags or reserved is {found:#x}: FCTL_RING_IN_GUEST and 0 is accepted"),
        ));
    }
    let region = if options.flags & FCTL_RING_IN_GUEST != 0 {
        Region::from_guest_memory(&guest.memory(), options.guest_address, options.bytes)
    } else {
        let file = File::from(duplicate(options.memory_file, "memory_file")?);
        Region::from_memory_file(&file, options.offset, options.bytes)
    };
    let region = region.map_err(|error| Failure::of(FCTL_E_MEMORY, &error))?;
    if options.entries != 0 {
        let formatted = header(options.entries)?.format(region.words());
        formatted.map_err(|error| Failure::of(FCTL_E_MEMORY, &error))?;
    }
    Ok(region)
}

/// Attaches a ring pair of a guest. `*ring` is its number, 0 if this fails.
///
/// # Safety
/// `dispatcher` is null or a dispatcher; `options` is null or points to a struct with its size; `ring` is null or may be written.
#[no_mangle]
pub unsafe extern "C" fn fctl_attach_ring(dispatcher: *mut fctl, options: *const fctl_ring_options, ring: *mut u64) -> c_int {
    guarded(|| {
        // SAFETY: as the caller says.
        let ring = unsafe { place(ring, 0, "ring") }?;
        // SAFETY: as the caller says.
        let dispatcher = unsafe { object(dispatcher, "dispatcher") }?;
        // SAFETY: as the caller says.
        let options = unsafe { given(options) }?;
        let guest = dispatcher.guests.get(options.guest)?;
        let (doorbell, notification) = (eventfd(options.doorbell, "doorbell")?, eventfd(options.notification, "notification")?);
        let ends = RingEnds { region: region(&options, &guest)?, doorbell, notification };
        let id = dispatcher.handle.attach_ring(guest.id, ends)?;
        *ring = dispatcher.rings.add(id);
        Ok(0)
    })
}

/// Where a ring stands.
///
/// # Safety
/// `dispatcher` is null or a dispatcher; `status` is null or points to a struct with its size.
#[no_mangle]
pub unsafe extern "C" fn fctl_read_ring_status(dispatcher: *mut fctl, ring: u64, status: *mut fctl_ring_status) -> c_int {
    guarded(|| {
        // SAFETY: as the caller says.
        let dispatcher = unsafe { object(dispatcher, "dispatcher") }?;
        let found = dispatcher.handle.ring_status(dispatcher.rings.get(ring)?)?;
        let found = found.ok_or_else(|| Failure::new(super::FCTL_E_NOT_FOUND, format!("ring {ring} is not attached")))?;
        let told = fctl_ring_status {
            size: 0,
            owed: found.owed,
            serving: u32::from(found.serving),
            fenced: found.fenced.map_or(0, |violation| violation.fence_reason()),
        };
        // SAFETY: as the caller says.
        unsafe { tell(status, &told) }?;
        Ok(0)
    })
}

/// Stops taking descriptors from a ring and waits until what runs has ended by itself, at most `timeout` milliseconds. The ring stays attached, and takes
/// nothing more. FCTL_E_DEADLINE: the message names the subchannels that are still busy.
///
/// # Safety
/// `dispatcher` is null or a dispatcher.
#[no_mangle]
pub unsafe extern "C" fn fctl_drain_ring(dispatcher: *mut fctl, ring: u64, timeout: u64) -> c_int {
    guarded(|| {
        // SAFETY: as the caller says.
        let dispatcher = unsafe { object(dispatcher, "dispatcher") }?;
        dispatcher.handle.drain(dispatcher.rings.get(ring)?, Duration::from_millis(timeout))?;
        Ok(0)
    })
}

/// Stops what runs on a ring and takes the ring and its subchannels away, within `timeout` milliseconds. FCTL_E_DEADLINE: it goes by itself as soon as it
/// can. In both cases the number is no ring's any more.
///
/// # Safety
/// `dispatcher` is null or a dispatcher.
#[no_mangle]
pub unsafe extern "C" fn fctl_detach_ring(dispatcher: *mut fctl, ring: u64, timeout: u64) -> c_int {
    guarded(|| {
        // SAFETY: as the caller says.
        let dispatcher = unsafe { object(dispatcher, "dispatcher") }?;
        let detached = dispatcher.handle.detach_ring(dispatcher.rings.get(ring)?, Duration::from_millis(timeout));
        if matches!(detached, Ok(()) | Err(fctl_dispatcher::ControlError::Deadline(_))) {
            // When it has gone, another ring may get the place that it had in the dispatcher.
            dispatcher.rings.remove(ring);
        }
        detached?;
        Ok(0)
    })
}
