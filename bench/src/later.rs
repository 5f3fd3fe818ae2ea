// SPDX-License-Identifier: MIT OR Apache-2.0
//! A null device whose starts wait for the pass, as those of most devices do.

use fctl_dispatcher::device::null::Null;
use fctl_dispatcher::device::{Capabilities, DeviceContext, SubchannelDevice};
use fctl_ringabi::arch::Orb;

/// As [`Null`], which performs its starts where they begin, but for that.
pub struct Later;

impl SubchannelDevice for Later {
    fn capabilities(&self) -> Capabilities {
        Null.capabilities()
    }

    fn start(&mut self, cx: &mut DeviceContext<'_>, orb: &Orb) {
        Null.start(cx, orb);
    }

    fn halt(&mut self, cx: &mut DeviceContext<'_>) {
        Null.halt(cx);
    }

    fn clear(&mut self, cx: &mut DeviceContext<'_>) {
        Null.clear(cx);
    }
}
