// SPDX-License-Identifier: MIT OR Apache-2.0
//! Generations of guest memory: the new one is used at once, the old one is given up when the kernel does not use it any more.

use super::reset::Reply;
use super::{AttachError, GuestId, Reactor};
use crate::memory::Memory;
use std::time::Instant;

/// Memory that was replaced, and that the kernel may still use.
pub(super) struct Replaced {
    guest: u32,
    /// Operations of older generations than this one are waited for.
    generation: u32,
    /// Only kept, until it is free.
    memory: Option<Memory>,
    deadline: Option<Instant>,
    reply: Option<Reply>,
}

impl Reactor {
    /// Replaces a guest's memory: to add, remove or move some of it, or to change how it is stored into. From now on channel programs and operands are
    /// found in the new memory; a program that needs a range which is not there any more gets a program check. `reply` gets an empty list when no operation
    /// in the kernel uses the old memory any more, which is then dropped; at the deadline, the subsystem-identification words of those that do: the old
    /// memory is kept until they have ended.
    ///
    /// A ring keeps the mapping that it was attached with: a ring in memory that goes must be detached before.
    ///
    /// # Errors
    /// No such guest.
    pub fn replace_memory(
        &mut self,
        guest: GuestId,
        memory: Memory,
        deadline: Option<Instant>,
        reply: Box<dyn FnOnce(Vec<u32>) + Send>,
    ) -> Result<(), AttachError> {
        let place = self.place_of_guest(guest)?;
        let entry = self.guests.get_mut(place).ok_or(AttachError::NoGuest(guest))?;
        let memory = memory.succeeding(&entry.memory);
        let generation = memory.generation();
        let old = core::mem::replace(&mut entry.memory, memory);
        self.replaced.push(Replaced { guest: place, generation, memory: Some(old), deadline, reply: Some(reply) });
        Ok(())
    }

    /// Looks after memory that was replaced.
    pub(super) fn settle_memory(&mut self) {
        let now = Instant::now();
        let (engine, subchannels) = (&self.engine, &self.subchannels);
        self.replaced.retain_mut(|replaced| {
            let mut busy = Vec::new();
            for owner in engine.users_before(replaced.generation) {
                match owner.and_then(|owner| subchannels.get(owner)) {
                    Some(entry) if entry.guest != replaced.guest => {}
                    Some(entry) => busy.push(entry.subsystem.word()),
                    // Whoever it was has gone.
                    None => busy.push(0),
                }
            }
            let free = busy.is_empty();
            if free || replaced.deadline.is_some_and(|deadline| now >= deadline) {
                if let Some(reply) = replaced.reply.take() {
                    if free {
                        // Before anybody is told that it is gone.
                        replaced.memory = None;
                    }
                    reply(busy);
                }
            }
            !free
        });
    }
}
