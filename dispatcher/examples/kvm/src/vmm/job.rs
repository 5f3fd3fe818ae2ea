// SPDX-License-Identifier: MIT OR Apache-2.0
//! Jobs: what the guest is asked to do, and what it tells (`struct job` of `guest/guest.h`).

use super::layout;
use fctl_dispatcher::memory::{Memory, OutsideMemory};

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Kind {
    /// Read blocks and compare them.
    Read = 1,
    /// Make blocks up and write them.
    Write,
    /// Starts that are overtaken, and a program outside the guest's memory.
    Stops,
    /// Starts on null devices through the ring.
    Ring,
    /// The same starts, each by an exit.
    Exits,
    /// As many exits with the same start, from privileged code and with nothing around them.
    BareExits,
}

/// A job.
#[derive(Clone, Copy, Debug)]
pub struct Job {
    /// What to do.
    pub kind: Kind,
    /// First block.
    pub first: u64,
    /// How many blocks, rounds or starts.
    pub count: u64,
    /// Blocks in a channel program, or starts in a batch.
    pub batch: u64,
    /// Which bytes are in the blocks.
    pub seed: u64,
    /// Wait asleep, for interrupts; else by polling.
    pub sleeps: bool,
}

impl Job {
    /// `count` of a kind, one at a time, polling.
    pub const fn new(kind: Kind, count: u64) -> Self {
        Self { kind, first: 0, count, batch: 1, seed: 0, sleeps: false }
    }
}

/// What became of a job.
#[derive(Clone, Copy, Debug)]
pub struct Told {
    /// Blocks, rounds or starts that ended as they should.
    pub done: u64,
    /// Wrong bytes in blocks that were read.
    pub wrong: u64,
    /// Line of the guest's check that failed, 0 if none did; and what it found there.
    pub line: u64,
    /// What it found there.
    pub found: u64,
    /// Ticks of the processor.
    pub elapsed: u64,
    /// Doorbells rung.
    pub doorbells: u64,
    /// Notifications that came as interrupts.
    pub interrupts: u64,
}

/// Words that are asked, and words that are told.
const ASKED: usize = 6;
const TOLD: usize = 7;

/// Puts a job where the guest finds it.
pub fn ask(memory: &Memory, job: &Job) -> Result<(), OutsideMemory> {
    let asked: [u64; ASKED] = [job.kind as u64, job.first, job.count, job.batch, job.seed, u64::from(job.sleeps)];
    let bytes: Vec<u8> = asked.into_iter().chain([0; TOLD]).flat_map(u64::to_le_bytes).collect();
    memory.store(layout::JOB, &bytes)
}

/// Reads what the guest tells.
pub fn told(memory: &Memory) -> Result<Told, OutsideMemory> {
    let mut words = [0; TOLD];
    for (address, word) in (layout::JOB + 8 * ASKED as u64..).step_by(8).zip(&mut words) {
        *word = u64::from_le_bytes(memory.fetch(address)?);
    }
    let [done, wrong, line, found, elapsed, doorbells, interrupts] = words;
    Ok(Told { done, wrong, line, found, elapsed, doorbells, interrupts })
}
