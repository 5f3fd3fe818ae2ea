// SPDX-License-Identifier: MIT OR Apache-2.0
//! The functions of the C library that stand in front of the real ones in QEMU's process.
//!
//! `open` and `ioctl` are variadic in C. Here they have all arguments they can have: in the calling conventions of Linux on 64-bit machines
//! an argument that was not passed is a register that is not looked at.
//!
//! This library's own calls come through here, too; they find nothing of ours and go on.

use crate::adapter::ADAPTER;
use crate::descriptors::{self, Descriptor};
use crate::{sysfs, vfio};
use std::ffi::{c_char, c_int, c_ulong, c_void, CStr};
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicPtr, Ordering};

/// A result that fails with an error number.
pub type Answer<T> = Result<T, c_int>;

/// The next function of this name behind ours, looked up once.
struct Real {
    name: &'static CStr,
    address: AtomicPtr<c_void>,
}

impl Real {
    const fn new(name: &'static CStr) -> Self {
        Self { name, address: AtomicPtr::new(std::ptr::null_mut()) }
    }

    #[inline]
    fn get(&self) -> *mut c_void {
        // Relaxed: the address is all there is, and whoever looks it up finds the same.
        let found = self.address.load(Ordering::Relaxed);
        if found.is_null() {
            self.look_up()
        } else {
            found
        }
    }

    #[cold]
    fn look_up(&self) -> *mut c_void {
        // SAFETY: a valid name; asking is harmless.
        let found = unsafe { libc::dlsym(libc::RTLD_NEXT, self.name.as_ptr()) };
        if found.is_null() {
            // The C library has all of them: without one there is no process to go on with.
            std::process::abort();
        }
        self.address.store(found, Ordering::Relaxed);
        found
    }
}

/// Sets the error number and gives what C functions give then.
fn refuse(error: c_int) -> c_int {
    // SAFETY: the calling thread's own error number.
    unsafe { *libc::__errno_location() = error };
    -1
}

fn finish(answer: Answer<c_int>) -> c_int {
    answer.unwrap_or_else(refuse)
}

fn finish_bytes(answer: Answer<usize>) -> isize {
    match answer.map(isize::try_from) {
        Ok(Ok(bytes)) => bytes,
        Ok(Err(_)) => refuse(libc::EINVAL) as isize,
        Err(error) => refuse(error) as isize,
    }
}

/// The path, if it can be one of ours.
///
/// # Safety
/// `path` is null or a C string.
unsafe fn path_of<'a>(path: *const c_char, prefix: &str) -> Option<&'a str> {
    if path.is_null() {
        return None;
    }
    // SAFETY: a C string (contract of this function).
    let bytes = unsafe { CStr::from_ptr(path) }.to_bytes();
    bytes.starts_with(prefix.as_bytes()).then(|| std::str::from_utf8(bytes).ok())?
}

/// Opens a path of ours.
///
/// # Safety
/// `path` is null or a C string.
unsafe fn open_ours(path: *const c_char) -> Option<c_int> {
    // SAFETY: the caller's promise.
    let path = unsafe { path_of(path, "/dev/vfio/") }?;
    let adapter = ADAPTER.get()?;
    let what = sysfs::special_file(path, adapter.devices().len())?;
    Some(finish(descriptors::make(what).map_err(|error| error.raw_os_error().unwrap_or(libc::EIO))))
}

macro_rules! hook_open {
    ($name:ident, $real:literal, ($($argument:ident: $kind:ty),*)) => {
        /// Opens the container and the groups; everything else is none of ours.
        ///
        /// # Safety
        /// As the function of the C library.
        #[no_mangle]
        pub unsafe extern "C" fn $name(path: *const c_char $(, $argument: $kind)*) -> c_int {
            static REAL: Real = Real::new($real);
            // SAFETY: the caller gives a C string.
            if let Some(fd) = unsafe { open_ours(path) } {
                return fd;
            }
            // SAFETY: the symbol of this name has this signature.
            let real: unsafe extern "C" fn(*const c_char $(, $kind)*) -> c_int = unsafe { std::mem::transmute(REAL.get()) };
            // SAFETY: the caller's arguments.
            unsafe { real(path $(, $argument)*) }
        }
    };
}

hook_open!(open, c"open", (flags: c_int, mode: libc::mode_t));
hook_open!(open64, c"open64", (flags: c_int, mode: libc::mode_t));
hook_open!(__open_2, c"__open_2", (flags: c_int));
hook_open!(__open64_2, c"__open64_2", (flags: c_int));

macro_rules! hook_fopen {
    ($name:ident, $real:literal) => {
        /// Opens the files of `/sys` that we answer for; everything else is none of ours.
        ///
        /// # Safety
        /// As the function of the C library.
        #[no_mangle]
        pub unsafe extern "C" fn $name(path: *const c_char, mode: *const c_char) -> *mut libc::FILE {
            static REAL: Real = Real::new($real);
            // SAFETY: the caller gives a C string.
            if let Some(path) = unsafe { path_of(path, "/sys/") } {
                let content = ADAPTER.get().and_then(|adapter| sysfs::content(path, adapter.devices().len()));
                if let Some(content) = content {
                    return file_of(content);
                }
            }
            type Function = unsafe extern "C" fn(*const c_char, *const c_char) -> *mut libc::FILE;
            // SAFETY: the symbol of this name has this signature.
            let real: Function = unsafe { std::mem::transmute(REAL.get()) };
            // SAFETY: the caller's arguments.
            unsafe { real(path, mode) }
        }
    };
}

hook_fopen!(fopen, c"fopen");
hook_fopen!(fopen64, c"fopen64");

/// A stream with this content, or null.
fn file_of(content: String) -> *mut libc::FILE {
    // The stream reads where the bytes lie; a few of them are left behind for each device.
    let content: &'static mut str = content.leak();
    // SAFETY: the bytes live for ever, and a stream opened for reading does not change them.
    unsafe { libc::fmemopen(content.as_mut_ptr().cast(), content.len(), c"r".as_ptr()) }
}

/// Tells the VFIO group of a volume; everything else is none of ours.
///
/// # Safety
/// As the function of the C library.
#[no_mangle]
pub unsafe extern "C" fn readlink(path: *const c_char, to: *mut c_char, room: usize) -> isize {
    static REAL: Real = Real::new(c"readlink");
    // SAFETY: the caller gives a C string.
    if let Some(path) = unsafe { path_of(path, "/sys/") } {
        if let Some(target) = ADAPTER.get().and_then(|adapter| sysfs::link(path, adapter.devices().len())) {
            let length = target.len().min(room);
            // SAFETY: the caller has that much room.
            unsafe { std::ptr::copy_nonoverlapping(target.as_ptr(), to.cast(), length) };
            return finish_bytes(Ok(length));
        }
    }
    // SAFETY: the symbol of this name has this signature.
    let real: unsafe extern "C" fn(*const c_char, *mut c_char, usize) -> isize = unsafe { std::mem::transmute(REAL.get()) };
    // SAFETY: the caller's arguments.
    unsafe { real(path, to, room) }
}

/// Answers for the container, the groups and the devices.
///
/// # Safety
/// As the function of the C library.
#[no_mangle]
pub unsafe extern "C" fn ioctl(fd: RawFd, request: c_ulong, argument: *mut c_void) -> c_int {
    static REAL: Real = Real::new(c"ioctl");
    if let Some(descriptor) = descriptors::find(fd) {
        // SAFETY: the caller gives what the request wants, as to the kernel.
        return finish(unsafe { vfio::ioctl(descriptor, request, argument) });
    }
    // SAFETY: the symbol of this name has this signature.
    let real: unsafe extern "C" fn(RawFd, c_ulong, *mut c_void) -> c_int = unsafe { std::mem::transmute(REAL.get()) };
    // SAFETY: the caller's arguments.
    unsafe { real(fd, request, argument) }
}

macro_rules! hook_read {
    ($name:ident, $real:literal, ($($argument:ident: $kind:ty),*)) => {
        /// Reads a region of a device.
        ///
        /// # Safety
        /// As the function of the C library.
        #[no_mangle]
        pub unsafe extern "C" fn $name(fd: RawFd, to: *mut c_void, length: usize, offset: i64 $(, $argument: $kind)*) -> isize {
            static REAL: Real = Real::new($real);
            if let Some(Descriptor::Device(index)) = descriptors::find(fd) {
                // SAFETY: the caller gives a buffer of `length` bytes.
                return finish_bytes(unsafe { vfio::read(index, to.cast(), length, offset) });
            }
            type Function = unsafe extern "C" fn(RawFd, *mut c_void, usize, i64 $(, $kind)*) -> isize;
            // SAFETY: the symbol of this name has this signature.
            let real: Function = unsafe { std::mem::transmute(REAL.get()) };
            // SAFETY: the caller's arguments.
            unsafe { real(fd, to, length, offset $(, $argument)*) }
        }
    };
}

hook_read!(pread, c"pread", ());
hook_read!(pread64, c"pread64", ());
hook_read!(__pread_chk, c"__pread_chk", (room: usize));
hook_read!(__pread64_chk, c"__pread64_chk", (room: usize));

macro_rules! hook_write {
    ($name:ident, $real:literal) => {
        /// Writes a region of a device: an instruction.
        ///
        /// # Safety
        /// As the function of the C library.
        #[no_mangle]
        pub unsafe extern "C" fn $name(fd: RawFd, from: *const c_void, length: usize, offset: i64) -> isize {
            static REAL: Real = Real::new($real);
            if let Some(Descriptor::Device(index)) = descriptors::find(fd) {
                // SAFETY: the caller gives a buffer of `length` bytes.
                return finish_bytes(unsafe { vfio::write(index, from.cast(), length, offset) });
            }
            type Function = unsafe extern "C" fn(RawFd, *const c_void, usize, i64) -> isize;
            // SAFETY: the symbol of this name has this signature.
            let real: Function = unsafe { std::mem::transmute(REAL.get()) };
            // SAFETY: the caller's arguments.
            unsafe { real(fd, from, length, offset) }
        }
    };
}

hook_write!(pwrite, c"pwrite");
hook_write!(pwrite64, c"pwrite64");

/// Closes a descriptor, and what stands behind it if it is ours.
///
/// # Safety
/// As the function of the C library.
#[no_mangle]
pub unsafe extern "C" fn close(fd: RawFd) -> c_int {
    static REAL: Real = Real::new(c"close");
    if let Some(descriptor) = descriptors::find(fd) {
        vfio::close(descriptor);
        descriptors::forget(fd);
    }
    // SAFETY: the symbol of this name has this signature.
    let real: unsafe extern "C" fn(RawFd) -> c_int = unsafe { std::mem::transmute(REAL.get()) };
    // SAFETY: the caller's argument.
    unsafe { real(fd) }
}
