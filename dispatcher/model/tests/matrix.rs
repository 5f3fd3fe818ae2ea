// SPDX-License-Identifier: MIT OR Apache-2.0
//! §2.2: the condition codes of every row, and that the rules of §4.1 say the same in every reachable state.

use fctl_model::examples::{start_pending, EXAMPLES};
use fctl_model::{explore, Actl, Fctl, Instruction, Op, Row, State, Stctl, ALPHABET, MATRIX, PLAIN, SUSPENDABLE};

fn instruction(op: Op) -> Instruction {
    ALPHABET.into_iter().find(|instruction| instruction.op() == op).expect("the alphabet has every instruction")
}

/// The cells once more, as strings that read like the reference: one character for each of SSCH HSCH CSCH XSCH RSCH MSCH TSCH STSCH.
/// `r` is 0 or 2, `a` is "1 or 2", `c` is "1 or 0".
const ROWS: [(Row, &str); 17] = [
    (Row::NotProvided, "33333333"),
    (Row::NotValid, "33333030"),
    (Row::NotEnabled, "33333030"),
    (Row::Idle, "00022010"),
    (Row::StartPending, "2000r210"),
    (Row::Active, "2002r210"),
    (Row::ActiveIntermediate, "10011a00"),
    (Row::DeviceActive, "00022010"),
    (Row::SuspendedPending, "10011a00"),
    (Row::Suspended, "20000210"),
    (Row::ResumePending, "20002210"),
    (Row::HaltPending, "22022210"),
    (Row::ClearPending, "22022210"),
    (Row::StatusPending, "11011100"),
    (Row::SecondaryPending, "c1011100"),
    (Row::StatusAlone, "11011100"),
    (Row::Unsolicited, "11011100"),
];

#[test]
fn every_cell() {
    for (row, cells) in ROWS {
        let (_, state) = EXAMPLES.into_iter().find(|(of, _)| *of == row).expect("there is an example for every row");
        for (op, cell) in Op::ALL.into_iter().zip(cells.chars()) {
            let (expected, permitted) = match cell {
                'r' if state.orb.suspend => (0, vec![0]),
                'r' => (2, vec![2]),
                'a' => (1, vec![1, 2]),
                'c' => (1, vec![0, 1]),
                digit => {
                    let cc = u8::try_from(digit.to_digit(4).unwrap()).unwrap();
                    (cc, vec![cc])
                }
            };
            let mut after = state;
            let found = after.execute(instruction(op)).cc;
            assert_eq!(found, expected, "{row:?} {op:?}");
            assert_eq!(state.permitted(op).iter().collect::<Vec<_>>(), permitted, "{row:?} {op:?}");
        }
    }
}

/// A deferred condition code is A+X too, but its start function is still there.
#[test]
fn a_refused_start_is_not_unsolicited_status() {
    let mut state = start_pending(PLAIN);
    state.progress(fctl_model::Progress::DeferredCc1);
    assert_eq!(state.stctl, Stctl::ALERT.with(Stctl::PENDING));
    assert_eq!(state.row(), Row::StatusPending);
}

/// A channel program that ended on its own leaves P+2+X with the start function; without a function only 2+X and A+X have rows of their own.
#[test]
fn status_without_a_function_is_secondary_or_unsolicited() {
    for state in explore(State::IDLE, &ALPHABET).states {
        if state.interruption && state.fctl.is_empty() {
            assert!(matches!(state.row(), Row::SecondaryPending | Row::Unsolicited), "{state:?}");
        }
    }
    let primary = State { fctl: Fctl::NONE, orb: fctl_model::OrbEcho::ZERO, owner: None, ..fctl_model::examples::STATUS_PENDING };
    assert_eq!(primary.row(), Row::StatusPending);
}

#[test]
fn r_depends_on_the_s_bit() {
    assert_eq!(start_pending(PLAIN).cc(Op::Rsch), 2);
    assert_eq!(start_pending(SUSPENDABLE).cc(Op::Rsch), 0);
}

#[test]
fn the_examples_stand_in_their_rows_and_the_matrix_has_each_row_once() {
    for (row, state) in EXAMPLES {
        assert_eq!(state.row(), row, "{state:?}");
        assert_eq!(MATRIX.iter().filter(|line| line.row == row).count(), 1);
    }
}

#[test]
fn every_row_of_an_existing_subchannel_is_reachable_and_every_example_too() {
    let states = explore(State::IDLE, &ALPHABET).states;
    for (row, _) in EXAMPLES {
        if !matches!(row, Row::NotProvided | Row::NotValid) {
            assert!(states.iter().any(|s| s.row() == row), "{row:?}");
        }
    }
    for (row, example) in EXAMPLES {
        if !matches!(row, Row::NotProvided | Row::NotValid | Row::NotEnabled) {
            assert!(
                states.iter().any(|s| s.scsw() == example.scsw()
                    && s.owner == example.owner
                    && s.device_owner == example.device_owner
                    && s.initial_status_due == example.initial_status_due),
                "{row:?} {example:?}"
            );
        }
    }
}

/// §4.1, written as the rules and not as the table.
fn rule(state: &State, op: Op) -> Option<u8> {
    if matches!(op, Op::Msch | Op::Tsch | Op::Stsch) {
        return None;
    }
    if !state.pmcw.fields.enabled {
        return Some(3);
    }
    let pend = state.stctl.has(Stctl::PENDING);
    let ionly = state.stctl.is(Stctl::INTERMEDIATE.with(Stctl::PENDING));
    let fctl = state.fctl;
    let actl = state.actl;
    let (blocked, ok) = match op {
        Op::Ssch => (pend, fctl.is_empty()),
        Op::Hsch => (pend && !ionly, !fctl.any(Fctl::HALT.with(Fctl::CLEAR))),
        Op::Csch => (false, true),
        Op::Xsch => (
            pend,
            fctl.is(Fctl::START)
                && actl.any(Actl::START_PENDING.with(Actl::RESUME_PENDING).with(Actl::SUSPENDED))
                && !actl.any(Actl::SUBCHANNEL_ACTIVE),
        ),
        Op::Rsch => (pend, fctl.is(Fctl::START) && !actl.any(Actl::RESUME_PENDING) && state.orb.suspend),
        Op::Msch | Op::Tsch | Op::Stsch => unreachable!("§4.1 has no rule for it"),
    };
    Some(match (blocked, ok) {
        (true, _) => 1,
        (false, true) => 0,
        (false, false) => 2,
    })
}

#[test]
fn the_matrix_and_the_rules_agree_in_every_reachable_state() {
    for state in explore(State::IDLE, &ALPHABET).states {
        for op in Op::ALL {
            if let Some(cc) = rule(&state, op) {
                assert_eq!(state.cc(op), cc, "{op:?} in {state:?}");
            }
        }
    }
}

#[test]
fn a_code_that_is_not_permitted_cannot_be_followed() {
    let mut state = State::IDLE;
    assert_eq!(state.execute_as(Instruction::Xsch, 0), None);
    assert_eq!(state, State::IDLE);
    assert_eq!(state.execute_as(Instruction::Xsch, 2).map(|r| r.cc), Some(2));
}
