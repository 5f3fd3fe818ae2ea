// SPDX-License-Identifier: MIT OR Apache-2.0
//! All reachable states of model and implementation together: from each, every instruction and every legal step in every way. Both are
//! deterministic, so this covers every sequence of any length; how many sequences of up to four instructions that is gets printed.

use super::lockstep::{Pair, WAYS};
use fctl_dispatcher::subchannel::StatusMode;
use fctl_model::{State, ALPHABET};
use std::collections::{HashMap, HashSet, VecDeque};

pub struct Reached {
    /// A pair for each joint state.
    pub pairs: Vec<Pair>,
    /// For each joint state, where instructions lead, and where steps lead.
    instructions: Vec<Vec<usize>>,
    steps: Vec<Vec<usize>>,
}

/// Breadth first over the joint states; each transition is compared as it is made.
pub fn reach(mode: StatusMode) -> Reached {
    let first = Pair::idle(mode);
    let mut known = HashMap::from([(first.key(), 0)]);
    let mut reached = Reached { pairs: vec![first], instructions: Vec::new(), steps: Vec::new() };
    let mut paths: Vec<String> = vec![String::new()];
    let mut waiting = VecDeque::from([0]);
    while let Some(at) = waiting.pop_front() {
        let pair = reached.pairs[at].clone();
        let mut visit = |next: Pair, what: String, reached: &mut Reached| {
            let number = reached.pairs.len();
            let place = *known.entry(next.key()).or_insert(number);
            if place == number {
                reached.pairs.push(next);
                paths.push(format!("{}\n  {what}", paths[at]));
                waiting.push_back(number);
            }
            place
        };
        let mut after_instructions = Vec::new();
        for instruction in ALPHABET {
            let mut next = pair.clone();
            let result = next.execute(instruction);
            let what = format!("{instruction:?} → {result:?}");
            let place = visit(next, what, &mut reached);
            assert!(result.is_ok(), "{}\n  {instruction:?}: {}", paths[at], result.unwrap_err());
            after_instructions.push(place);
        }
        let mut after_steps = Vec::new();
        for step in pair.model.legal_progress() {
            if pair.never(step) {
                continue;
            }
            for way in WAYS {
                let mut next = pair.clone();
                let Some(result) = next.progress(step, way) else { continue };
                assert!(result.is_ok(), "{mode:?}: {}\n  {}", paths[at], result.unwrap_err());
                let place = visit(next, format!("{step:?} ({way:?})"), &mut reached);
                after_steps.push(place);
            }
        }
        reached.instructions.push(after_instructions);
        reached.steps.push(after_steps);
    }
    reached
}

/// The model's own search, restricted to the choices that this implementation makes.
fn model_states(mode: StatusMode) -> HashSet<State> {
    let mut known = HashSet::from([State::IDLE]);
    let mut waiting = VecDeque::from([State::IDLE]);
    while let Some(state) = waiting.pop_front() {
        let mut visit = |next: State| {
            if known.insert(next) {
                waiting.push_back(next);
            }
        };
        for instruction in ALPHABET {
            let mut next = state;
            next.execute(instruction);
            visit(next);
        }
        let asking = Pair { model: state, ..Pair::idle(mode) };
        for step in state.legal_progress() {
            if asking.never(step) || performed_here(&state, step) {
                continue;
            }
            let mut next = state;
            match mode {
                StatusMode::Delivered => {
                    next.progress_delivered(step);
                }
                _ => {
                    next.progress(step);
                }
            }
            visit(next);
        }
    }
    known
}

/// A halt of a start that was never issued is performed without the device, so only one of its endings occurs.
fn performed_here(state: &State, step: fctl_model::Progress) -> bool {
    use fctl_model::{Actl, HaltEnding, Progress};
    let unissued = state.actl.has(Actl::START_PENDING);
    // The device end of an earlier start may still come first, and then the halt ends with it.
    matches!(step, Progress::Halt(ending) if unissued && !matches!(ending, HaltEnding::Alone | HaltEnding::DeviceStillActive | HaltEnding::DeviceEnd))
}

/// How many different walks with up to `most` instructions there are, with any steps between them; a walk never makes two steps
/// that lead back to a state it has just had.
fn walks(reached: &Reached, most: usize) -> u128 {
    // Between instructions: every set of steps up to two in a row.
    let mut ending_at: Vec<u128> = vec![1; reached.pairs.len()];
    let mut total = 0;
    for _ in 0..most {
        for _ in 0..2 {
            let mut with_steps = ending_at.clone();
            for (at, targets) in reached.steps.iter().enumerate() {
                for &target in targets {
                    with_steps[target] += ending_at[at];
                }
            }
            ending_at = with_steps;
        }
        let mut next = vec![0u128; reached.pairs.len()];
        for (at, targets) in reached.instructions.iter().enumerate() {
            for &target in targets {
                next[target] += ending_at[at];
            }
        }
        total += next.iter().sum::<u128>();
        ending_at = next;
    }
    total
}

fn compare_everything(mode: StatusMode) {
    let reached = reach(mode);
    let seen: HashSet<State> = reached.pairs.iter().map(|pair| pair.model).collect();
    let expected = model_states(mode);
    let transitions: usize = reached.instructions.iter().chain(&reached.steps).map(Vec::len).sum();
    println!(
        "{mode:?}: {} states of the model (its own search finds {}), {} joint states, {transitions} transitions compared; from every state {} \
         walks of up to four instructions with up to two asynchronous steps before each are covered",
        seen.len(),
        expected.len(),
        reached.pairs.len(),
        walks(&reached, 4),
    );
    let missing: Vec<&State> = expected.difference(&seen).take(3).collect();
    assert!(missing.is_empty(), "{mode:?}: the model reaches states that the implementation cannot: {missing:#?}");
    assert!(seen.is_subset(&expected), "{mode:?}: the implementation reaches states that the model cannot");
}

#[test]
fn held_status_every_state_every_instruction_every_step() {
    compare_everything(StatusMode::Held);
}

#[test]
fn delivered_status_is_held_status_with_a_test_subchannel_inserted() {
    compare_everything(StatusMode::Delivered);
}
