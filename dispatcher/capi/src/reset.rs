// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reset of one subchannel, of a guest, of all; and subchannels taken away while their ring goes on.

use super::arguments::object;
use super::dispatcher::fctl;
use super::error::guarded;
use fctl_ringabi::arch::SubsystemId;
use std::ffi::c_int;
use std::time::Duration;

/// Resets a subchannel within `timeout` milliseconds: what runs is stopped, status, sense and reservation are withdrawn, what was taken gets its final.
/// FCTL_E_DEADLINE: it becomes reset as soon as it can.
///
/// # Safety
/// `dispatcher` is null or a dispatcher.
#[no_mangle]
pub unsafe extern "C" fn fctl_reset_subchannel(dispatcher: *mut fctl, guest: u64, subsystem: u32, timeout: u64) -> c_int {
    guarded(|| {
        // SAFETY: as the caller says.
        let dispatcher = unsafe { object(dispatcher, "dispatcher") }?;
        let (guest, id) = (dispatcher.guests.get(guest)?.id, SubsystemId::from_word(subsystem));
        dispatcher.handle.reset_subchannel(guest, id, Duration::from_millis(timeout))?;
        Ok(0)
    })
}

/// Resets all subchannels of a guest, as fctl_reset_subchannel.
///
/// # Safety
/// `dispatcher` is null or a dispatcher.
#[no_mangle]
pub unsafe extern "C" fn fctl_reset_guest(dispatcher: *mut fctl, guest: u64, timeout: u64) -> c_int {
    guarded(|| {
        // SAFETY: as the caller says.
        let dispatcher = unsafe { object(dispatcher, "dispatcher") }?;
        dispatcher.handle.reset_guest(dispatcher.guests.get(guest)?.id, Duration::from_millis(timeout))?;
        Ok(0)
    })
}

/// Resets all subchannels of all guests, as fctl_reset_subchannel.
///
/// # Safety
/// `dispatcher` is null or a dispatcher.
#[no_mangle]
pub unsafe extern "C" fn fctl_reset_all(dispatcher: *mut fctl, timeout: u64) -> c_int {
    guarded(|| {
        // SAFETY: as the caller says.
        unsafe { object(dispatcher, "dispatcher") }?.handle.reset_all(Duration::from_millis(timeout))?;
        Ok(0)
    })
}

/// Stops what runs on a subchannel and takes it away, within `timeout` milliseconds; its ring goes on. FCTL_E_DEADLINE: it goes by itself as soon as it can.
///
/// # Safety
/// `dispatcher` is null or a dispatcher.
#[no_mangle]
pub unsafe extern "C" fn fctl_detach_subchannel(dispatcher: *mut fctl, guest: u64, subsystem: u32, timeout: u64) -> c_int {
    guarded(|| {
        // SAFETY: as the caller says.
        let dispatcher = unsafe { object(dispatcher, "dispatcher") }?;
        let (guest, id) = (dispatcher.guests.get(guest)?.id, SubsystemId::from_word(subsystem));
        dispatcher.handle.detach_subchannel(guest, id, Duration::from_millis(timeout))?;
        Ok(0)
    })
}
