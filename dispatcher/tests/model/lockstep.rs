// SPDX-License-Identifier: MIT OR Apache-2.0
//! The model and the implementation side by side: what one does, the other does, and what a guest could see is compared.

use fctl_dispatcher::device::{DeviceEvent, PlainEnd, Status};
use fctl_dispatcher::subchannel::{Answer, Answers, Function, Instruction as Ours, Owed, StatusMode, Subchannel};
use fctl_model::{Actl, Ending, Events, Fctl, HaltEnding, Image, Instruction, Op, OrbEcho, Progress, Scsw, State, Stctl};
use fctl_ringabi::arch::{self, DeviceStatus, Orb, OrbControl, PmcwFlags, Schib, SubchannelStatus};
use fctl_ringabi::{CompletionFlags, CompletionKind, DescriptorFlags, Disposition, Extension, Operation};

/// What was answered during one step.
#[derive(Clone, Default)]
pub struct Log(pub Vec<Answer>);

impl Answers for Log {
    fn post(&mut self, answer: &Answer) {
        self.0.push(*answer);
    }

    fn uncharged_room(&mut self) -> bool {
        true
    }
}

/// Both, and the descriptors that still wait for their final.
#[derive(Clone)]
pub struct Pair {
    pub model: State,
    pub ours: Subchannel,
    pub mode: StatusMode,
    /// Operations of the descriptors without a final: their tags.
    pub owed: Vec<u64>,
}

/// One way in which the implementation can live through a step of the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Plain,
    /// The device's own end was on its way when the function was accepted, and arrives before the function is issued.
    EndFirst,
    /// The same, but it arrives after the function was issued.
    EndAfter,
    /// The device ends by itself instead of answering the halt.
    EndInstead,
    /// The device end arrives before the function was issued.
    DeviceEndFirst,
}

pub const WAYS: [Way; 5] = [Way::Plain, Way::EndFirst, Way::EndAfter, Way::EndInstead, Way::DeviceEndFirst];

const CE_DE: DeviceStatus = DeviceStatus::CHANNEL_END.union(DeviceStatus::DEVICE_END);

fn status(device: DeviceStatus, subchannel: SubchannelStatus) -> Status {
    Status { device, subchannel, ..Status::default() }
}

fn orb(start: &fctl_model::Start) -> Orb {
    let OrbEcho { key, suspend, format, prefetch, initial_status, address_limit, suppress_suspended } = start.orb;
    let mut control = OrbControl::empty();
    control.set(OrbControl::SUSPEND, suspend);
    control.set(OrbControl::PREFETCH, prefetch);
    control.set(OrbControl::INITIAL_STATUS, initial_status);
    control.set(OrbControl::ADDRESS_LIMIT, address_limit);
    control.set(OrbControl::SUPPRESS_SUSPENDED, suppress_suspended);
    let format = if format { arch::CcwFormat::One } else { arch::CcwFormat::Zero };
    Orb::new(start.intparm, 0x1000).with_format(format).with_control(control).with_key(key).with_lpm(start.lpm)
}

fn schib(fields: &fctl_model::Fields) -> Schib {
    let mut schib = Schib::initial(0);
    schib.pmcw.set_intparm(fields.intparm);
    schib.pmcw.set_isc(fields.isc);
    let mut flags = schib.pmcw.flags();
    flags.set(PmcwFlags::ENABLED, fields.enabled);
    schib.pmcw.set_flags(flags);
    schib.pmcw.lpm = fields.lpm;
    schib.pmcw.pom = fields.pom;
    schib
}

/// The status word of the implementation, in the model's form.
pub fn image(scsw: &arch::Scsw) -> Scsw {
    let [word0, _, word2] = scsw.to_words();
    let [device_status, subchannel_status, ..] = word2.to_be_bytes();
    let [_, _, high, low] = word0.to_be_bytes();
    let control = u16::from_be_bytes([high, low]);
    Scsw {
        orb: OrbEcho {
            key: scsw.key(),
            suspend: word0 & 0x0800_0000 != 0,
            format: word0 & 0x0080_0000 != 0,
            prefetch: word0 & 0x0040_0000 != 0,
            initial_status: word0 & 0x0020_0000 != 0,
            address_limit: word0 & 0x0010_0000 != 0,
            suppress_suspended: word0 & 0x0008_0000 != 0,
        },
        deferred_cc: scsw.deferred_cc(),
        z: word0 & 0x0004_0000 != 0,
        n: word0 & 0x0001_0000 != 0,
        fctl: Fctl::from_ctrl(control),
        actl: Actl::from_ctrl(control),
        stctl: Stctl::from_ctrl(control),
        device_status,
        subchannel_status,
    }
    .meaningful()
}

impl Pair {
    /// An enabled, idle subchannel.
    pub fn idle(mode: StatusMode) -> Self {
        Self { model: State::IDLE, ours: Subchannel::new(0, true, mode), mode, owed: Vec::new() }
    }

    /// Two pairs with the same key behave alike from here on. Tags name the kind of instruction only, and no time is used, so there are
    /// finitely many.
    pub fn key(&self) -> String {
        format!("{:?} {:?}", self.model, self.ours)
    }

    fn compare(&self, what: &dyn std::fmt::Debug) -> Result<(), String> {
        if self.ours.start_is_next() != (self.ours.next_function() == Some(Function::Start)) {
            return Err(format!("after {what:?} start_is_next and next_function differ: {:?}", self.ours));
        }
        self.short_ways().map_err(|error| format!("after {what:?} {error}"))?;
        let ours = self.ours.schib();
        let seen = image(&ours.scsw);
        let expected = self.model.scsw().meaningful();
        if seen != expected {
            return Err(format!("after {what:?} the status word is {seen:?}, the model says {expected:?}"));
        }
        let pmcw = &ours.pmcw;
        let (seen, fields) =
            ((pmcw.intparm(), pmcw.isc(), pmcw.is_enabled(), pmcw.lpm, pmcw.pom, pmcw.pnom, pmcw.lpum), &self.model.pmcw.fields);
        let expected =
            (fields.intparm, fields.isc, fields.enabled, fields.lpm, fields.pom, self.model.pmcw.pnom, self.model.pmcw.lpum);
        if seen != expected {
            return Err(format!(
                "after {what:?} intparm, isc, enabled, lpm, pom, pnom, lpum are {seen:?}, the model says {expected:?}"
            ));
        }
        Ok(())
    }

    /// The short ways to a start's plain end go where the long ones do, and nowhere else.
    fn short_ways(&self) -> Result<(), String> {
        let nothing = SubchannelStatus::empty();
        for status in
            [status(CE_DE, nothing), status(DeviceStatus::CHANNEL_END, nothing), status(CE_DE, SubchannelStatus::PROGRAM_CHECK)]
        {
            let (mut short, mut long) = (self.ours.clone(), self.ours.clone());
            let (mut told, mut expected) = (Log::default(), Log::default());
            if !short.ran(&status, &mut told) {
                if !told.0.is_empty() || (self.ours.owed() != short.owed()) {
                    return Err(format!("a short way that is not taken has told {:?}", told.0));
                }
                continue;
            }
            long.event(&DeviceEvent::Ended(status), None, &mut expected);
            let at_rest = long.next_function().is_none() && !long.has_undelivered() && !long.device_busy();
            let same = format!("{short:?}{:?}", told.0) == format!("{long:?}{:?}", expected.0);
            if !same || !at_rest {
                return Err(format!(
                    "the short way goes to {short:?} with {:?}, the long one to {long:?} with {:?}",
                    told.0, expected.0
                ));
            }
        }
        self.running_through()
    }

    /// A start that runs through ends as one that is accepted, issued and ended; and where it may not, what comes of accepting it is the same as without the
    /// attempt.
    fn running_through(&self) -> Result<(), String> {
        let orb = Orb::new(0x9876, 0x1230).with_key(3).with_lpm(0x80).with_control(OrbControl::SUSPEND | OrbControl::PREFETCH);
        let owed = Owed { tag: 9, posted: 0, taken: 0, flags: DescriptorFlags::empty(), operation: Operation::Start };
        let (mut silently, mut told, mut answers) = (self.ours.clone(), self.ours.clone(), Log::default());
        told.accept(Ours::Start(&orb), owed, &mut answers);
        if silently.accept_silently(&orb, owed) != answers.0.is_empty() || format!("{silently:?}") != format!("{told:?}") {
            return Err(format!("a start accepted in silence leaves {silently:?}, any other {told:?} with {:?}", answers.0));
        }
        for end in [Some(PlainEnd::new(0x1238, 3)), None] {
            let (mut short, mut long) = (self.ours.clone(), self.ours.clone());
            let mut expected = Log::default();
            let ran = short.run_through(&orb, 7, |_| end);
            let accepted = long.accept_silently(&orb, owed);
            if ran.is_none() {
                let stands =
                    short.accept_silently(&orb, owed) == accepted && (!accepted || format!("{short:?}") == format!("{long:?}"));
                if !stands {
                    return Err(format!("a start that did not run through has left {short:?}, and not {long:?}"));
                }
                continue;
            }
            let issued = accepted && long.next_function() == Some(Function::Start);
            long.issued(Function::Start, 7);
            let Some(end) = end else { return Err("the device has not performed it, and it ran through".into()) };
            long.event(&DeviceEvent::Ended(end.status()), None, &mut expected);
            let at_rest = long.next_function().is_none() && !long.has_undelivered() && !long.device_busy();
            let [final_one] = &expected.0[..] else { return Err(format!("the long way has told {:?}", expected.0)) };
            let same = format!("{short:?}") == format!("{long:?}") && ran == Some(final_one.scsw.to_words());
            if !issued || !at_rest || !same {
                return Err(format!(
                    "a start runs through to {short:?} with {ran:x?}, the long way is {long:?} with {final_one:?}"
                ));
            }
        }
        Ok(())
    }

    /// Executes an instruction on both.
    pub fn execute(&mut self, instruction: Instruction) -> Result<u8, String> {
        let op = instruction.op();
        let operation = match op {
            Op::Ssch => Operation::Start,
            Op::Hsch => Operation::Halt,
            Op::Csch => Operation::Clear,
            Op::Xsch => Operation::Cancel,
            Op::Rsch => Operation::Resume,
            Op::Msch => Operation::Modify,
            Op::Tsch => Operation::Test,
            Op::Stsch => Operation::Store,
        };
        let tag = match &instruction {
            Instruction::Ssch(start) => u64::from(start.id),
            _ => operation as u64 * 100,
        };
        let owed = Owed { tag, posted: 0, taken: 0, flags: DescriptorFlags::ACCEPTED, operation };
        let (orb, schib) = match &instruction {
            Instruction::Ssch(start) => (orb(start), Schib::initial(0)),
            Instruction::Msch(fields) => (Orb::default(), schib(fields)),
            _ => (Orb::default(), Schib::initial(0)),
        };
        let ours = match op {
            Op::Ssch => Ours::Start(&orb),
            Op::Hsch => Ours::Halt,
            Op::Csch => Ours::Clear,
            Op::Xsch => Ours::Cancel,
            Op::Rsch => Ours::Resume,
            Op::Msch => Ours::Modify(&schib),
            Op::Tsch => Ours::Test,
            Op::Stsch => Ours::Store,
        };
        let mut log = Log::default();
        // Another clear under a clear is a descriptor of its own with the same tag.
        self.owed.push(tag);
        self.ours.accept(ours, owed, &mut log);
        let accepted: Vec<&Answer> = log.0.iter().filter(|answer| answer.kind == CompletionKind::Accepted).collect();
        let [accepted] = accepted[..] else { return Err(format!("{op:?}: {} accepted", accepted.len())) };
        let cc = accepted.cc;
        let response = self
            .model
            .execute_as(instruction, cc)
            .ok_or_else(|| format!("{op:?} got condition code {cc}, the model says {}", self.model.cc_of(&instruction)))?;
        let last = log.0.last().ok_or("no answer")?;
        match response.image {
            Some(Image::Irb(scsw)) => {
                let seen = image(&last.scsw);
                if seen != scsw.meaningful() || !last.flags.contains(CompletionFlags::STATUS) {
                    return Err(format!("TSCH stored {seen:?}, the model says {:?}", scsw.meaningful()));
                }
            }
            Some(Image::Schib(schib)) => {
                let Some(Extension::Schib(stored)) = &last.extension else { return Err("STSCH stored nothing".into()) };
                if image(&stored.scsw) != schib.scsw.meaningful() {
                    return Err(format!("STSCH stored {:?}, the model says {:?}", image(&stored.scsw), schib.scsw.meaningful()));
                }
            }
            None => {}
        }
        self.ledger(&log)?;
        self.compare(&instruction)?;
        Ok(cc)
    }

    /// Each descriptor gets one final, and an absorbed one says by what.
    fn ledger(&mut self, log: &Log) -> Result<(), String> {
        for answer in log.0.iter().filter(|answer| answer.kind == CompletionKind::Final) {
            let tag = answer.owed.tag;
            let Some(at) = self.owed.iter().position(|&owed| owed == tag) else {
                return Err(format!("a final for tag {tag}, which owes none"));
            };
            self.owed.remove(at);
            if answer.disposition != Disposition::Executed && answer.flags.contains(CompletionFlags::STATUS) {
                return Err(format!("an absorbed descriptor has a status of its own: {answer:?}"));
            }
        }
        if self.owed.len() != self.ours.owed() {
            return Err(format!("{:?} have no final, the subchannel says {}", self.owed, self.ours.owed()));
        }
        Ok(())
    }

    /// Steps that this implementation never makes: a start that waits for device end is not refused meanwhile, one that meets stacked
    /// status is refused with that status.
    pub fn never(&self, step: Progress) -> bool {
        match step {
            Progress::DeferredCc1 => self.model.actl.has(Actl::DEVICE_ACTIVE),
            Progress::DeferredCc3 => self.model.stacked,
            _ => false,
        }
    }

    fn issue(&mut self, function: Function) -> Result<(), String> {
        match self.ours.next_function() {
            Some(next) if next == function => {
                self.ours.issued(function, 0);
                Ok(())
            }
            next => Err(format!("{next:?} is to be issued, not {function:?}")),
        }
    }

    /// What the device must be told before the guest's own wishes: nothing that the guest can see.
    fn catch_up(&mut self, log: &mut Log) -> Result<(), String> {
        if !self.model.actl.has(Actl::CLEAR_PENDING) && self.ours.next_function() == Some(Function::Clear) {
            self.issue(Function::Clear)?;
            self.ours.event(&DeviceEvent::Cleared, None, log);
        }
        Ok(())
    }

    /// Makes a step on both. `None` if the step cannot be lived through in this way.
    pub fn progress(&mut self, step: Progress, way: Way) -> Option<Result<(), String>> {
        let before = self.model;
        let mut log = Log::default();
        if let Err(error) = self.catch_up(&mut log) {
            return Some(Err(error));
        }
        let lived = match self.live(step, way, before, &mut log) {
            Ok(false) => return None,
            Ok(true) => self.settle(step, &mut log),
            Err(error) => Err(error),
        };
        Some(lived.map_err(|error| format!("{step:?} ({way:?}): {error}")))
    }

    fn live(&mut self, step: Progress, way: Way, before: State, log: &mut Log) -> Result<bool, String> {
        let nothing = SubchannelStatus::empty();
        let running = before.actl.has(Actl::SUBCHANNEL_ACTIVE);
        let device_active = before.actl.has(Actl::DEVICE_ACTIVE);
        let plain = way == Way::Plain;
        let mut event = |ours: &mut Subchannel, event: DeviceEvent| ours.event(&event, None, log);
        match step {
            Progress::IssueStart if plain => self.issue(Function::Start)?,
            Progress::DeferredCc1 if plain && before.stacked => {
                self.issue(Function::RefuseStart)?;
                self.ours.perform_here(Function::RefuseStart, log);
            }
            Progress::DeferredCc1 if plain => {
                self.issue(Function::Start)?;
                event(&mut self.ours, DeviceEvent::Refused { deferred_cc: 1, status: status(DeviceStatus::BUSY, nothing) });
            }
            Progress::DeferredCc3 if plain => {
                self.issue(Function::Start)?;
                event(&mut self.ours, DeviceEvent::Refused { deferred_cc: 3, status: Status::default() });
            }
            Progress::Resume if plain => self.issue(Function::Resume)?,
            Progress::Halt(ending) => return self.live_halt(ending, way, running, device_active, log),
            Progress::Clear => match way {
                Way::Plain => {
                    self.issue(Function::Clear)?;
                    event(&mut self.ours, DeviceEvent::Cleared);
                }
                // The late end of a dead start must never be taken for anything.
                Way::EndFirst if self.ours.device_busy() => {
                    event(&mut self.ours, DeviceEvent::Ended(status(CE_DE, nothing)));
                    self.issue(Function::Clear)?;
                    event(&mut self.ours, DeviceEvent::Cleared);
                }
                Way::EndAfter => {
                    self.issue(Function::Clear)?;
                    event(&mut self.ours, DeviceEvent::Intermediate(status(DeviceStatus::empty(), nothing)));
                    event(&mut self.ours, DeviceEvent::Ended(status(CE_DE, nothing)));
                    event(&mut self.ours, DeviceEvent::Secondary(status(DeviceStatus::DEVICE_END, nothing)));
                    event(&mut self.ours, DeviceEvent::Cleared);
                }
                _ => return Ok(false),
            },
            Progress::InitialStatus if plain => event(&mut self.ours, DeviceEvent::InitialStatus(Status::default())),
            Progress::Pci if plain => {
                let pci = SubchannelStatus::PROGRAM_CONTROLLED_INTERRUPTION;
                event(&mut self.ours, DeviceEvent::Intermediate(status(DeviceStatus::empty(), pci)));
            }
            Progress::Suspend if plain => {
                event(&mut self.ours, DeviceEvent::Suspended(Status::default()));
                if before.actl.has(Actl::RESUME_PENDING) {
                    self.issue(Function::Resume)?;
                }
            }
            Progress::End { ending, pci } if plain => {
                let (device, subchannel) = match ending {
                    Ending::ChannelEndDeviceEnd => (CE_DE, nothing),
                    Ending::ChannelEnd => (DeviceStatus::CHANNEL_END, nothing),
                    Ending::UnitCheck => (CE_DE | DeviceStatus::UNIT_CHECK, nothing),
                    Ending::ProgramCheck => (DeviceStatus::empty(), SubchannelStatus::PROGRAM_CHECK),
                };
                let pci = if pci { SubchannelStatus::PROGRAM_CONTROLLED_INTERRUPTION } else { nothing };
                event(&mut self.ours, DeviceEvent::Ended(status(device, subchannel | pci)));
            }
            Progress::DeviceEnd if plain => {
                event(&mut self.ours, DeviceEvent::Secondary(status(DeviceStatus::DEVICE_END, nothing)))
            }
            Progress::Attention if plain => {
                event(&mut self.ours, DeviceEvent::Unsolicited(status(DeviceStatus::ATTENTION, nothing)))
            }
            Progress::PresentStacked if plain => {
                self.issue(Function::PresentStacked)?;
                self.ours.perform_here(Function::PresentStacked, log);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn live_halt(
        &mut self,
        ending: HaltEnding,
        way: Way,
        running: bool,
        device_active: bool,
        log: &mut Log,
    ) -> Result<bool, String> {
        let nothing = SubchannelStatus::empty();
        let device = match ending {
            HaltEnding::Alone | HaltEnding::DeviceStillActive => DeviceStatus::empty(),
            HaltEnding::DeviceEnd => DeviceStatus::DEVICE_END,
            HaltEnding::ChannelEndDeviceEnd => CE_DE,
            HaltEnding::UnitCheck => CE_DE | DeviceStatus::UNIT_CHECK,
        };
        let ended = DeviceEvent::Ended(status(device, nothing));
        let answer = match ending {
            HaltEnding::DeviceStillActive => DeviceEvent::HaltedDeviceActive(status(device, nothing)),
            _ => DeviceEvent::Halted(status(device, nothing)),
        };
        let by_itself = matches!(ending, HaltEnding::ChannelEndDeviceEnd | HaltEnding::UnitCheck);
        match way {
            Way::Plain => {
                if self.ours.next_function() == Some(Function::HaltUnissued) {
                    // Performed here: the device was not told, so it has no say in how the halt ends.
                    let expected = if device_active { HaltEnding::DeviceStillActive } else { HaltEnding::Alone };
                    if ending != expected {
                        return Ok(false);
                    }
                    self.issue(Function::HaltUnissued)?;
                    self.ours.perform_here(Function::HaltUnissued, log);
                } else {
                    self.issue(Function::Halt)?;
                    self.ours.event(&answer, None, log);
                }
            }
            Way::EndFirst if running && by_itself => self.ours.event(&ended, None, log),
            Way::EndInstead if running && by_itself => {
                self.issue(Function::Halt)?;
                self.ours.event(&ended, None, log);
            }
            Way::EndAfter if running && ending == HaltEnding::Alone => {
                self.issue(Function::Halt)?;
                self.ours.event(&DeviceEvent::Intermediate(Status::default()), None, log);
                self.ours.event(&answer, None, log);
            }
            Way::DeviceEndFirst if device_active && !running && ending == HaltEnding::DeviceEnd => {
                self.ours.event(&DeviceEvent::Secondary(status(DeviceStatus::DEVICE_END, nothing)), None, log);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Makes the model's step, and compares.
    fn settle(&mut self, step: Progress, log: &mut Log) -> Result<(), String> {
        let events: Events = match self.mode {
            StatusMode::Delivered => self.model.progress_delivered(step).events,
            _ => self.model.progress(step),
        };
        let told: Vec<&Answer> = log.0.iter().filter(|answer| answer.disposition == Disposition::Executed).collect();
        match (&events.stored, &told[..]) {
            (None, []) => {}
            (None, told) => return Err(format!("no status was stored, but {told:?} was told")),
            (Some(stored), told) => {
                if stored.fresh && told.is_empty() {
                    return Err("an interruption became pending and nobody was told".into());
                }
                if told.len() > 1 {
                    return Err(format!("one status was stored, but {told:?} was told"));
                }
                if let ([answer], StatusMode::Delivered) = (told, self.mode) {
                    let seen = image(&answer.scsw);
                    if seen != stored.scsw.meaningful() || answer.intparm != stored.intparm {
                        return Err(format!("told {seen:?} with {:#x}, stored was {stored:?}", answer.intparm));
                    }
                }
            }
        }
        self.ledger(log)?;
        self.compare(&step)
    }
}
