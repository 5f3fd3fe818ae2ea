// SPDX-License-Identifier: MIT OR Apache-2.0
//! The literal sequences of the reference, on the implementation.

use super::exhaustive::reach;
use super::lockstep::{Pair, Way, WAYS};
use fctl_dispatcher::subchannel::StatusMode;
use fctl_model::{Golden, Step, GOLDEN};

/// Runs one sequence on model and implementation together; the model's own test has compared it with the literal outcomes.
fn run(golden: &Golden, mut pair: Pair) -> Result<usize, String> {
    let mut steps = 0;
    for step in golden.steps {
        match *step {
            Step::Do(instruction, cc) | Step::Withdraws(instruction, cc) | Step::Stores(instruction, cc, _) => {
                let seen = pair.execute(instruction)?;
                if seen != cc {
                    return Err(format!("{instruction:?} got {seen}, not {cc}"));
                }
            }
            Step::Quiet(progress) | Step::Status(progress, _) | Step::Joins(progress, _) | Step::Drops(progress) => {
                if pair.never(progress) {
                    return Ok(steps);
                }
                let lived = WAYS.iter().find_map(|&way| {
                    let mut next = pair.clone();
                    next.progress(progress, way).map(|result| result.map(|()| next))
                });
                match lived {
                    Some(result) => pair = result?,
                    None => {
                        return Err(format!("{progress:?} cannot be lived through in any of {WAYS:?}, not even {:?}", Way::Plain))
                    }
                }
            }
            Step::Cannot(_) | Step::Shows(_) | Step::Owner(_) | Step::Is(_) => continue,
        }
        steps += 1;
    }
    Ok(steps)
}

#[test]
fn the_implementation_lives_through_every_golden_sequence() {
    let reached = reach(StatusMode::Held);
    let (mut run_through, mut not_reached) = (0, Vec::new());
    for golden in GOLDEN {
        let Some(pair) = reached.pairs.iter().find(|pair| pair.model == golden.before) else {
            not_reached.push(golden.name);
            continue;
        };
        match run(golden, pair.clone()) {
            Ok(steps) => {
                assert!(
                    steps > 0 || golden.steps.iter().all(|step| !matches!(step, Step::Do(..))),
                    "{}: nothing was run",
                    golden.name
                );
                run_through += 1;
            }
            Err(error) => panic!("{} ({}): {error}", golden.name, golden.source),
        }
    }
    println!(
        "{run_through} of {} golden sequences; beginning in states that are not reached from idle: {not_reached:?}",
        GOLDEN.len()
    );
    assert!(run_through >= 30);
}
