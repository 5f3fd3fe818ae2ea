// SPDX-License-Identifier: MIT OR Apache-2.0
//! The golden sequences, each by its name.

use std::collections::HashSet;

use fctl_model::examples as e;
use fctl_model::{look, Actl, Fctl, Golden, Instruction, Look, Progress, State, Stctl, Step, GOLDEN, PLAIN};

#[test]
fn every_sequence() {
    let wrong: Vec<String> = GOLDEN.iter().filter_map(|golden| golden.check().err()).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn names_are_unique() {
    let names: HashSet<&str> = GOLDEN.iter().map(|golden| golden.name).collect();
    assert_eq!(names.len(), GOLDEN.len());
}

/// Every item of the checklist that the model can speak of has a sequence. 18 is about measurement.
#[test]
fn every_item_of_the_checklist() {
    for item in (12..=52).filter(|&item| item != 18).chain(67..=69) {
        let source = format!("§8.{item}");
        assert!(GOLDEN.iter().any(|golden| golden.source == source), "{source}");
    }
}

const NOTHING: Look = look(Fctl::NONE, Actl::NONE, Stctl::NONE);

const fn wrong(before: State, steps: &'static [Step]) -> Golden {
    Golden { name: "wrong", source: "nowhere", before, steps }
}

/// Each is wrong in its last step, and in one respect only.
const WRONG: [Golden; 16] = [
    wrong(State::IDLE, &[Step::Do(Instruction::Hsch, 1)]),
    wrong(e::STATUS_PENDING, &[Step::Do(Instruction::Tsch, 0)]),
    wrong(e::STATUS_PENDING, &[Step::Withdraws(Instruction::Tsch, 1)]),
    wrong(State::IDLE, &[Step::Withdraws(Instruction::Csch, 0)]),
    wrong(State::IDLE, &[Step::Stores(Instruction::Tsch, 0, NOTHING)]),
    wrong(e::STATUS_PENDING, &[Step::Stores(Instruction::Tsch, 0, NOTHING)]),
    wrong(e::STATUS_PENDING, &[Step::Shows(NOTHING)]),
    wrong(State::IDLE, &[Step::Do(Instruction::Ssch(PLAIN), 0), Step::Owner(None)]),
    wrong(e::CLEAR_PENDING, &[Step::Joins(Progress::Clear, look(Fctl::CLEAR, Actl::NONE, Stctl::PENDING))]),
    wrong(e::CLEAR_PENDING, &[Step::Status(Progress::Clear, NOTHING)]),
    wrong(e::CLEAR_PENDING, &[Step::Quiet(Progress::Clear)]),
    wrong(State::IDLE, &[Step::Cannot(Progress::Attention)]),
    wrong(State::IDLE, &[Step::Quiet(Progress::Clear)]),
    wrong(State::IDLE, &[Step::Shows(NOTHING.intparm(1))]),
    wrong(State::IDLE, &[Step::Is(State::DISABLED)]),
    wrong(State::IDLE, &[Step::Drops(Progress::Attention)]),
];

#[test]
fn a_wrong_sequence_is_found() {
    for golden in WRONG {
        let last = format!("step {}", golden.steps.len() - 1);
        let found = golden.check().expect_err("the sequence is wrong");
        assert!(found.starts_with("wrong (nowhere)") && found.contains(&last), "{found}");
    }
}
