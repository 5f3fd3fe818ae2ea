// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the comparison with the model does not look at: room for completions, tags, stage times, concurrent sense, addresses and counts, the
//! end of a subchannel, and states that no guest can bring about.

mod accept;
mod bits;
mod issue;
mod status;
mod stop;

use super::*;
use crate::device::{DeviceEvent, Status};
use fctl_ringabi::arch::{DeviceStatus, Ecw, Erw, Esw, OrbControl, PmcwCharacteristics, PmcwFlags, SubchannelStatus};
use fctl_ringabi::{interruption_code, CompletionFlags, CompletionKind, DescriptorFlags, Disposition, Extension, Operation};

const CE: DeviceStatus = DeviceStatus::CHANNEL_END;
const DE: DeviceStatus = DeviceStatus::DEVICE_END;
const HELD: StatusMode = StatusMode::Held;
const DELIVERED: StatusMode = StatusMode::Delivered;

/// Answers, and room for more than the descriptors have paid for, or none.
struct Log {
    answers: Vec<Answer>,
    room: bool,
}

impl Answers for Log {
    fn post(&mut self, answer: &Answer) {
        self.answers.push(*answer);
    }

    fn uncharged_room(&mut self) -> bool {
        self.room
    }
}

struct Machine {
    subchannel: Subchannel,
    log: Log,
}

fn machine(mode: StatusMode) -> Machine {
    Machine { subchannel: Subchannel::new(0x120, true, mode), log: Log { answers: Vec::new(), room: true } }
}

fn orb() -> Orb {
    Orb::new(0xCAFE, 0x1000)
}

fn status(device: DeviceStatus) -> Status {
    Status { device, subchannel: SubchannelStatus::empty(), ccw_address: 0x1008, residual: 0x1234 }
}

/// A running start with tag 7 that was issued at 500.
fn active(mode: StatusMode) -> Machine {
    let mut machine = machine(mode);
    machine.does(Instruction::Start(&orb()), 7);
    machine.issues(Function::Start, 500);
    machine
}

/// The same program, suspended, nothing of it told.
fn suspended(mode: StatusMode) -> Machine {
    let mut machine = machine(mode);
    let orb = orb().with_control(OrbControl::SUSPEND | OrbControl::SUPPRESS_SUSPENDED);
    machine.does(Instruction::Start(&orb), 7);
    machine.issues(Function::Start, 500);
    machine.event(DeviceEvent::Suspended(status(DeviceStatus::empty())));
    machine.taken();
    machine
}

impl Machine {
    fn execute(&mut self, instruction: Instruction<'_>, tag: u64, flags: DescriptorFlags) {
        let owed = Owed { tag, posted: 1, taken: 2, flags, operation: Operation::Start };
        self.subchannel.accept(instruction, owed, &mut self.log);
    }

    /// Executes an instruction whose descriptor asked for nothing.
    fn does(&mut self, instruction: Instruction<'_>, tag: u64) {
        self.execute(instruction, tag, DescriptorFlags::empty());
    }

    fn issues(&mut self, function: Function, now: u64) {
        assert_eq!(self.subchannel.next_function(), Some(function));
        self.subchannel.issued(function, now);
        self.subchannel.perform_here(function, &mut self.log);
    }

    fn event(&mut self, event: DeviceEvent) {
        self.subchannel.event(&event, None, &mut self.log);
    }

    fn unit_check(&mut self, sense: Option<Sense>) {
        self.subchannel.event(&DeviceEvent::Ended(status(CE | DE | DeviceStatus::UNIT_CHECK)), sense, &mut self.log);
    }

    fn attention(&mut self) {
        self.event(DeviceEvent::Unsolicited(status(DeviceStatus::ATTENTION)));
    }

    fn taken(&mut self) -> Vec<Answer> {
        std::mem::take(&mut self.log.answers)
    }

    /// Kind and tag of what was answered since the last look.
    fn told(&mut self) -> Vec<(CompletionKind, u64)> {
        self.taken().iter().map(|answer| (answer.kind, answer.owed.tag)).collect()
    }

    /// Tags and fates of the finals since the last look.
    fn ends(&mut self) -> Vec<(u64, Disposition)> {
        self.taken().iter().map(|answer| (answer.owed.tag, answer.disposition)).collect()
    }

    fn control(&self) -> u32 {
        self.subchannel.word0 & 0x7FFF
    }
}
