// SPDX-License-Identifier: MIT OR Apache-2.0
//! The byte model: what channel programs of FBA disks do to the volume and to guest memory. Each disk has blocks of its own on one volume, and
//! each program a place of its own in memory until its start has got its final.

use super::follow::{ensure, Counts, Fate};
use super::guest::Mirror;
use super::rng::Rng;
use fctl_dispatcher::device::emulated::Limits;
use fctl_dispatcher::device::fba::{Fba, FbaConfig};
use fctl_dispatcher::device::SubchannelDevice;
use fctl_dispatcher::volume::{Durability, Volume, VolumeOptions};
use fctl_ringabi::arch::{Ccw, CcwFlags, DeviceStatus, SubchannelStatus};
use std::collections::HashMap;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

const BLOCK: usize = 512;
/// Blocks of each disk.
const BLOCKS: u32 = 64;
/// Most blocks that a CCW moves: four pieces of a program.
const MOST: usize = 16;
/// Program places of each disk.
const PLACES: u32 = 4;
const PLACE_BYTES: u32 = 0x5000;
const FIRST_PLACE: u32 = 0x10_0000;

/// How a program that is not stopped must end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ends {
    Well,
    UnitCheck,
    ProgramCheck,
}

/// A program that was written for a start.
struct Job {
    guest: usize,
    place: u32,
    first: u32,
    /// What it writes, from `first` on.
    writes: Vec<u8>,
    /// What it reads: the first block and how many, and where to.
    reads: (u32, usize),
    to: u32,
    ends: Ends,
}

/// The volume, as it must be and as it is, and the programs that were written and have no final.
pub struct Disks {
    file: tempfile::NamedTempFile,
    volume: Arc<Volume>,
    bytes: Vec<u8>,
    /// What else a block may be: a program that may have written it was stopped while another one was writing it already.
    perhaps: HashMap<u32, Vec<Vec<u8>>>,
    jobs: HashMap<u64, Job>,
    taken: Vec<u32>,
}

impl Disks {
    /// A volume for so many disks, filled with known bytes.
    pub fn new(disks: usize, rng: &mut Rng) -> Self {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut bytes = vec![0; (disks + 1) * usize::try_from(BLOCKS).unwrap() * BLOCK];
        rng.fill(&mut bytes);
        file.as_file().write_all_at(&bytes, 0).unwrap();
        let options = VolumeOptions::default().with_durability(Durability::Writeback);
        let volume = Arc::new(Volume::open(file.path(), options).unwrap());
        Self { file, volume, bytes, perhaps: HashMap::new(), jobs: HashMap::new(), taken: Vec::new() }
    }

    pub fn device(&self) -> impl SubchannelDevice {
        let limits = Limits::default().with_stop_grain(2048);
        Fba::with_config(self.volume.clone(), FbaConfig::default().with_limits(limits)).unwrap()
    }

    /// Writes a program for a start with this tag, and says where it is; none if all places of this disk are taken.
    pub fn program(&mut self, disk: usize, guest: usize, tag: u64, mirror: &mut Mirror, rng: &mut Rng) -> Option<u32> {
        let disk = u32::try_from(disk).unwrap();
        let place = (0..PLACES).map(|at| disk * PLACES + at).find(|place| !self.taken.contains(place))?;
        let base = FIRST_PLACE + place * PLACE_BYTES;
        let (write_from, to) = (base + 0x400, base + 0x2800);
        let count = |rng: &mut Rng| 1 + rng.below(MOST);
        let (written, read) = match rng.below(3) {
            0 => (count(rng), 0),
            1 => (0, count(rng)),
            _ => (count(rng), count(rng)),
        };
        let ends = rng.one_of(&[Ends::Well, Ends::Well, Ends::Well, Ends::Well, Ends::Well, Ends::UnitCheck, Ends::ProgramCheck]);
        let mut at = |count: usize| u32::try_from(rng.below(64 - count)).unwrap();
        let (first_written, first_read) = (at(written), at(read));
        let mut writes = vec![0; written * BLOCK];
        rng.fill(&mut writes);
        mirror.put(write_from, &writes);
        mirror.put(base + 0x200, &extent(disk * BLOCKS, BLOCKS));
        mirror.put(base + 0x240, &locate(1, written, first_written));
        mirror.put(base + 0x280, &locate(6, read, first_read));
        let cc = CcwFlags::CHAIN_COMMAND;
        let pci = if rng.percent(20) { CcwFlags::PROGRAM_CONTROLLED_INTERRUPTION } else { CcwFlags::empty() };
        let bytes = |count: usize| u16::try_from(count * BLOCK).unwrap();
        let mut ccws = vec![Ccw { command: 0x63, flags: cc | pci, count: 16, address: base + 0x200 }];
        if ends == Ends::UnitCheck {
            ccws.push(Ccw { command: 0x43, flags: cc, count: 8, address: base + 0x2C0 });
            mirror.put(base + 0x2C0, &locate(1, 1, BLOCKS));
        }
        if written > 0 {
            ccws.push(Ccw { command: 0x43, flags: cc, count: 8, address: base + 0x240 });
            ccws.push(Ccw { command: 0x41, flags: cc, count: bytes(written), address: write_from });
        }
        if read > 0 {
            ccws.push(Ccw { command: 0x43, flags: cc, count: 8, address: base + 0x280 });
            ccws.push(Ccw { command: 0x42, flags: cc | pci, count: bytes(read), address: to });
        }
        ccws.push(Ccw { command: 0x03, flags: CcwFlags::SUPPRESS_LENGTH, count: 1, address: base });
        let program: Vec<u8> = ccws.iter().flat_map(Ccw::to_format1).collect();
        mirror.put(base, &program);
        self.taken.push(place);
        let first = disk * BLOCKS + first_written;
        let reads = (disk * BLOCKS + first_read, read);
        self.jobs.insert(tag, Job { guest, place, first, writes, reads, to, ends });
        // An address that is no doubleword's is a program check of the started program.
        Some(if ends == Ends::ProgramCheck { base + 4 } else { base })
    }

    /// The start could not be posted.
    pub fn forget(&mut self, tag: u64) {
        if let Some(job) = self.jobs.remove(&tag) {
            self.taken.retain(|&place| place != job.place);
        }
    }

    /// The start got its final: from now on its blocks and its memory may not change. `writing` is the start of this disk that has none at the end of this turn and
    /// was issued: the kernel may be writing its blocks at this moment, on a thread of its own, and a block that is read meanwhile may be half of one and half of
    /// the other. So what a block of its is, is found out when it has its final.
    pub fn ended(
        &mut self,
        tag: u64,
        fate: Fate,
        writing: Option<u64>,
        mirrors: &mut [Mirror],
        counts: &mut Counts,
    ) -> Result<(), String> {
        let Some(job) = self.jobs.remove(&tag) else { return Ok(()) };
        self.taken.retain(|&place| place != job.place);
        let mirror = &mut mirrors[job.guest];
        let (well, stopped) = match fate {
            Fate::NotRun => (false, false),
            Fate::Stopped => (false, job.ends == Ends::Well),
            Fate::Ended(status) => {
                let checks = status.subchannel - SubchannelStatus::PROGRAM_CONTROLLED_INTERRUPTION;
                let ends = match (status.device.contains(DeviceStatus::UNIT_CHECK), checks.is_empty()) {
                    (false, true) => Ends::Well,
                    (true, true) => Ends::UnitCheck,
                    _ => Ends::ProgramCheck,
                };
                ensure!(ends == job.ends, "the program of tag {tag} should have ended {:?}, not with {status:?}", job.ends);
                (ends == Ends::Well, false)
            }
        };
        counts.stopped_programs += u64::from(stopped);
        counts.bytes += (job.writes.len() + job.reads.1 * BLOCK) as u64;
        let at = usize::try_from(job.first).unwrap() * BLOCK;
        let actual = self.actual(at, job.writes.len());
        let writing = writing.and_then(|tag| self.jobs.get(&tag));
        // The disk's next program may have begun, and ended, in the same turn.
        let later: Vec<&Job> = self.jobs.values().filter(|other| other.place / PLACES == job.place / PLACES).collect();
        let blocks = actual.chunks(BLOCK).zip(self.bytes[at..].chunks_mut(BLOCK)).zip(job.writes.chunks(BLOCK));
        for (block, ((actual, before), after)) in (job.first..).zip(blocks) {
            let perhaps = self.perhaps.remove(&block).unwrap_or_default();
            if writing.is_some_and(|writing| writing.block(block).is_some()) {
                if well {
                    before.copy_from_slice(after);
                } else {
                    let more = stopped.then(|| after.to_vec());
                    self.perhaps.insert(block, perhaps.into_iter().chain(more).collect());
                }
                continue;
            }
            let was = actual == before || perhaps.iter().any(|other| other == actual);
            let right = if well { actual == after } else { was || (stopped && actual == after) };
            let by_later = later.iter().any(|other| other.block(block) == Some(actual));
            ensure!(right || by_later, "volume, tag {tag}, {fate:?}: block {block} is neither what it was nor what it should be");
            if well {
                before.copy_from_slice(after);
            } else if right {
                before.copy_from_slice(actual);
            }
        }
        let from = usize::try_from(job.reads.0).unwrap() * BLOCK;
        let length = job.reads.1 * BLOCK;
        let after = self.bytes[from..from + length].to_vec();
        let actual = mirror.get(job.to, length);
        let perhaps = |number: usize, found: &[u8]| {
            let block = job.reads.0 + u32::try_from(number).unwrap();
            self.perhaps.get(&block).is_some_and(|others| others.iter().any(|other| other == found))
        };
        settle(&actual, mirror.place(job.to, length), &after, well, stopped, perhaps)
            .map_err(|error| format!("memory at {:#x}, tag {tag}, {fate:?}: {error}", job.to))
    }

    fn actual(&self, at: usize, length: usize) -> Vec<u8> {
        let mut actual = vec![0; length];
        self.file.as_file().read_exact_at(&mut actual, at as u64).unwrap();
        actual
    }

    /// Compares the whole volume.
    pub fn check(&self) -> Result<(), String> {
        ensure!(self.jobs.is_empty(), "starts without a fate: {:?}", self.jobs.keys());
        ensure!(self.perhaps.is_empty(), "blocks that nobody settled: {:?}", self.perhaps.keys());
        let actual = self.actual(0, self.bytes.len());
        let differs = actual.chunks(BLOCK).zip(self.bytes.chunks(BLOCK)).position(|(a, b)| a != b);
        ensure!(
            differs.is_none(),
            "block {} of the volume changed after the last final that had to do with it",
            differs.unwrap_or(0)
        );
        Ok(())
    }

    /// How many bytes it has.
    pub fn bytes(&self) -> u64 {
        self.bytes.len() as u64
    }
}

impl Job {
    /// What it writes to a block.
    fn block(&self, block: u32) -> Option<&[u8]> {
        let at = usize::try_from(block.checked_sub(self.first)?).ok()? * BLOCK;
        self.writes.get(at..at + BLOCK)
    }
}

/// What was `before` must be `after` if the program ended well, and if it was stopped each block may be either, or what it was `perhaps`; then it is settled
/// which.
fn settle(
    actual: &[u8],
    before: &mut [u8],
    after: &[u8],
    well: bool,
    stopped: bool,
    perhaps: impl Fn(usize, &[u8]) -> bool,
) -> Result<(), String> {
    let blocks = actual.chunks(BLOCK).zip(before.chunks_mut(BLOCK)).zip(after.chunks(BLOCK));
    for (number, ((actual, before), after)) in blocks.enumerate() {
        let (is_old, is_new) = (actual == before, actual == after || (stopped && perhaps(number, actual)));
        let right = if stopped {
            is_old || is_new
        } else if well {
            is_new
        } else {
            is_old
        };
        ensure!(right, "block {number} of the range is neither what it was nor what it should be");
        if well || (stopped && is_new) {
            before.copy_from_slice(actual);
        }
    }
    Ok(())
}

fn extent(first: u32, blocks: u32) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[4..8].copy_from_slice(&first.to_be_bytes());
    bytes[12..].copy_from_slice(&(blocks - 1).to_be_bytes());
    bytes
}

fn locate(operation: u8, count: usize, block: u32) -> [u8; 8] {
    let mut bytes = [operation, 0, 0, 0, 0, 0, 0, 0];
    bytes[2..4].copy_from_slice(&u16::try_from(count).unwrap().to_be_bytes());
    bytes[4..].copy_from_slice(&block.to_be_bytes());
    bytes
}
