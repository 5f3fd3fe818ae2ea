// SPDX-License-Identifier: MIT OR Apache-2.0
//! One vfio-ccw device: opened, given an eventfd, reset, closed, perhaps opened again.

use crate::adapter::Adapter;
use crate::config::VolumeConfiguration;
use crate::faults;
use crate::hooks::Answer;
use crate::image_lock;
use crate::regions::{self, Region, IO_BYTES};
use crate::session::Session;
use crate::statistics::Statistics;
use fctl_dispatcher::volume::{Cache, Durability, Volume, VolumeError, VolumeOptions};
use fctl_dispatcher::RingId;
use fctl_ringabi::arch::SubsystemId;
use std::error::Error;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Instant;
use vmm_sys_util::eventfd::EventFd;

type Failure = Box<dyn Error + Send + Sync>;

/// The device of one volume.
#[derive(Default)]
pub struct Device {
    volume: Option<Arc<Volume>>,
    listening: Option<Listening>,
    statistics: Option<Statistics>,
}

struct Listening {
    ring: RingId,
    session: Session,
}

/// Opens a volume and takes all locks on it.
///
/// # Errors
/// Why it cannot be used, for people.
pub fn open_volume(configuration: &VolumeConfiguration) -> Result<Volume, Failure> {
    let options = VolumeOptions::default()
        .with_durability(if configuration.writeback { Durability::Writeback } else { Durability::Writethrough })
        .with_cache(if configuration.direct { Cache::Direct } else { Cache::Buffered })
        .with_read_only(configuration.read_only);
    let path = &configuration.path;
    let in_use = || {
        format!("volume {path:?} is in use by a QEMU, which holds its image locks; stop that one, or open it read-only in both")
    };
    let volume = match Volume::open(path, options) {
        Err(VolumeError::InUse { pid: None, .. }) if is_with_qemu(configuration) => return Err(in_use().into()),
        opened => opened?,
    };
    // SAFETY: the volume's own descriptor, open as long as the volume is.
    let file = unsafe { BorrowedFd::borrow_raw(volume.lock_file()) };
    match image_lock::take(file, configuration.read_only) {
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Err(in_use().into()),
        Err(error) => Err(format!("volume {path:?}: cannot take QEMU's image locks: {error}").into()),
        Ok(()) => Ok(volume),
    }
}

fn is_with_qemu(configuration: &VolumeConfiguration) -> bool {
    let file = std::fs::File::open(&configuration.path);
    file.and_then(|file| image_lock::held_by_qemu(std::os::fd::AsFd::as_fd(&file))).unwrap_or(false)
}

impl Device {
    /// `GET_DEVICE_FD`: opens the volume.
    pub fn open(&mut self, configuration: &VolumeConfiguration) -> Result<(), Failure> {
        if self.volume.is_some() {
            return Err(format!("volume {:?} is a device of this QEMU already", configuration.path).into());
        }
        self.volume = Some(Arc::new(open_volume(configuration)?));
        Ok(())
    }

    /// `SET_IRQS` with QEMU's eventfd: from now on the device works.
    pub fn listen(&mut self, adapter: &Adapter, index: usize, interrupt: EventFd) -> Result<(), Failure> {
        self.unlisten(adapter);
        let volume = self.volume.as_ref().ok_or("the device is not open")?;
        let device = faults::wrap(Arc::clone(volume), adapter.configuration().faults)?;
        let subchannel = SubsystemId::new(0, u16::try_from(index)?);
        let (ring, host) = adapter.attach(subchannel, device, interrupt)?;
        self.listening = Some(Listening { ring, session: Session::new(host, subchannel) });
        if self.statistics.is_none() && adapter.configuration().statistics.is_some() {
            self.statistics = Statistics::new();
        }
        Ok(())
    }

    /// `SET_IRQS` without one, and the first thing of closing: what runs is stopped, and has ended when this returns.
    pub fn unlisten(&mut self, adapter: &Adapter) {
        if let Some(listening) = self.listening.take() {
            adapter.detach(listening.ring);
        }
    }

    /// Closed: the volume is free for others.
    pub fn close(&mut self, adapter: &Adapter) {
        self.unlisten(adapter);
        self.volume = None;
    }

    /// `DEVICE_RESET`: waits for I/O, raises no interrupt.
    pub fn reset(&mut self) -> Answer<()> {
        self.listening.as_mut().map_or(Ok(()), |listening| listening.session.reset())
    }

    /// A region is read.
    pub fn read(&mut self, region: Region, to: &mut [u8]) -> Answer<()> {
        match region {
            Region::Io => {
                let listening = self.listening.as_mut().ok_or(libc::ENODEV)?;
                to.copy_from_slice(&regions::with_irb(&listening.session.take_status()));
            }
            Region::Schib => to.copy_from_slice(&regions::schib()),
            Region::Command | Region::ChannelReport => to.fill(0),
        }
        Ok(())
    }

    /// A region is written: an instruction.
    pub fn write(&mut self, region: Region, bytes: &[u8]) -> Answer<()> {
        let listening = self.listening.as_mut().ok_or(libc::ENODEV)?;
        let began = self.statistics.is_some().then(Instant::now);
        let woken = match region {
            Region::Io => {
                let region: &[u8; IO_BYTES] = bytes.try_into().map_err(|_| libc::EINVAL)?;
                listening.session.start(&regions::orb(region))
            }
            Region::Command => {
                let command = bytes.try_into().ok().and_then(regions::command).ok_or(libc::EINVAL)?;
                listening.session.command(command)
            }
            Region::Schib | Region::ChannelReport => return Err(libc::EINVAL),
        }?;
        if let (Some(began), Some(statistics)) = (began, self.statistics.as_mut()) {
            statistics.note(began.elapsed(), woken);
        }
        Ok(())
    }

    /// What region writes have cost.
    pub fn statistics(&self) -> Option<&Statistics> {
        self.statistics.as_ref()
    }
}
