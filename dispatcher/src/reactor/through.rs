// SPDX-License-Identifier: MIT OR Apache-2.0
//! Starts that end where they begin, performed while they are taken.
//!
//! A start waits for the pass so that what stands behind it in the ring may overtake it. Where a batch holds nothing but starts, nothing can, and if the device
//! performs it on the spot ([`SubchannelDevice::start_at_once`](crate::device::SubchannelDevice::start_at_once)), taking, accepting, issuing and ending it is one.
//! What the guest sees is the same: its finals, and the condition codes of starts behind it in the same turn
//! ([`Entry::ran_through`](super::table::Entry)).

use super::answers::{final_of, notifies};
use super::books::Books;
use super::ring::Ring;
use super::table::{Entry, Guest, Slab};
use fctl_ringabi::{Batch, DescriptorFlags, PlainStart, Violation};

/// So many completions ahead their lines are asked for.
const AHEAD: u64 = 8;

/// Performs the starts at the head of a batch for which that can be done, `most` at most. Each needs one free slot of the completion ring. No device of the ring uses
/// the engine: what runs through is no part of what a turn may issue of such a ring, and their programs had better come from the guest's CPU first.
#[inline(never)]
pub(super) fn run_through(
    place: u32,
    batch: &mut Batch,
    most: u64,
    ring: &mut Ring,
    guest: &Guest,
    subchannels: &mut Slab<Entry>,
    books: &mut Books,
) -> Result<(), Violation> {
    let (now, turn, turn_number) = (books.now(), books.turn(), books.turn_number());
    // The posted times count if they are on our clock.
    let posted_mask = if ring.has_clock { u64::MAX } else { 0 };
    let mut reading = *batch;
    let mut common = DescriptorFlags::all();
    let mut end = Ok(());
    let times = books.times_at_once();
    let mut completion_line = ring.port.completion_ahead(AHEAD);
    for _ in 0..most {
        let words = match ring.port.peek(&reading) {
            Ok(Some(words)) => words,
            Ok(None) => break,
            Err(violation) => {
                end = Err(violation);
                break;
            }
        };
        let Some(start) = PlainStart::from_words(&words) else { break };
        let PlainStart { flags, subsystem, tag, posted, orb } = start;
        let Some(entry) = subchannels.get_mut(guest.place(subsystem)) else { break };
        if entry.ring != place || entry.ran_through == turn_number || flags.contains(DescriptorFlags::ACCEPTED) {
            break;
        }
        let Some(scsw) = entry.subchannel.run_through(&orb, now, |orb| entry.device.start_at_once(orb)) else { break };
        entry.ran_through = turn_number;
        ring.port.step(&mut reading);
        ring.port.anticipate_completion(&mut completion_line);
        common &= flags;
        books.ended_at_once(posted & posted_mask);
        if ring.port.stage(final_of(subsystem.word(), tag, orb.intparm(), scsw, turn, times), None).is_err() {
            books.counters.unstored += 1;
        }
    }
    let ran = reading.read() - batch.read();
    if ran > 0 {
        ring.stalled = false;
        ring.notify_wanted |= notifies(common);
    }
    books.counters.starts += ran;
    books.counters.issued += ran;
    *batch = reading;
    end
}
