// SPDX-License-Identifier: MIT OR Apache-2.0
//! The pair tables of reference §4.2, cell by cell: two instructions with no progress before, between or (yet) after them.

use crate::state::Op;

/// The state before the pair.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Before {
    /// Nothing goes on.
    Idle,
    /// A start was accepted earlier and is not yet issued.
    StartPending,
    /// A start was issued: SchA+DevA.
    Active,
    /// A, P, 2 or X alone is pending.
    StatusPending,
    /// Suspended, and its status was taken; the ORB has S=1.
    SuspendedTaken,
}

/// A condition code in a pair table.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Code {
    /// This one.
    Is(u8),
    /// `r`: 0 if the ORB of the start has S=1, otherwise 2.
    R,
}

impl Code {
    /// The number, for a start with this S bit.
    #[must_use]
    pub const fn number(self, suspend: bool) -> u8 {
        match self {
            Self::Is(cc) => cc,
            Self::R => {
                if suspend {
                    0
                } else {
                    2
                }
            }
        }
    }
}

/// What is left to be performed after both.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Outcome {
    /// `N`: nothing new.
    Nothing,
    /// `P`: the old pending status is kept.
    OldStatus,
    /// `S0`: the earlier start continues.
    Earlier,
    /// `S0(+R)`: the earlier start continues, also resume pending if the RSCH got 0.
    EarlierResume,
    /// `SA`: a start with the first ORB.
    First,
    /// `SA(+R)`: a start with the first ORB, also resume pending if the RSCH got 0.
    FirstResume,
    /// `SB`: a start with the second ORB.
    Second,
    /// `X`: the start is cancelled, idle, no interruption.
    Cancelled,
    /// `H0`: a halt without start, FCTL=H.
    Halt,
    /// `Hs`: a halt that ends a start that was never initiated, FCTL=S+H.
    HaltUnissued,
    /// `Ha`: a halt of an active start, FCTL=S+H.
    HaltActive,
    /// `C`: a clear.
    Clear,
}

/// One cell.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Pair {
    /// Condition code of the first instruction.
    pub a: Code,
    /// Condition code of the second instruction.
    pub b: Code,
    /// What is left.
    pub outcome: Outcome,
}

/// The instructions of rows and columns, in the order of the tables.
pub const PAIR_OPS: [Op; 5] = [Op::Ssch, Op::Hsch, Op::Csch, Op::Xsch, Op::Rsch];

/// One table: rows are the first instruction, columns the second, both in the order of [`PAIR_OPS`].
pub type Table = [[Pair; 5]; 5];

const fn p(a: Code, b: Code, outcome: Outcome) -> Pair {
    Pair { a, b, outcome }
}

const _0: Code = Code::Is(0);
const _1: Code = Code::Is(1);
const _2: Code = Code::Is(2);
const R: Code = Code::R;

use Outcome::{
    Cancelled as X, Clear as C, Earlier as S0, EarlierResume as S0R, First as SA, FirstResume as SAR, Halt as H0,
    HaltActive as Ha, HaltUnissued as Hs, Nothing as N, OldStatus as P, Second as SB,
};

/// Before = idle.
#[rustfmt::skip]
pub const IDLE: Table = [
    //         SSCH            HSCH            CSCH           XSCH            RSCH
    /* SSCH */ [p(_0, _2, SA), p(_0, _0, Hs), p(_0, _0, C), p(_0, _0, X),  p(_0, R, SAR)],
    /* HSCH */ [p(_0, _2, H0), p(_0, _2, H0), p(_0, _0, C), p(_0, _2, H0), p(_0, _2, H0)],
    /* CSCH */ [p(_0, _2, C),  p(_0, _2, C),  p(_0, _0, C), p(_0, _2, C),  p(_0, _2, C)],
    /* XSCH */ [p(_2, _0, SB), p(_2, _0, H0), p(_2, _0, C), p(_2, _2, N),  p(_2, _2, N)],
    /* RSCH */ [p(_2, _0, SB), p(_2, _0, H0), p(_2, _0, C), p(_2, _2, N),  p(_2, _2, N)],
];

/// Before = start pending.
#[rustfmt::skip]
pub const START_PENDING: Table = [
    //         SSCH            HSCH            CSCH           XSCH            RSCH
    /* SSCH */ [p(_2, _2, S0), p(_2, _0, Hs), p(_2, _0, C), p(_2, _0, X),  p(_2, R, S0R)],
    /* HSCH */ [p(_0, _2, Hs), p(_0, _2, Hs), p(_0, _0, C), p(_0, _2, Hs), p(_0, _2, Hs)],
    /* CSCH */ [p(_0, _2, C),  p(_0, _2, C),  p(_0, _0, C), p(_0, _2, C),  p(_0, _2, C)],
    /* XSCH */ [p(_0, _0, SB), p(_0, _0, H0), p(_0, _0, C), p(_0, _2, X),  p(_0, _2, X)],
    /* RSCH */ [p(R, _2, S0R), p(R, _0, Hs),  p(R, _0, C),  p(R, _0, X),   p(R, _2, S0R)],
];

/// Before = active.
#[rustfmt::skip]
pub const ACTIVE: Table = [
    //         SSCH            HSCH            CSCH           XSCH            RSCH
    /* SSCH */ [p(_2, _2, S0), p(_2, _0, Ha), p(_2, _0, C), p(_2, _2, S0), p(_2, R, S0R)],
    /* HSCH */ [p(_0, _2, Ha), p(_0, _2, Ha), p(_0, _0, C), p(_0, _2, Ha), p(_0, _2, Ha)],
    /* CSCH */ [p(_0, _2, C),  p(_0, _2, C),  p(_0, _0, C), p(_0, _2, C),  p(_0, _2, C)],
    /* XSCH */ [p(_2, _2, S0), p(_2, _0, Ha), p(_2, _0, C), p(_2, _2, S0), p(_2, R, S0R)],
    /* RSCH */ [p(R, _2, S0R), p(R, _0, Ha),  p(R, _0, C),  p(R, _2, S0R), p(R, _2, S0R)],
];

/// Before = status pending.
#[rustfmt::skip]
pub const STATUS_PENDING: Table = [
    //         SSCH            HSCH            CSCH           XSCH            RSCH
    /* SSCH */ [p(_1, _1, P),  p(_1, _1, P),  p(_1, _0, C), p(_1, _1, P),  p(_1, _1, P)],
    /* HSCH */ [p(_1, _1, P),  p(_1, _1, P),  p(_1, _0, C), p(_1, _1, P),  p(_1, _1, P)],
    /* CSCH */ [p(_0, _2, C),  p(_0, _2, C),  p(_0, _0, C), p(_0, _2, C),  p(_0, _2, C)],
    /* XSCH */ [p(_1, _1, P),  p(_1, _1, P),  p(_1, _0, C), p(_1, _1, P),  p(_1, _1, P)],
    /* RSCH */ [p(_1, _1, P),  p(_1, _1, P),  p(_1, _0, C), p(_1, _1, P),  p(_1, _1, P)],
];

/// Before = suspended, status taken: "as start pending but XSCH/RSCH use 0 for r; \[RSCH,XSCH\] = 0,0 X; HSCH gives Ha".
#[rustfmt::skip]
pub const SUSPENDED_TAKEN: Table = [
    //         SSCH             HSCH            CSCH           XSCH            RSCH
    /* SSCH */ [p(_2, _2, S0),  p(_2, _0, Ha), p(_2, _0, C), p(_2, _0, X),  p(_2, _0, S0R)],
    /* HSCH */ [p(_0, _2, Ha),  p(_0, _2, Ha), p(_0, _0, C), p(_0, _2, Ha), p(_0, _2, Ha)],
    /* CSCH */ [p(_0, _2, C),   p(_0, _2, C),  p(_0, _0, C), p(_0, _2, C),  p(_0, _2, C)],
    /* XSCH */ [p(_0, _0, SB),  p(_0, _0, H0), p(_0, _0, C), p(_0, _2, X),  p(_0, _2, X)],
    /* RSCH */ [p(_0, _2, S0R), p(_0, _0, Ha), p(_0, _0, C), p(_0, _0, X),  p(_0, _2, S0R)],
];

/// The expected cell, or `None` for an instruction that the tables do not have.
#[must_use]
pub fn fold_pair(before: Before, a: Op, b: Op) -> Option<Pair> {
    let table = match before {
        Before::Idle => &IDLE,
        Before::StartPending => &START_PENDING,
        Before::Active => &ACTIVE,
        Before::StatusPending => &STATUS_PENDING,
        Before::SuspendedTaken => &SUSPENDED_TAKEN,
    };
    let row = PAIR_OPS.iter().position(|&op| op == a)?;
    let column = PAIR_OPS.iter().position(|&op| op == b)?;
    Some(table[row][column])
}

/// A pair of condition codes that is also legal if there was progress before or between the two (last table of §4.2).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct AlsoLegal {
    /// The state before.
    pub before: Before,
    /// The first instruction.
    pub a: Op,
    /// The second instruction.
    pub b: Op,
    /// Condition codes of both.
    pub codes: (u8, u8),
}

const fn also(before: Before, a: Op, b: Op, codes: (u8, u8)) -> AlsoLegal {
    AlsoLegal { before, a, b, codes }
}

/// The last table of §4.2. "Any \[CSCH,CSCH\]: only 0,0" has no entry here and a test of its own.
#[rustfmt::skip]
pub const ALSO_LEGAL: [AlsoLegal; 13] = [
    also(Before::Idle,   Op::Ssch, Op::Ssch, (0, 1)),
    also(Before::Idle,   Op::Ssch, Op::Hsch, (0, 1)),
    also(Before::Idle,   Op::Ssch, Op::Xsch, (0, 2)),
    also(Before::Idle,   Op::Ssch, Op::Xsch, (0, 1)),
    also(Before::Idle,   Op::Hsch, Op::Ssch, (0, 1)),
    also(Before::Idle,   Op::Hsch, Op::Hsch, (0, 1)),
    also(Before::Idle,   Op::Csch, Op::Ssch, (0, 1)),
    also(Before::Idle,   Op::Csch, Op::Hsch, (0, 1)),
    also(Before::Active, Op::Hsch, Op::Xsch, (0, 1)),
    also(Before::Active, Op::Hsch, Op::Rsch, (0, 1)),
    also(Before::Active, Op::Hsch, Op::Ssch, (0, 1)),
    also(Before::Active, Op::Ssch, Op::Hsch, (1, 1)),
    also(Before::Active, Op::Xsch, Op::Hsch, (1, 1)),
];
