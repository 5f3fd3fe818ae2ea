// SPDX-License-Identifier: MIT OR Apache-2.0
//! The null device: every start ends at once with channel end and device end. What is measured with it is the dispatcher alone.

use super::{Capabilities, DeviceContext, DeviceEvent, PlainEnd, Status, SubchannelDevice};
use fctl_ringabi::arch::Orb;

/// Ends every start at once; reads and writes nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Null;

impl Null {
    #[inline(always)]
    const fn end(orb: &Orb) -> PlainEnd {
        PlainEnd::new(orb.cpa().wrapping_add(8) & 0x7FFF_FFFF, 0)
    }
}

impl SubchannelDevice for Null {
    fn capabilities(&self) -> Capabilities {
        Capabilities::empty()
    }

    fn start_at_once(&mut self, orb: &Orb) -> Option<PlainEnd> {
        Some(Self::end(orb))
    }

    fn start(&mut self, cx: &mut DeviceContext<'_>, orb: &Orb) {
        cx.events.push(DeviceEvent::Ended(Self::end(orb).status()));
    }

    fn halt(&mut self, cx: &mut DeviceContext<'_>) {
        cx.events.push(DeviceEvent::Halted(Status::default()));
    }

    fn clear(&mut self, cx: &mut DeviceContext<'_>) {
        cx.events.push(DeviceEvent::Cleared);
    }
}
