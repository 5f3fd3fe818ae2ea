// SPDX-License-Identifier: MIT OR Apache-2.0
//! Subchannels, and the devices behind them.

use super::arguments::{given, object, Extensible};
use super::dispatcher::fctl;
use super::error::{guarded, Done, Failure, FCTL_E_ARGUMENT, FCTL_E_VOLUME};
use super::volume::fctl_volume;
use fctl_dispatcher::device::delay::{Delay, FOREVER};
use fctl_dispatcher::device::fba::{Fba, FbaConfig};
use fctl_dispatcher::device::null::Null;
use fctl_dispatcher::device::SubchannelDevice;
use fctl_dispatcher::subchannel::StatusMode;
use fctl_dispatcher::SubchannelOptions;
use fctl_ringabi::arch::SubsystemId;
use std::ffi::c_int;
use std::sync::Arc;
use std::time::Duration;

/// Subchannel option: not enabled from the beginning; the guest enables it by MODIFY SUBCHANNEL.
pub const FCTL_SUBCHANNEL_DISABLED: u32 = 1;
/// Subchannel option: status is held until the guest takes it by TEST SUBCHANNEL; else it is delivered with the final completion.
pub const FCTL_SUBCHANNEL_HELD: u32 = 2;

/// Device: ends every start at once.
pub const FCTL_DEVICE_NULL: u32 = 0;
/// Device: a fixed-block disk (9336) on a volume.
pub const FCTL_DEVICE_FBA: u32 = 1;

/// Delay: never answers.
pub const FCTL_DELAY_FOREVER: u64 = 0xFFFF_FFFF_FFFF_FFFF;

/// A subchannel and its device.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct fctl_subchannel_options {
    /// sizeof(struct fctl_subchannel_options).
    pub size: usize,
    /// Number of its home ring.
    pub ring: u64,
    /// Subsystem-identification word, as fctl_subsystem makes.
    pub subsystem: u32,
    /// FCTL_SUBCHANNEL_*.
    pub flags: u32,
    /// FCTL_DEVICE_*.
    pub device: u32,
    /// Device number.
    pub device_number: u16,
    /// Zero.
    pub reserved: u16,
    /// Nanoseconds for which the device's answer to a start is held back; FCTL_DELAY_FOREVER.
    pub delay: u64,
    /// The volume, for FCTL_DEVICE_FBA. Several subchannels may have the same one.
    pub volume: *const fctl_volume,
    /// Who reserves the volume: subchannels of one initiator share reservations. 0 is 1.
    pub initiator: u32,
    /// Zero.
    pub reserved2: u32,
}

// SAFETY: integers and a pointer, the first a usize.
unsafe impl Extensible for fctl_subchannel_options {
    const NAME: &'static str = "struct fctl_subchannel_options";
    const LEAST: usize = 56;
}

fn delayed<D: SubchannelDevice + 'static>(device: D, delay: u64) -> Box<dyn SubchannelDevice> {
    match delay {
        0 => Box::new(device),
        FCTL_DELAY_FOREVER => Box::new(Delay::new(device, FOREVER)),
        delay => Box::new(Delay::new(device, Duration::from_nanos(delay))),
    }
}

/// # Safety
/// The volume is null or a volume.
unsafe fn device(options: &fctl_subchannel_options) -> Done<Box<dyn SubchannelDevice>> {
    match options.device {
        FCTL_DEVICE_NULL if options.volume.is_null() => Ok(delayed(Null, options.delay)),
        FCTL_DEVICE_NULL => Err(Failure::new(FCTL_E_ARGUMENT, "volume is set: a null device has none")),
        FCTL_DEVICE_FBA => {
            // SAFETY: as the caller says.
            let volume = Arc::clone(&unsafe { object(options.volume, "volume") }?.volume);
            let mut config = FbaConfig::default();
            config.initiator = options.initiator;
            let fba = Fba::with_config(volume, config).map_err(|error| Failure::of(FCTL_E_VOLUME, &error))?;
            Ok(delayed(fba, options.delay))
        }
        other => {
            Err(Failure::new(FCTL_E_ARGUMENT, format!("device is {other}: FCTL_DEVICE_NULL and FCTL_DEVICE_FBA are accepted")))
        }
    }
}

fn settings(options: &fctl_subchannel_options) -> Done<SubchannelOptions> {
    let reserved = options.reserved2 | u32::from(options.reserved);
    if options.flags & !(FCTL_SUBCHANNEL_DISABLED | FCTL_SUBCHANNEL_HELD) != 0 || reserved != 0 {
        let found = options.flags | reserved;
        return Err(Failure::new(
            FCTL_E_ARGUMENT,
            format!("flags or reserved is {found:#x}: FCTL_SUBCHANNEL_* and 0 is accepted"),
        ));
    }
    let mut settings = SubchannelOptions::new(options.device_number);
    settings.enabled = options.flags & FCTL_SUBCHANNEL_DISABLED == 0;
    if options.flags & FCTL_SUBCHANNEL_HELD != 0 {
        settings.mode = StatusMode::Held;
    }
    Ok(settings)
}

/// Attaches a subchannel with its device to its home ring. It goes with the ring.
///
/// # Safety
/// `dispatcher` is null or a dispatcher; `options` is null or points to a struct with its size, whose volume is null or a volume.
#[no_mangle]
pub unsafe extern "C" fn fctl_attach_subchannel(dispatcher: *mut fctl, options: *const fctl_subchannel_options) -> c_int {
    guarded(|| {
        // SAFETY: as the caller says.
        let dispatcher = unsafe { object(dispatcher, "dispatcher") }?;
        // SAFETY: as the caller says.
        let options = unsafe { given(options) }?;
        let settings = settings(&options)?;
        // SAFETY: as the caller says.
        let device = unsafe { device(&options) }?;
        let ring = dispatcher.rings.get(options.ring)?;
        dispatcher.handle.attach_subchannel(ring, SubsystemId::from_word(options.subsystem), settings, device)?;
        Ok(0)
    })
}
