// SPDX-License-Identifier: MIT OR Apache-2.0
//! Settling: rings that somebody waits for, or that are going, and what goes with them.

use super::ring::{State, Waiter};
use super::Reactor;
use std::time::{Duration, Instant};

/// How long, and for how many turns, the last notification of a ring that goes may be in the kernel.
const PATIENCE_WITH_A_NOTIFICATION: Duration = Duration::from_secs(3);
const LOOKS_AT_A_NOTIFICATION: u32 = 16;

impl Reactor {
    /// From now on a ring is looked after until it is quiet.
    pub(super) fn wait_for(&mut self, place: u32) {
        let subchannels: Vec<u32> =
            self.subchannels.iter().filter(|(_, entry)| entry.ring == place).map(|(index, _)| index).collect();
        if let Some(ring) = self.rings.get_mut(place) {
            ring.unsettled = subchannels;
            if !self.busy_rings.contains(&place) {
                self.busy_rings.push(place);
            }
        }
    }

    /// Looks after rings that somebody waits for, or that are going. Costs as much as has changed, not as much as is attached.
    pub(super) fn settle_rings(&mut self) {
        let mut next = 0;
        while let Some(&place) = self.busy_rings.get(next) {
            if self.settle_ring(place) {
                self.busy_rings.swap_remove(next);
            } else {
                next += 1;
            }
        }
    }

    fn is_busy(&self, index: u32, ring: u32) -> bool {
        // One that was taken away may have left its place to another ring's.
        let entry = self.subchannels.get(index).filter(|entry| entry.ring == ring);
        entry.is_some_and(|entry| entry.subchannel.device_busy() || entry.subchannel.owed() > 0)
    }

    /// True if there is nothing to look after any more.
    fn settle_ring(&mut self, place: u32) -> bool {
        while let Some(&index) = self.rings.get(place).and_then(|ring| ring.unsettled.last()) {
            if self.is_busy(index, place) {
                break;
            }
            if let Some(ring) = self.rings.get_mut(place) {
                ring.unsettled.pop();
            }
        }
        let Some(ring) = self.rings.get_mut(place) else { return true };
        let detaching = matches!(ring.state, State::Detaching);
        if !ring.unsettled.is_empty() {
            if ring.waiter.as_ref().and_then(|waiter| waiter.deadline).is_some_and(|deadline| Instant::now() >= deadline) {
                let waiter = ring.waiter.take();
                self.tell_busy(place, waiter);
                // One that goes, goes on; one that was drained only waits for nobody any more.
                return !detaching;
            }
            return false;
        }
        if detaching && ring.notification_outstanding {
            self.hurry_notification(place);
            return false;
        }
        if detaching && ring.watched {
            return false;
        }
        let waiter = ring.waiter.take();
        if detaching {
            self.remove_ring(place);
        }
        if let Some(waiter) = waiter {
            (waiter.reply)(Vec::new());
        }
        true
    }

    /// The deadline has come: who waits is told what is busy.
    #[cold]
    fn tell_busy(&mut self, place: u32, waiter: Option<Waiter>) {
        let Some(ring) = self.rings.get(place) else { return };
        let busy = ring.unsettled.iter().filter(|&&index| self.is_busy(index, place));
        let words = busy.filter_map(|&index| Some(self.subchannels.get(index)?.subsystem.word())).collect();
        if let Some(waiter) = waiter {
            (waiter.reply)(words);
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
            // Before the device closes them.
            self.engine.unregister_files(index);
        }
    }
}
