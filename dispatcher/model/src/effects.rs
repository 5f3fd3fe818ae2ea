// SPDX-License-Identifier: MIT OR Apache-2.0
//! What an accepted instruction changes (reference §2.3), and what TEST SUBCHANNEL clears (§3.4).

use crate::bits::{Actl, Change, Fctl, Stctl};
use crate::state::Op;

/// One row of §2.3: what condition code 0 does to the three sets. What else it does stands in [`crate::State::execute`].
#[derive(Clone, Copy, Debug)]
pub struct Effect {
    /// The instruction.
    pub op: Op,
    /// Function control.
    pub fctl: Change<Fctl>,
    /// Activity control.
    pub actl: Change<Actl>,
    /// Status control.
    pub stctl: Change<Stctl>,
}

const fn f(off: Fctl, on: Fctl) -> Change<Fctl> {
    Change { off, on }
}

const fn a(off: Actl, on: Actl) -> Change<Actl> {
    Change { off, on }
}

const fn s(off: Stctl, on: Stctl) -> Change<Stctl> {
    Change { off, on }
}

const F_KEEP: Change<Fctl> = f(Fctl::NONE, Fctl::NONE);
const A_KEEP: Change<Actl> = a(Actl::NONE, Actl::NONE);
const S_KEEP: Change<Stctl> = s(Stctl::NONE, Stctl::NONE);
const F_CLEAR: Change<Fctl> = f(Fctl::ALL, Fctl::NONE);
const S_CLEAR: Change<Stctl> = s(Stctl::ALL, Stctl::NONE);

const SP_RP_SUSP: Actl = Actl::START_PENDING.with(Actl::RESUME_PENDING).with(Actl::SUSPENDED);

/// §2.3. MSCH and STSCH change none of the three sets, TSCH is [`TSCH_EFFECTS`].
#[rustfmt::skip]
pub const EFFECTS: [Effect; 7] = [
    Effect { op: Op::Ssch,  fctl: f(Fctl::ALL, Fctl::START),   actl: a(Actl::NONE, Actl::START_PENDING),  stctl: S_KEEP },
    Effect { op: Op::Hsch,  fctl: f(Fctl::NONE, Fctl::HALT),   actl: a(Actl::NONE, Actl::HALT_PENDING),   stctl: S_KEEP },
    Effect { op: Op::Csch,  fctl: f(Fctl::ALL, Fctl::CLEAR),   actl: a(Actl::ALL, Actl::CLEAR_PENDING),   stctl: S_CLEAR },
    Effect { op: Op::Xsch,  fctl: f(Fctl::START, Fctl::NONE),  actl: a(SP_RP_SUSP, Actl::NONE),           stctl: S_KEEP },
    Effect { op: Op::Rsch,  fctl: F_KEEP,                      actl: a(Actl::NONE, Actl::RESUME_PENDING), stctl: S_KEEP },
    Effect { op: Op::Msch,  fctl: F_KEEP,                      actl: A_KEEP,                              stctl: S_KEEP },
    Effect { op: Op::Stsch, fctl: F_KEEP,                      actl: A_KEEP,                              stctl: S_KEEP },
];

/// The exception in the HSCH row of §2.3: with exactly these activity bits on and I+X alone pending, the intermediate status is reset.
pub const HSCH_RESETS_INTERMEDIATE: (Actl, Change<Stctl>) = (Actl::SUBCHANNEL_ACTIVE.with(Actl::DEVICE_ACTIVE), S_CLEAR);

/// The rows of §3.4, in its order.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum TschRow {
    /// Anything but I+X.
    Ending,
    /// I+X, not suspended.
    Intermediate,
    /// I+X, suspended, start without halt.
    Suspended,
    /// I+X, suspended, start with halt.
    SuspendedHalt,
}

/// One row of §3.4.
#[derive(Clone, Copy, Debug)]
pub struct TschEffect {
    /// Which row.
    pub row: TschRow,
    /// Function control.
    pub fctl: Change<Fctl>,
    /// Activity control.
    pub actl: Change<Actl>,
    /// Status control.
    pub stctl: Change<Stctl>,
    /// Whether N is cleared.
    pub clears_n: bool,
}

const RP_SP_HP_CP_SUSP: Actl = SP_RP_SUSP.with(Actl::HALT_PENDING).with(Actl::CLEAR_PENDING);

/// §3.4.
#[rustfmt::skip]
pub const TSCH_EFFECTS: [TschEffect; 4] = [
    TschEffect { row: TschRow::Ending,        fctl: F_CLEAR, actl: a(RP_SP_HP_CP_SUSP, Actl::NONE),     stctl: S_CLEAR, clears_n: true },
    TschEffect { row: TschRow::Intermediate,  fctl: F_KEEP,  actl: A_KEEP,                              stctl: S_CLEAR, clears_n: false },
    TschEffect { row: TschRow::Suspended,     fctl: F_KEEP,  actl: a(Actl::RESUME_PENDING, Actl::NONE), stctl: S_CLEAR, clears_n: true },
    TschEffect { row: TschRow::SuspendedHalt, fctl: F_CLEAR, actl: a(RP_SP_HP_CP_SUSP, Actl::NONE),     stctl: S_CLEAR, clears_n: true },
];

/// The row of §3.4 for these sets; status is pending.
#[must_use]
pub fn tsch_row(fctl: Fctl, actl: Actl, stctl: Stctl) -> TschRow {
    if !stctl.is(Stctl::INTERMEDIATE.with(Stctl::PENDING)) {
        TschRow::Ending
    } else if !actl.has(Actl::SUSPENDED) {
        TschRow::Intermediate
    } else if fctl.has(Fctl::HALT) {
        TschRow::SuspendedHalt
    } else {
        TschRow::Suspended
    }
}
