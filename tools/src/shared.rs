// SPDX-License-Identifier: MIT OR Apache-2.0
//! The memory file that the demo's two processes share, and what stands where in it. Both sides use this module.
//!
//! | part | written by | content |
//! |---|---|---|
//! | board | each cell by one side | parameters, progress, ledger, one text for each sort of fault |
//! | model | guest | for each block the generations it may have |
//! | rings | both | the ring pair, as its specification says |
//! | memory | both | the guest's memory: channel programs and the blocks they move |

use fctl_ringabi::{Header, HeaderError, MappedWords, RingSizes, WordMemory as _};
use memmap2::MmapOptions;
use std::any::Any;
use std::fs::File;
use std::io;
use std::ptr::NonNull;
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::time::Duration;

/// A part of the memory file, as 64-bit atomics.
pub type Words = MappedWords<Arc<dyn Any + Send + Sync>>;

/// Maps a part of the memory file.
pub fn map(file: &File, part: Part) -> io::Result<Words> {
    let length = usize::try_from(part.bytes).map_err(io::Error::other)?;
    let map = MmapOptions::new().offset(part.offset).len(length).map_raw(file)?;
    let base = NonNull::new(map.as_mut_ptr()).ok_or_else(|| io::Error::other("mapped at address zero"))?;
    // SAFETY: the mapping has `length` bytes and lives as long as the `Arc`; the file is sealed, so its pages stay; this process reaches them
    // through these words alone (and, in the dispatcher's process, by the dispatcher's volatile and atomic accesses).
    let words = unsafe { MappedWords::new(base, length, Arc::new(map) as Arc<dyn Any + Send + Sync>) };
    words.map_err(|_| io::Error::other("the mapping is not aligned"))
}

/// A place in the memory file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Offset of its first byte: a multiple of the page size.
    pub offset: u64,
    /// Its length in bytes: a multiple of the page size.
    pub bytes: u64,
}

const PAGE: u64 = 4096;
/// Areas that a subchannel has: one works while others lie in quarantine.
pub const AREAS: u32 = 6;
/// Bytes of an area: a page for the channel program, and the blocks.
pub const AREA_BYTES: u32 = 4096 + MOST_BLOCKS * 512;
/// The most blocks that one start moves.
pub const MOST_BLOCKS: u32 = 32;
/// The most blocks that a subchannel owns.
pub const MOST_OWNED: u32 = 1024;
/// The fewest blocks that a subchannel must own.
pub const LEAST_OWNED: u32 = 8;

/// The sizes of the demo's ring pair.
pub const RING_SIZES: RingSizes = RingSizes::new(512);

/// Where everything is, from the two numbers that decide it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// How many subchannels.
    pub subchannels: u32,
    /// How many blocks each of them owns: subchannel `n` those from `n * owned` on.
    pub owned: u32,
}

impl Layout {
    /// The board.
    pub const BOARD: Part = Part { offset: 0, bytes: 2 * PAGE };

    /// All blocks that are owned.
    pub const fn blocks(&self) -> u32 {
        self.subchannels * self.owned
    }

    /// The model: one word for each block.
    pub const fn model(&self) -> Part {
        after(Self::BOARD, self.blocks() as u64 * 8)
    }

    /// The rings.
    pub fn rings(&self) -> Result<Part, HeaderError> {
        Ok(after(self.model(), Header::layout(RING_SIZES)?.region_bytes()))
    }

    /// The guest's memory: guest address 0 is its first byte.
    pub fn memory(&self) -> Result<Part, HeaderError> {
        Ok(after(self.rings()?, self.subchannels as u64 * AREAS as u64 * AREA_BYTES as u64))
    }

    /// The length of the file.
    pub fn file_bytes(&self) -> Result<u64, HeaderError> {
        let last = self.memory()?;
        Ok(last.offset + last.bytes)
    }
}

const fn after(part: Part, bytes: u64) -> Part {
    Part { offset: part.offset + part.bytes, bytes: bytes.div_ceil(PAGE) * PAGE }
}

/// True for a subchannel that stands behind a delay.
pub const fn is_delayed(subchannel: u32) -> bool {
    subchannel % 4 == 3
}

/// How long such a subchannel's answers are held back: 1 to 5 milliseconds.
pub const fn delay(subchannel: u32) -> Duration {
    Duration::from_millis(1 + (subchannel / 4 % 5) as u64)
}

/// Cells of the board.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Cell {
    /// Parent: how many subchannels.
    Subchannels,
    /// Parent: how many blocks each owns.
    Owned,
    /// Parent: the seed.
    Seed,
    /// Parent: how long to work, in milliseconds.
    Milliseconds,
    /// Parent: the dispatcher's CPU.
    DispatcherCpu,
    /// Parent: the dispatcher has answered this many descriptors and owes nothing.
    Answered,
    /// Guest: [`Phase`].
    Phase,
    /// Guest: descriptors posted.
    Posted,
    /// Guest: final completions taken.
    Finals,
    /// Guest: tags that never got their final.
    Lost,
    /// Guest: finals of tags that had theirs already.
    Twice,
    /// Guest: starts posted.
    Starts,
    /// Guest: starts that ran.
    Ran,
    /// Guest: starts that were merged away before issue.
    MergedAway,
    /// Guest: starts that were stopped while active.
    StoppedActive,
    /// Guest: starts that were cancelled.
    Cancelled,
    /// Guest: starts that were refused.
    Refused,
    /// Guest: halts posted.
    Halts,
    /// Guest: clears posted.
    Clears,
    /// Guest: cancels posted.
    Cancels,
    /// Guest: bytes that starts which ran have read.
    BytesRead,
    /// Guest: bytes that starts which ran have written.
    BytesWritten,
    /// Guest: bytes read and compared.
    BytesVerified,
    /// Guest: bytes that were not as they ought to be.
    WrongBytes,
    /// Guest: stopped starts whose memory was watched afterwards.
    Watched,
    /// Guest: nanoseconds from the first post to the end of the working time.
    Worked,
    /// Guest: times it slept.
    Sleeps,
    /// Guest: times it rang the doorbell.
    Doorbells,
    /// Guest: open files beside the three that are /dev/null.
    OpenFiles,
    /// Not a cell: the number of cells.
    Count,
}

/// Where the guest stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Phase {
    /// It works. (Zero: it has not begun.)
    Working = 1,
    /// It waits for what is outstanding.
    Draining = 2,
    /// Its ledger is closed.
    Done = 3,
}

/// Sorts of faults, in the order of how much they explain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Fault {
    /// The guest's process broke down.
    GuestBroken,
    /// The guest has something that it should not have.
    GuestNotAlone,
    /// The ring is fenced or carries words from nowhere.
    RingBroken,
    /// A descriptor never got its final.
    LostCompletion,
    /// A descriptor got two finals.
    DoubleCompletion,
    /// A completion with a tag that was never posted.
    StrayCompletion,
    /// Memory of a stopped start changed after its final completion.
    LateChange,
    /// A block is of another generation than it ought to be.
    WriteMissing,
    /// Bytes differ from what was written.
    WrongBytes,
    /// A start did not end as it ought to.
    WrongStatus,
    /// A condition code, or a fate, that cannot be.
    WrongCondition,
    /// Not a sort: the number of sorts.
    Count,
}

impl Fault {
    /// All sorts.
    pub const ALL: [Self; Self::Count as usize] = [
        Self::GuestBroken,
        Self::GuestNotAlone,
        Self::RingBroken,
        Self::LostCompletion,
        Self::DoubleCompletion,
        Self::StrayCompletion,
        Self::LateChange,
        Self::WriteMissing,
        Self::WrongBytes,
        Self::WrongStatus,
        Self::WrongCondition,
    ];

    /// Its name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::GuestBroken => "guest broken",
            Self::GuestNotAlone => "guest not alone",
            Self::RingBroken => "ring broken",
            Self::LostCompletion => "lost completion",
            Self::DoubleCompletion => "double completion",
            Self::StrayCompletion => "stray completion",
            Self::LateChange => "changed after the end",
            Self::WriteMissing => "write missing",
            Self::WrongBytes => "wrong bytes",
            Self::WrongStatus => "wrong status",
            Self::WrongCondition => "wrong condition code",
            Self::Count => "",
        }
    }
}

/// Words of a fault on the board: how often, the length of the text, and the text of the first one.
const FAULT_WORDS: usize = 40;
const FAULT_TEXT: usize = (FAULT_WORDS - 2) * 8;
const FAULTS_AT: usize = 64;

/// The board: parameters one way, the guest's ledger the other way.
#[derive(Clone, Debug)]
pub struct Board {
    words: Words,
}

impl Board {
    /// Maps the board of a memory file.
    pub fn map(file: &File) -> io::Result<Self> {
        Ok(Self { words: map(file, Layout::BOARD)? })
    }

    /// Reads a cell.
    pub fn get(&self, cell: Cell) -> u64 {
        // Pairs with the Release in `set`: who sees `Phase::Done` sees the ledger.
        self.words.load(cell as usize, Ordering::Acquire)
    }

    /// Writes a cell; each has one writer.
    pub fn set(&self, cell: Cell, value: u64) {
        self.words.store(cell as usize, value, Ordering::Release);
    }

    /// Adds to a cell that only the caller writes.
    pub fn add(&self, cell: Cell, value: u64) {
        self.set(cell, self.get(cell).wrapping_add(value));
    }

    /// Counts a fault; the first of its sort leaves a text.
    pub fn fault(&self, fault: Fault, text: impl FnOnce() -> String) {
        let at = FAULTS_AT + fault as usize * FAULT_WORDS;
        let count = self.words.load(at, Ordering::Relaxed);
        if count == 0 {
            let text = text();
            let bytes = text.as_bytes().get(..FAULT_TEXT).unwrap_or(text.as_bytes());
            for (index, chunk) in bytes.chunks(8).enumerate() {
                let mut eight = [0; 8];
                eight[..chunk.len()].copy_from_slice(chunk);
                self.words.store(at + 2 + index, u64::from_le_bytes(eight), Ordering::Relaxed);
            }
            self.words.store(at + 1, bytes.len() as u64, Ordering::Relaxed);
        }
        // Pairs with the Acquire in `faults`.
        self.words.store(at, count + 1, Ordering::Release);
    }

    /// How often a fault was found, and the text of the first one.
    pub fn faults(&self, fault: Fault) -> Option<(u64, String)> {
        let at = FAULTS_AT + fault as usize * FAULT_WORDS;
        let count = self.words.load(at, Ordering::Acquire);
        if count == 0 {
            return None;
        }
        // The length is the guest's word.
        let length = usize::try_from(self.words.load(at + 1, Ordering::Relaxed)).unwrap_or(0).min(FAULT_TEXT);
        let words = (0..length.div_ceil(8)).map(|index| self.words.load(at + 2 + index, Ordering::Relaxed));
        let bytes: Vec<u8> = words.flat_map(u64::to_le_bytes).take(length).collect();
        Some((count, String::from_utf8_lossy(&bytes).into_owned()))
    }
}

const _: () = assert!(Cell::Count as usize <= FAULTS_AT);
const _: () = assert!((FAULTS_AT + Fault::Count as usize * FAULT_WORDS) as u64 * 8 <= Layout::BOARD.bytes);

#[cfg(test)]
mod tests {
    use super::*;
    use fctl_dispatcher::region::sealed_memory_file;

    #[test]
    fn the_parts_follow_each_other_on_page_boundaries() {
        let layout = Layout { subchannels: 128, owned: 1024 };
        let parts = [Layout::BOARD, layout.model(), layout.rings().unwrap(), layout.memory().unwrap()];
        for pair in parts.windows(2) {
            assert_eq!(pair[0].offset + pair[0].bytes, pair[1].offset);
            assert_eq!(pair[1].offset % PAGE, 0);
        }
        assert_eq!(layout.model().bytes, 1 << 20);
        assert_eq!(layout.file_bytes().unwrap(), parts[3].offset + parts[3].bytes);
    }

    #[test]
    fn the_board_keeps_cells_and_the_first_text_of_each_fault() {
        let board = Board::map(&sealed_memory_file("fctl-board", Layout::BOARD.bytes).unwrap()).unwrap();
        board.set(Cell::Seed, 9);
        board.add(Cell::Seed, 1);
        assert_eq!((board.get(Cell::Seed), board.get(Cell::Posted)), (10, 0));
        assert_eq!(board.faults(Fault::WrongBytes), None);
        board.fault(Fault::WrongBytes, || "first".into());
        board.fault(Fault::WrongBytes, || "second".into());
        board.fault(Fault::LateChange, || "x".repeat(5000));
        assert_eq!(board.faults(Fault::WrongBytes), Some((2, "first".into())));
        assert_eq!(board.faults(Fault::LateChange), Some((1, "x".repeat(FAULT_TEXT))));
        for (index, fault) in Fault::ALL.into_iter().enumerate() {
            assert_eq!(fault as usize, index);
        }
    }
}
