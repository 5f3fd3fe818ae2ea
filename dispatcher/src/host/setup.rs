// SPDX-License-Identifier: MIT OR Apache-2.0
//! How a host ring is made.

use super::error::HostRingError;
use super::meeting::Meeting;
use super::ring::HostRing;
use super::side::HostSide;
use crate::reactor::RingEnds;
use crate::region::{sealed_memory_file, Region};
use fctl_ringabi::{GuestPort, Header, RingSizes};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use vmm_sys_util::eventfd::{EventFd, EFD_CLOEXEC};

/// How a host ring is set up.
#[derive(Debug)]
#[non_exhaustive]
pub struct HostRingOptions {
    /// Entries of the submission ring: a power of two, at least 8. The completion ring has four times as many, and each instruction that has not ended
    /// needs one of these. 64 if not said.
    pub entries: u32,
    /// The eventfd to be written as notification, for instance the one that injects the guest's interrupt; none: one is made.
    pub notification: Option<EventFd>,
    /// How long an instruction may wait to be accepted. 5 seconds if not said.
    pub limit: Duration,
    /// How long to poll for that before sleeping, while the reactor is awake. 50 microseconds if not said; zero on a machine with one CPU.
    pub polling: Duration,
}

impl Default for HostRingOptions {
    fn default() -> Self {
        let alone = std::thread::available_parallelism().is_ok_and(|cpus| cpus.get() == 1);
        let polling = if alone { Duration::ZERO } else { Duration::from_micros(50) };
        Self { entries: 64, notification: None, limit: Duration::from_secs(5), polling }
    }
}

/// What the dispatcher gets of a host ring ([`Handle::attach_host_ring`](crate::Handle::attach_host_ring)).
#[derive(Debug)]
pub struct HostEnds {
    pub(crate) ends: RingEnds,
    pub(crate) side: HostSide,
}

impl HostRing {
    /// Makes the ring, and the end of it that is to be attached.
    ///
    /// # Errors
    /// A size outside what is accepted, or the system has no memory or descriptors.
    pub fn new(options: HostRingOptions) -> Result<(Self, HostEnds), HostRingError> {
        let resource = |what| move |source| HostRingError::Resource { what, source };
        let header = Header::layout(RingSizes::new(options.entries))?;
        let bytes = header.region_bytes();
        let file = sealed_memory_file("fctl-host-ring", bytes).map_err(resource("the ring's memory"))?;
        let region = Region::from_memory_file(&file, 0, bytes)?;
        header.format(region.words())?;
        let (poster, reader) = GuestPort::open(region.words().clone())?.split();
        let eventfd = || EventFd::new(EFD_CLOEXEC).map_err(resource("an eventfd"));
        let doorbell = eventfd()?;
        let notification = options.notification.map_or_else(eventfd, Ok)?;
        let ends = RingEnds {
            region,
            doorbell: doorbell.try_clone().map_err(resource("an eventfd"))?,
            notification: notification.try_clone().map_err(resource("an eventfd"))?,
        };
        let meeting = Arc::new(Meeting::default());
        let farewell = notification.try_clone().map_err(resource("an eventfd"))?;
        let side = HostSide::new(Arc::clone(&meeting), farewell);
        let most = header.sizes().completion_entries as usize;
        let host = Self {
            poster,
            reader,
            meeting,
            doorbell,
            notification,
            kept: VecDeque::with_capacity(2 * most),
            late: 0,
            most,
            limit: options.limit,
            polling: u64::try_from(options.polling.as_nanos()).unwrap_or(u64::MAX),
        };
        Ok((host, HostEnds { ends, side }))
    }
}
