// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reservation: one initiator at a time may have a volume for itself, as long as one of its subchannels is there.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

/// Who has reserved a volume, and who could.
#[derive(Debug, Default)]
pub(super) struct Reservation {
    /// The initiator; 0 is none. Relaxed everywhere: the word stands for itself, no other memory is published by it.
    holder: AtomicU32,
    /// The initiator of each subchannel. Looked at when one comes or goes, never by a command.
    members: Mutex<Vec<u32>>,
}

impl Reservation {
    /// Reserves for an initiator (not 0). False if another one has it.
    pub(super) fn reserve(&self, initiator: u32) -> bool {
        match self.holder.compare_exchange(0, initiator, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => true,
            Err(holder) => holder == initiator,
        }
    }

    /// Reserves for an initiator (not 0), whoever has it.
    pub(super) fn take(&self, initiator: u32) {
        self.holder.store(initiator, Ordering::Relaxed);
    }

    /// Gives up an initiator's reservation, if it has one.
    pub(super) fn release(&self, initiator: u32) {
        let _ = self.holder.compare_exchange(initiator, 0, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// True if another initiator has it.
    #[inline]
    pub(super) fn is_against(&self, initiator: u32) -> bool {
        let holder = self.holder.load(Ordering::Relaxed);
        holder != 0 && holder != initiator
    }

    /// A subchannel of an initiator comes.
    pub(super) fn join(&self, initiator: u32) {
        self.members.lock().unwrap_or_else(PoisonError::into_inner).push(initiator);
    }

    /// A subchannel of an initiator goes; with its last one goes its reservation.
    pub(super) fn leave(&self, initiator: u32) {
        let mut members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = members.iter().position(|&member| member == initiator) {
            members.swap_remove(place);
        }
        if !members.contains(&initiator) {
            self.release(initiator);
        }
    }
}
