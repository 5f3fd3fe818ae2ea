// SPDX-License-Identifier: MIT OR Apache-2.0
//! A file, and an io_uring that reads it: what the bare loops have in common.

use crate::error::{BenchError, Doing as _, Measured};
use crate::volume_file::{VolumeFile, PIECE_BYTES};
use io_uring::squeue::Entry;
use io_uring::{opcode, types, CompletionQueue, IoUring, SubmissionQueue, Submitter};
use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::OpenOptionsExt as _;

/// How much trouble was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tuning {
    /// What the crate's documentation shows: a ring with the same set-up as that of the dispatcher's engine, an open file, `submit`.
    Bare,
    /// As the engine does it: file and ring registered, no times of access.
    AsOurs,
}

impl Tuning {
    /// Opens the file of a volume.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn open(self, volume: &VolumeFile) -> Measured<File> {
        let flags = if self == Self::AsOurs { libc::O_NOATIME } else { 0 };
        OpenOptions::new().read(true).custom_flags(flags).open(volume.path()).doing("open the volume")
    }
}

/// An io_uring for `depth` reads.
///
/// # Errors
/// The kernel refuses it.
pub fn ring(depth: u16) -> Measured<IoUring> {
    IoUring::builder()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_taskrun_flag()
        .build(u32::from(depth).next_power_of_two() * 2)
        .map_err(|error| BenchError::NotRun(format!("io_uring: {error}")))
}

/// Reads pieces of a file by an io_uring.
pub struct Reads<'a> {
    submitter: Submitter<'a>,
    queue: SubmissionQueue<'a>,
    completions: CompletionQueue<'a>,
    file: &'a File,
    tuning: Tuning,
}

impl<'a> Reads<'a> {
    /// For the thread that is to make the reads.
    ///
    /// # Errors
    /// The kernel refuses to register the file or the ring.
    pub fn new(ring: &'a mut IoUring, file: &'a File, tuning: Tuning) -> Measured<Self> {
        let (mut submitter, queue, completions) = ring.split();
        if tuning == Tuning::AsOurs {
            submitter.register_files(&[file.as_raw_fd()]).doing("register the file")?;
            submitter.register_ring_fd().doing("register the ring")?;
        }
        Ok(Self { submitter, queue, completions, file, tuning })
    }

    /// Queues the read of a piece at `offset`.
    ///
    /// # Errors
    /// The queue is full.
    ///
    /// # Safety
    /// `into` has room for a piece, is used for nothing else until the answer was taken, and outlives the ring.
    #[inline]
    pub unsafe fn queue(&mut self, into: *mut u8, offset: u64, tag: u64) -> Measured<()> {
        let entry = self.entry(into, offset)?.user_data(tag);
        // SAFETY: the caller's promise for the buffer; the kernel has a reference of its own to the file of a read that it was given, and until then the file is borrowed.
        unsafe { self.queue.push(&entry) }.doing("queue a read")
    }

    #[inline]
    fn entry(&self, into: *mut u8, offset: u64) -> Measured<Entry> {
        let length = u32::try_from(PIECE_BYTES).doing("count bytes")?;
        Ok(match self.tuning {
            Tuning::Bare => opcode::Read::new(types::Fd(self.file.as_raw_fd()), into, length).offset(offset).build(),
            Tuning::AsOurs => opcode::Read::new(types::Fixed(0), into, length).offset(offset).build(),
        })
    }

    /// Gives the kernel what is queued, and has it run what it keeps until it is asked.
    ///
    /// # Errors
    /// The kernel refuses.
    #[inline]
    pub fn submit(&mut self) -> Measured<()> {
        self.queue.sync();
        self.submitter.submit().doing("enter io_uring").map(drop)
    }

    /// True if the kernel has completions that it runs only when it is asked.
    #[inline]
    pub fn keeps_completions(&self) -> bool {
        self.queue.taskrun()
    }

    /// The answers that are there: tag, and whether a whole piece was read.
    #[inline]
    pub fn ended(&mut self) -> impl Iterator<Item = (u64, bool)> + use<'_, 'a> {
        self.completions.sync();
        let completions = &mut self.completions;
        completions.map(|entry| (entry.user_data(), usize::try_from(entry.result()) == Ok(PIECE_BYTES)))
    }
}
