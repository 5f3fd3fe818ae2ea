// SPDX-License-Identifier: MIT OR Apache-2.0
//! The guest's memory: a sealed memory file, seen through a mapping of the guest's own.

use crate::error::{Doing as _, Measured};
use fctl_dispatcher::memory::{FileRange, Memory};
use fctl_dispatcher::region::sealed_memory_file;
use memmap2::MmapRaw;
use std::fs::File;
use std::os::fd::{AsRawFd as _, RawFd};

/// Guest memory that the guest's thread reads and writes while the dispatcher or the kernel does so too.
#[derive(Debug)]
pub struct GuestMemory {
    map: MmapRaw,
    file: File,
}

impl GuestMemory {
    /// Zeroed memory of `bytes` bytes, every page of it present.
    ///
    /// # Errors
    /// There is no such memory.
    pub fn new(bytes: usize) -> Measured<Self> {
        let file = sealed_memory_file("fctl-bench", bytes as u64).doing("make the guest's memory")?;
        let map = MmapRaw::map_raw(&file).doing("map the guest's memory")?;
        let memory = Self { map, file };
        for address in (0..bytes).step_by(4096) {
            memory.put(address, &[0]);
        }
        Ok(memory)
    }

    /// The same as a dispatcher maps it, from guest address 0 on.
    ///
    /// # Errors
    /// It cannot be mapped.
    pub fn mapped(&self) -> Measured<Memory> {
        let range = FileRange { address: 0, offset: 0, length: self.map.len() };
        Memory::from_file(&self.file, &[range]).doing("map the guest's memory")
    }

    /// Its size.
    pub fn bytes(&self) -> usize {
        self.map.len()
    }

    /// Its file.
    pub fn fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }

    /// Where `length` bytes at `address` are in this process.
    pub fn at(&self, address: usize, length: usize) -> *mut u8 {
        assert!(address.checked_add(length).is_some_and(|end| end <= self.map.len()), "address {address:#x} is outside");
        self.map.as_mut_ptr().wrapping_add(address)
    }

    /// Stores bytes.
    #[inline]
    pub fn put<const N: usize>(&self, address: usize, bytes: &[u8; N]) {
        // SAFETY: `at` has checked the range, which is mapped as long as `self`; volatile, because others change this memory too; a byte
        // array has no alignment.
        unsafe { self.at(address, N).cast::<[u8; N]>().write_volatile(*bytes) };
    }

    /// Fetches a little-endian word.
    #[inline]
    pub fn word(&self, address: usize) -> u64 {
        // SAFETY: as in `put`; every pattern of bits is a value.
        u64::from_le_bytes(unsafe { self.at(address, 8).cast::<[u8; 8]>().read_volatile() })
    }
}
