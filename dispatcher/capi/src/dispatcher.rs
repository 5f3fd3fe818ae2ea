// SPDX-License-Identifier: MIT OR Apache-2.0
//! The dispatcher: begun, stopped, freed.

use super::arguments::{given, object, place, taken_back, Extensible};
use super::error::{guarded, Done, Failure, FCTL_E_ARGUMENT, FCTL_E_SYSTEM, FCTL_E_VERSION};
use super::guest::Guest;
use super::table::Table;
use super::FCTL_API_VERSION;
use fctl_dispatcher::{Builder, Handle, RingId, WaitPolicy};
use std::ffi::c_int;
use std::ptr;
use std::time::Duration;

/// Option: pin the dispatcher's thread to `cpu`.
pub const FCTL_OPTION_CPU: u32 = 1;

/// Wait policy: poll for about the price of a sleep, then sleep.
pub const FCTL_WAIT_DEFAULT: u32 = 0;
/// Wait policy: poll for at most `polling` nanoseconds, then sleep.
pub const FCTL_WAIT_POLLING: u32 = 1;
/// Wait policy: sleep at once.
pub const FCTL_WAIT_SLEEPING: u32 = 2;
/// Wait policy: never sleep.
pub const FCTL_WAIT_BUSY: u32 = 3;

/// A running dispatcher.
pub struct fctl {
    pub(crate) handle: Handle,
    pub(crate) guests: Table<Guest>,
    pub(crate) rings: Table<RingId>,
}

/// Settings of a dispatcher.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct fctl_options {
    /// sizeof(struct fctl_options).
    pub size: usize,
    /// FCTL_API_VERSION.
    pub api_version: u32,
    /// FCTL_OPTION_*.
    pub flags: u32,
    /// The CPU for FCTL_OPTION_CPU.
    pub cpu: u32,
    /// How many channel programs can use the engine at once: 1 to 4096; 0: 256.
    pub engine_slots: u32,
    /// FCTL_WAIT_*.
    pub wait: u32,
    /// Zero.
    pub reserved: u32,
    /// Nanoseconds for FCTL_WAIT_POLLING.
    pub polling: u64,
    /// Milliseconds an operation may be in the kernel before its volume is declared stuck; 0: 30,000.
    pub stuck_after: u64,
}

// SAFETY: integers only, the first a usize.
unsafe impl Extensible for fctl_options {
    const NAME: &'static str = "struct fctl_options";
    const LEAST: usize = 48;
}

fn builder(options: &fctl_options) -> Done<Builder> {
    if options.api_version != FCTL_API_VERSION {
        let message = format!("the program has API version {:#x}: {FCTL_API_VERSION:#x} is accepted", options.api_version);
        return Err(Failure::new(FCTL_E_VERSION, message));
    }
    let refuse = |name: &str, value: u32, accepted: &str| {
        Err(Failure::new(FCTL_E_ARGUMENT, format!("{name} is {value:#x}: {accepted} is accepted")))
    };
    if options.flags & !FCTL_OPTION_CPU != 0 || options.reserved != 0 {
        return refuse("flags or reserved", options.flags | options.reserved, "FCTL_OPTION_CPU and 0");
    }
    let mut builder = Builder::default();
    if options.flags & FCTL_OPTION_CPU != 0 {
        builder = builder.cpu(options.cpu as usize);
    }
    match u16::try_from(options.engine_slots) {
        Ok(0) => {}
        Ok(slots) => builder = builder.engine_slots(slots),
        Err(_) => return refuse("engine_slots", options.engine_slots, "1 to 4096"),
    }
    match options.wait {
        FCTL_WAIT_DEFAULT => {}
        FCTL_WAIT_POLLING => builder = builder.wait(WaitPolicy::polling(Duration::from_nanos(options.polling))),
        FCTL_WAIT_SLEEPING => builder = builder.wait(WaitPolicy::sleeping()),
        FCTL_WAIT_BUSY => builder = builder.wait(WaitPolicy::busy()),
        other => return refuse("wait", other, "FCTL_WAIT_DEFAULT to FCTL_WAIT_BUSY"),
    }
    if options.stuck_after != 0 {
        builder = builder.stuck_after(Duration::from_millis(options.stuck_after));
    }
    Ok(builder)
}

/// Begins a dispatcher on a thread of its own. `*dispatcher` is the caller's, to be given to fctl_free; NULL if this fails.
///
/// # Safety
/// `options` is null or points to a struct with its size; `dispatcher` is null or may be written.
#[no_mangle]
pub unsafe extern "C" fn fctl_spawn(options: *const fctl_options, dispatcher: *mut *mut fctl) -> c_int {
    guarded(|| {
        // SAFETY: as the caller says.
        let dispatcher = unsafe { place(dispatcher, ptr::null_mut(), "dispatcher") }?;
        // SAFETY: as the caller says.
        let options = unsafe { given(options) }?;
        let handle = builder(&options)?.spawn().map_err(|error| Failure::of(FCTL_E_SYSTEM, &error))?;
        let running = fctl { handle, guests: Table::new("guest"), rings: Table::new("ring") };
        *dispatcher = Box::into_raw(Box::new(running));
        Ok(0)
    })
}

/// Stops in order: detaches every ring, waits for everything in flight. Then every other function but fctl_free gives FCTL_E_STOPPED.
///
/// # Safety
/// `dispatcher` is null or a dispatcher.
#[no_mangle]
pub unsafe extern "C" fn fctl_stop(dispatcher: *mut fctl) -> c_int {
    guarded(|| {
        // SAFETY: as the caller says.
        let dispatcher = unsafe { object(dispatcher, "dispatcher") }?;
        dispatcher.handle.stop()?;
        Ok(0)
    })
}

/// Stops the dispatcher, if it has not stopped, and gives up all that belongs to it. NULL is nothing to do.
///
/// # Safety
/// `dispatcher` is null or a dispatcher, that nobody uses any more.
#[no_mangle]
pub unsafe extern "C" fn fctl_free(dispatcher: *mut fctl) -> c_int {
    guarded(|| {
        // SAFETY: as the caller says.
        drop(unsafe { taken_back(dispatcher, "dispatcher") }?);
        Ok(0)
    })
}
