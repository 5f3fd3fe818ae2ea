// SPDX-License-Identifier: MIT OR Apache-2.0
//! Settling: rings that somebody waits for, or that are going, and what goes with them.

use super::ring::State;
use super::Reactor;
use std::time::{Duration, Instant};

/// How long, and for how many turns, the last notification of a ring that goes may be in the kernel.
const PATIENCE_WITH_A_NOTIFICATION: Duration = Duration::from_secs(3);
const LOOKS_AT_A_NOTIFICATION: u32 = 16;

impl Reactor {
    /// Looks after rings that somebody waits for, or that are going.
    pub(super) fn settle_rings(&mut self) {
        for place in 0..self.rings.places() {
            let Some(ring) = self.rings.get(place) else { continue };
            let detaching = matches!(ring.state, State::Detaching);
            if ring.waiter.is_none() && !detaching {
                continue;
            }
            let busy: Vec<u32> = self
                .subchannels
                .iter()
                .filter(|(_, entry)| entry.ring == place && (entry.subchannel.device_busy() || entry.subchannel.owed() > 0))
                .map(|(_, entry)| entry.subsystem.word())
                .collect();
            let quiet = busy.is_empty() && (!detaching || (!ring.notification_outstanding && !ring.watched));
            if detaching && busy.is_empty() && ring.notification_outstanding {
                self.hurry_notification(place);
                continue;
            }
            let late = ring.waiter.as_ref().and_then(|waiter| waiter.deadline).is_some_and(|deadline| Instant::now() >= deadline);
            if quiet || (late && !busy.is_empty()) {
                let waiter = self.rings.get_mut(place).and_then(|ring| ring.waiter.take());
                if let Some(waiter) = waiter {
                    if !detaching {
                        self.busy_rings -= 1;
                    }
                    if quiet && detaching {
                        self.remove_ring(place);
                    }
                    (waiter.reply)(busy);
                } else if quiet {
                    self.remove_ring(place);
                }
            }
        }
    }

    /// A ring that goes waits for its last notification alone. The guest can block that (by a full eventfd), so it is given up after a while: in time,
    /// and in looks, because a thread that was not run has not waited. An honest guest's must not be cancelled: nobody would wake it again.
    fn hurry_notification(&mut self, place: u32) {
        let given = !self.engine.has_staged();
        let Some(ring) = self.rings.get_mut(place) else { return };
        let (since, looks) = ring.waits_for_notification.get_or_insert((Instant::now(), 0));
        *looks += u32::from(given);
        if *looks >= LOOKS_AT_A_NOTIFICATION && since.elapsed() >= PATIENCE_WITH_A_NOTIFICATION {
            ring.waits_for_notification = None;
            self.engine.cancel_notify(place);
        }
    }

    fn remove_ring(&mut self, place: u32) {
        self.busy_rings -= 1;
        let gone: Vec<u32> = self.subchannels.iter().filter(|(_, entry)| entry.ring == place).map(|(index, _)| index).collect();
        for index in gone {
            self.remove_subchannel(index);
        }
        if let Some(ring) = self.rings.remove(place) {
            if let Some(guest) = self.guests.get_mut(ring.guest) {
                guest.rings -= 1;
            }
            if ring.violation.is_none() {
                // Nothing is staged any more: what the subchannels had to say was published at the end of the turn that said it.
                ring.port.detach();
            }
        }
    }

    /// Takes a subchannel away whose device has nothing to answer.
    pub(super) fn remove_subchannel(&mut self, index: u32) {
        self.timers.set(index, None);
        self.queues.forget(index);
        self.forget_resets(index);
        if let Some(entry) = self.subchannels.remove(index) {
            if let Some(guest) = self.guests.get_mut(entry.guest) {
                guest.remove(entry.subsystem);
            }
            if let Some(slot) = entry.slot {
                self.engine.release(slot);
            }
        }
    }
}
