// SPDX-License-Identifier: MIT OR Apache-2.0
//! The condition-code matrix of reference §2.2, cell by cell.

use crate::bits::{Actl, Fctl, Stctl};
use crate::image::AVAILABLE_PATHS;
use crate::state::{Instruction, Op, State};

/// The rows of §2.2, in its order. The last one is not in the reference; see [`MATRIX`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Row {
    /// No subchannel is provided.
    NotProvided,
    /// V=0: no device number.
    NotValid,
    /// E=0: disabled.
    NotEnabled,
    /// 0 / 0 / 0.
    Idle,
    /// S / SP / 0.
    StartPending,
    /// S / SchA+DevA / 0.
    Active,
    /// S / SchA+DevA / I+X.
    ActiveIntermediate,
    /// 0 / DevA / 0: the primary status was taken, device end is still to come.
    DeviceActive,
    /// S / SUSP / I+X.
    SuspendedPending,
    /// S / SUSP / 0.
    Suspended,
    /// S / SUSP+RP / 0.
    ResumePending,
    /// H or S+H / HP… / 0.
    HaltPending,
    /// C / CP / 0.
    ClearPending,
    /// P, 2, A in any combination, with X.
    StatusPending,
    /// 2+X and nothing else, no function left.
    SecondaryPending,
    /// x / 0 / X, after halt or clear.
    StatusAlone,
    /// 0 / 0 / A+X.
    Unsolicited,
    /// S+H / SUSP / I+X, with or without HP: halt accepted while the suspension's interruption was not yet taken.
    SuspendedHalt,
}

/// One cell of the matrix.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cell {
    /// This condition code.
    Cc(u8),
    /// The first is what the model answers, the second is also legal.
    Either(u8, u8),
    /// `r`: 0 if the start function's ORB had S=1 and no resume is pending already (§4.1), otherwise 2.
    R,
}

/// One row of the matrix: cells in the order SSCH, HSCH, CSCH, XSCH, RSCH, MSCH, TSCH, STSCH.
#[derive(Clone, Copy, Debug)]
pub struct Line {
    /// Which row.
    pub row: Row,
    /// The cells, indexed by [`Op`].
    pub cells: [Cell; 8],
}

const fn line(row: Row, cells: [Cell; 8]) -> Line {
    Line { row, cells }
}

const _0: Cell = Cell::Cc(0);
const _1: Cell = Cell::Cc(1);
const _2: Cell = Cell::Cc(2);
const _3: Cell = Cell::Cc(3);
const __R: Cell = Cell::R;
/// Note (a): MSCH with intermediate status pending.
const A12: Cell = Cell::Either(1, 2);
/// Note (c): SSCH with secondary status alone.
const C10: Cell = Cell::Either(1, 0);

/// §2.2. The row `SuspendedHalt` is missing there and follows from the rules of §4.1: intermediate status alone does not give
/// HSCH condition code 1, the halt function gives it 2.
#[rustfmt::skip]
pub const MATRIX: [Line; 18] = [
    //                             SSCH HSCH CSCH XSCH RSCH MSCH TSCH STSCH
    line(Row::NotProvided,        [_3,  _3,  _3,  _3,  _3,  _3,  _3,  _3]),
    line(Row::NotValid,           [_3,  _3,  _3,  _3,  _3,  _0,  _3,  _0]),
    line(Row::NotEnabled,         [_3,  _3,  _3,  _3,  _3,  _0,  _3,  _0]),
    line(Row::Idle,               [_0,  _0,  _0,  _2,  _2,  _0,  _1,  _0]),
    line(Row::StartPending,       [_2,  _0,  _0,  _0,  __R, _2,  _1,  _0]),
    line(Row::Active,             [_2,  _0,  _0,  _2,  __R, _2,  _1,  _0]),
    line(Row::ActiveIntermediate, [_1,  _0,  _0,  _1,  _1,  A12, _0,  _0]),
    line(Row::DeviceActive,       [_0,  _0,  _0,  _2,  _2,  _0,  _1,  _0]),
    line(Row::SuspendedPending,   [_1,  _0,  _0,  _1,  _1,  A12, _0,  _0]),
    line(Row::Suspended,          [_2,  _0,  _0,  _0,  _0,  _2,  _1,  _0]),
    line(Row::ResumePending,      [_2,  _0,  _0,  _0,  _2,  _2,  _1,  _0]),
    line(Row::HaltPending,        [_2,  _2,  _0,  _2,  _2,  _2,  _1,  _0]),
    line(Row::ClearPending,       [_2,  _2,  _0,  _2,  _2,  _2,  _1,  _0]),
    line(Row::StatusPending,      [_1,  _1,  _0,  _1,  _1,  _1,  _0,  _0]),
    line(Row::SecondaryPending,   [C10, _1,  _0,  _1,  _1,  _1,  _0,  _0]),
    line(Row::StatusAlone,        [_1,  _1,  _0,  _1,  _1,  _1,  _0,  _0]),
    line(Row::Unsolicited,        [_1,  _1,  _0,  _1,  _1,  _1,  _0,  _0]),
    line(Row::SuspendedHalt,      [_1,  _2,  _0,  _1,  _1,  A12, _0,  _0]),
];

/// A set of condition codes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CcSet([bool; 4]);

impl CcSet {
    const fn of(codes: &[u8]) -> Self {
        let mut set = [false; 4];
        let mut at = 0;
        while at < codes.len() {
            set[codes[at] as usize] = true;
            at += 1;
        }
        Self(set)
    }

    /// Whether the code is in the set.
    #[must_use]
    pub fn contains(self, cc: u8) -> bool {
        self.0.get(usize::from(cc)).copied().unwrap_or(false)
    }

    /// The codes in ascending order.
    pub fn iter(self) -> impl Iterator<Item = u8> {
        (0..4).filter(move |&cc| self.contains(cc))
    }
}

/// §2.1: SSCH is "not operational" as well when the paths of the ORB's mask are none of the available ones (choice 16).
const fn selects_no_path(instruction: &Instruction) -> bool {
    match instruction {
        Instruction::Ssch(start) => start.lpm & AVAILABLE_PATHS == 0,
        _ => false,
    }
}

impl State {
    /// The row of §2.2 that this state stands in.
    #[must_use]
    pub fn row(&self) -> Row {
        let suspended = self.actl.has(Actl::SUSPENDED);
        if !self.provided {
            return Row::NotProvided;
        }
        if !self.valid {
            return Row::NotValid;
        }
        if !self.pmcw.fields.enabled {
            return Row::NotEnabled;
        }
        if self.stctl.has(Stctl::PENDING) {
            return if self.intermediate_only() {
                match (suspended, self.fctl.has(Fctl::HALT)) {
                    (true, true) => Row::SuspendedHalt,
                    (true, false) => Row::SuspendedPending,
                    (false, _) => Row::ActiveIntermediate,
                }
            } else if self.stctl.is(Stctl::PENDING) {
                Row::StatusAlone
            } else if self.fctl.is_empty() && self.stctl.is(Stctl::SECONDARY.with(Stctl::PENDING)) {
                Row::SecondaryPending
            } else if self.fctl.is_empty() && self.stctl.is(Stctl::ALERT.with(Stctl::PENDING)) {
                Row::Unsolicited
            } else {
                Row::StatusPending
            };
        }
        if self.actl.has(Actl::CLEAR_PENDING) {
            Row::ClearPending
        } else if self.actl.has(Actl::HALT_PENDING) {
            Row::HaltPending
        } else if suspended && self.actl.has(Actl::RESUME_PENDING) {
            Row::ResumePending
        } else if suspended {
            Row::Suspended
        } else if self.actl.has(Actl::SUBCHANNEL_ACTIVE) {
            Row::Active
        } else if self.actl.has(Actl::START_PENDING) {
            Row::StartPending
        } else if self.actl.has(Actl::DEVICE_ACTIVE) {
            Row::DeviceActive
        } else {
            Row::Idle
        }
    }

    /// The cell of [`MATRIX`] for this state and instruction.
    #[must_use]
    pub fn cell(&self, op: Op) -> Cell {
        let row = self.row();
        for line in MATRIX {
            if line.row == row {
                return line.cells[op as usize];
            }
        }
        unreachable!("MATRIX has a line for {row:?}")
    }

    /// The condition code that the model answers.
    #[must_use]
    pub fn cc(&self, op: Op) -> u8 {
        match self.cell(op) {
            Cell::Cc(cc) | Cell::Either(cc, _) => cc,
            Cell::R => self.r(),
        }
    }

    /// Every condition code that the reference permits here.
    #[must_use]
    pub fn permitted(&self, op: Op) -> CcSet {
        match self.cell(op) {
            Cell::Cc(cc) => CcSet::of(&[cc]),
            Cell::Either(a, b) => CcSet::of(&[a, b]),
            Cell::R => CcSet::of(&[self.r()]),
        }
    }

    /// The condition code of an instruction with its operand.
    #[must_use]
    pub fn cc_of(&self, instruction: &Instruction) -> u8 {
        if selects_no_path(instruction) {
            3
        } else {
            self.cc(instruction.op())
        }
    }

    /// Every condition code that the reference permits for an instruction with its operand.
    #[must_use]
    pub fn permitted_of(&self, instruction: &Instruction) -> CcSet {
        if selects_no_path(instruction) {
            CcSet::of(&[3])
        } else {
            self.permitted(instruction.op())
        }
    }

    /// Whether the pending status is intermediate and nothing else.
    #[must_use]
    pub fn intermediate_only(&self) -> bool {
        self.stctl.is(Stctl::INTERMEDIATE.with(Stctl::PENDING))
    }

    fn r(&self) -> u8 {
        if self.orb.suspend && !self.actl.has(Actl::RESUME_PENDING) {
            0
        } else {
            2
        }
    }
}
