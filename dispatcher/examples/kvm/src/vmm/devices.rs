// SPDX-License-Identifier: MIT OR Apache-2.0
//! The devices of the guest's subchannels.

use super::error::{Doing as _, Failed};
use super::layout;
use fctl_dispatcher::device::delay::{Delay, FOREVER};
use fctl_dispatcher::device::fba::Fba;
use fctl_dispatcher::device::null::Null;
use fctl_dispatcher::device::SubchannelDevice;
use fctl_dispatcher::volume::Volume;
use fctl_dispatcher::SubchannelOptions;
use fctl_ringabi::arch::SubsystemId;
use std::sync::Arc;

/// A subchannel to attach: its number, its options, its device.
pub type Attachment = (SubsystemId, SubchannelOptions, Box<dyn SubchannelDevice>);

#[allow(clippy::cast_possible_truncation, reason = "the layout's subchannel numbers are small")]
fn attachment(number: u64, device: Box<dyn SubchannelDevice>) -> Attachment {
    let number = number as u16;
    (SubsystemId::new(0, number), SubchannelOptions::new(0x0100 + number), device)
}

/// Devices that end every start at once.
pub fn nulls() -> impl Iterator<Item = Attachment> {
    (layout::NULLS..layout::NULLS + layout::NULL_COUNT).map(|number| attachment(number, Box::new(Null)))
}

/// All devices: the volume behind several subchannels, as with parallel-access aliases; one that never answers; null devices.
pub fn all(volume: &Arc<Volume>) -> Result<Vec<Attachment>, Failed> {
    let mut devices = vec![attachment(layout::SILENT, Box::new(Delay::new(Null, FOREVER)))];
    for number in layout::VOLUME..layout::VOLUME + layout::VOLUMES {
        let fba = Fba::new(Arc::clone(volume)).doing("make a device of the volume")?;
        devices.push(attachment(number, Box::new(fba)));
    }
    devices.extend(nulls());
    Ok(devices)
}
