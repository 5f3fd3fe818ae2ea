// SPDX-License-Identifier: MIT OR Apache-2.0
//! The file server's log: memory that the server's process shares with the test's.
//!
//! Both take *tickets* from one counter: whatever happened before something else has the lower number, whatever clock the two have. So the log
//! tells, without any measurement of time, whether an operation was performed before or after the guest had seen a final completion.

use super::bytes::{MOST_PIECES, PIECE};
use fctl_dispatcher::region::{sealed_memory_file, Region, RegionWords};
use fctl_ringabi::WordMemory;
use std::fs::File;
use std::sync::atomic::Ordering;

/// The most starts of one run; each has a place of its own on the volume.
pub const MOST_STARTS: u64 = 1 << 17;
/// Bytes of the file that the server serves.
pub const FILE_BYTES: u64 = MOST_STARTS * MOST_PIECES * PIECE;

const RECORDS: usize = 128;
const RECORD_WORDS: usize = 3;
const BYTES: u64 = 8 * (RECORDS as u64 + MOST_STARTS * MOST_PIECES * RECORD_WORDS as u64);

/// What is counted, each on a line of its own.
#[derive(Clone, Copy)]
pub enum Count {
    /// The tickets.
    Tickets = 0,
    /// Reads and writes that have arrived at the server.
    Arrived = 16,
    /// Of these, answered.
    Answered = 32,
    /// Times that the kernel asked for an operation to be interrupted.
    Interrupts = 48,
    /// Times that the server did it.
    Obeyed = 64,
    /// Writes that must be on stable storage before they are answered.
    Durable = 80,
}

/// What the server did with a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    /// Nothing yet.
    Nothing = 0,
    /// It answered with the bytes, or took them.
    Performed = 1,
    /// It answered that the operation was interrupted; nothing was moved.
    Interrupted = 2,
    /// It took bytes that no start of the guest ever wrote there.
    WrongBytes = 3,
}

/// What the server knows about the operation on one piece of the file. Tickets; 0: has not happened.
#[derive(Clone, Copy, Debug)]
pub struct Record {
    /// The server received it.
    pub arrived: u64,
    /// Just before the server performed and answered it.
    pub ended: u64,
    /// What it came to; known when `ended` is.
    pub done: Done,
}

/// The log, as either process sees it.
#[derive(Clone)]
pub struct Log(RegionWords);

impl Log {
    /// A memory file for a log.
    pub fn file() -> File {
        sealed_memory_file("fctl-file-server-log", BYTES).unwrap()
    }

    pub fn map(file: &File) -> Self {
        Self(Region::from_memory_file(file, 0, BYTES).unwrap().words().clone())
    }

    /// Adds one, and gives the sum.
    pub fn add(&self, count: Count) -> u64 {
        let mut now = self.get(count);
        // The order of the tickets is the order of this one word, and agrees with whatever else orders two of them.
        while let Err(found) = self.0.compare_exchange(count as usize, now, now + 1) {
            now = found;
        }
        now + 1
    }

    pub fn get(&self, count: Count) -> u64 {
        self.0.load(count as usize, Ordering::Acquire)
    }

    pub fn ticket(&self) -> u64 {
        self.add(Count::Tickets)
    }

    fn place(piece: u64) -> usize {
        RECORDS + usize::try_from(piece).unwrap() * RECORD_WORDS
    }

    /// What is known about a piece of the file; pieces count from its beginning.
    pub fn record(&self, piece: u64) -> Record {
        let word = |index| self.0.load(Self::place(piece) + index, Ordering::Acquire);
        let done = match word(2) {
            0 => Done::Nothing,
            1 => Done::Performed,
            2 => Done::Interrupted,
            _ => Done::WrongBytes,
        };
        Record { arrived: word(0), ended: word(1), done }
    }

    pub fn arrived(&self, piece: u64) {
        self.add(Count::Arrived);
        self.0.store(Self::place(piece), self.ticket(), Ordering::Release);
    }

    pub fn ending(&self, piece: u64, done: Done) {
        self.0.store(Self::place(piece) + 2, done as u64, Ordering::Release);
        self.0.store(Self::place(piece) + 1, self.ticket(), Ordering::Release);
    }

    pub fn answered(&self) {
        self.add(Count::Answered);
    }
}
