// SPDX-License-Identifier: MIT OR Apache-2.0
//! The volume whose operations are stopped, and what can be known about it from outside the dispatcher.

use super::bytes::{pattern, AREA, MOST_PIECES, PIECE};
use super::file_server::FileServer;
use super::log::{Count, Done, Record, MOST_STARTS};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

/// Starts that read a plain file share so many places on it.
const PLAIN_PLACES: u64 = 1024;

/// Where a start's bytes stand, and who performs its operations.
pub enum Stopped {
    /// A file whose server holds operations back, and writes a log.
    Held(FileServer),
    /// A plain file, behind a device that holds its answers back.
    Plain { file: File, path: PathBuf, tickets: AtomicU64 },
}

impl Stopped {
    /// A plain file at `path`, filled where starts read.
    pub fn plain(path: PathBuf) -> Self {
        let file = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
        file.write_all_at(&pattern(0, PLAIN_PLACES * AREA), 0).unwrap();
        file.set_len((PLAIN_PLACES + MOST_STARTS) * AREA).unwrap();
        Self::Plain { file, path, tickets: AtomicU64::new(0) }
    }

    /// Where to open it.
    pub fn path(&self) -> PathBuf {
        match self {
            Self::Held(server) => server.path(),
            Self::Plain { path, .. } => path.clone(),
        }
    }

    /// A number higher than that of all that has happened before.
    pub fn ticket(&self) -> u64 {
        match self {
            Self::Held(server) => server.log.ticket(),
            Self::Plain { tickets, .. } => tickets.fetch_add(1, Ordering::Relaxed),
        }
    }

    /// The place of a start. A start that writes has one for itself; where there is a log, one that reads has, too.
    pub fn place(&self, number: u64, writes: bool) -> u64 {
        AREA * match self {
            Self::Held(_) => number,
            Self::Plain { .. } if writes => PLAIN_PLACES + number,
            Self::Plain { .. } => number % PLAIN_PLACES,
        }
    }

    /// What the server knows of the pieces of a place; nothing if there is no server.
    pub fn records(&self, place: u64, pieces: u64) -> Option<impl Iterator<Item = Record> + '_> {
        assert!(pieces <= MOST_PIECES);
        match self {
            Self::Held(server) => Some((place / PIECE..place / PIECE + pieces).map(|piece| server.log.record(piece))),
            Self::Plain { .. } => None,
        }
    }

    /// True if all operations that the server knows of are answered.
    pub fn is_quiet(&self) -> bool {
        match self {
            // In this order: what arrives in between must be answered too.
            Self::Held(server) => {
                let answered = server.log.get(Count::Answered);
                server.log.get(Count::Arrived) == answered
            }
            Self::Plain { .. } => true,
        }
    }

    /// The file itself, behind the back of whoever serves it.
    fn behind(&self) -> &File {
        match self {
            Self::Held(server) => &server.image,
            Self::Plain { file, .. } => file,
        }
    }

    /// The bytes that writes have left at a place.
    pub fn get(&self, place: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.behind().read_exact_at(&mut bytes, place).unwrap();
        bytes
    }

    /// Puts bytes there, past the dispatcher.
    pub fn put(&self, place: u64, bytes: &[u8]) {
        self.behind().write_all_at(bytes, place).unwrap();
    }

    /// How many reads and writes the server got, how often it was interrupted, and how often it obeyed.
    pub fn served(&self) -> Option<String> {
        let Self::Held(server) = self else { return None };
        let [arrived, interrupts, obeyed] = [Count::Arrived, Count::Interrupts, Count::Obeyed].map(|count| server.log.get(count));
        Some(format!("the server got {arrived} operations, and {interrupts} interrupts of which it obeyed {obeyed}"))
    }
}

/// Whether the server performed a piece, rightly or wrongly.
pub fn performed(record: &Record) -> bool {
    matches!(record.done, Done::Performed | Done::WrongBytes)
}
