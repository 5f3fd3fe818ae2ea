// SPDX-License-Identifier: MIT OR Apache-2.0
//! The host's own poster, for hypervisors that intercept their guest's instructions.

use super::arguments::{eventfd, given_or_default, object, place, taken_back, Extensible};
use super::dispatcher::fctl;
use super::error::{guarded, Done, Failure};
use super::error::{FCTL_E_ARGUMENT, FCTL_E_DEADLINE, FCTL_E_FULL, FCTL_E_MEMORY, FCTL_E_REFUSED, FCTL_E_STOPPED, FCTL_E_SYSTEM};
use super::host_types::{fctl_completion, fctl_descriptor, fctl_extension};
use fctl_dispatcher::host::{HostError, HostRing, HostRingError, HostRingOptions};
use fctl_ringabi::{Completion, Disposition, Extension, PostError};
use std::ffi::c_int;
use std::os::fd::AsRawFd as _;
use std::ptr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Host option: `notification` is the eventfd to be written; else one is made, see fctl_host_notification.
pub const FCTL_HOST_NOTIFICATION: u32 = 1;

/// A ring whose guest end the hypervisor holds. Any thread may use it; one at a time gets at it.
pub struct fctl_host {
    ring: Mutex<HostRing>,
}

/// How a host's ring is set up. All zero: all defaults.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct fctl_host_options {
    /// sizeof(struct fctl_host_options).
    pub size: usize,
    /// FCTL_HOST_*.
    pub flags: u32,
    /// Submission entries: a power of two, at least 8; 0: 64.
    pub entries: u32,
    /// Milliseconds an instruction may wait to be accepted; 0: 5,000.
    pub limit: u64,
    /// The eventfd for FCTL_HOST_NOTIFICATION, for instance the one that injects the guest's interrupt. It stays the caller's, who may close it.
    pub notification: c_int,
    /// Zero.
    pub reserved: u32,
}

// SAFETY: integers only, the first a usize.
unsafe impl Extensible for fctl_host_options {
    const NAME: &'static str = "struct fctl_host_options";
    const LEAST: usize = 32;
}

impl From<HostRingError> for Failure {
    fn from(error: HostRingError) -> Self {
        let code = match error {
            HostRingError::Header(_) => FCTL_E_ARGUMENT,
            HostRingError::Region(_) => FCTL_E_MEMORY,
            _ => FCTL_E_SYSTEM,
        };
        Self::of(code, &error)
    }
}

impl From<HostError> for Failure {
    fn from(error: HostError) -> Self {
        let code = match &error {
            HostError::Stopped | HostError::Post(PostError::Fenced(_)) => FCTL_E_STOPPED,
            HostError::Late(_) => FCTL_E_DEADLINE,
            HostError::Untaken(_) | HostError::Post(PostError::SubmissionFull | PostError::CompletionCredit) => FCTL_E_FULL,
            HostError::Refused { .. } => FCTL_E_REFUSED,
            HostError::EventFd(_) => FCTL_E_SYSTEM,
            _ => FCTL_E_MEMORY,
        };
        Self::of(code, &error)
    }
}

fn settings(options: &fctl_host_options) -> Done<HostRingOptions> {
    if options.flags & !FCTL_HOST_NOTIFICATION != 0 || options.reserved != 0 {
        let found = options.flags | options.reserved;
        return Err(Failure::new(
            FCTL_E_ARGUMENT,
            format!("flags or reserved is {found:#x}: FCTL_HOST_NOTIFICATION and 0 is accepted"),
        ));
    }
    let mut settings = HostRingOptions::default();
    if options.entries != 0 {
        settings.entries = options.entries;
    }
    if options.limit != 0 {
        settings.limit = Duration::from_millis(options.limit);
    }
    if options.flags & FCTL_HOST_NOTIFICATION != 0 {
        settings.notification = Some(eventfd(options.notification, "notification")?);
    }
    Ok(settings)
}

/// # Safety
/// `host` is null or a host's ring.
unsafe fn locked<'a>(host: *const fctl_host) -> Done<MutexGuard<'a, HostRing>> {
    // SAFETY: as the caller says.
    let host = unsafe { object(host, "host") }?;
    Ok(host.ring.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Attaches a ring of the host's own to a guest. `options` NULL: all defaults. `*host` is the caller's, to be given to fctl_free_host, NULL if this fails;
/// `*ring` is the ring's number, for subchannels and for fctl_detach_ring.
///
/// # Safety
/// `dispatcher` is null or a dispatcher; `options` is null or points to a struct with its size; `host` and `ring` are null or may be written.
#[no_mangle]
pub unsafe extern "C" fn fctl_attach_host(
    dispatcher: *mut fctl,
    guest: u64,
    options: *const fctl_host_options,
    host: *mut *mut fctl_host,
    ring: *mut u64,
) -> c_int {
    guarded(|| {
        // SAFETY: as the caller says.
        let (host, ring) = unsafe { (place(host, ptr::null_mut(), "host")?, place(ring, 0, "ring")?) };
        // SAFETY: as the caller says.
        let dispatcher = unsafe { object(dispatcher, "dispatcher") }?;
        // SAFETY: as the caller says.
        let settings = settings(&unsafe { given_or_default(options) }?)?;
        let guest = dispatcher.guests.get(guest)?;
        let (own, ends) = HostRing::new(settings)?;
        let id = dispatcher.handle.attach_host_ring(guest.id, ends)?;
        *ring = dispatcher.rings.add(id);
        *host = Box::into_raw(Box::new(fctl_host { ring: Mutex::new(own) }));
        Ok(0)
    })
}

/// # Safety
/// The places are null or may be written.
unsafe fn put(
    taken: Option<&(Completion, Option<Extension>)>,
    completion: *mut fctl_completion,
    extension: *mut fctl_extension,
) -> Done<()> {
    if !completion.is_null() {
        let found = taken.map_or(fctl_completion::NONE, |(completion, _)| fctl_completion::of(completion));
        // SAFETY: as the caller says.
        unsafe { place(completion, found, "completion") }?;
    }
    if !extension.is_null() {
        let found = fctl_extension::of(taken.and_then(|(_, extension)| extension.as_ref()));
        // SAFETY: as the caller says.
        unsafe { place(extension, found, "extension") }?;
    }
    Ok(())
}

/// Executes an instruction: returns its condition code, 0 to 3. FCTL_E_REFUSED: it would have ended with a program interruption, whose code is in
/// `ended->code`, or is no instruction (FCTL_ERROR_* there). What ended with its condition code is in `*ended` and `*extension` (the SCHIB of STORE, the
/// status of TEST); START, HALT and CLEAR that were accepted come by fctl_host_take: then `ended->kind` is 0. Both may be NULL.
/// Waits for the dispatcher's next turn, at most the limit of the options.
///
/// # Safety
/// `host` is null or a host's ring, `descriptor` null or a descriptor; `ended` and `extension` are null or may be written.
#[no_mangle]
pub unsafe extern "C" fn fctl_host_execute(
    host: *mut fctl_host,
    descriptor: *const fctl_descriptor,
    ended: *mut fctl_completion,
    extension: *mut fctl_extension,
) -> c_int {
    guarded(|| {
        // SAFETY: as the caller says.
        unsafe { put(None, ended, extension) }?;
        // SAFETY: as the caller says.
        let descriptor = unsafe { object(descriptor, "descriptor") }?.to_descriptor();
        // SAFETY: as the caller says.
        let executed = unsafe { locked(host) }?.execute(&descriptor)?;
        // SAFETY: as the caller says.
        unsafe { put(executed.ended.as_ref(), ended, extension) }?;
        match executed.accepted.disposition() {
            Some(disposition @ (Disposition::ProgramInterruption | Disposition::DescriptorError)) => {
                Err(HostError::Refused { disposition, code: executed.accepted.code }.into())
            }
            _ => Ok(executed.condition_code().into()),
        }
    })
}

/// Takes the next completion: 1, or 0 if there is none now. Both places may be NULL; without a completion they are zero.
///
/// # Safety
/// `host` is null or a host's ring; `completion` and `extension` are null or may be written.
#[no_mangle]
pub unsafe extern "C" fn fctl_host_take(
    host: *mut fctl_host,
    completion: *mut fctl_completion,
    extension: *mut fctl_extension,
) -> c_int {
    guarded(|| {
        // SAFETY: as the caller says.
        unsafe { put(None, completion, extension) }?;
        // SAFETY: as the caller says.
        let taken = unsafe { locked(host) }?.take()?;
        // SAFETY: as the caller says.
        unsafe { put(taken.as_ref(), completion, extension) }?;
        Ok(c_int::from(taken.is_some()))
    })
}

/// Asks for one notification as soon as there is something to take, or the ring has gone: 1. If there is something already: 0, and no notification comes.
///
/// # Safety
/// `host` is null or a host's ring.
#[no_mangle]
pub unsafe extern "C" fn fctl_host_arm(host: *mut fctl_host) -> c_int {
    guarded(|| {
        // SAFETY: as the caller says.
        let armed = unsafe { locked(host) }?.arm()?;
        Ok(c_int::from(armed))
    })
}

/// Takes the wish for a notification back: 1. 0: none is wished for, or it is on its way and comes for certain.
///
/// # Safety
/// `host` is null or a host's ring.
#[no_mangle]
pub unsafe extern "C" fn fctl_host_disarm(host: *mut fctl_host) -> c_int {
    guarded(|| {
        // SAFETY: as the caller says.
        let disarmed = unsafe { locked(host) }?.disarm();
        Ok(c_int::from(disarmed))
    })
}

/// The descriptor of the notification's eventfd, which is the library's until the ring is freed.
///
/// # Safety
/// `host` is null or a host's ring.
#[no_mangle]
pub unsafe extern "C" fn fctl_host_notification(host: *mut fctl_host) -> c_int {
    guarded(|| {
        // SAFETY: as the caller says.
        let notification = unsafe { locked(host) }?.notification().as_raw_fd();
        Ok(notification)
    })
}

/// Gives the host's end of a ring up. The ring itself is detached by fctl_detach_ring, before or after this. NULL is nothing to do.
///
/// # Safety
/// `host` is null or a host's ring, that nobody uses any more.
#[no_mangle]
pub unsafe extern "C" fn fctl_free_host(host: *mut fctl_host) -> c_int {
    guarded(|| {
        // SAFETY: as the caller says.
        drop(unsafe { taken_back(host, "host") }?);
        Ok(0)
    })
}
