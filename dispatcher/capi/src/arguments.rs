// SPDX-License-Identifier: MIT OR Apache-2.0
//! Arguments: pointers looked at before they are followed, and structs that may be of another version.

use super::error::{Done, Failure, FCTL_E_ARGUMENT, FCTL_E_THREAD, FCTL_E_VERSION};
use std::cell::Cell;
use std::ffi::{c_char, c_int, CStr};
use std::os::fd::{BorrowedFd, FromRawFd as _, IntoRawFd as _, OwnedFd};
use vmm_sys_util::eventfd::EventFd;

/// A struct larger than this is no struct of ours.
const MOST_BYTES: usize = 4096;

thread_local! {
    static IN_CALLBACK: Cell<bool> = const { Cell::new(false) };
}

/// Runs a callback of the embedder, on the dispatcher's thread.
pub(crate) fn in_callback<T>(act: impl FnOnce() -> T) -> T {
    let outer = IN_CALLBACK.replace(true);
    let result = act();
    IN_CALLBACK.set(outer);
    result
}

fn null(name: &str) -> Failure {
    Failure::new(FCTL_E_ARGUMENT, format!("{name} is null"))
}

fn check<T>(pointer: *const T, name: &str) -> Done<()> {
    if IN_CALLBACK.get() {
        return Err(Failure::new(FCTL_E_THREAD, "called from a callback: the thread that would answer is the calling one"));
    }
    if pointer.is_null() {
        return Err(null(name));
    }
    if !pointer.is_aligned() {
        return Err(Failure::new(
            FCTL_E_ARGUMENT,
            format!("{name} is {pointer:p}: a multiple of {} is accepted", align_of::<T>()),
        ));
    }
    Ok(())
}

/// An object that a function was given.
///
/// # Safety
/// A pointer that is neither null nor misaligned points to a `T` that lives as long as the call.
pub(crate) unsafe fn object<'a, T>(pointer: *const T, name: &str) -> Done<&'a T> {
    check(pointer, name)?;
    // SAFETY: aligned and not null, so by the contract it points to a `T`.
    Ok(unsafe { &*pointer })
}

/// A place for a result, which nothing has been written to yet.
///
/// # Safety
/// A pointer that is neither null nor misaligned may be written through during the call.
pub(crate) unsafe fn place<'a, T>(pointer: *mut T, empty: T, name: &str) -> Done<&'a mut T> {
    check(pointer, name)?;
    // SAFETY: aligned and not null, so by the contract it may be written; then there is a value to refer to.
    unsafe {
        pointer.write(empty);
        Ok(&mut *pointer)
    }
}

/// Takes an object back that was given out by `Box::into_raw`; none if there is none.
///
/// # Safety
/// A pointer that is neither null nor misaligned came from `Box::into_raw` and is not used again.
pub(crate) unsafe fn taken_back<T>(pointer: *mut T, name: &str) -> Done<Option<Box<T>>> {
    match check(pointer, name) {
        Err(_) if pointer.is_null() && !IN_CALLBACK.get() => Ok(None),
        // SAFETY: not null, so by the contract it is a box's.
        checked => checked.map(|()| Some(unsafe { Box::from_raw(pointer) })),
    }
}

/// A struct that says its own size in its first word, all zero by default.
///
/// # Safety
/// `repr(C)`, begins with a `usize`, and every bit pattern (all zero among them) is a value.
pub(crate) unsafe trait Extensible: Copy {
    /// Its name, for people.
    const NAME: &'static str;
    /// Its size in the first version that had it.
    const LEAST: usize;
}

fn size_of_caller<T: Extensible>(size: usize) -> Done<usize> {
    const { assert!(T::LEAST >= size_of::<usize>() && T::LEAST <= size_of::<T>() && size_of::<T>() <= MOST_BYTES) };
    if size < T::LEAST || size > MOST_BYTES {
        return Err(Failure::new(
            FCTL_E_VERSION,
            format!("{} has size {size}: set it to sizeof, {} with this version", T::NAME, size_of::<T>()),
        ));
    }
    Ok(size)
}

/// Reads a struct of this version, an older or a newer one. What a newer one has in addition must be zero.
///
/// # Safety
/// A pointer that is neither null nor misaligned points to a struct as long as its first word says.
pub(crate) unsafe fn given<T: Extensible>(pointer: *const T) -> Done<T> {
    check(pointer, T::NAME)?;
    // SAFETY: by the contract there is at least the first word.
    let size = size_of_caller::<T>(unsafe { pointer.cast::<usize>().read() })?;
    let known = size.min(size_of::<T>());
    // SAFETY: all zero is a value of `T`.
    let mut options: T = unsafe { std::mem::zeroed() };
    // SAFETY: the caller's struct has `size` bytes, ours no fewer than `known`, and every bit pattern is a value.
    unsafe { std::ptr::copy_nonoverlapping(pointer.cast::<u8>(), (&raw mut options).cast::<u8>(), known) };
    for at in known..size {
        // SAFETY: as above: within the caller's struct.
        if unsafe { pointer.cast::<u8>().add(at).read() } != 0 {
            let message = format!("{} of a newer version: its byte {at} is set, and not known here", T::NAME);
            return Err(Failure::new(FCTL_E_VERSION, message));
        }
    }
    Ok(options)
}

/// Reads a struct if there is one; null has all defaults.
///
/// # Safety
/// As [`given`].
pub(crate) unsafe fn given_or_default<T: Extensible>(pointer: *const T) -> Done<T> {
    if pointer.is_null() {
        // SAFETY: all zero is a value of `T`.
        return Ok(unsafe { std::mem::zeroed() });
    }
    // SAFETY: as the caller says.
    unsafe { given(pointer) }
}

/// Writes a struct to a caller who may know fewer fields. Its size stays as the caller has set it.
///
/// # Safety
/// A pointer that is neither null nor misaligned points to a struct as long as its first word says, which may be written.
pub(crate) unsafe fn tell<T: Extensible>(pointer: *mut T, told: &T) -> Done<()> {
    check(pointer, T::NAME)?;
    // SAFETY: by the contract there is at least the first word.
    let size = size_of_caller::<T>(unsafe { pointer.cast::<usize>().read() })?;
    let known = size.min(size_of::<T>());
    let word = size_of::<usize>();
    // SAFETY: both have at least `known` bytes, and the first word of the caller's is left alone.
    unsafe {
        std::ptr::copy_nonoverlapping((&raw const *told).cast::<u8>().add(word), pointer.cast::<u8>().add(word), known - word);
        pointer.cast::<u8>().add(known).write_bytes(0, size - known);
    }
    Ok(())
}

/// A string.
///
/// # Safety
/// A pointer that is not null points to bytes that end with a zero.
pub(crate) unsafe fn text<'a>(pointer: *const c_char, name: &str) -> Done<&'a CStr> {
    check(pointer, name)?;
    // SAFETY: by the contract.
    Ok(unsafe { CStr::from_ptr(pointer) })
}

/// A table.
///
/// # Safety
/// A pointer that is neither null nor misaligned points to `count` entries.
pub(crate) unsafe fn table<'a, T>(pointer: *const T, count: usize, name: &str) -> Done<&'a [T]> {
    if count == 0 {
        return Ok(&[]);
    }
    check(pointer, name)?;
    if count > isize::MAX as usize / size_of::<T>().max(1) {
        return Err(Failure::new(FCTL_E_ARGUMENT, format!("{name} has {count} entries: no memory is so large")));
    }
    // SAFETY: by the contract; and the length in bytes fits.
    Ok(unsafe { std::slice::from_raw_parts(pointer, count) })
}

/// A descriptor of our own for an open file of the caller's.
pub(crate) fn duplicate(fd: c_int, name: &str) -> Done<OwnedFd> {
    let refused = |why: &dyn std::fmt::Display| Failure::new(FCTL_E_ARGUMENT, format!("{name} is {fd}: {why}"));
    if fd < 0 {
        return Err(refused(&"an open file descriptor is accepted"));
    }
    // SAFETY: not -1; used for one call only, which refuses a descriptor that is not open.
    unsafe { BorrowedFd::borrow_raw(fd) }.try_clone_to_owned().map_err(|error| refused(&error))
}

/// An eventfd of our own for the caller's.
pub(crate) fn eventfd(fd: c_int, name: &str) -> Done<EventFd> {
    let own = duplicate(fd, name)?;
    // A descriptor that was forgotten is 0, which is open, and no eventfd. Where there is no /proc the caller is trusted.
    if let Ok(kind) = std::fs::read_link(format!("/proc/self/fd/{fd}")) {
        if kind.as_os_str() != "anon_inode:[eventfd]" {
            return Err(Failure::new(
                FCTL_E_ARGUMENT,
                format!("{name} is {fd}, which is {}: an eventfd is accepted", kind.display()),
            ));
        }
    }
    // SAFETY: the descriptor is open, and nobody else has this one.
    Ok(unsafe { EventFd::from_raw_fd(own.into_raw_fd()) })
}
