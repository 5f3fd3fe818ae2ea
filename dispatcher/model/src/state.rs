// SPDX-License-Identifier: MIT OR Apache-2.0
//! One subchannel and the instructions that act on it.

use crate::bits::{Actl, Fctl, Stctl};
use crate::effects::{tsch_row, EFFECTS, HSCH_RESETS_INTERMEDIATE, TSCH_EFFECTS};
use crate::image::{Fields, OrbEcho, Pmcw, Schib, Scsw};

/// Everything the model knows about one subchannel.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct State {
    /// The subchannel exists.
    pub provided: bool,
    /// V: its device number is valid.
    pub valid: bool,
    /// The path-management-control word; E (enabled) is in it.
    pub pmcw: Pmcw,
    /// Function control.
    pub fctl: Fctl,
    /// Activity control.
    pub actl: Actl,
    /// Status control.
    pub stctl: Stctl,
    /// Deferred condition code; 0 unless status is pending.
    pub deferred_cc: u8,
    /// N: path not operational.
    pub n: bool,
    /// Z: the initial-status interruption; off unless status is pending.
    pub z: bool,
    /// Device status; 0 unless status is pending.
    pub device_status: u8,
    /// Subchannel status; 0 unless status is pending.
    pub subchannel_status: u8,
    /// Latched ORB bits; zero unless the start bit is on.
    pub orb: OrbEcho,
    /// The start that the start bit stands for.
    pub owner: Option<u32>,
    /// The start whose device end is outstanding, or is in the pending status.
    pub device_owner: Option<u32>,
    /// An interruption request is pending.
    pub interruption: bool,
    /// The running program has an initial-status interruption to give.
    pub initial_status_due: bool,
    /// The control unit holds an attention that it could not present.
    pub stacked: bool,
}

/// The instructions without their operands, in the column order of §2.2.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Op {
    /// START SUBCHANNEL.
    Ssch,
    /// HALT SUBCHANNEL.
    Hsch,
    /// CLEAR SUBCHANNEL.
    Csch,
    /// CANCEL SUBCHANNEL.
    Xsch,
    /// RESUME SUBCHANNEL.
    Rsch,
    /// MODIFY SUBCHANNEL.
    Msch,
    /// TEST SUBCHANNEL.
    Tsch,
    /// STORE SUBCHANNEL.
    Stsch,
}

impl Op {
    /// All of them, in order.
    pub const ALL: [Self; 8] = [Self::Ssch, Self::Hsch, Self::Csch, Self::Xsch, Self::Rsch, Self::Msch, Self::Tsch, Self::Stsch];
}

/// The operand of START SUBCHANNEL.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Start {
    /// What the caller calls this start.
    pub id: u32,
    /// Interruption parameter of the ORB.
    pub intparm: u32,
    /// The ORB bits that the SCSW shows.
    pub orb: OrbEcho,
    /// Logical-path mask of the ORB.
    pub lpm: u8,
}

/// An instruction with its operand.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Instruction {
    /// START SUBCHANNEL.
    Ssch(Start),
    /// HALT SUBCHANNEL.
    Hsch,
    /// CLEAR SUBCHANNEL.
    Csch,
    /// CANCEL SUBCHANNEL.
    Xsch,
    /// RESUME SUBCHANNEL.
    Rsch,
    /// MODIFY SUBCHANNEL.
    Msch(Fields),
    /// TEST SUBCHANNEL.
    Tsch,
    /// STORE SUBCHANNEL.
    Stsch,
}

impl Instruction {
    /// The same without operand.
    #[must_use]
    pub const fn op(&self) -> Op {
        match self {
            Self::Ssch(_) => Op::Ssch,
            Self::Hsch => Op::Hsch,
            Self::Csch => Op::Csch,
            Self::Xsch => Op::Xsch,
            Self::Rsch => Op::Rsch,
            Self::Msch(_) => Op::Msch,
            Self::Tsch => Op::Tsch,
            Self::Stsch => Op::Stsch,
        }
    }
}

/// What an instruction stores.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Image {
    /// TEST SUBCHANNEL stores the status, for condition codes 0 and 1.
    Irb(Scsw),
    /// STORE SUBCHANNEL stores the whole.
    Schib(Schib),
}

/// The answer to an instruction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Response {
    /// Condition code, 0 to 3.
    pub cc: u8,
    /// What was stored, if anything.
    pub image: Option<Image>,
    /// An interruption request was pending before and is not any more: withdrawn, or taken by TEST SUBCHANNEL.
    pub withdrawn: bool,
}

impl State {
    /// No such subchannel.
    pub const NOT_PROVIDED: Self = Self { provided: false, valid: false, ..Self::DISABLED };

    /// A subchannel without a device.
    pub const NOT_VALID: Self = Self { valid: false, ..Self::DISABLED };

    /// A subchannel with a device, as after a reset: disabled.
    pub const DISABLED: Self = Self {
        provided: true,
        valid: true,
        pmcw: Pmcw { fields: Fields { intparm: 0, isc: 0, enabled: false, lpm: 0x80, pom: 0xFF, other: 0 }, pnom: 0, lpum: 0 },
        fctl: Fctl::NONE,
        actl: Actl::NONE,
        stctl: Stctl::NONE,
        deferred_cc: 0,
        n: false,
        z: false,
        device_status: 0,
        subchannel_status: 0,
        orb: OrbEcho::ZERO,
        owner: None,
        device_owner: None,
        interruption: false,
        initial_status_due: false,
        stacked: false,
    };

    /// Enabled, with nothing going on.
    pub const IDLE: Self = Self {
        pmcw: Pmcw { fields: Fields { enabled: true, ..Self::DISABLED.pmcw.fields }, pnom: 0, lpum: 0 },
        ..Self::DISABLED
    };

    /// The status word as it would be stored now.
    #[must_use]
    pub fn scsw(&self) -> Scsw {
        Scsw {
            orb: self.orb,
            deferred_cc: self.deferred_cc,
            z: self.z,
            n: self.n,
            fctl: self.fctl,
            actl: self.actl,
            stctl: self.stctl,
            device_status: self.device_status,
            subchannel_status: self.subchannel_status,
        }
    }

    /// Executes one instruction.
    pub fn execute(&mut self, instruction: Instruction) -> Response {
        let cc = self.cc_of(&instruction);
        self.carry_out(instruction, cc)
    }

    /// Executes one instruction with a condition code that somebody else has chosen, so that a model can follow an
    /// implementation through a cell with two legal outcomes. `None`, and no change, if the reference does not permit that code.
    pub fn execute_as(&mut self, instruction: Instruction, cc: u8) -> Option<Response> {
        self.permitted_of(&instruction).contains(cc).then(|| self.carry_out(instruction, cc))
    }

    fn carry_out(&mut self, instruction: Instruction, cc: u8) -> Response {
        let was_pending = self.interruption;
        let image = self.image(instruction.op(), cc);
        if cc == 0 && self.provided && self.valid {
            match instruction {
                Instruction::Tsch => self.accept_tsch(),
                other => self.accept(other),
            }
            self.settle();
        }
        Response { cc, image, withdrawn: was_pending && !self.interruption }
    }

    fn image(&self, op: Op, cc: u8) -> Option<Image> {
        match (op, cc) {
            (Op::Tsch, 0 | 1) => Some(Image::Irb(self.scsw())),
            (Op::Stsch, 0) => Some(Image::Schib(Schib { valid: self.valid, pmcw: self.pmcw, scsw: self.scsw() })),
            _ => None,
        }
    }

    /// Condition code 0 of everything but TSCH: the table first, then what the last column of §2.3 adds.
    fn accept(&mut self, instruction: Instruction) {
        if instruction == Instruction::Hsch && self.intermediate_only() && self.actl.has(HSCH_RESETS_INTERMEDIATE.0) {
            self.stctl = HSCH_RESETS_INTERMEDIATE.1.of(self.stctl);
        }
        if matches!(instruction, Instruction::Ssch(_)) {
            // Only by the second outcome of note (c): secondary status is discarded and the start accepted.
            self.stctl = Stctl::NONE;
        }
        for effect in EFFECTS {
            if effect.op == instruction.op() {
                self.fctl = effect.fctl.of(self.fctl);
                self.actl = effect.actl.of(self.actl);
                self.stctl = effect.stctl.of(self.stctl);
            }
        }
        match instruction {
            Instruction::Ssch(start) => {
                self.pmcw.fields.intparm = start.intparm;
                self.pmcw.pnom = 0;
                self.n = false;
                self.orb = start.orb;
                self.owner = Some(start.id);
            }
            Instruction::Rsch if self.actl.has(Actl::SUSPENDED) => self.pmcw.pnom = 0,
            Instruction::Msch(fields) => self.pmcw.fields = fields,
            _ => {}
        }
    }

    fn accept_tsch(&mut self) {
        let row = tsch_row(self.fctl, self.actl, self.stctl);
        for effect in TSCH_EFFECTS {
            if effect.row == row {
                self.fctl = effect.fctl.of(self.fctl);
                self.actl = effect.actl.of(self.actl);
                self.stctl = effect.stctl.of(self.stctl);
                self.n &= !effect.clears_n;
            }
        }
    }

    /// Forgets what no longer has a meaning, so that equal situations are equal states: ORB bits without a start function,
    /// status fields without pending status.
    pub(crate) fn settle(&mut self) {
        if !self.fctl.has(Fctl::START) {
            self.orb = OrbEcho::ZERO;
            self.owner = None;
        }
        if !self.actl.has(Actl::SUBCHANNEL_ACTIVE) {
            self.initial_status_due = false;
        }
        if !self.stctl.has(Stctl::PENDING) {
            self.interruption = false;
            self.deferred_cc = 0;
            self.z = false;
            self.device_status = 0;
            self.subchannel_status = 0;
            if !self.actl.has(Actl::DEVICE_ACTIVE) || self.actl.has(Actl::SUBCHANNEL_ACTIVE) {
                self.device_owner = None;
            }
        }
    }
}
