// SPDX-License-Identifier: MIT OR Apache-2.0
//! A tampered ring: two ring pairs and a thread that relays between them, and drops or doubles one completion. Only made for
//! `--sabotage lose` and `--sabotage double`.

use crate::shared::{Words, RING_SIZES};
use fctl_dispatcher::region::{sealed_memory_file, Region, RegionWords};
use fctl_ringabi::{CompletionReader, DispatcherPort, GuestPort, Header, Poster};
use std::error::Error;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use vmm_sys_util::eventfd::{EventFd, EFD_CLOEXEC, EFD_NONBLOCK};

/// Which completion is tampered with, counted from the first.
const VICTIM: u64 = 64;

/// What is done to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tampering {
    /// It vanishes.
    Lose,
    /// It comes twice.
    Double,
}

/// The relay, and the dispatcher's ends of the ring pair behind it.
pub struct Proxy {
    /// The region that the dispatcher serves.
    pub region: Region,
    /// Its doorbell.
    pub doorbell: EventFd,
    /// Its notification, which nobody waits for: the relay looks by itself.
    pub notification: EventFd,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Proxy {
    /// Makes the second ring pair and begins to relay. `notification` wakes the guest.
    pub fn start(guest: &Words, notification: EventFd, tampering: Tampering) -> Result<Self, Box<dyn Error>> {
        let header = Header::layout(RING_SIZES)?;
        let file = sealed_memory_file("fctl-demo-proxy", header.region_bytes())?;
        let region = Region::from_memory_file(&file, 0, header.region_bytes())?;
        header.format(region.words())?;
        let own = Region::from_memory_file(&file, 0, header.region_bytes())?;
        let (poster, reader) = GuestPort::open(own.words().clone())?.split();
        let doorbell = EventFd::new(EFD_CLOEXEC | EFD_NONBLOCK)?;
        let mut relay = Relay {
            guest: DispatcherPort::attach(guest.clone())?,
            poster,
            reader,
            doorbell: doorbell.try_clone()?,
            notification,
            tampering,
            relayed: 0,
        };
        let stop = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&stop);
        let thread = std::thread::Builder::new().name("fctl-tampered-ring".into()).spawn(move || {
            while !asked.load(Ordering::Relaxed) {
                if !relay.turn() {
                    std::thread::sleep(Duration::from_micros(20));
                }
            }
        })?;
        let notification = EventFd::new(EFD_CLOEXEC | EFD_NONBLOCK)?;
        Ok(Self { region, doorbell, notification, stop, thread: Some(thread) })
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A relay that panicked has been reported by the panic itself.
            let _ = thread.join();
        }
    }
}

struct Relay {
    guest: DispatcherPort<Words>,
    poster: Poster<RegionWords>,
    reader: CompletionReader<RegionWords>,
    doorbell: EventFd,
    notification: EventFd,
    tampering: Tampering,
    relayed: u64,
}

impl Relay {
    /// Relays what is there, both ways. False if there was nothing.
    fn turn(&mut self) -> bool {
        let mut any = false;
        while let Ok(Some(descriptor)) = self.guest.take() {
            any = true;
            // Both rings have the same size, so what fits into the one fits into the other, sooner or later.
            while self.poster.stage(&descriptor).is_err() {
                self.ring();
                self.completions();
                std::thread::yield_now();
            }
        }
        self.ring();
        any | self.completions()
    }

    fn ring(&mut self) {
        if self.poster.publish() {
            let _ = self.doorbell.write(1);
        }
    }

    fn completions(&mut self) -> bool {
        let mut any = false;
        while let Ok(Some((completion, extension))) = self.reader.take() {
            any = true;
            self.relayed += 1;
            let times = match self.tampering {
                _ if self.relayed != VICTIM => 1,
                Tampering::Lose => 0,
                Tampering::Double => 2,
            };
            for _ in 0..times {
                // A guest that keeps to its credit always has room.
                if self.guest.room(1).is_ok_and(|room| room > 0) {
                    let _ = self.guest.stage(completion, extension.as_ref());
                }
            }
        }
        if any && self.guest.publish() && self.guest.must_notify() {
            let _ = self.notification.write(1);
        }
        any
    }
}
