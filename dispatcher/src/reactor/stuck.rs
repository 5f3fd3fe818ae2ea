// SPDX-License-Identifier: MIT OR Apache-2.0
//! Stuck volumes: an operation that does not end. Nothing is given up and nothing claimed; new starts are refused, and it is reported.

use super::Reactor;
use crate::clock;
use std::time::Duration;

/// Turns with operations in the kernel between two looks at the clock.
const TURNS_BETWEEN_LOOKS: u32 = 1024;

/// Something that devices store on, and that has not ended an operation for too long.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stuck {
    /// Its name.
    pub name: String,
    /// How long the oldest operation has been in the kernel, at least.
    pub age: Duration,
    /// Subsystem-identification word of a subchannel whose operation does not end.
    pub subsystem: u32,
    id: usize,
}

/// When to look, and what was found.
#[derive(Debug)]
pub(super) struct Watch {
    limit: u64,
    turns: u32,
    next: u64,
    pub(super) found: Vec<Stuck>,
}

impl Watch {
    pub(super) fn new(limit: Duration) -> Self {
        let limit = u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX).max(1);
        Self { limit, turns: 0, next: 0, found: Vec::new() }
    }

    /// How long a sleep may last while operations are in the kernel.
    pub(super) const fn between_looks(&self) -> Duration {
        Duration::from_nanos(self.limit / 4 + 1)
    }

    /// The next turn looks at the clock, whatever came before.
    pub(super) fn look_soon(&mut self) {
        self.turns = TURNS_BETWEEN_LOOKS;
    }
}

impl Reactor {
    /// To be called in each turn that has operations in the kernel, or something that was found to be stuck.
    #[inline]
    pub(super) fn watch_for_stuck(&mut self) {
        self.stuck.turns += 1;
        if self.stuck.turns >= TURNS_BETWEEN_LOOKS {
            self.stuck.turns = 0;
            self.look_for_stuck();
        }
    }

    #[cold]
    fn look_for_stuck(&mut self) {
        let now = clock::now();
        if now < self.stuck.next {
            return;
        }
        self.stuck.next = now.saturating_add(self.stuck.limit / 4);
        let mut found: Vec<Stuck> = Vec::new();
        for (owner, age) in self.engine.overdue(now, self.stuck.limit) {
            let Some(entry) = self.subchannels.get(owner) else { continue };
            let age = Duration::from_nanos(age);
            let backing = entry.device.backing();
            // A device with nothing behind it stands for itself; no address is as small as a place in a table.
            let id = backing.map_or(owner as usize, |backing| backing.id);
            match found.iter_mut().find(|stuck| stuck.id == id) {
                Some(stuck) => stuck.age = stuck.age.max(age),
                None => {
                    let name = backing.map_or_else(|| "a device without a name".to_owned(), |backing| backing.name.to_owned());
                    found.push(Stuck { name, age, subsystem: entry.subsystem.word(), id });
                }
            }
        }
        if found.is_empty() && self.stuck.found.is_empty() {
            return;
        }
        for stuck in found.iter().filter(|stuck| !self.stuck.found.iter().any(|known| known.id == stuck.id)) {
            tracing::error!(volume = stuck.name, age = ?stuck.age, "stuck: an operation does not end; new starts get condition code 3");
        }
        for freed in self.stuck.found.iter().filter(|known| !found.iter().any(|stuck| stuck.id == known.id)) {
            tracing::info!(volume = freed.name, "no longer stuck");
        }
        for place in 0..self.subchannels.places() {
            if let Some(entry) = self.subchannels.get_mut(place) {
                let id = entry.device.backing().map_or(place as usize, |backing| backing.id);
                entry.subchannel.set_stuck(found.iter().any(|stuck| stuck.id == id));
            }
        }
        self.stuck.found = found;
    }

    /// What does not answer now.
    pub fn stuck(&self) -> &[Stuck] {
        &self.stuck.found
    }
}
