// SPDX-License-Identifier: MIT OR Apache-2.0
//! The states before the pairs of reference §4.2, short sequences on model and implementation, and what is left to be performed after them.

use super::lockstep::{Log, Pair, Way};
use fctl_dispatcher::device::DeviceEvent;
use fctl_dispatcher::subchannel::{Function, StatusMode};
use fctl_model::{Actl, Ending, Fctl, Instruction, Op, OrbEcho, Progress, Start, Stctl};

/// The state before a sequence.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Before {
    Idle,
    StartPending,
    Active,
    StatusPending,
    /// Suspended, and its status was taken. The ORB has S=1, also below.
    Suspended,
    SuspendedPending,
}

pub const BEFORES: [Before; 6] =
    [Before::Idle, Before::StartPending, Before::Active, Before::StatusPending, Before::Suspended, Before::SuspendedPending];

/// Rows and columns of the pair tables.
pub const OPS: [Op; 5] = [Op::Ssch, Op::Hsch, Op::Csch, Op::Xsch, Op::Rsch];

/// Interruption parameter of the start before the sequence. The instruction at position n of a sequence, if it is a start, has `FIRST + n`.
pub const EARLIER: u32 = 0xA0;
pub const FIRST: u32 = 0xA1;

impl Before {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::StartPending => "start pending",
            Self::Active => "active",
            Self::StatusPending => "status pending",
            Self::Suspended => "suspended, status taken",
            Self::SuspendedPending => "suspended, status pending",
        }
    }

    /// Which values the S bit of the ORBs can have.
    pub const fn suspend_bits(self) -> &'static [bool] {
        match self {
            Self::Suspended | Self::SuspendedPending => &[true],
            _ => &[false, true],
        }
    }
}

/// What a guest can tell of a sequence, and what comes next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Seen {
    /// Condition codes in order.
    pub codes: Vec<u8>,
    /// What is performed next: `C`, `H`, `S`, `R`, `S+R`, or `-`.
    pub function: &'static str,
    /// Interruption parameter of the ORB that counts: it is run, or the next interruption carries it.
    pub orb: u32,
}

pub fn start(intparm: u32, suspend: bool) -> Instruction {
    Instruction::Ssch(Start { id: intparm, intparm, orb: OrbEcho { suspend, format: true, ..OrbEcho::ZERO }, lpm: 0x80 })
}

fn instruction(op: Op, intparm: u32, suspend: bool) -> Instruction {
    match op {
        Op::Ssch => start(intparm, suspend),
        Op::Hsch => Instruction::Hsch,
        Op::Csch => Instruction::Csch,
        Op::Xsch => Instruction::Xsch,
        Op::Rsch => Instruction::Rsch,
        Op::Tsch => Instruction::Tsch,
        Op::Msch | Op::Stsch => unreachable!("not in these sequences"),
    }
}

/// Model and implementation in this state, status held.
pub fn prepare(before: Before, suspend: bool) -> Pair {
    let mut pair = Pair::idle(StatusMode::Held);
    if before == Before::Idle {
        return pair;
    }
    assert_eq!(pair.execute(start(EARLIER, suspend)), Ok(0));
    let steps: &[Progress] = match before {
        Before::Idle | Before::StartPending => &[],
        Before::Active => &[Progress::IssueStart],
        Before::StatusPending => &[Progress::IssueStart, Progress::End { ending: Ending::ChannelEndDeviceEnd, pci: false }],
        Before::Suspended | Before::SuspendedPending => &[Progress::IssueStart, Progress::Suspend],
    };
    for &step in steps {
        assert_eq!(pair.progress(step, Way::Plain), Some(Ok(())));
    }
    if before == Before::Suspended {
        assert_eq!(pair.execute(Instruction::Tsch), Ok(0));
    }
    pair
}

/// Executes a sequence on both, with no progress before, between or after. Fails if they differ in anything that [`Pair`] compares.
pub fn run(before: Before, suspend: bool, sequence: &[Op]) -> (Pair, Vec<u8>) {
    let mut pair = prepare(before, suspend);
    let codes = sequence
        .iter()
        .zip(FIRST..)
        .map(|(&op, intparm)| match pair.execute(instruction(op, intparm, suspend)) {
            Ok(cc) => cc,
            Err(error) => panic!("{before:?} {sequence:?}, S={suspend}: {error}"),
        })
        .collect();
    (pair, codes)
}

/// The next function by the model's activity bits, clear before halt before start before resume.
pub fn of_model(pair: &Pair, codes: &[u8]) -> Seen {
    let actl = pair.model.actl;
    let resume = actl.has(Actl::RESUME_PENDING);
    let function = if actl.has(Actl::CLEAR_PENDING) {
        "C"
    } else if actl.has(Actl::HALT_PENDING) {
        "H"
    } else {
        start_and_resume(actl.has(Actl::START_PENDING), resume)
    };
    Seen { codes: codes.to_vec(), function, orb: pair.model.pmcw.fields.intparm }
}

/// The next function that the implementation issues or performs.
pub fn of_ours(pair: &Pair, codes: &[u8]) -> Seen {
    let word = pair.ours.scsw();
    let resume = word.actl().contains(fctl_ringabi::arch::ActivityControl::RESUME_PENDING);
    let clear = word.fctl().contains(fctl_ringabi::arch::FunctionControl::CLEAR);
    let mut ours = pair.ours.clone();
    if ours.next_function() == Some(Function::Clear) && !clear {
        // The device has to forget a program that was cancelled while suspended: nothing that the guest asked for.
        ours.issued(Function::Clear, 0);
        ours.event(&DeviceEvent::Cleared, None, &mut Log::default());
    }
    let function = match ours.next_function() {
        Some(Function::Clear) => "C",
        Some(Function::Halt | Function::HaltUnissued) => "H",
        Some(Function::Start) => start_and_resume(true, resume),
        Some(Function::Resume) | None => start_and_resume(false, resume),
        Some(other @ (Function::RefuseStart | Function::PresentStacked)) => unreachable!("{other:?}: no status was stacked"),
    };
    if function.starts_with('S') {
        assert_eq!(ours.orb().intparm(), ours.schib().pmcw.intparm(), "the ORB that runs is the one whose parameter is shown");
    }
    Seen { codes: codes.to_vec(), function, orb: ours.schib().pmcw.intparm() }
}

pub const fn start_and_resume(start: bool, resume: bool) -> &'static str {
    match (start, resume) {
        (true, true) => "S+R",
        (true, false) => "S",
        (false, true) => "R",
        (false, false) => "-",
    }
}

/// What the implementation will do, in the notation of the reference's pair tables.
pub fn outcome(pair: &Pair, sequence: &[Op], codes: &[u8]) -> String {
    let image = super::lockstep::image(&pair.ours.scsw());
    let seen = of_ours(pair, codes);
    if image.fctl.has(Fctl::CLEAR) {
        return "C".into();
    }
    if image.fctl.has(Fctl::HALT) {
        let unissued = pair.ours.next_function() == Some(Function::HaltUnissued);
        return if !image.fctl.has(Fctl::START) {
            "H0"
        } else if unissued {
            "Hs"
        } else {
            "Ha"
        }
        .into();
    }
    if image.stctl.has(Stctl::PENDING) {
        return "P".into();
    }
    if image.fctl.has(Fctl::START) {
        let which = match seen.orb {
            EARLIER => "S0",
            FIRST => "SA",
            _ => "SB",
        };
        return format!("{which}{}", if seen.function.ends_with('R') { "+R" } else { "" });
    }
    let cancelled = sequence.iter().zip(codes).any(|(&op, &cc)| op == Op::Xsch && cc == 0);
    let left = if cancelled { "X" } else { "N" };
    left.into()
}
