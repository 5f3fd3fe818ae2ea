// SPDX-License-Identifier: MIT OR Apache-2.0
//! The null device: every start ends at once with channel end and device end. What is measured with it is the dispatcher alone.

use super::{Capabilities, DeviceContext, DeviceEvent, Status, SubchannelDevice};
use fctl_ringabi::arch::{DeviceStatus, Orb};

/// Ends every start at once; reads and writes nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Null;

impl SubchannelDevice for Null {
    fn capabilities(&self) -> Capabilities {
        Capabilities::empty()
    }

    #[inline]
    fn start(&mut self, cx: &mut DeviceContext<'_>, orb: &Orb) {
        cx.events.push(DeviceEvent::Ended(Status {
            device: DeviceStatus::CHANNEL_END.union(DeviceStatus::DEVICE_END),
            ccw_address: orb.cpa().wrapping_add(8) & 0x7FFF_FFFF,
            ..Status::default()
        }));
    }

    fn halt(&mut self, cx: &mut DeviceContext<'_>) {
        cx.events.push(DeviceEvent::Halted(Status::default()));
    }

    fn clear(&mut self, cx: &mut DeviceContext<'_>) {
        cx.events.push(DeviceEvent::Cleared);
    }
}
