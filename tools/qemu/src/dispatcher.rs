// SPDX-License-Identifier: MIT OR Apache-2.0
//! The one dispatcher of a QEMU process, and the one thread that it needs.

use crate::config::Configuration;
use crate::memory_map::MemoryMap;
use crate::qemu;
use fctl_dispatcher::device::SubchannelDevice;
use fctl_dispatcher::host::{HostRing, HostRingOptions};
use fctl_dispatcher::{affinity, Builder, ControlError, GuestId, Handle, RingId, SubchannelOptions, WaitPolicy};
use fctl_ringabi::arch::SubsystemId;
use std::error::Error;
use std::sync::mpsc;
use std::time::Duration;
use vmm_sys_util::eventfd::EventFd;

/// How long the end of a device may be waited for; and how often who waits for memory is told why.
const PATIENCE: Duration = Duration::from_secs(40);

type Failure = Box<dyn Error + Send + Sync>;

/// A running dispatcher, and its guest once there is memory.
pub struct Dispatcher {
    handle: Handle,
    guest: Option<GuestId>,
    /// After which time who waits for memory is told why, each time.
    patience: Duration,
}

impl Dispatcher {
    /// Makes the dispatcher, on a thread that QEMU knows of.
    pub fn start(configuration: &Configuration) -> Result<Self, Failure> {
        let cpu = configuration.cpu;
        let wait = configuration.polling.map_or(WaitPolicy::default(), |most| WaitPolicy::polling(Duration::from_micros(most)));
        let (report, ready) = mpsc::sync_channel(1);
        let slots = u16::try_from(configuration.volumes.len())?.max(8);
        let run = move || {
            let _registered = qemu::register_thread();
            let built = cpu.map_or(Ok(()), pin).and_then(|()| Ok(Builder::default().engine_slots(slots).wait(wait).build()?));
            match built {
                Ok((mut reactor, handle)) => {
                    if report.send(Ok(handle)).is_ok() {
                        reactor.run_here();
                    }
                }
                Err(error) => drop(report.send(Err(error))),
            }
        };
        without_signals(|| std::thread::Builder::new().name("fctl-reactor".into()).spawn(run))?;
        let handle = ready.recv()??;
        Ok(Self { handle, guest: None, patience: PATIENCE })
    }

    /// With another time after which who waits for memory is told why: for tests.
    #[allow(dead_code, reason = "for tests, which have these files to themselves")]
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Attaches a device to a ring of its own, whose notification is `interrupt`.
    pub fn attach(
        &mut self,
        memory: &MemoryMap,
        subchannel: SubsystemId,
        device: Box<dyn SubchannelDevice>,
        interrupt: EventFd,
    ) -> Result<(RingId, HostRing), Failure> {
        let guest = match self.guest {
            Some(guest) => guest,
            None => *self.guest.insert(self.handle.attach_guest(memory.memory()?)?),
        };
        let mut options = HostRingOptions::default();
        options.notification = Some(interrupt);
        options.limit = PATIENCE;
        let (host, ends) = HostRing::new(options)?;
        let ring = self.handle.attach_host_ring(guest, ends)?;
        // The device number is QEMU's affair.
        self.handle.attach_subchannel(ring, subchannel, SubchannelOptions::new(0), device)?;
        Ok((ring, host))
    }

    /// Takes a device away. When this returns without an error, nothing of it is in flight.
    pub fn detach(&self, ring: RingId) -> Result<(), ControlError> {
        self.handle.detach_ring(ring, PATIENCE)
    }

    /// There is more memory than before. What runs goes on with what it has: nobody waits for it.
    pub fn memory_was_added(&self, memory: &MemoryMap) -> Result<(), Failure> {
        let Some(guest) = self.guest else { return Ok(()) };
        match self.handle.replace_memory(guest, memory.memory()?, Duration::ZERO) {
            Ok(()) | Err(ControlError::Deadline(_)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// There is less memory than before: when this returns without an error, what is not in it any more is not used.
    ///
    /// QEMU frees the memory then, whatever it was told. With a sink the kernel stores into private buffers only, but it still reads the guest's pages for what
    /// is written to a volume; without one it stores into them too. So there is no deadline: while a volume does not answer, QEMU stands still, as it does when a
    /// device of the host does not give its pages back.
    pub fn memory_was_removed(&self, memory: &MemoryMap) -> Result<(), Failure> {
        let Some(guest) = self.guest else { return Ok(()) };
        loop {
            match self.handle.replace_memory(guest, memory.memory()?, self.patience) {
                Err(error @ ControlError::Deadline(_)) => {
                    eprintln!("fctl: QEMU takes guest memory away that the kernel still uses, and has to wait: {error}");
                }
                // A reactor stops when the kernel has given everything back.
                Ok(()) | Err(ControlError::Stopped) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

fn pin(cpu: usize) -> Result<(), Failure> {
    affinity::pin(cpu).map_err(|error| {
        format!(
            "{error} (QEMU's `-sandbox on,resourcecontrol=deny` forbids pinning: leave out --cpu or that part of the sandbox)"
        )
        .into()
    })
}

/// Runs `make` with all signals blocked, which a thread that it makes inherits: signals are for QEMU's own threads.
fn without_signals<T>(make: impl FnOnce() -> T) -> T {
    let mut all: libc::sigset_t = empty_set();
    let mut before: libc::sigset_t = empty_set();
    // SAFETY: two signal sets that are ours; the calling thread's mask is put back below.
    unsafe {
        libc::sigfillset(&mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &all, &mut before);
    }
    let made = make();
    // SAFETY: the mask that was in force before.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &before, std::ptr::null_mut()) };
    made
}

fn empty_set() -> libc::sigset_t {
    // SAFETY: a signal set is an array of integers; it is filled before it is used.
    unsafe { std::mem::zeroed() }
}
