// SPDX-License-Identifier: MIT OR Apache-2.0
//! An attached ring, and how answers get into it.

use crate::host::HostSide;
use crate::metrics::{Counters, Latencies, Series, Stage};
use crate::region::RegionWords;
use crate::subchannel::{Answer, Answers};
use fctl_ringabi::{
    ClockId, Completion, CompletionFlags, CompletionKind, DescriptorFlags, DispatcherPort, Disposition, Operation, StageTimes,
};
use std::time::Instant;
use vmm_sys_util::eventfd::EventFd;

/// Where a ring stands.
#[derive(Debug)]
pub(super) enum State {
    /// Descriptors are taken.
    Serving,
    /// No descriptors are taken; what runs may end by itself.
    Draining,
    /// The guest broke the protocol. Nothing is taken or stored; what ran is stopped.
    Fenced,
    /// Being taken away; what ran is stopped.
    Detaching,
}

/// Somebody who waits for a ring to be quiet.
pub(super) struct Waiter {
    pub(super) deadline: Option<Instant>,
    pub(super) reply: Box<dyn FnOnce(Vec<u32>) + Send>,
}

/// A ring pair that is being served.
pub(super) struct Ring {
    pub(super) port: DispatcherPort<RegionWords>,
    /// The embedder itself is the guest of this ring.
    pub(super) host: Option<HostSide>,
    pub(super) guest: u32,
    pub(super) state: State,
    pub(super) doorbell: EventFd,
    pub(super) notification: EventFd,
    pub(super) notification_outstanding: bool,
    /// Something was published while a notification was outstanding: the guest may have gone to sleep again before it.
    pub(super) notify_again: bool,
    /// Since when a ring that goes has waited for its notification alone, and how often it was looked at since.
    pub(super) waits_for_notification: Option<(Instant, u32)>,
    /// The doorbell is watched; false once the watch has ended for good.
    pub(super) watched: bool,
    pub(super) notify_wanted: bool,
    /// Completion entries promised to descriptors that were taken.
    pub(super) owed: u64,
    /// The next descriptor has no room for its completions.
    pub(super) stalled: bool,
    pub(super) has_clock: bool,
    pub(super) waiter: Option<Waiter>,
    /// Subchannels whose home this is.
    pub(super) subchannels: u32,
    pub(super) violation: Option<fctl_ringabi::Violation>,
}

impl Ring {
    pub(super) fn new(port: DispatcherPort<RegionWords>, guest: u32, doorbell: EventFd, notification: EventFd) -> Self {
        let has_clock = port.header().sizes().clock == ClockId::Monotonic;
        Self {
            port,
            host: None,
            guest,
            state: State::Serving,
            doorbell,
            notification,
            notification_outstanding: false,
            notify_again: false,
            waits_for_notification: None,
            watched: true,
            notify_wanted: false,
            owed: 0,
            stalled: false,
            has_clock,
            waiter: None,
            subchannels: 0,
            violation: None,
        }
    }

    #[inline]
    pub(super) fn serving(&self) -> bool {
        matches!(self.state, State::Serving)
    }

    /// To be asked after publishing: true if the guest wants to be notified now.
    #[inline]
    pub(super) fn must_notify(&mut self) -> bool {
        match &self.host {
            None => self.port.must_notify(),
            Some(host) => host.claim(self.port.memory()),
        }
    }

    #[inline]
    pub(super) fn stores(&self) -> bool {
        !matches!(self.state, State::Fenced)
    }
}

/// The moments that all instructions of a turn share, and the turn's number.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Moment {
    /// The clock as it was last read.
    pub(super) now: u64,
    pub(super) turn: u32,
}

/// Stores answers into a ring and counts them.
pub(super) struct RingAnswers<'a> {
    pub(super) ring: &'a mut Ring,
    pub(super) subsystem: u32,
    pub(super) moment: Moment,
    pub(super) latencies: &'a mut Latencies,
    pub(super) counters: &'a mut Counters,
    pub(super) finals_of_turn: &'a mut [u64; Series::ALL.len()],
}

/// A turn is never longer than this in nanoseconds, unless its thread is not run.
const LONGEST_TURN: u64 = 100_000_000;

#[inline]
fn after(later: u64, earlier: u64) -> u32 {
    u32::try_from(later.saturating_sub(earlier)).unwrap_or(u32::MAX)
}

#[inline]
fn series(answer: &Answer) -> Series {
    match (answer.owed.operation, answer.disposition) {
        (_, Disposition::AbsorbedByCancel | Disposition::AbsorbedByHalt | Disposition::AbsorbedByClear) => Series::Overtaken,
        (_, Disposition::ProgramInterruption | Disposition::DescriptorError) => Series::Immediate,
        _ if answer.cc != 0 => Series::Immediate,
        (Operation::Start, _) => Series::Start,
        (Operation::Halt, _) => Series::Halt,
        (Operation::Clear, _) => Series::Clear,
        _ => Series::Immediate,
    }
}

impl RingAnswers<'_> {
    #[inline]
    fn count_final(&mut self, answer: &Answer) {
        self.counters.finals += 1;
        let was_issued = answer.flags.contains(CompletionFlags::WAS_ISSUED);
        self.counters.fate(answer.owed.operation, answer.disposition, answer.cc, was_issued);
        let series = series(answer);
        self.finals_of_turn[series as usize] += 1;
        let (now, owed) = (self.moment.now, &answer.owed);
        // The posted time is the guest's word: a time that cannot be is not used. One a little later than "taken" can: a turn has one stamp, and takes
        // what arrives while it is at it.
        let can_be = self.ring.has_clock && owed.posted != 0 && owed.posted <= owed.taken.saturating_add(LONGEST_TURN);
        let posted = if can_be { owed.posted } else { 0 };
        if posted != 0 {
            self.latencies.note(series, Stage::Posted, owed.taken.saturating_sub(posted));
        }
        if answer.issued != 0 {
            self.latencies.note(series, Stage::Taken, answer.issued.saturating_sub(owed.taken));
            self.latencies.note(series, Stage::Issued, now.saturating_sub(answer.issued));
        }
        self.latencies.note(series, Stage::Total, now.saturating_sub(if posted != 0 { posted } else { owed.taken }));
    }
}

impl Answers for RingAnswers<'_> {
    #[inline]
    fn post(&mut self, answer: &Answer) {
        match answer.kind {
            CompletionKind::Final => {
                self.ring.owed -= 1;
                self.count_final(answer);
            }
            CompletionKind::Accepted => {
                self.ring.owed -= 1;
                self.counters.others += 1;
            }
            _ => self.counters.others += 1,
        }
        let a_final = u64::from(answer.kind == CompletionKind::Final);
        if !self.ring.stores() {
            self.counters.unstored += a_final;
            return;
        }
        let now = self.moment.now;
        let taken = answer.owed.taken;
        // Zero says that it never was issued; what was, in the turn that took it, has the same stamp.
        let issued_after = if answer.issued == 0 { 0 } else { after(answer.issued, taken).max(1) };
        let ended_after = after(now, taken).max(issued_after);
        let completion = Completion {
            kind: answer.kind as u8,
            cc: answer.cc,
            disposition: answer.disposition as u8,
            flags: answer.flags,
            subsystem: self.subsystem,
            intparm: answer.intparm,
            tag: answer.owed.tag,
            scsw: answer.scsw,
            code: answer.code,
            turn: self.moment.turn,
            times: StageTimes { taken, issued_after, completed_after: ended_after, delivered_after: ended_after },
        };
        self.ring.notify_wanted |= match &mut self.ring.host {
            None => !answer.owed.flags.contains(DescriptorFlags::NO_NOTIFICATION),
            Some(host) => host.staged(answer),
        };
        if self.ring.port.stage(completion, answer.extension.as_ref()).is_err() {
            // Room was set aside when the descriptor was taken, so only a guest that moved its head back can bring us here.
            self.counters.unstored += a_final;
        }
    }

    #[inline]
    fn uncharged_room(&mut self) -> bool {
        let want = self.ring.owed + 1;
        self.ring.port.room(want).is_ok_and(|room| room >= want)
    }
}
