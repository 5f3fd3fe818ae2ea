// SPDX-License-Identifier: MIT OR Apache-2.0
//! Volumes: files and block devices that FBA devices store on.

use super::arguments::{given_or_default, place, taken_back, text, Extensible};
use super::error::{guarded, Done, Failure, FCTL_E_ARGUMENT, FCTL_E_VOLUME};
use fctl_dispatcher::volume::{Cache, Durability, Volume, VolumeOptions};
use std::ffi::{c_char, c_int, OsStr};
use std::os::unix::ffi::OsStrExt as _;
use std::ptr;
use std::sync::Arc;

/// Volume option: commands that write get a unit check, and others may read the volume too.
pub const FCTL_VOLUME_READ_ONLY: u32 = 1;

/// Durability: a write is on stable storage before it counts as done.
pub const FCTL_DURABILITY_WRITETHROUGH: u32 = 0;
/// Durability: the host's cache is enough; a crash of the host loses writes that were told done.
pub const FCTL_DURABILITY_WRITEBACK: u32 = 1;

/// Cache: the host's page cache is used.
pub const FCTL_CACHE_BUFFERED: u32 = 0;
/// Cache: it is not (O_DIRECT) for operations that are aligned.
pub const FCTL_CACHE_DIRECT: u32 = 1;

/// An open, locked volume.
pub struct fctl_volume {
    pub(crate) volume: Arc<Volume>,
}

/// How to open a volume. All zero is the safest.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct fctl_volume_options {
    /// sizeof(struct fctl_volume_options).
    pub size: usize,
    /// FCTL_VOLUME_*.
    pub flags: u32,
    /// FCTL_DURABILITY_*.
    pub durability: u32,
    /// FCTL_CACHE_*.
    pub cache: u32,
    /// Zero.
    pub reserved: u32,
}

// SAFETY: integers only, the first a usize.
unsafe impl Extensible for fctl_volume_options {
    const NAME: &'static str = "struct fctl_volume_options";
    const LEAST: usize = 24;
}

fn checked(options: &fctl_volume_options) -> Done<VolumeOptions> {
    let refuse =
        |name: &str, found: u32| Err(Failure::new(FCTL_E_ARGUMENT, format!("{name} is {found:#x}: not one of fctl.h's")));
    if options.flags & !FCTL_VOLUME_READ_ONLY != 0 || options.reserved != 0 {
        return refuse("flags or reserved", options.flags | options.reserved);
    }
    let mut settings = VolumeOptions::default();
    settings.durability = match options.durability {
        FCTL_DURABILITY_WRITETHROUGH => Durability::Writethrough,
        FCTL_DURABILITY_WRITEBACK => Durability::Writeback,
        other => return refuse("durability", other),
    };
    settings.cache = match options.cache {
        FCTL_CACHE_BUFFERED => Cache::Buffered,
        FCTL_CACHE_DIRECT => Cache::Direct,
        other => return refuse("cache", other),
    };
    settings.read_only = options.flags & FCTL_VOLUME_READ_ONLY != 0;
    Ok(settings)
}

/// Opens and locks a plain file or a block device. `options` NULL: all defaults. `*volume` is the caller's, to be given to fctl_close_volume; NULL if this
/// fails.
///
/// # Safety
/// `path` is null or a string; `options` is null or points to a struct with its size; `volume` is null or may be written.
#[no_mangle]
pub unsafe extern "C" fn fctl_open_volume(
    path: *const c_char,
    options: *const fctl_volume_options,
    volume: *mut *mut fctl_volume,
) -> c_int {
    guarded(|| {
        // SAFETY: as the caller says.
        let volume = unsafe { place(volume, ptr::null_mut(), "volume") }?;
        // SAFETY: as the caller says.
        let path = unsafe { text(path, "path") }?;
        // SAFETY: as the caller says.
        let options = checked(&unsafe { given_or_default(options) }?)?;
        let opened = Volume::open(OsStr::from_bytes(path.to_bytes()), options);
        let opened = opened.map_err(|error| Failure::of(FCTL_E_VOLUME, &error))?;
        *volume = Box::into_raw(Box::new(fctl_volume { volume: Arc::new(opened) }));
        Ok(0)
    })
}

/// Gives a volume up. It is closed when no subchannel needs it any more, so this may follow fctl_attach_subchannel at once. NULL is nothing to do.
///
/// # Safety
/// `volume` is null or a volume, that nobody uses any more.
#[no_mangle]
pub unsafe extern "C" fn fctl_close_volume(volume: *mut fctl_volume) -> c_int {
    guarded(|| {
        // SAFETY: as the caller says.
        drop(unsafe { taken_back(volume, "volume") }?);
        Ok(0)
    })
}
