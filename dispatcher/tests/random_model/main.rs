// SPDX-License-Identifier: MIT OR Apache-2.0
//! Random comparison: a real reactor with several guests and rings, scripted devices and FBA disks, turned by hand, against a model of each
//! subchannel and a byte model of memory and volume. Nobody's timing decides what is right: the model is led by what was taken, issued and
//! answered, and every completion must then be the one that it stored.
//!
//! `FCTL_RANDOM_SEED=n` begins with that seed, `FCTL_RANDOM_SECONDS=s` runs for so long (`tools/check-random.sh`). A failure prints the seed
//! of its run and the fewest steps that were found to show it.

#[path = "../common/mod.rs"]
mod common;
mod device;
mod disk;
mod events;
mod follow;
mod found;
mod guest;
mod image;
mod post;
mod rng;
mod shrink;
mod steps;
mod world;

use follow::Counts;
use rng::Rng;
use std::time::{Duration, Instant};
use steps::{Shape, Step};
use world::World;

/// Steps of one run.
const STEPS: usize = 2500;
/// What `cargo test` does: so many runs, and more until so much time has gone.
const LEAST_RUNS: u64 = 12;
const SECONDS: u64 = 4;
const SEED: u64 = 20_260_726;

/// Lives through the steps in a world of this shape.
fn run(shape: &Shape, seed: u64, steps: &[Step]) -> Result<Counts, String> {
    let mut world = World::new(shape, seed);
    for (number, step) in steps.iter().enumerate() {
        world.apply(step).map_err(|error| format!("step {number}, {step:?}: {error}"))?;
    }
    world.finish().map_err(|error| format!("at the end: {error}"))
}

fn one_run(seed: u64) -> Counts {
    let mut rng = Rng::new(seed);
    let shape = Shape::draw(&mut rng);
    let steps = steps::draw(&mut rng, &shape, STEPS);
    match shrink::caught(|| run(&shape, seed, &steps)) {
        Ok(counts) => counts,
        Err(error) => {
            // Shown first, and again after the steps: a log may be cut at either end, and fewer steps may fail in another way.
            eprintln!("FCTL_RANDOM_SEED={seed}: {error}");
            let (error, steps) = shrink::shrink(error, steps, |steps| run(&shape, seed, steps));
            let listed: String = steps.iter().map(|step| format!("  {step:?}\n")).collect();
            panic!("FCTL_RANDOM_SEED={seed}: {error}\n{} steps show it, in {shape}{listed}{error}", steps.len());
        }
    }
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is {text:?}, a number is accepted")))
}

#[test]
fn every_code_status_interruption_and_byte_is_the_models() {
    let seed = number("FCTL_RANDOM_SEED").unwrap_or(SEED);
    let time = Duration::from_secs(number("FCTL_RANDOM_SECONDS").unwrap_or(SECONDS));
    let began = Instant::now();
    let (mut counts, mut runs) = (Counts::default(), 0);
    while runs < LEAST_RUNS || began.elapsed() < time {
        counts.add(&one_run(seed.wrapping_add(runs)));
        runs += 1;
    }
    println!("seeds {seed} to {}: {counts}", seed.wrapping_add(runs - 1));
    // A run in which these did not happen would have compared nothing.
    let least =
        [counts.codes / 100, counts.statuses / 10, counts.schibs, counts.events / 10, counts.issued / 10, counts.absorbed];
    assert!(least.iter().all(|&count| count >= runs), "too little happened: {counts:?}");
    assert!(
        counts.waited_for_room > 0 && counts.stopped_programs > 0,
        "no status waited for room, or no disk was stopped: {counts:?}"
    );
}
