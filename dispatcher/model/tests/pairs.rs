// SPDX-License-Identifier: MIT OR Apache-2.0
//! §4.2: the model, executed without progress between two instructions, gives exactly the cells of the pair tables.

use std::collections::BTreeSet;

use fctl_model::pairs::{ALSO_LEGAL, PAIR_OPS};
use fctl_model::{examples as e, explore, legal_pair_codes, ALPHABET};
use fctl_model::{fold_pair, Actl, Before, Doing, Fctl, Instruction, Op, Outcome, Progress, Start, State};
use fctl_model::{PLAIN, SUSPENDABLE};

const EARLIER: u32 = 100;
const FIRST: u32 = 101;
const SECOND: u32 = 102;

fn start(id: u32, suspend: bool) -> Start {
    let kind = if suspend { SUSPENDABLE } else { PLAIN };
    Start { id, intparm: id + 1000, ..kind }
}

fn instruction(op: Op, id: u32, suspend: bool) -> Instruction {
    match op {
        Op::Ssch => Instruction::Ssch(start(id, suspend)),
        Op::Hsch => Instruction::Hsch,
        Op::Csch => Instruction::Csch,
        Op::Xsch => Instruction::Xsch,
        Op::Rsch => Instruction::Rsch,
        other => panic!("{other:?} is not in the tables"),
    }
}

fn states(before: Before, suspend: bool) -> Vec<State> {
    let earlier = start(EARLIER, suspend);
    match before {
        Before::Idle => vec![State::IDLE],
        Before::StartPending => vec![e::start_pending(earlier)],
        Before::Active => vec![e::active(earlier)],
        // Every reachable state with status other than intermediate alone.
        Before::StatusPending => {
            explore(State::IDLE, &ALPHABET).states.into_iter().filter(|s| s.interruption && !s.intermediate_only()).collect()
        }
        Before::SuspendedTaken => vec![State { actl: Actl::SUSPENDED, ..e::start_pending(earlier) }],
    }
}

/// Reads the outcome off the state after both.
fn outcome(before: &State, after: &State, started: bool) -> Outcome {
    if after.interruption {
        assert_eq!(before, after, "kept status is kept as it was");
        return Outcome::OldStatus;
    }
    let resume = after.actl.has(Actl::RESUME_PENDING);
    match (after.doing(), after.owner) {
        (Doing::Clearing, _) => Outcome::Clear,
        (Doing::Halting, None) => Outcome::Halt,
        (Doing::Halting, Some(_)) if after.actl.has(Actl::START_PENDING) => Outcome::HaltUnissued,
        (Doing::Halting, Some(_)) => Outcome::HaltActive,
        (_, None) if started => Outcome::Cancelled,
        (_, None) => Outcome::Nothing,
        (_, Some(EARLIER)) if resume => Outcome::EarlierResume,
        (_, Some(EARLIER)) => Outcome::Earlier,
        (_, Some(FIRST)) if resume => Outcome::FirstResume,
        (_, Some(FIRST)) => Outcome::First,
        (_, Some(_)) => Outcome::Second,
    }
}

/// (+R) only if the RSCH got 0.
fn with_r(outcome: Outcome, suspend: bool) -> Outcome {
    match outcome {
        Outcome::EarlierResume if !suspend => Outcome::Earlier,
        Outcome::FirstResume if !suspend => Outcome::First,
        other => other,
    }
}

fn every_pair(before: Before, suspends: &[bool]) {
    for &suspend in suspends {
        for state in states(before, suspend) {
            for a in PAIR_OPS {
                for b in PAIR_OPS {
                    let what = format!("{before:?} S={suspend} [{a:?},{b:?}] in {state:?}");
                    let cell = fold_pair(before, a, b).expect("the table has this cell");
                    let mut after = state;
                    let cc_a = after.execute(instruction(a, FIRST, suspend)).cc;
                    let started = after.owner.is_some() || state.owner.is_some();
                    let cc_b = after.execute(instruction(b, SECOND, suspend)).cc;
                    assert_eq!(cc_a, cell.a.number(suspend), "{what}: first");
                    assert_eq!(cc_b, cell.b.number(suspend), "{what}: second");
                    assert_eq!(outcome(&state, &after, started), with_r(cell.outcome, suspend), "{what}");
                    one_interruption(after, cell.outcome, &what);
                }
            }
        }
    }
}

/// H* and C give exactly one interruption, X and N none; the function control is the one of the table of outcomes.
fn one_interruption(after: State, outcome: Outcome, what: &str) {
    let function = match outcome {
        Outcome::Halt => Fctl::HALT,
        Outcome::HaltUnissued | Outcome::HaltActive => Fctl::START.with(Fctl::HALT),
        Outcome::Clear => Fctl::CLEAR,
        Outcome::Nothing | Outcome::Cancelled => {
            let steps = after.legal_progress();
            assert_eq!(steps, [Progress::Attention], "{what}");
            return;
        }
        _ => return,
    };
    let steps: Vec<Progress> = after.legal_progress();
    assert!(steps.contains(&Progress::Clear) == (outcome == Outcome::Clear));
    for step in steps {
        if !matches!(step, Progress::Clear | Progress::Halt(_)) {
            continue;
        }
        let mut ended = after;
        let stored = ended.progress(step).stored.expect("status is stored");
        assert!(stored.fresh, "{what}");
        assert_eq!(stored.scsw.fctl, function, "{what}");
        let taken = ended.execute(Instruction::Tsch);
        assert!(taken.cc == 0 && taken.withdrawn, "{what}");
        assert!(ended.fctl.is_empty(), "{what}");
        assert_eq!(ended.execute(Instruction::Tsch).cc, 1, "{what}");
    }
}

#[test]
fn idle() {
    every_pair(Before::Idle, &[false, true]);
}

#[test]
fn start_pending() {
    every_pair(Before::StartPending, &[false, true]);
}

#[test]
fn active() {
    every_pair(Before::Active, &[false, true]);
}

#[test]
fn status_pending() {
    every_pair(Before::StatusPending, &[false]);
}

#[test]
fn suspended_and_taken() {
    every_pair(Before::SuspendedTaken, &[true]);
}

/// "Suspended with I+X pending: SSCH/XSCH/RSCH → 1, HSCH/CSCH → 0."
#[test]
fn suspended_and_pending() {
    for (op, cc) in PAIR_OPS.into_iter().zip([1, 0, 0, 1, 1]) {
        assert_eq!(e::SUSPENDED_PENDING.cc(op), cc, "{op:?}");
    }
}

fn codes(before: Before, a: Op, b: Op) -> BTreeSet<(u8, u8)> {
    legal_pair_codes(states(before, false)[0], instruction(a, FIRST, false), instruction(b, SECOND, false))
}

#[test]
fn what_is_also_legal_with_progress_between() {
    for also in ALSO_LEGAL {
        let found = codes(also.before, also.a, also.b);
        assert!(found.contains(&also.codes), "{also:?}: {found:?}");
    }
}

#[test]
fn two_clears_are_always_accepted() {
    for before in [Before::Idle, Before::StartPending, Before::Active, Before::StatusPending, Before::SuspendedTaken] {
        assert_eq!(codes(before, Op::Csch, Op::Csch), BTreeSet::from([(0, 0)]), "{before:?}");
    }
}

/// "idle [SSCH,HSCH]: 0,0 Ha" with the start issued in between.
#[test]
fn a_start_issued_before_the_halt_is_halted_as_active() {
    let mut state = State::IDLE;
    state.execute(instruction(Op::Ssch, FIRST, false));
    state.progress(Progress::IssueStart);
    let before = state;
    assert_eq!(state.execute(Instruction::Hsch).cc, 0);
    assert_eq!(outcome(&before, &state, true), Outcome::HaltActive);
}

/// §4.5: after an accepted CSCH every later CSCH is 0 and everything else 2, for batches of any length.
#[test]
fn nothing_but_clear_after_a_clear() {
    for before in explore(State::IDLE, &ALPHABET).states {
        let mut state = before;
        if state.execute(Instruction::Csch).cc != 0 {
            continue;
        }
        for op in PAIR_OPS {
            let cc = if op == Op::Csch { 0 } else { 2 };
            let mut again = state;
            assert_eq!(again.execute(instruction(op, FIRST, true)).cc, cc, "{op:?}");
            assert_eq!(again, state, "{op:?} leaves no trace");
        }
    }
}
