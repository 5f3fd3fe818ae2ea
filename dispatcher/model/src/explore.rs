// SPDX-License-Identifier: MIT OR Apache-2.0
//! All states that can be reached, breadth first.

use std::collections::{BTreeSet, HashSet, VecDeque};

use crate::image::{Fields, OrbEcho};
use crate::state::{Instruction, Start, State};

/// A start whose program can neither be suspended nor asks for initial status.
pub const PLAIN: Start = Start { id: 1, intparm: 0x11, orb: OrbEcho { format: true, ..OrbEcho::ZERO }, lpm: 0x80 };

/// A start whose program may be suspended with an interruption, and that asks for initial status.
pub const SUSPENDABLE: Start =
    Start { id: 2, intparm: 0x22, orb: OrbEcho { suspend: true, initial_status: true, ..OrbEcho::ZERO }, lpm: 0xFF };

/// A start whose program may be suspended without an interruption.
pub const QUIETLY_SUSPENDABLE: Start =
    Start { id: 3, intparm: 0x33, orb: OrbEcho { suspend: true, suppress_suspended: true, ..OrbEcho::ZERO }, lpm: 0xC0 };

/// A start whose path mask selects every path but the one that is available.
pub const PATHLESS: Start = Start { id: 4, intparm: 0x44, lpm: 0x7F, ..PLAIN };

/// Enables, in interruption subclass 3.
pub const ENABLE: Fields = Fields { intparm: 0xE, isc: 3, enabled: true, lpm: 0x80, pom: 0x7F, other: 0 };

/// Disables.
pub const DISABLE: Fields = Fields { enabled: false, intparm: 0xD, ..ENABLE };

/// The instructions that [`explore`] is usually given.
pub const ALPHABET: [Instruction; 12] = [
    Instruction::Ssch(PLAIN),
    Instruction::Ssch(SUSPENDABLE),
    Instruction::Ssch(QUIETLY_SUSPENDABLE),
    Instruction::Ssch(PATHLESS),
    Instruction::Hsch,
    Instruction::Csch,
    Instruction::Xsch,
    Instruction::Rsch,
    Instruction::Msch(ENABLE),
    Instruction::Msch(DISABLE),
    Instruction::Tsch,
    Instruction::Stsch,
];

/// The outcome of [`explore`].
#[derive(Clone, Debug)]
pub struct Explored {
    /// Every reachable state once, in the order of discovery; the first is where the search began.
    pub states: Vec<State>,
    /// How many instructions and steps were tried.
    pub transitions: usize,
}

/// Executes every instruction of `alphabet`, with every condition code that the reference permits, and makes every legal step,
/// in every state that can be reached from `from` in this way. The same arguments give the same answer in the same order.
#[must_use]
pub fn explore(from: State, alphabet: &[Instruction]) -> Explored {
    let mut explored = Explored { states: vec![from], transitions: 0 };
    let mut known = HashSet::from([from]);
    let mut waiting = VecDeque::from([from]);
    while let Some(state) = waiting.pop_front() {
        for next in successors(state, alphabet) {
            explored.transitions += 1;
            if known.insert(next) {
                explored.states.push(next);
                waiting.push_back(next);
            }
        }
    }
    explored
}

fn successors(state: State, alphabet: &[Instruction]) -> Vec<State> {
    let mut all = Vec::new();
    for &instruction in alphabet {
        for cc in state.permitted_of(&instruction).iter() {
            let mut next = state;
            if next.execute_as(instruction, cc).is_some() {
                all.push(next);
            }
        }
    }
    for step in state.legal_progress() {
        let mut next = state;
        next.progress(step);
        all.push(next);
    }
    all
}

/// All pairs of condition codes that `a` and then `b` may legally get, with any number of steps before, between, both or neither.
/// This is the whole of what the last table of §4.2 gives examples of.
#[must_use]
pub fn legal_pair_codes(before: State, a: Instruction, b: Instruction) -> BTreeSet<(u8, u8)> {
    let mut codes = BTreeSet::new();
    for first in explore(before, &[]).states {
        for cc_a in first.permitted_of(&a).iter() {
            let mut after = first;
            if after.execute_as(a, cc_a).is_none() {
                continue;
            }
            for second in explore(after, &[]).states {
                codes.extend(second.permitted_of(&b).iter().map(|cc_b| (cc_a, cc_b)));
            }
        }
    }
    codes
}
