// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reset and removal of subchannels while everything else goes on.

use super::answers::RingAnswers;
use super::{AttachError, GuestId, Reactor};
use fctl_ringabi::arch::SubsystemId;
use std::time::Instant;

/// Who is told when it is done, or of what is busy at the deadline.
pub(super) type Reply = Box<dyn FnOnce(Vec<u32>) + Send>;

/// Subchannels that are being reset together.
pub(super) struct Reset {
    /// Their places; those that are done are taken out.
    places: Vec<u32>,
    /// They go when they are done.
    leaving: bool,
    deadline: Option<Instant>,
    /// None when the deadline has passed: then it only goes on.
    reply: Option<Reply>,
}

impl Reactor {
    /// Resets a subchannel: what runs is stopped, status, sense and its initiator's reservation are withdrawn, descriptors that were taken get
    /// their finals (absorbed), and it is enabled or not as it was at attachment. None of this notifies the guest. Until then the subchannel is not
    /// operational. When the kernel has given back every buffer `reply` gets an empty list; at the deadline, what is still busy: that becomes reset as
    /// soon as it can. Descriptors that were posted and not taken are executed afterwards.
    ///
    /// # Errors
    /// No such guest, or it has no such subchannel.
    pub fn reset_subchannel(
        &mut self,
        guest: GuestId,
        id: SubsystemId,
        deadline: Option<Instant>,
        reply: Box<dyn FnOnce(Vec<u32>) + Send>,
    ) -> Result<(), AttachError> {
        let place = self.place_of(guest, id)?;
        self.begin_reset(vec![place], false, deadline, reply);
        Ok(())
    }

    /// Resets all subchannels of a guest, as [`reset_subchannel`](Self::reset_subchannel).
    ///
    /// # Errors
    /// No such guest.
    pub fn reset_guest(
        &mut self,
        guest: GuestId,
        deadline: Option<Instant>,
        reply: Box<dyn FnOnce(Vec<u32>) + Send>,
    ) -> Result<(), AttachError> {
        let guest = self.place_of_guest(guest)?;
        let places = self.subchannels.iter().filter(|(_, entry)| entry.guest == guest).map(|(place, _)| place).collect();
        self.begin_reset(places, false, deadline, reply);
        Ok(())
    }

    /// Resets all subchannels of all guests, as [`reset_subchannel`](Self::reset_subchannel).
    pub fn reset_all(&mut self, deadline: Option<Instant>, reply: Box<dyn FnOnce(Vec<u32>) + Send>) {
        let places = self.subchannels.iter().map(|(place, _)| place).collect();
        self.begin_reset(places, false, deadline, reply);
    }

    /// Takes a subchannel with its device away: as [`reset_subchannel`](Self::reset_subchannel), and then it is gone, its device dropped. At the
    /// deadline `reply` gets what is busy; the subchannel then goes by itself as soon as it can.
    ///
    /// # Errors
    /// No such guest, or it has no such subchannel.
    pub fn detach_subchannel(
        &mut self,
        guest: GuestId,
        id: SubsystemId,
        deadline: Option<Instant>,
        reply: Box<dyn FnOnce(Vec<u32>) + Send>,
    ) -> Result<(), AttachError> {
        let place = self.place_of(guest, id)?;
        self.begin_reset(vec![place], true, deadline, reply);
        Ok(())
    }

    fn place_of(&self, guest: GuestId, id: SubsystemId) -> Result<u32, AttachError> {
        let guest = self.guests.get(self.place_of_guest(guest)?).ok_or(AttachError::NoGuest(guest))?;
        guest.find(id).ok_or(AttachError::NoSubchannel(id.word()))
    }

    fn begin_reset(&mut self, places: Vec<u32>, leaving: bool, deadline: Option<Instant>, reply: Reply) {
        for &index in &places {
            let Some(entry) = self.subchannels.get_mut(index) else { continue };
            let Some(ring) = self.rings.get_mut(entry.ring) else { continue };
            let mut answers = RingAnswers { ring, books: &mut self.books, subsystem: entry.subsystem.word() };
            entry.subchannel.begin_reset(&mut answers);
            self.queues.enqueue(index, entry);
        }
        self.resets.push(Reset { places, leaving, deadline, reply: Some(reply) });
    }

    /// A subchannel goes in another way: nobody waits for it any more.
    pub(super) fn forget_resets(&mut self, index: u32) {
        for reset in &mut self.resets {
            reset.places.retain(|&place| place != index);
        }
    }

    /// Looks after subchannels that are being reset.
    pub(super) fn settle_resets(&mut self) {
        let quiet = |reactor: &Self, index: u32| {
            reactor.subchannels.get(index).is_none_or(|entry| !entry.subchannel.device_busy() && entry.subchannel.owed() == 0)
        };
        let mut done: Vec<(u32, bool)> = Vec::new();
        for reset in &self.resets {
            for &index in reset.places.iter().filter(|&&index| quiet(self, index)) {
                // Of two that reset the same one, the one that takes it away wins.
                match done.iter_mut().find(|(other, _)| *other == index) {
                    Some((_, leaving)) => *leaving |= reset.leaving,
                    None => done.push((index, reset.leaving)),
                }
            }
        }
        if !done.is_empty() {
            // What was absorbed must be visible before anybody is told.
            self.publish();
        }
        for (index, leaving) in done {
            if let Some(entry) = self.subchannels.get_mut(index) {
                if leaving {
                    self.remove_subchannel(index);
                } else {
                    entry.subchannel.end_reset(entry.enabled);
                    entry.device.reset();
                    self.timers.set(index, None);
                }
            }
            self.forget_resets(index);
        }
        let now = Instant::now();
        let subchannels = &self.subchannels;
        self.resets.retain_mut(|reset| {
            let late = reset.deadline.is_some_and(|deadline| now >= deadline);
            if reset.places.is_empty() || late {
                let busy = reset.places.iter().filter_map(|&place| Some(subchannels.get(place)?.subsystem.word())).collect();
                if let Some(reply) = reset.reply.take() {
                    reply(busy);
                }
            }
            !reset.places.is_empty()
        });
    }
}
