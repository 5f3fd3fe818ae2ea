// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a run consists of: its world's shape and its steps, drawn from a seed before it begins, so that steps can be left out.

use super::rng::Rng;
use fctl_dispatcher::subchannel::StatusMode;
use fctl_ringabi::{DescriptorFlags, Operation};
use std::time::Duration;

/// What stands behind a subchannel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behind {
    /// A device that answers when and how a step says; with an engine slot or without.
    Scripted { engine: bool },
    /// An FBA disk, answered no sooner than this.
    Disk { delay: Duration },
}

/// One subchannel of the world.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    pub ring: usize,
    pub guest: usize,
    pub number: u16,
    pub mode: StatusMode,
    pub enabled: bool,
    pub behind: Behind,
}

/// How many of each there are.
#[derive(Clone, Debug)]
pub struct Shape {
    pub guests: usize,
    pub rings_of_guest: usize,
    pub engine_slots: u16,
    pub submission_entries: u32,
    pub completion_entries: u32,
    pub places: Vec<Place>,
}

impl std::fmt::Display for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { guests, rings_of_guest, engine_slots, submission_entries, completion_entries, places } = self;
        writeln!(
            f,
            "a world of {guests} guests with {rings_of_guest} rings each ({submission_entries} and {completion_entries} entries), {engine_slots} \
             engine slots, and these subchannels:"
        )?;
        places.iter().enumerate().try_for_each(|(sub, place)| writeln!(f, "  {sub}: {place:?}"))
    }
}

impl Shape {
    pub fn rings(&self) -> usize {
        self.guests * self.rings_of_guest
    }

    /// Of three runs one has few subchannels, so that each lives through much and the dispatcher is at times idle.
    pub fn draw(rng: &mut Rng) -> Self {
        let small = rng.percent(33);
        let (guests, rings_of_guest) = if small { (1, 1) } else { (2, 2) };
        let (scripted, disks) = if small { (1 + rng.below(3), rng.below(2)) } else { (8, 2) };
        let mut places = Vec::new();
        for ring in 0..guests * rings_of_guest {
            for at in 0..scripted + disks {
                let behind = if at < scripted {
                    Behind::Scripted { engine: rng.percent(40) }
                } else {
                    Behind::Disk { delay: Duration::from_micros(rng.one_of(&[0, 0, 50, 300])) }
                };
                let mode = if rng.percent(50) { StatusMode::Held } else { StatusMode::Delivered };
                // The numbers of a guest's second ring continue those of its first.
                let number = u16::try_from(ring % rings_of_guest * (scripted + disks) + at).unwrap();
                places.push(Place { ring, guest: ring / rings_of_guest, number, mode, enabled: rng.percent(90), behind });
            }
        }
        let submission_entries = rng.one_of(&[8, 16, 32]);
        let completion_entries = submission_entries * rng.one_of(&[2, 4]);
        Self { guests, rings_of_guest, engine_slots: 1 + rng.one_of(&[0, 2, 7]), submission_entries, completion_entries, places }
    }
}

/// One thing that happens.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    /// A descriptor is staged; `pick` says what its operand is.
    Post { sub: usize, operation: Operation, flags: u8, pick: u64 },
    /// A descriptor that no subchannel decides: bad operand, somebody else's subchannel, none at all.
    Stray { ring: usize, kind: u8, flags: u8, pick: u64 },
    /// What is staged becomes visible.
    Publish { ring: usize },
    /// A turn that takes at most so many descriptors from each ring.
    Turn { budget: u32 },
    /// A scripted device will do this when it is called next.
    Answer { sub: usize, choice: u8 },
    /// The guest gives completion entries back no more, or again.
    Hold { ring: usize, hold: bool },
}

use Operation::{Cancel, Clear, Halt, Modify, Resume, Start, Store, Test};

const OPERATIONS: [Operation; 20] = [
    Start, Start, Start, Start, Start, Start, Start, Halt, Halt, Clear, Clear, Cancel, Cancel, Resume, Resume, Modify, Store,
    Test, Test, Test,
];

fn flags(rng: &mut Rng) -> u8 {
    let mut flags = DescriptorFlags::empty();
    flags.set(DescriptorFlags::ACCEPTED, rng.percent(60));
    flags.set(DescriptorFlags::NO_NOTIFICATION, rng.percent(20));
    flags.bits()
}

/// Draws `count` steps. For a while it is a few subchannels to which everything happens, then others.
pub fn draw(rng: &mut Rng, shape: &Shape, count: usize) -> Vec<Step> {
    let mut steps = Vec::with_capacity(count + 200);
    while steps.len() < count {
        let until = steps.len() + 60 + rng.below(200);
        let ring = rng.below(shape.rings());
        let here: Vec<usize> = (0..shape.places.len()).filter(|&sub| shape.places[sub].ring == ring).collect();
        let anywhere: Vec<usize> = (0..1 + rng.below(6)).map(|_| rng.below(shape.places.len())).collect();
        if rng.percent(35) {
            no_room(rng, ring, &here, &mut steps);
        }
        let subs = if rng.percent(50) { here } else { anywhere };
        while steps.len() < until {
            match rng.below(100) {
                0..40 => batch(rng, shape, &subs, &mut steps),
                40..60 => steps.push(Step::Turn { budget: rng.one_of(&[64, 64, 64, 1, 2, 5, 0]) }),
                _ => {
                    for _ in 0..1 + rng.below(4) {
                        steps.push(Step::Answer { sub: rng.one_of(&subs), choice: any_choice(rng) });
                    }
                    if rng.percent(60) {
                        steps.push(Step::Turn { budget: 64 });
                    }
                }
            }
        }
    }
    steps
}

fn any_choice(rng: &mut Rng) -> u8 {
    rng.next().to_le_bytes()[3]
}

/// A guest gives nothing back for a while, so that status finds no room; as a rule devices have something to say meanwhile.
fn no_room(rng: &mut Rng, ring: usize, subs: &[usize], steps: &mut Vec<Step>) {
    for &sub in subs {
        steps.push(Step::Post { sub, operation: Start, flags: flags(rng), pick: rng.next() });
        steps.extend([Step::Publish { ring }, Step::Turn { budget: 64 }]);
    }
    steps.push(Step::Hold { ring, hold: true });
    for _ in 0..30 + rng.below(60) {
        let sub = rng.one_of(subs);
        match rng.below(10) {
            0..2 => steps.push(Step::Post { sub, operation: rng.one_of(&OPERATIONS), flags: flags(rng), pick: rng.next() }),
            2 => steps.push(Step::Publish { ring }),
            3 => steps.push(Step::Answer { sub, choice: any_choice(rng) }),
            _ => steps.push(Step::Answer { sub, choice: rng.one_of(&[0, 1, 1, 1, 1, 2, 8, 0xE1]) }),
        }
        if rng.percent(60) {
            steps.push(Step::Turn { budget: 64 });
        }
    }
    steps.push(Step::Hold { ring, hold: rng.percent(10) });
    for _ in 0..rng.below(3) {
        steps.push(Step::Turn { budget: 64 });
    }
}

fn batch(rng: &mut Rng, shape: &Shape, subs: &[usize], steps: &mut Vec<Step>) {
    let chosen = [rng.one_of(subs), rng.one_of(subs)];
    for _ in 0..1 + rng.below(7) {
        if rng.percent(4) {
            let ring = rng.below(shape.rings());
            steps.push(Step::Stray { ring, kind: any_choice(rng), flags: flags(rng), pick: rng.next() });
            continue;
        }
        let sub = rng.one_of(&chosen);
        let mut operation = rng.one_of(&OPERATIONS);
        if !shape.places[sub].enabled && rng.percent(30) {
            operation = Modify;
        }
        steps.push(Step::Post { sub, operation, flags: flags(rng), pick: rng.next() });
    }
    for sub in chosen {
        steps.push(Step::Publish { ring: shape.places[sub].ring });
    }
    if rng.percent(70) {
        steps.push(Step::Turn { budget: 64 });
    }
}
