// SPDX-License-Identifier: MIT OR Apache-2.0
//! Regions: the shared memory that a ring pair lives in.

use crate::memory::Memory;
use fctl_ringabi::header::ALIGNMENT;
use fctl_ringabi::MappedWords;
use memmap2::{MmapOptions, MmapRaw};
use rustix::fs::{MemfdFlags, SealFlags};
use std::any::Any;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::ptr::NonNull;
use std::sync::Arc;

/// The words of a region, and what keeps it mapped.
pub type RegionWords = MappedWords<Arc<dyn Any + Send + Sync>>;

/// Why shared memory cannot be used as a region.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegionError {
    /// It could still be shrunk or grown by whoever else has it.
    #[error("the memory file is not sealed (seals are {found:?}): F_SEAL_SHRINK and F_SEAL_GROW must both be set")]
    Unsealed {
        /// The seals that are set.
        found: SealFlags,
    },
    /// Not a memory file at all, so it cannot be sealed.
    #[error("the file is no memory file and cannot be sealed ({0}): a memfd with F_SEAL_SHRINK and F_SEAL_GROW is accepted")]
    NotSealable(io::Error),
    /// The offset or address is not aligned.
    #[error("{what} is {found:#x}: a multiple of {ALIGNMENT} is accepted")]
    Misaligned {
        /// Which value.
        what: &'static str,
        /// Its value.
        found: u64,
    },
    /// It reaches past the end.
    #[error("a region of {bytes} bytes at offset {offset} does not fit into {there} bytes")]
    OutOfRange {
        /// Its offset.
        offset: u64,
        /// Its length.
        bytes: u64,
        /// What there is.
        there: u64,
    },
    /// The kernel would not map it.
    #[error("cannot map a region of {bytes} bytes: {source}")]
    Map {
        /// Its length.
        bytes: u64,
        /// The kernel's answer.
        source: io::Error,
    },
}

/// A memory file of `bytes` bytes that can neither shrink nor grow: what a region and a guest's memory can be shared through.
///
/// # Errors
/// The kernel has no such memory.
pub fn sealed_memory_file(name: &str, bytes: u64) -> io::Result<File> {
    let file = File::from(rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?);
    file.set_len(bytes)?;
    rustix::fs::fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW)?;
    Ok(file)
}

/// Checks that a file is sealed against shrinking and growing, so that what is mapped of it stays there, and that it has this range. Gives its length.
pub(crate) fn check_range(file: &File, offset: u64, bytes: u64) -> Result<u64, RegionError> {
    let seals = rustix::fs::fcntl_get_seals(file.as_fd()).map_err(|error| RegionError::NotSealable(error.into()))?;
    if !seals.contains(SealFlags::SHRINK | SealFlags::GROW) {
        return Err(RegionError::Unsealed { found: seals });
    }
    let there = file.metadata().map_err(|source| RegionError::Map { bytes, source })?.len();
    if offset.checked_add(bytes).is_none_or(|end| end > there) {
        return Err(RegionError::OutOfRange { offset, bytes, there });
    }
    Ok(there)
}

/// Shared memory for a ring pair. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Region {
    words: RegionWords,
}

impl Region {
    /// Maps `bytes` bytes of a sealed memory file from `offset` on.
    ///
    /// # Errors
    /// Not sealed against shrinking and growing, misaligned, out of range, or refused by the kernel.
    pub fn from_memory_file(file: &File, offset: u64, bytes: u64) -> Result<Self, RegionError> {
        let map_error = |source| RegionError::Map { bytes, source };
        let there = check_range(file, offset, bytes)?;
        if offset % ALIGNMENT != 0 {
            return Err(RegionError::Misaligned { what: "region offset", found: offset });
        }
        let length = usize::try_from(bytes).map_err(|_| RegionError::OutOfRange { offset, bytes, there })?;
        let map: MmapRaw = MmapOptions::new().offset(offset).len(length).map_raw(file).map_err(map_error)?;
        let base = NonNull::new(map.as_mut_ptr()).ok_or_else(|| map_error(io::Error::other("mapped at address zero")))?;
        // SAFETY: the mapping is `length` bytes long, lives as long as the `Arc`, cannot shrink (sealed), and nobody in this process has another pointer to it
        // than the words (guest memory in the same file is reached by volatile access only).
        let words = unsafe { MappedWords::new(base, length, Arc::new(map) as Arc<dyn Any + Send + Sync>) };
        words
            .map(|words| Self { words })
            .map_err(|_| RegionError::Misaligned { what: "mapping", found: base.as_ptr().addr() as u64 })
    }

    /// A region in the guest's own memory, from guest address `address` on. The rings are written directly, also where the memory has a
    /// [`Sink`](crate::memory::Sink): its mapping must be writable here. The mapping is kept as long as the region, whatever becomes of the guest's memory.
    ///
    /// # Errors
    /// Misaligned, or not inside one piece of the guest's memory.
    pub fn from_guest_memory(memory: &Memory, address: u64, bytes: u64) -> Result<Self, RegionError> {
        if address % ALIGNMENT != 0 {
            return Err(RegionError::Misaligned { what: "guest address", found: address });
        }
        let outside = RegionError::OutOfRange { offset: address, bytes, there: memory.bytes() };
        let length =
            usize::try_from(bytes).map_err(|_| RegionError::OutOfRange { offset: address, bytes, there: memory.bytes() })?;
        let Some(base) = memory.host_address(address, length) else {
            return Err(outside);
        };
        // SAFETY: `host_address` gave one contiguous mapping of `length` bytes, which `memory` (kept here) keeps alive; this process reaches guest memory by
        // volatile access only (`copy_in` and `copy_out` of `Memory`; the kernel is no part of it).
        let words = unsafe { MappedWords::new(base, length, Arc::new(memory.clone()) as Arc<dyn Any + Send + Sync>) };
        words
            .map(|words| Self { words })
            .map_err(|_| RegionError::Misaligned { what: "host address", found: base.as_ptr().addr() as u64 })
    }

    /// The region's words.
    pub fn words(&self) -> &RegionWords {
        &self.words
    }
}
