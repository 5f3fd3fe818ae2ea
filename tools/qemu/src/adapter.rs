// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the library has in a QEMU process: the configuration, the memory map, the devices, and one dispatcher for all of them.

use crate::config::{Configuration, VolumeConfiguration};
use crate::device::Device;
use crate::dispatcher::Dispatcher;
use crate::hooks::Answer;
use crate::memory_map::{MemoryMap, Range};
use crate::statistics::Statistics;
use fctl_dispatcher::device::SubchannelDevice;
use fctl_dispatcher::host::HostRing;
use fctl_dispatcher::RingId;
use fctl_ringabi::arch::SubsystemId;
use std::error::Error;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use vmm_sys_util::eventfd::EventFd;

/// Set before QEMU's `main`, if this is a QEMU with volumes of ours.
pub static ADAPTER: OnceLock<Adapter> = OnceLock::new();

type Failure = Box<dyn Error + Send + Sync>;

/// See the module. Locks are taken in the order device, memory, dispatcher; QEMU's calls come one at a time anyway (its big lock).
pub struct Adapter {
    configuration: Configuration,
    devices: Vec<Mutex<Device>>,
    dispatcher: Mutex<Option<Dispatcher>>,
    memory: Mutex<MemoryMap>,
    asked: AtomicBool,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Adapter {
    /// Nothing is opened yet.
    pub fn new(configuration: Configuration) -> Self {
        let devices = configuration.volumes.iter().map(|_| Mutex::default()).collect();
        Self { configuration, devices, dispatcher: Mutex::new(None), memory: Mutex::default(), asked: AtomicBool::new(false) }
    }

    /// As `fctl qemu` said.
    pub fn configuration(&self) -> &Configuration {
        &self.configuration
    }

    /// The devices, one for each volume.
    pub fn devices(&self) -> &[Mutex<Device>] {
        &self.devices
    }

    /// A device and what is configured for it.
    pub fn device(&self, index: usize) -> Option<(MutexGuard<'_, Device>, &VolumeConfiguration)> {
        Some((locked(self.devices.get(index)?), self.configuration.volumes.get(index)?))
    }

    /// QEMU asks for a device: the hooks work.
    pub fn note_asked(&self) {
        self.asked.store(true, Ordering::Relaxed);
    }

    /// Attaches a device to the dispatcher, which the first one makes.
    pub fn attach(
        &self,
        subchannel: SubsystemId,
        device: Box<dyn SubchannelDevice>,
        interrupt: EventFd,
    ) -> Result<(RingId, HostRing), Failure> {
        let memory = locked(&self.memory);
        let mut dispatcher = locked(&self.dispatcher);
        let dispatcher = match dispatcher.as_mut() {
            Some(dispatcher) => dispatcher,
            None => dispatcher.insert(Dispatcher::start(&self.configuration)?),
        };
        dispatcher.attach(&memory, subchannel, device, interrupt)
    }

    /// Takes a device away from the dispatcher.
    pub fn detach(&self, ring: RingId) {
        if let Some(dispatcher) = locked(&self.dispatcher).as_ref() {
            if let Err(error) = dispatcher.detach(ring) {
                eprintln!("fctl: a device does not end: {error}");
            }
        }
    }

    /// QEMU maps guest memory. Fails with an error number, and then nothing is mapped.
    pub fn map(&self, range: Range) -> Answer<()> {
        let mut memory = locked(&self.memory);
        let mut changed = memory.clone();
        if !changed.add(range) {
            return Err(libc::EEXIST);
        }
        if let Some(dispatcher) = locked(&self.dispatcher).as_ref() {
            dispatcher.memory_was_added(&changed).map_err(|error| {
                eprintln!("fctl: QEMU's {range:x?} cannot be guest memory: {error}");
                libc::EINVAL
            })?;
        }
        *memory = changed;
        Ok(())
    }

    /// QEMU takes guest memory away; when this returns nothing uses it, however long that takes. Gives how many bytes there were, or an error number, and then
    /// everything is mapped as before.
    pub fn unmap(&self, guest: u64, bytes: u64) -> Answer<u64> {
        let mut memory = locked(&self.memory);
        let mut changed = memory.clone();
        // As VFIO: a mapping goes as a whole.
        let removed = changed.remove(guest, bytes).ok_or(libc::EINVAL)?;
        if let Some(dispatcher) = locked(&self.dispatcher).as_ref().filter(|_| removed != 0) {
            dispatcher.memory_was_removed(&changed).map_err(|error| {
                eprintln!("fctl: QEMU cannot take guest memory away: {error}");
                libc::EBUSY
            })?;
        }
        *memory = changed;
        Ok(removed)
    }

    /// The last words, when the process ends.
    pub fn report(&self) {
        if !self.asked.load(Ordering::Relaxed) {
            eprintln!("fctl: QEMU has ended without opening a volume: it was not asked to, or reads the host's devices in a way that this library does not know");
        }
        let (Some(path), Some(mut sum)) = (self.configuration.statistics.as_ref(), Statistics::new()) else {
            return;
        };
        for device in &self.devices {
            if let Some(statistics) = locked(device).statistics() {
                sum.add(statistics);
            }
        }
        if let Err(error) = std::fs::write(path, sum.to_json()) {
            eprintln!("fctl: cannot write the statistics to {path:?}: {error}");
        }
    }
}
