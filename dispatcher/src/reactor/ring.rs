// SPDX-License-Identifier: MIT OR Apache-2.0
//! An attached ring.

use crate::host::HostSide;
use crate::region::RegionWords;
use fctl_ringabi::{ClockId, DispatcherPort};
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
    /// Which ring it is: its place was another one's before.
    pub(super) number: u32,
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
    /// Something was published in this turn already.
    pub(super) answered: bool,
    /// Completion entries promised to descriptors that were taken.
    pub(super) owed: u64,
    /// The next descriptor has no room for its completions.
    pub(super) stalled: bool,
    /// So many starts may still be issued in this turn.
    pub(super) may_issue: u32,
    /// So many were put off when there were no more.
    pub(super) put_off: u32,
    /// For so many turns running as many descriptors were there as a turn may take: more stand behind, and they may be clears.
    pub(super) had_its_fill: u8,
    pub(super) has_clock: bool,
    pub(super) waiter: Option<Waiter>,
    /// While the ring is drained or detached: its subchannels that may still be busy. Those that are quiet are taken out, and stay quiet, since nothing is taken
    /// from the ring any more.
    pub(super) unsettled: Vec<u32>,
    /// Subchannels whose home this is.
    pub(super) subchannels: u32,
    /// One of them has, or had, a device that needs no engine: a start may run through.
    pub(super) may_run_through: bool,
    /// One of them has, or had, a device that does.
    pub(super) uses_engine: bool,
    pub(super) violation: Option<fctl_ringabi::Violation>,
}

impl Ring {
    pub(super) fn new(
        port: DispatcherPort<RegionWords>,
        number: u32,
        guest: u32,
        doorbell: EventFd,
        notification: EventFd,
    ) -> Self {
        let has_clock = port.header().sizes().clock == ClockId::Monotonic;
        Self {
            port,
            host: None,
            number,
            guest,
            state: State::Serving,
            doorbell,
            notification,
            notification_outstanding: false,
            notify_again: false,
            waits_for_notification: None,
            watched: true,
            notify_wanted: false,
            answered: false,
            owed: 0,
            stalled: false,
            may_issue: 0,
            put_off: 0,
            had_its_fill: 0,
            has_clock,
            waiter: None,
            unsettled: Vec::new(),
            subchannels: 0,
            may_run_through: false,
            uses_engine: false,
            violation: None,
        }
    }

    #[inline]
    pub(super) fn serving(&self) -> bool {
        matches!(self.state, State::Serving)
    }

    /// Gives the poster of a host ring its condition code now: it waits for it, and need not wait for what the turn has to do for its devices.
    #[inline]
    pub(super) fn answer_poster(&mut self) {
        if let Some(host) = self.host.as_mut().filter(|host| host.is_awaited()) {
            self.answered |= self.port.publish();
            host.published();
        }
    }

    /// To be asked after publishing: true if the guest wants to be notified now.
    #[inline]
    pub(super) fn must_notify(&mut self) -> bool {
        match &self.host {
            None => self.port.must_notify(),
            Some(host) => host.claim(self.port.memory()),
        }
    }

    /// False once the ring was fenced, also while it is being taken away.
    #[inline]
    pub(super) fn stores(&self) -> bool {
        self.violation.is_none()
    }
}
