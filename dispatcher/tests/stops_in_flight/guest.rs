// SPDX-License-Identifier: MIT OR Apache-2.0
//! The guest: starts on a volume that is slow, a halt or a clear after each, a load on other subchannels, and canaries.
//!
//! The canary: as soon as the guest sees the final completion of a start that was stopped, it fills the start's buffer with bytes that nobody else
//! ever stores, and for a write the start's place on the volume, too. From then on each of these bytes belongs to the guest alone. Buffers are looked at a
//! little later, before they are used again, and once more at the end, when all operations that the server knows of have ended.

use super::bytes::{canary, pattern, written, Random, AREA, PIECE};
use super::common::{id, TestGuest, MEMORY_BYTES, MEMORY_OFFSET, PATIENCE};
use super::log::{Done, MOST_STARTS};
use super::report::Report;
use super::volume::{performed, Stopped};
use fctl_ringabi::arch::{Ccw, CcwFlags, DeviceStatus, Orb, OrbControl};
use fctl_ringabi::{Completion, CompletionFlags, CompletionKind, Descriptor, Disposition, Operation};
use std::collections::VecDeque;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

/// Subchannels on the slow volume, from number 0 on. The last of them write.
pub const LANES: u16 = 32;
/// How many of them write.
const WRITERS: u16 = 4;
/// Subchannels of the load, behind those.
pub const LOAD: u16 = 32;
/// Bytes of the volume that the load reads.
pub const LOAD_BYTES: u64 = 4 << 20;
/// Of so many reads of the load one is compared.
const COMPARED: u64 = 32;

// Guest memory: a page for each subchannel's program, a piece for each read of the load, and the buffers.
const PROGRAMS: u64 = 0x1000;
const LOAD_BUFFERS: u64 = 0x8_0000;
const BUFFERS: u64 = 0x10_0000;

/// When a buffer is looked at for the first time after the final: longer than any operation is held back.
const LOOK_AFTER: Duration = Duration::from_millis(10);

/// What became of a start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Running,
    /// It ended before anything stopped it.
    Ended,
    /// Stopped before the device was told of it.
    NeverIssued,
    /// Stopped; what was in the kernel ended without being performed.
    Cancelled,
    /// Stopped; what was in the kernel was performed all the same.
    CompletedLate,
}

/// A start, from its beginning to the end of the test.
struct Start {
    writes: bool,
    pieces: u64,
    place: u64,
    buffer: usize,
    fate: Fate,
    /// Before the halt or clear was posted; 0 if none was.
    stop_ticket: u64,
    /// After the final completion was seen.
    final_ticket: u64,
    /// All bytes of the volume had come into the buffer when the final was seen (or into the volume).
    whole: bool,
}

/// A subchannel on the slow volume.
#[derive(Default)]
struct Lane {
    /// The start that has no final yet, or whose stop has none.
    current: Option<usize>,
    ended: bool,
    stop_at: Option<Instant>,
    stops_due: u8,
}

/// What was found wrong.
pub type Wrong = String;

pub struct Guest<'a> {
    guest: TestGuest,
    volume: &'a Stopped,
    random: Random,
    longest: Duration,
    starts: Vec<Start>,
    lanes: Vec<Lane>,
    /// Buffers, the one that has been idle longest first.
    idle: VecDeque<usize>,
    /// The canary that stands in each buffer.
    canaries: Vec<u64>,
    looks_due: VecDeque<(Instant, usize)>,
    load_running: u16,
    load_posted: u64,
    report: Report,
}

const LOAD_TAG: u64 = 1 << 63;
const STOP_TAG: u64 = 1 << 62;

impl<'a> Guest<'a> {
    /// A guest that stops its starts within `longest` after they were posted.
    pub fn new(guest: TestGuest, volume: &'a Stopped, longest: Duration) -> Self {
        let buffers = usize::try_from((MEMORY_BYTES - BUFFERS) / AREA).unwrap();
        let mut this = Self {
            guest,
            volume,
            random: Random::new(0xF0C7),
            longest,
            starts: Vec::new(),
            lanes: (0..LANES).map(|_| Lane::default()).collect(),
            idle: (0..buffers).collect(),
            canaries: vec![0; buffers],
            looks_due: VecDeque::new(),
            load_running: 0,
            load_posted: 0,
            report: Report::default(),
        };
        for buffer in 0..buffers {
            this.put_canary(buffer, MOST_STARTS + buffer as u64);
        }
        this
    }

    /// Runs until `reads` reads were stopped and a tenth as many completed late, then looks at everything once more.
    pub fn run(mut self, reads: u64) -> Result<Report, Wrong> {
        for number in LANES..LANES + LOAD {
            self.start_load(number);
        }
        let mut progress = Instant::now();
        loop {
            let going_on = self.report.reads.stopped() < reads || self.report.reads.completed_late < reads / 10;
            let mut productive = false;
            while let Some((completion, _)) = self.guest.reader.take().unwrap() {
                productive = true;
                self.take(&completion, going_on)?;
            }
            let now = Instant::now();
            for number in 0..LANES {
                productive |= self.drive(number, now, going_on)?;
            }
            while let Some(&(_, buffer)) = self.looks_due.front().filter(|due| due.0 <= now) {
                self.looks_due.pop_front();
                self.look(buffer)?;
            }
            self.guest.publish();
            if !going_on && self.load_running == 0 && self.lanes.iter().all(|lane| lane.current.is_none()) {
                break;
            }
            if productive {
                progress = now;
            } else if now.duration_since(progress) > PATIENCE {
                return Err(format!("nothing happened for {PATIENCE:?}: {}", self.report.reads));
            } else {
                std::thread::yield_now();
            }
        }
        self.end()
    }

    /// Starts what is idle, and stops what is due. True if anything was posted.
    fn drive(&mut self, number: u16, now: Instant, going_on: bool) -> Result<bool, Wrong> {
        let lane = &mut self.lanes[usize::from(number)];
        match (lane.current, lane.stop_at) {
            (None, _) if going_on => self.start(number, now),
            (Some(start), Some(when)) if when <= now && !lane.ended => {
                self.stop(number, start);
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    fn start(&mut self, number: u16, now: Instant) -> Result<bool, Wrong> {
        let Some(&buffer) = self.idle.front() else { return Ok(false) };
        self.look(buffer)?;
        self.idle.pop_front();
        let at = self.starts.len();
        let writes = number >= LANES - WRITERS;
        let place = self.volume.place(at as u64, writes);
        if at as u64 == MOST_STARTS {
            return Err(format!("{MOST_STARTS} starts were not enough: {}", self.report.reads));
        }
        let pieces = 1 + self.random.below(2);
        if writes {
            self.put(address(buffer), &written(place, pieces * PIECE));
        }
        self.post_start(number, at as u64, writes, place, pieces, address(buffer));
        let whole = false;
        self.starts.push(Start { writes, pieces, place, buffer, fate: Fate::Running, stop_ticket: 0, final_ticket: 0, whole });
        // One in sixteen is stopped in the same batch, so that the device never hears of it.
        let at_once = self.random.below(16) == 0;
        let wait = self.random.below(u64::try_from(self.longest.as_micros()).unwrap());
        let stop_at = Some(now + if at_once { Duration::ZERO } else { Duration::from_micros(wait) });
        self.lanes[usize::from(number)] = Lane { current: Some(at), ended: false, stop_at, stops_due: 0 };
        if at_once {
            self.stop(number, at);
        }
        Ok(true)
    }

    /// Posts a halt, or a clear, or both.
    fn stop(&mut self, number: u16, start: usize) {
        let stops = match self.random.below(10) {
            0..5 => &[Operation::Halt][..],
            5..9 => &[Operation::Clear],
            _ => &[Operation::Halt, Operation::Clear],
        };
        self.starts[start].stop_ticket = self.volume.ticket();
        for &operation in stops {
            self.guest.poster.stage(&Descriptor::new(operation, id(number), STOP_TAG | start as u64)).unwrap();
        }
        let lane = &mut self.lanes[usize::from(number)];
        lane.stop_at = None;
        lane.stops_due = u8::try_from(stops.len()).unwrap();
    }

    fn start_load(&mut self, number: u16) {
        let place = self.load_posted % (LOAD_BYTES / PIECE) * PIECE;
        self.post_start(number, LOAD_TAG | self.load_posted, false, place, 1, LOAD_BUFFERS + u64::from(number - LANES) * PIECE);
        self.load_posted += 1;
        self.load_running += 1;
    }

    /// DEFINE EXTENT, LOCATE, and READ or WRITE.
    fn post_start(&mut self, number: u16, tag: u64, writes: bool, place: u64, pieces: u64, buffer: u64) {
        let program = u32::try_from(PROGRAMS * (u64::from(number) + 1)).unwrap();
        let (extent, locate) = (program + 0x40, program + 0x60);
        let blocks = u16::try_from(pieces * PIECE / 512).unwrap();
        let ccws = [
            Ccw { command: 0x63, flags: CcwFlags::CHAIN_COMMAND, count: 16, address: extent },
            Ccw { command: 0x43, flags: CcwFlags::CHAIN_COMMAND, count: 8, address: locate },
            Ccw {
                command: if writes { 0x41 } else { 0x42 },
                flags: CcwFlags::empty(),
                count: blocks * 512,
                address: u32::try_from(buffer).unwrap(),
            },
        ];
        let mut bytes: Vec<u8> = ccws.iter().flat_map(Ccw::to_format1).collect();
        bytes.resize(0x68, 0);
        bytes[0x40] = if writes { 0 } else { 0x40 };
        bytes[0x44..0x48].copy_from_slice(&u32::try_from(place / 512).unwrap().to_be_bytes());
        bytes[0x4C..0x50].copy_from_slice(&u32::from(blocks - 1).to_be_bytes());
        bytes[0x60] = if writes { 5 } else { 6 };
        bytes[0x62..0x64].copy_from_slice(&blocks.to_be_bytes());
        self.put(u64::from(program), &bytes);
        let orb = Orb::new(0, program).with_control(OrbControl::PREFETCH);
        self.guest.poster.stage(&Descriptor::start(id(number), &orb, tag)).unwrap();
    }

    fn take(&mut self, completion: &Completion, going_on: bool) -> Result<(), Wrong> {
        if completion.kind() != Some(CompletionKind::Final) || completion.cc != 0 {
            return Err(format!("a final with condition code 0 is expected, not {completion:?}"));
        }
        let number = completion.subsystem().number();
        if completion.tag & LOAD_TAG != 0 {
            return self.load_ended(number, completion, going_on);
        }
        let at = usize::try_from(completion.tag & !STOP_TAG).unwrap();
        let lane = &mut self.lanes[usize::from(number)];
        if lane.current != Some(at) {
            return Err(format!("a final that nobody waits for: {completion:?}"));
        }
        if completion.tag & STOP_TAG == 0 {
            lane.ended = true;
            self.start_ended(at, completion)?;
        } else if lane.ended || completion.disposition() == Some(Disposition::AbsorbedByClear) {
            // A halt under a clear ends at once.
            lane.stops_due -= 1;
        } else {
            return Err(format!("the final of the halt or clear came before that of the start: {completion:?}"));
        }
        let lane = &mut self.lanes[usize::from(number)];
        if lane.ended && lane.stops_due == 0 {
            lane.current = None;
            self.idle.push_back(self.starts[at].buffer);
        }
        Ok(())
    }

    fn load_ended(&mut self, number: u16, completion: &Completion, going_on: bool) -> Result<(), Wrong> {
        ended_well(completion)?;
        let posted = completion.tag & !LOAD_TAG;
        if posted % COMPARED == 0 {
            let place = posted % (LOAD_BYTES / PIECE) * PIECE;
            let bytes = self.get(LOAD_BUFFERS + u64::from(number - LANES) * PIECE, PIECE);
            if bytes != pattern(place, PIECE) {
                return Err(format!("read {posted} of the load brought wrong bytes"));
            }
        }
        self.report.load += 1;
        self.load_running -= 1;
        if going_on {
            self.start_load(number);
        }
        Ok(())
    }

    /// The start's final is here: from now on its buffer is the guest's.
    fn start_ended(&mut self, at: usize, completion: &Completion) -> Result<(), Wrong> {
        let final_ticket = self.volume.ticket();
        let (writes, place, buffer, pieces) = {
            let start = &self.starts[at];
            (start.writes, start.place, start.buffer, start.pieces)
        };
        let bytes = self.get(address(buffer), AREA);
        let before = self.canaries[buffer];
        self.put_canary(buffer, at as u64);
        self.looks_due.push_back((Instant::now() + LOOK_AFTER, buffer));

        let length = usize::try_from(pieces * PIECE).unwrap();
        let whole = if writes {
            let there = self.volume.get(place, length);
            if completion.disposition() != Some(Disposition::Executed) {
                self.volume.put(place, &canary(at as u64, pieces * PIECE));
            }
            there == written(place, pieces * PIECE)
        } else {
            bytes[..length] == pattern(place, pieces * PIECE)
        };
        self.starts[at].final_ticket = final_ticket;
        self.starts[at].whole = whole;

        let was_issued = completion.flags.contains(CompletionFlags::WAS_ISSUED);
        let fate = match completion.disposition() {
            Some(Disposition::Executed) => {
                ended_well(completion)?;
                if !whole {
                    return Err(format!("start {at} ended well without its bytes"));
                }
                Fate::Ended
            }
            Some(Disposition::AbsorbedByHalt | Disposition::AbsorbedByClear) if !was_issued => {
                let untouched = if writes { written(place, pieces * PIECE) } else { canary(before, pieces * PIECE) };
                if bytes[..length] != untouched {
                    return Err(format!("start {at} was never issued, and its buffer has changed"));
                }
                Fate::NeverIssued
            }
            Some(Disposition::AbsorbedByHalt | Disposition::AbsorbedByClear) => self.fate_of_stopped(at),
            _ => return Err(format!("start {at} has neither ended nor been stopped: {completion:?}")),
        };
        self.starts[at].fate = fate;
        let fates = if writes { &mut self.report.writes } else { &mut self.report.reads };
        match fate {
            Fate::Cancelled => fates.cancelled += 1,
            Fate::CompletedLate => fates.completed_late += 1,
            Fate::NeverIssued => fates.never_issued += 1,
            Fate::Ended | Fate::Running => fates.ended += 1,
        }
        Ok(())
    }

    /// Completed late: an operation was performed after the stop had been posted, or all had been and the status was still to come.
    fn fate_of_stopped(&self, at: usize) -> Fate {
        let start = &self.starts[at];
        let late = start.whole
            || self
                .volume
                .records(start.place, start.pieces)
                .is_some_and(|mut records| records.any(|record| performed(&record) && record.ended > start.stop_ticket));
        if late {
            Fate::CompletedLate
        } else {
            Fate::Cancelled
        }
    }

    /// Looks at the canary of a buffer that is idle.
    fn look(&mut self, buffer: usize) -> Result<(), Wrong> {
        if self.lanes.iter().any(|lane| lane.current.is_some_and(|at| !lane.ended && self.starts[at].buffer == buffer)) {
            // In use again; it was looked at before.
            return Ok(());
        }
        self.report.looks += 1;
        let number = self.canaries[buffer];
        let bytes = self.get(address(buffer), AREA);
        let expected = canary(number, AREA);
        if bytes == expected {
            return Ok(());
        }
        let changed = bytes.iter().zip(&expected).take_while(|(found, expected)| found == expected).count();
        let fate = self.starts.get(usize::try_from(number).unwrap()).map(|start| start.fate);
        let stopped = self.report.reads.stopped();
        Err(format!(
            "memory changed after the final: byte {changed} of the buffer of start {number} ({fate:?}, {stopped} stopped)"
        ))
    }

    /// Everything has its final: looks at all that must not have changed, and at what the server did when.
    fn end(mut self) -> Result<Report, Wrong> {
        let deadline = Instant::now() + PATIENCE;
        while !self.volume.is_quiet() {
            if Instant::now() > deadline {
                return Err("the server has operations that it does not end".into());
            }
            std::thread::yield_now();
        }
        std::thread::sleep(2 * LOOK_AFTER);
        for buffer in 0..self.canaries.len() {
            self.look(buffer)?;
        }
        for (at, start) in self.starts.iter().enumerate() {
            self.check_records(at, start)?;
            let length = start.pieces * PIECE;
            let stopped = !matches!(start.fate, Fate::Running | Fate::Ended);
            if start.writes
                && stopped
                && self.volume.get(start.place, usize::try_from(length).unwrap()) != canary(at as u64, length)
            {
                return Err(format!("the volume changed after the final: at the place of start {at} ({:?})", start.fate));
            }
        }
        Ok(self.report)
    }

    /// The server did nothing for a start after its final, and nothing at all for one that was never issued.
    fn check_records(&self, at: usize, start: &Start) -> Result<(), Wrong> {
        let Some(records) = self.volume.records(start.place, start.pieces) else { return Ok(()) };
        for record in records.filter(|record| record.arrived != 0) {
            let wrong = if start.fate == Fate::NeverIssued {
                "was never issued, and an operation of it reached the server"
            } else if record.arrived > start.final_ticket {
                "had its final before its operation reached the server"
            } else if record.ended > start.final_ticket {
                "had its final before the server ended its operation"
            } else if record.done == Done::WrongBytes {
                "wrote other bytes than the guest's"
            } else {
                continue;
            };
            return Err(format!("start {at} ({:?}) {wrong}: {record:?}, final {}", start.fate, start.final_ticket));
        }
        Ok(())
    }

    fn put_canary(&mut self, buffer: usize, number: u64) {
        self.canaries[buffer] = number;
        self.put(address(buffer), &canary(number, AREA));
    }

    fn put(&self, address: u64, bytes: &[u8]) {
        self.guest.file.write_all_at(bytes, MEMORY_OFFSET + address).unwrap();
    }

    fn get(&self, address: u64, length: u64) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(length).unwrap()];
        self.guest.file.read_exact_at(&mut bytes, MEMORY_OFFSET + address).unwrap();
        bytes
    }
}

fn address(buffer: usize) -> u64 {
    BUFFERS + buffer as u64 * AREA
}

fn ended_well(completion: &Completion) -> Result<(), Wrong> {
    let good = DeviceStatus::CHANNEL_END | DeviceStatus::DEVICE_END;
    if completion.scsw.device_status() == good && completion.scsw.subchannel_status().is_empty() {
        Ok(())
    } else {
        Err(format!("a start did not end well: {completion:?}"))
    }
}
