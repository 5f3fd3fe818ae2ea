// SPDX-License-Identifier: MIT OR Apache-2.0
//! One subchannel and its model, in step: what is taken, issued and answered is done to the model, and what the guest was told is what
//! the model stored. `events.rs` has the half that devices bring about.

use super::device::{Call, Entry};
use super::image;
use fctl_dispatcher::device::{Sense, Status};
use fctl_model::{tsch_row, Actl, Fctl, Image, Instruction, Schib, Scsw, State, Stctl, TschRow};
use fctl_ringabi::arch::SubchannelStatus;
use fctl_ringabi::{Completion, CompletionFlags, CompletionKind, Disposition, Extension};
use std::collections::VecDeque;

/// Fails with a text unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($text:tt)+) => {
        if !$condition {
            return Err(format!($($text)+));
        }
    };
}
pub(crate) use ensure;

/// How much was compared.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    pub descriptors: u64,
    pub codes: u64,
    pub statuses: u64,
    pub schibs: u64,
    pub events: u64,
    pub issued: u64,
    pub absorbed: u64,
    pub bytes: u64,
    pub stopped_programs: u64,
    pub waited_for_room: u64,
}

impl Counts {
    pub fn add(&mut self, other: &Self) {
        self.descriptors += other.descriptors;
        self.codes += other.codes;
        self.statuses += other.statuses;
        self.schibs += other.schibs;
        self.events += other.events;
        self.issued += other.issued;
        self.absorbed += other.absorbed;
        self.bytes += other.bytes;
        self.stopped_programs += other.stopped_programs;
        self.waited_for_room += other.waited_for_room;
    }
}

impl std::fmt::Display for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { descriptors, codes, statuses, schibs, events, issued, absorbed, bytes, stopped_programs, waited_for_room } =
            self;
        write!(
            f,
            "{descriptors} descriptors, {codes} condition codes, {statuses} status words, {schibs} SCHIBs, {events} device events, \
             {issued} functions issued, {absorbed} descriptors absorbed, {stopped_programs} disk programs stopped, {waited_for_room} statuses \
             that waited for room, {bytes} bytes compared"
        )
    }
}

/// What became of a start.
#[derive(Clone, Copy, Debug)]
pub enum Fate {
    NotRun,
    Ended(Status),
    Stopped,
}

/// What one turn has told the guest of one subchannel, to be used up in order.
#[derive(Default)]
pub struct Seen {
    pub queue: VecDeque<(Completion, Option<Extension>)>,
    pub fates: Vec<(u64, Fate)>,
    pub counts: Counts,
}

/// A descriptor that owes its final.
#[derive(Clone, Copy, Debug)]
pub struct Owed {
    pub tag: u64,
    pub issued: bool,
}

/// What the device is at, by what it was told and has answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    Idle,
    Running,
    Suspended,
    Finishing,
    Halting,
    Clearing,
}

/// A completion that must come.
#[derive(Clone, Debug)]
pub struct Expect {
    pub kind: CompletionKind,
    pub tag: u64,
    pub cc: u8,
    pub disposition: Disposition,
    pub was_issued: bool,
    pub status: Option<Scsw>,
    pub schib: Option<Schib>,
}

impl Expect {
    pub fn last(tag: u64, cc: u8) -> Self {
        let (kind, disposition) = (CompletionKind::Final, Disposition::Executed);
        Self { kind, tag, cc, disposition, was_issued: false, status: None, schib: None }
    }

    pub fn absorbed(owed: Owed, by: Disposition) -> Self {
        Self { disposition: by, was_issued: owed.issued, ..Self::last(owed.tag, 0) }
    }
}

/// What is done next for a subchannel, if anything is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    Call(Call),
    HaltUnissued,
    RefuseStart,
    PresentStacked,
}

impl Next {
    /// The order of issue: clears, halts, starts.
    fn class(self) -> u8 {
        match self {
            Self::Call(Call::Clear) => 0,
            Self::Call(Call::Halt) | Self::HaltUnissued => 1,
            _ => 2,
        }
    }
}

fn front_if(entries: &mut VecDeque<Entry>, call: Call) -> Option<Entry> {
    entries.front().is_some_and(|entry| entry.call == call).then(|| entries.pop_front())?
}

/// A subchannel's model, and what the test must remember beside it.
pub struct Follow {
    pub model: State,
    pub delivered: bool,
    pub engine: bool,
    pub device: Device,
    /// The device has a program that the guest has given up: it is cleared before anything else.
    pub abandoned: bool,
    /// Status is pending that the guest was not told of.
    pub untold: bool,
    /// An attention came while the device was still giving up a program.
    pub late_attention: bool,
    pub start: Option<Owed>,
    pub halt: Option<Owed>,
    pub clear: Option<Owed>,
    pub sense: Option<Sense>,
    /// The status with which the program ended by itself.
    pub ending: Option<Status>,
}

impl Follow {
    pub fn new(enabled: bool, delivered: bool, engine: bool) -> Self {
        Self {
            model: if enabled { State::IDLE } else { State::DISABLED },
            delivered,
            engine,
            device: Device::Idle,
            abandoned: false,
            untold: false,
            late_attention: false,
            start: None,
            halt: None,
            clear: None,
            sense: None,
            ending: None,
        }
    }

    /// Lives through one turn: timers, intake, issue, operations that ended, status that waited for room.
    pub fn turn(&mut self, entries: Vec<Entry>, taken: &[(u64, bool, Instruction)], seen: &mut Seen) -> Result<(), String> {
        let mut entries = VecDeque::from(entries);
        while let Some(entry) = front_if(&mut entries, Call::Timer) {
            self.answered(&entry, seen)?;
        }
        for &(tag, asked, instruction) in taken {
            self.execute(tag, asked, instruction, seen)
                .map_err(|error| format!("{:?} with tag {tag}: {error}", instruction.op()))?;
        }
        for class in 0..3 {
            let next = self.next().filter(|next| next.class() == class);
            match next {
                Some(Next::Call(call)) => match front_if(&mut entries, call) {
                    Some(entry) => {
                        self.issue(call, seen)?;
                        self.answered(&entry, seen)?;
                    }
                    // Starts and resumes wait for an engine slot.
                    None if self.engine && matches!(call, Call::Start | Call::Resume) => {}
                    None => return Err(format!("{call:?} was not issued")),
                },
                Some(next) => self.perform_here(next, seen)?,
                None => {}
            }
        }
        while let Some(entry) = front_if(&mut entries, Call::OperationEnded) {
            self.answered(&entry, seen)?;
        }
        self.tell(seen)?;
        ensure!(entries.is_empty(), "issued out of place: {entries:?}, next would have been {:?}", self.next());
        ensure!(seen.queue.is_empty(), "told, but not stored: {:?}", seen.queue);
        Ok(())
    }

    /// The one function that the device should be told now: clear before halt before start before resume.
    pub fn next(&self) -> Option<Next> {
        let State { fctl, actl, stctl, .. } = self.model;
        let pending = stctl.has(Stctl::PENDING);
        if actl.has(Actl::CLEAR_PENDING) {
            return (self.device != Device::Clearing).then_some(Next::Call(Call::Clear));
        }
        if actl.has(Actl::HALT_PENDING) {
            return match self.device {
                Device::Halting if !self.abandoned => None,
                Device::Clearing => None,
                Device::Idle | Device::Finishing if fctl.has(Fctl::START) && self.start.is_none() => Some(Next::HaltUnissued),
                _ => Some(Next::Call(Call::Halt)),
            };
        }
        let stacked = self.model.stacked || self.late_attention;
        match self.device {
            _ if self.abandoned => Some(Next::Call(Call::Clear)),
            Device::Idle if actl.has(Actl::START_PENDING) && !pending => {
                Some(if stacked { Next::RefuseStart } else { Next::Call(Call::Start) })
            }
            Device::Idle if stacked && fctl.is_empty() && !pending && self.model.pmcw.fields.enabled => {
                Some(Next::PresentStacked)
            }
            Device::Suspended if actl.any(Actl::RESUME_PENDING.with(Actl::SUBCHANNEL_ACTIVE)) => Some(Next::Call(Call::Resume)),
            _ => None,
        }
    }

    /// Executes an instruction on the model; the guest must have been told just that.
    fn execute(&mut self, tag: u64, asked: bool, instruction: Instruction, seen: &mut Seen) -> Result<(), String> {
        let before = self.model;
        let response = self.model.execute(instruction);
        let cc = response.cc;
        seen.counts.codes += 1;
        let owed = Owed { tag, issued: false };
        let mut expected = Vec::new();
        if asked {
            expected.push(Expect { kind: CompletionKind::Accepted, ..Expect::last(tag, cc) });
        }
        let mut absorb = |owed: Option<Owed>, by| expected.extend(owed.map(|owed| Expect::absorbed(owed, by)));
        match (instruction, cc) {
            (Instruction::Ssch(_), 0) => {
                self.start = Some(owed);
                self.ending = None;
            }
            (Instruction::Hsch, 0) => {
                absorb(self.start.take_if(|start| !start.issued), Disposition::AbsorbedByHalt);
                self.halt = Some(owed);
            }
            (Instruction::Csch, 0) => {
                absorb(self.start.take_if(|start| !start.issued), Disposition::AbsorbedByClear);
                absorb(self.halt.take(), Disposition::AbsorbedByClear);
                absorb(self.clear.replace(owed), Disposition::AbsorbedByClear);
                (self.sense, self.ending) = (None, None);
            }
            (Instruction::Xsch, 0) => {
                absorb(self.start.take(), Disposition::AbsorbedByCancel);
                self.abandoned |= self.device == Device::Suspended;
            }
            (Instruction::Tsch, 0) => match tsch_row(before.fctl, before.actl, before.stctl) {
                TschRow::SuspendedHalt if self.halt.is_some() => {
                    // The halt was not performed yet: this status was its only one.
                    absorb(self.start.take(), Disposition::AbsorbedByHalt);
                    expected.extend(self.halt.take().map(|halt| Expect::last(halt.tag, 0)));
                    self.abandoned = true;
                }
                _ => {}
            },
            _ => {}
        }
        if !matches!((instruction, cc), (Instruction::Ssch(_) | Instruction::Hsch | Instruction::Csch, 0)) {
            let mut last = Expect::last(tag, cc);
            match response.image {
                Some(Image::Irb(scsw)) => last.status = Some(scsw.meaningful()),
                Some(Image::Schib(schib)) => last.schib = Some(schib),
                None => {}
            }
            expected.push(last);
        }
        self.take(&expected, Some(tag), seen)?;
        if instruction == Instruction::Tsch && cc == 0 && !before.intermediate_only() {
            (self.sense, self.ending) = (None, None);
        }
        self.untold &= self.model.stctl.has(Stctl::PENDING);
        self.stack_late_attention();
        Ok(())
    }

    /// Takes these completions out of what was seen: in any order but that *accepted* comes before the final, and the finals of what
    /// `absorber` has absorbed before its own.
    pub fn take(&mut self, expected: &[Expect], absorber: Option<u64>, seen: &mut Seen) -> Result<(), String> {
        ensure!(seen.queue.len() >= expected.len(), "{expected:?} must come, only {:?} came", seen.queue);
        let found: Vec<_> = seen.queue.drain(..expected.len()).collect();
        let mut places = Vec::new();
        for expect in expected {
            let is_it = |one: &(Completion, _)| (one.0.kind(), one.0.tag) == (Some(expect.kind), expect.tag);
            let Some(place) = found.iter().position(is_it) else {
                return Err(format!("{expect:?} must come, {found:?} came"));
            };
            self.compare(expect, &found[place], seen)?;
            places.push((expect.tag, expect.kind, expect.disposition, place));
            if expect.kind == CompletionKind::Final {
                self.fate(expect, seen);
            }
        }
        let last = places.iter().find(|place| Some(place.0) == absorber && place.1 == CompletionKind::Final);
        for place in &places {
            if let Some(last) = last {
                ensure!(place.3 <= last.3, "{place:?} came after the final {last:?}");
            }
        }
        Ok(())
    }

    fn fate(&self, expect: &Expect, seen: &mut Seen) {
        let absorbed = expect.disposition != Disposition::Executed;
        seen.counts.absorbed += u64::from(absorbed);
        let fate = match (absorbed, expect.cc, self.ending) {
            (false, 0, Some(status)) => Fate::Ended(status),
            _ if expect.was_issued => Fate::Stopped,
            _ => Fate::NotRun,
        };
        seen.fates.push((expect.tag, fate));
    }

    /// One completion, field by field.
    pub fn compare(
        &self,
        expect: &Expect,
        (found, extension): &(Completion, Option<Extension>),
        seen: &mut Seen,
    ) -> Result<(), String> {
        let intparm = self.model.pmcw.fields.intparm;
        ensure!(
            (found.cc, found.disposition(), found.intparm) == (expect.cc, Some(expect.disposition), intparm),
            "{expect:?} with interruption parameter {intparm:#x} must come, {found:?} came"
        );
        let was_issued = found.flags.contains(CompletionFlags::WAS_ISSUED);
        ensure!(was_issued == expect.was_issued, "{expect:?} must come, {found:?} came");
        ensure!(found.flags.contains(CompletionFlags::STATUS) == expect.status.is_some(), "{expect:?}: status in {found:?}");
        if let Some(scsw) = &expect.status {
            seen.counts.statuses += 1;
            let told = image::scsw(&found.scsw);
            ensure!(told == *scsw, "told was {told:?}, stored is {scsw:?}");
            let ended = self.ending.filter(|_| scsw.stctl.has(Stctl::PRIMARY) && !scsw.fctl.has(Fctl::HALT));
            if let Some(ended) = ended {
                ensure!(found.scsw.ccw_address() == ended.ccw_address, "CCW address of {ended:?} in {found:?}");
                let checks = ended.subchannel - SubchannelStatus::PROGRAM_CONTROLLED_INTERRUPTION;
                ensure!(!checks.is_empty() || found.scsw.residual() == ended.residual, "residual of {ended:?} in {found:?}");
            }
            let sense = match extension {
                Some(Extension::Irb { esw, ecw }) => esw
                    .erw()
                    .has_concurrent_sense()
                    .then(|| Sense::new(ecw.0.get(..esw.erw().sense_count().into()).unwrap_or_default())),
                _ => None,
            };
            if let Some(Extension::Irb { esw, .. }) = extension {
                let lpum = self.model.pmcw.lpum;
                ensure!(esw.lpum() == lpum, "the path last used is {:#x}, should be {lpum:#x}", esw.lpum());
            }
            let expected = self.sense.filter(|_| scsw.stctl.has(Stctl::ALERT));
            ensure!(sense == expected, "concurrent sense is {sense:?}, should be {expected:?}");
        }
        if let Some(schib) = &expect.schib {
            seen.counts.schibs += 1;
            let Some(Extension::Schib(stored)) = extension else { return Err("STSCH stored nothing".into()) };
            let told =
                (image::scsw(&stored.scsw), image::fields(stored), (stored.pmcw.pnom, stored.pmcw.lpum), stored.pmcw.is_valid());
            let expected = (schib.scsw.meaningful(), schib.pmcw.fields, (schib.pmcw.pnom, schib.pmcw.lpum), schib.valid);
            ensure!(told == expected, "STSCH stored {told:?}, should be {expected:?}");
        }
        Ok(())
    }
}
