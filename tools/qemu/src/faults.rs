// SPDX-License-Identifier: MIT OR Apache-2.0
//! Things that go wrong on purpose, to see a guest recover: starts that end in unit check, and starts that are never answered.

use crate::config::Faults;
use fctl_dispatcher::device::fba::{Fba, TooManyBlocks};
use fctl_dispatcher::device::{Backing, Capabilities, DeviceContext, DeviceEvent, Sense, Status, SubchannelDevice};
use fctl_dispatcher::engine::OperationResult;
use fctl_dispatcher::volume::Volume;
use fctl_ringabi::arch::{DeviceStatus, Orb};
use std::os::fd::RawFd;
use std::sync::Arc;

/// An FBA device, with faults if any are wanted.
pub fn wrap(volume: Arc<Volume>, faults: Faults) -> Result<Box<dyn SubchannelDevice>, TooManyBlocks> {
    let device = Fba::new(volume)?;
    Ok(if faults == Faults::default() {
        Box::new(device)
    } else {
        Box::new(Faulty { device, faults, starts: 0, checked: 0, swallowed: 0, unanswered: false, cleared: 0 })
    })
}

/// A device that fails now and then, before it has done anything.
struct Faulty<D> {
    device: D,
    faults: Faults,
    starts: u32,
    checked: u32,
    swallowed: u32,
    /// The running start is one that was swallowed.
    unanswered: bool,
    /// Of the swallowed ones, those that the guest ended by a clear of its own.
    cleared: u32,
}

impl<D> Drop for Faulty<D> {
    fn drop(&mut self) {
        eprintln!(
            "fctl: of {} starts {} ended in unit check and {} were swallowed ({} of these cleared by the guest), on purpose",
            self.starts, self.checked, self.swallowed, self.cleared
        );
    }
}

impl<D: SubchannelDevice> SubchannelDevice for Faulty<D> {
    fn capabilities(&self) -> Capabilities {
        self.device.capabilities()
    }

    fn start(&mut self, cx: &mut DeviceContext<'_>, orb: &Orb) {
        let Faults { unit_check_every, swallow_every } = self.faults;
        self.starts = self.starts.wrapping_add(1);
        self.unanswered = self.starts.checked_rem(swallow_every) == Some(0);
        if self.unanswered {
            self.swallowed += 1;
        } else if self.starts.checked_rem(unit_check_every) == Some(0) {
            self.checked += 1;
            // As in the initial status of the first command. There is no sense for it, and the guest finds none.
            let status = Status { device: DeviceStatus::UNIT_CHECK, ccw_address: orb.cpa().wrapping_add(8), ..Status::default() };
            cx.events.push(DeviceEvent::Ended(status));
        } else {
            self.device.start(cx, orb);
        }
    }

    fn resume(&mut self, cx: &mut DeviceContext<'_>) {
        self.device.resume(cx);
    }

    fn halt(&mut self, cx: &mut DeviceContext<'_>) {
        self.unanswered = false;
        self.device.halt(cx);
    }

    fn clear(&mut self, cx: &mut DeviceContext<'_>) {
        self.cleared += u32::from(std::mem::take(&mut self.unanswered));
        self.device.clear(cx);
    }

    fn reset(&mut self) {
        self.unanswered = false;
        self.device.reset();
    }

    fn operation_ended(&mut self, cx: &mut DeviceContext<'_>, result: OperationResult) {
        self.device.operation_ended(cx, result);
    }

    fn timer(&mut self, cx: &mut DeviceContext<'_>) {
        self.device.timer(cx);
    }

    fn backing(&self) -> Option<Backing<'_>> {
        self.device.backing()
    }

    fn files(&self) -> Vec<RawFd> {
        self.device.files()
    }

    fn take_sense(&mut self) -> Option<Sense> {
        self.device.take_sense()
    }
}
