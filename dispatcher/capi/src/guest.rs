// SPDX-License-Identifier: MIT OR Apache-2.0
//! Guests, and their memory: a table of ranges of the embedder's own process.

use super::arguments::{given, in_callback, object, place, table, Extensible};
use super::dispatcher::fctl;
use super::error::{guarded, Done, Failure, FCTL_E_ARGUMENT, FCTL_E_MEMORY};
use fctl_dispatcher::memory::{DirtyLog, HostRange, Memory, OutsideMemory, Sink};
use fctl_dispatcher::{ControlError, GuestId};
use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A guest that is attached.
#[derive(Clone)]
pub(crate) struct Guest {
    pub(crate) id: GuestId,
    /// Locked while it is replaced.
    memory: Arc<Mutex<Memory>>,
}

impl Guest {
    /// Its memory as it is now.
    pub(crate) fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A piece of this process's memory that a guest sees as its memory.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct fctl_memory_range {
    /// Guest address of the first byte.
    pub guest_address: u64,
    /// That byte in this process, at the beginning of a page.
    pub host_address: *mut c_void,
    /// Length in bytes.
    pub size: u64,
}

/// A guest's memory. The callbacks may be NULL; each gets `context`. They may call nothing of this library but fctl_last_error.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct fctl_guest_options {
    /// sizeof(struct fctl_guest_options).
    pub size: usize,
    /// The ranges: mapped, readable and writable until `release` is called, and nobody can make a file behind them shorter. The table itself is
    /// copied.
    pub ranges: *const fctl_memory_range,
    /// How many.
    pub range_count: usize,
    /// For the callbacks.
    pub context: *mut c_void,
    /// Called once after the guest was attached, when the library no longer needs the ranges nor the callbacks; on whatever thread that happens. Not
    /// called if attaching fails.
    pub release: Option<extern "C" fn(context: *mut c_void)>,
    /// If set, all that the library has for the guest (but its ring) goes through this: it stores `length` bytes from guest address `address` on, and
    /// returns 0; not 0 if the range is no memory any more. On the dispatcher's thread.
    pub store: Option<extern "C" fn(context: *mut c_void, address: u64, bytes: *const c_void, length: usize) -> c_int>,
    /// If set (and `store` is not), told after each change of guest memory and before the guest can see the completion. On the dispatcher's thread.
    pub dirty: Option<extern "C" fn(context: *mut c_void, address: u64, length: u64)>,
}

// SAFETY: integers, pointers and optional functions, the first a usize.
unsafe impl Extensible for fctl_guest_options {
    const NAME: &'static str = "struct fctl_guest_options";
    const LEAST: usize = 56;
}

/// The embedder's side of a guest's memory.
struct Embedder {
    told: fctl_guest_options,
    /// Only then is there something to release.
    attached: AtomicBool,
}

// SAFETY: the pointers are the embedder's, who lets the library use callbacks and context on any thread (documented at the struct).
unsafe impl Send for Embedder {}
// SAFETY: as above; the callbacks are called by one thread at a time, the dispatcher's, and `release` by the last owner.
unsafe impl Sync for Embedder {}

impl Drop for Embedder {
    fn drop(&mut self) {
        if let (Some(release), true) = (self.told.release, *self.attached.get_mut()) {
            in_callback(|| release(self.told.context));
        }
    }
}

impl Sink for Embedder {
    fn store(&self, address: u64, bytes: &[u8]) -> Result<(), OutsideMemory> {
        let outside = OutsideMemory { address, length: bytes.len() as u64 };
        let store = self.told.store.ok_or(outside)?;
        match in_callback(|| store(self.told.context, address, bytes.as_ptr().cast(), bytes.len())) {
            0 => Ok(()),
            _ => Err(outside),
        }
    }
}

impl DirtyLog for Embedder {
    fn mark(&self, address: u64, length: u64) {
        if let Some(dirty) = self.told.dirty {
            in_callback(|| dirty(self.told.context, address, length));
        }
    }
}

impl Embedder {
    fn new(told: fctl_guest_options) -> Arc<Self> {
        Arc::new(Self { told, attached: AtomicBool::new(false) })
    }

    /// From now on there is something to release.
    fn attached(&self) {
        // Relaxed: who drops the last owner has seen it by what the count of owners orders.
        self.attached.store(true, Ordering::Relaxed);
    }
}

/// # Safety
/// The ranges are as documented at [`fctl_guest_options`].
unsafe fn memory(owner: Arc<Embedder>) -> Done<Memory> {
    let told = owner.told;
    if told.store.is_some() && told.dirty.is_some() {
        return Err(Failure::new(FCTL_E_ARGUMENT, "store and dirty are both set: who stores knows what is dirty"));
    }
    // SAFETY: the caller gave a table of that length.
    let ranges = unsafe { table(told.ranges, told.range_count, "ranges") }?;
    let ranges: Done<Vec<HostRange>> = ranges
        .iter()
        .map(|range| {
            let length = usize::try_from(range.size);
            let length =
                length.map_err(|_| Failure::new(FCTL_E_MEMORY, format!("a range has {} bytes: too many", range.size)))?;
            Ok(HostRange { address: range.guest_address, host: range.host_address.cast(), length })
        })
        .collect();
    // SAFETY: the embedder keeps the ranges mapped until `release`, which dropping the owner calls, and reaches them as C does.
    let memory = unsafe { Memory::from_host_ranges(&ranges?, owner.clone()) };
    let memory = memory.map_err(|error| Failure::of(FCTL_E_MEMORY, &error))?;
    Ok(match (told.store, told.dirty) {
        (Some(_), _) => memory.through_sink(owner),
        (None, Some(_)) => memory.with_dirty_log(owner),
        (None, None) => memory,
    })
}

/// Attaches a guest: its memory, and subchannel numbers of its own. `*guest` is its number, 0 if this fails.
///
/// # Safety
/// `dispatcher` is null or a dispatcher; `options` is null or points to a struct with its size, and the ranges are as documented there; `guest` is null or
/// may be written.
#[no_mangle]
pub unsafe extern "C" fn fctl_attach_guest(dispatcher: *mut fctl, options: *const fctl_guest_options, guest: *mut u64) -> c_int {
    guarded(|| {
        // SAFETY: as the caller says.
        let told = unsafe { given(options) }?;
        // SAFETY: as the caller says.
        let guest = unsafe { place(guest, 0, "guest") }?;
        // SAFETY: as the caller says.
        let dispatcher = unsafe { object(dispatcher, "dispatcher") }?;
        let embedder = Embedder::new(told);
        // SAFETY: as the caller says.
        let memory = unsafe { memory(Arc::clone(&embedder)) }?;
        let id = dispatcher.handle.attach_guest(memory.clone())?;
        embedder.attached();
        *guest = dispatcher.guests.add(Guest { id, memory: Arc::new(Mutex::new(memory)) });
        Ok(0)
    })
}

/// Replaces a guest's memory while it runs: to add, remove or move some of it. From now on channel programs are found in the new memory, and one that needs a
/// range that is not there any more gets a program check. Waits until the kernel does not use the old memory any more, at most `timeout`
/// milliseconds; FCTL_E_DEADLINE: the new memory is there, the old is kept until then. The old memory's `release` is called before this returns 0, unless a
/// ring lies in it: then when that is detached.
///
/// # Safety
/// As [`fctl_attach_guest`].
#[no_mangle]
pub unsafe extern "C" fn fctl_replace_memory(
    dispatcher: *mut fctl,
    guest: u64,
    options: *const fctl_guest_options,
    timeout: u64,
) -> c_int {
    guarded(|| {
        // SAFETY: as the caller says.
        let told = unsafe { given(options) }?;
        // SAFETY: as the caller says.
        let dispatcher = unsafe { object(dispatcher, "dispatcher") }?;
        let guest = dispatcher.guests.get(guest)?;
        let embedder = Embedder::new(told);
        // SAFETY: as the caller says.
        let memory = unsafe { memory(Arc::clone(&embedder)) }?;
        let mut known = guest.memory();
        let replaced = dispatcher.handle.replace_memory(guest.id, memory.clone(), Duration::from_millis(timeout));
        if matches!(replaced, Ok(()) | Err(ControlError::Deadline(_))) {
            embedder.attached();
            *known = memory;
        }
        replaced?;
        Ok(0)
    })
}

/// Takes a guest away that has no rings any more. Its memory's `release` is called as soon as nothing uses the memory: usually before this returns.
///
/// # Safety
/// `dispatcher` is null or a dispatcher.
#[no_mangle]
pub unsafe extern "C" fn fctl_detach_guest(dispatcher: *mut fctl, guest: u64) -> c_int {
    guarded(|| {
        // SAFETY: as the caller says.
        let dispatcher = unsafe { object(dispatcher, "dispatcher") }?;
        dispatcher.handle.detach_guest(dispatcher.guests.get(guest)?.id)?;
        drop(dispatcher.guests.remove(guest));
        Ok(0)
    })
}
