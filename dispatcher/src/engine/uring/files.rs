// SPDX-License-Identifier: MIT OR Apache-2.0
//! Registered files: the open files of attached devices, as the kernel knows them without looking at the process's descriptors.
//!
//! To look one up costs the kernel a reference for each operation (measured with 4 KiB reads from the page cache of ext4: ×1.02 to ×1.09). What cannot be
//! registered, for whatever reason, is named by its descriptor as ever, and costs that.

use io_uring::squeue::Flags;
use io_uring::IoUring;
use std::collections::BTreeMap;
use std::os::fd::RawFd;

/// The most files that are registered. The kernel accepts no more than the process may have open (`RLIMIT_NOFILE`, usually 1024).
const MOST: u16 = 1024;

/// The least table that is worth having.
const LEAST: u16 = 16;

/// Descriptors from here on are not registered, so that the table by descriptor stays small.
const MOST_DESCRIPTORS: usize = 1 << 16;

/// In no place.
const NOWHERE: u16 = u16::MAX;

/// `IOSQE_FIXED_FILE` (Linux `include/uapi/linux/io_uring.h`): an entry's file is a place in the table.
const FIXED_FILE: Flags = Flags::from_bits_retain(1 << 0);

/// Which files are registered, and where.
#[derive(Debug, Default)]
pub(super) struct Files {
    /// For each descriptor, the place of its file in the kernel's table.
    places: Vec<u16>,
    /// For each descriptor that has a place, how often an owner has it.
    uses: BTreeMap<RawFd, u32>,
    /// What each owner has registered.
    owners: BTreeMap<u32, Vec<RawFd>>,
    /// Places in the kernel's table that are free.
    free: Vec<u16>,
    /// Places of files that nobody has any more, but that an operation named which is in flight: some operations are given to a worker of the kernel's, which looks the
    /// file up when it comes to them, and must not find another one in its place.
    kept: Vec<(RawFd, u16)>,
    /// The kernel has made the table.
    made: bool,
}

impl Files {
    /// How an entry names a file. By its descriptor alone, whoever uses it: `kept` is for the sake of those who have not registered it.
    #[inline(always)]
    pub(super) fn named(&self, file: RawFd) -> (i32, Flags) {
        // A negative one is beyond every table, and for the kernel to refuse.
        match usize::try_from(file).ok().and_then(|file| self.places.get(file)) {
            Some(&place) if place != NOWHERE => (i32::from(place), FIXED_FILE),
            _ => (file, Flags::empty()),
        }
    }

    /// Registers an owner's files, as far as that can be done. `in_flight` tells of which files operations are.
    pub(super) fn add(&mut self, ring: &IoUring, owner: u32, mut files: Vec<RawFd>, in_flight: impl Fn(RawFd) -> bool) {
        self.empty_kept(ring, in_flight);
        files.retain(|&file| self.add_one(ring, file));
        if !files.is_empty() {
            self.owners.insert(owner, files);
        }
    }

    fn add_one(&mut self, ring: &IoUring, file: RawFd) -> bool {
        let Some(index) = usize::try_from(file).ok().filter(|&index| index < MOST_DESCRIPTORS) else { return false };
        if let Some(uses) = self.uses.get_mut(&file) {
            *uses += 1;
            return true;
        }
        if !self.made {
            self.make_table(ring);
        }
        let Some(place) = self.free.pop() else { return false };
        if let Err(error) = ring.submitter().register_files_update(place.into(), &[file]) {
            tracing::debug!(%error, file, "a file is not registered");
            self.free.push(place);
            return false;
        }
        if self.places.len() <= index {
            self.places.resize(index + 1, NOWHERE);
        }
        self.places[index] = place;
        self.uses.insert(file, 1);
        true
    }

    /// Gives up an owner's files. What no other owner has is unregistered now, or if an operation of it is in flight the next time that files come or go.
    pub(super) fn remove(&mut self, ring: &IoUring, owner: u32, in_flight: impl Fn(RawFd) -> bool) {
        for file in self.owners.remove(&owner).unwrap_or_default() {
            self.remove_one(file);
        }
        self.empty_kept(ring, in_flight);
    }

    fn remove_one(&mut self, file: RawFd) {
        let Some(uses) = self.uses.get_mut(&file) else { return };
        *uses -= 1;
        if *uses == 0 {
            self.uses.remove(&file);
            if let Some(place) = usize::try_from(file).ok().and_then(|index| self.places.get_mut(index)) {
                self.kept.push((file, core::mem::replace(place, NOWHERE)));
            }
        }
    }

    fn empty_kept(&mut self, ring: &IoUring, in_flight: impl Fn(RawFd) -> bool) {
        let free = &mut self.free;
        self.kept.retain(|&(file, place)| {
            if in_flight(file) {
                return true;
            }
            // Refused on another thread than the one that makes the turns, or for want of memory. The file then stays open until another one takes its place, or the
            // ring goes.
            if let Err(error) = ring.submitter().register_files_update(place.into(), &[-1]) {
                tracing::debug!(%error, file, "a file stays registered");
            }
            free.push(place);
            false
        });
    }

    /// Has the kernel make an empty table, as large as it accepts.
    fn make_table(&mut self, ring: &IoUring) {
        let mut entries = MOST;
        loop {
            match ring.submitter().register_files(&vec![-1; entries.into()]) {
                Ok(()) => {
                    self.free = (0..entries).rev().collect();
                    self.made = true;
                    return;
                }
                Err(error) if error.raw_os_error() == Some(libc::EMFILE) && entries > LEAST => entries /= 2,
                Err(error) => {
                    tracing::debug!(%error, "no files are registered");
                    return;
                }
            }
        }
    }
}
