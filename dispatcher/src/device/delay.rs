// SPDX-License-Identifier: MIT OR Apache-2.0
//! The delay wrapper: holds any device's answer to a start back for a set time, so that there is something to halt.

use super::{Backing, Capabilities, DeviceContext, DeviceEvent, Sense, Status, SubchannelDevice};
use crate::engine::OperationResult;
use fctl_ringabi::arch::Orb;
use std::os::fd::RawFd;
use std::time::Duration;

/// A device whose answer to a start is told no sooner than a set time after the start.
///
/// Halt and clear are not delayed: they take the held answer away. The wrapped device works meanwhile, so its data has
/// usually moved when the answer is stopped, as with a device that is slow to present status.
#[derive(Debug)]
pub struct Delay<D> {
    inner: D,
    delay: u64,
    /// When the running start's answer may be told.
    due: u64,
    held: Option<DeviceEvent>,
    running: bool,
    inner_timer: Option<u64>,
}

/// A delay that never ends: a device that does not answer.
pub const FOREVER: Duration = Duration::MAX;

impl<D: SubchannelDevice> Delay<D> {
    /// Wraps `inner`; its answers wait until `delay` after the start. [`FOREVER`] makes a device that never answers.
    pub fn new(inner: D, delay: Duration) -> Self {
        let delay = u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX);
        Self { inner, delay, due: 0, held: None, running: false, inner_timer: None }
    }

    /// Calls the wrapped device, and keeps its answer to the start back if it comes too soon.
    fn with_inner(&mut self, cx: &mut DeviceContext<'_>, call: impl FnOnce(&mut D, &mut DeviceContext<'_>)) {
        let mut timer = self.inner_timer;
        {
            let mut inner = DeviceContext {
                now: cx.now,
                memory: cx.memory,
                events: &mut *cx.events,
                engine: &mut *cx.engine,
                slot: cx.slot,
                timer: &mut timer,
            };
            call(&mut self.inner, &mut inner);
        }
        self.inner_timer = timer;
        let mut passed = super::Events::default();
        while let Some(event) = cx.events.pop() {
            match event {
                DeviceEvent::Ended(_) | DeviceEvent::Refused { .. } if self.running && cx.now < self.due => {
                    self.held = Some(event)
                }
                DeviceEvent::Ended(_)
                | DeviceEvent::Refused { .. }
                | DeviceEvent::Halted(_)
                | DeviceEvent::HaltedDeviceActive(_)
                | DeviceEvent::Cleared => {
                    self.running = false;
                    self.held = None;
                    passed.push(event);
                }
                other => passed.push(other),
            }
        }
        while let Some(event) = passed.pop() {
            cx.events.push(event);
        }
        self.set_timer(cx);
    }

    fn set_timer(&self, cx: &mut DeviceContext<'_>) {
        let due = (self.held.is_some() && self.due != u64::MAX).then_some(self.due);
        *cx.timer = match (due, self.inner_timer) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (one, other) => one.or(other),
        };
    }
}

impl<D: SubchannelDevice> SubchannelDevice for Delay<D> {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn start(&mut self, cx: &mut DeviceContext<'_>, orb: &Orb) {
        self.due = cx.now.saturating_add(self.delay);
        self.running = true;
        self.held = None;
        self.with_inner(cx, |inner, cx| inner.start(cx, orb));
    }

    fn resume(&mut self, cx: &mut DeviceContext<'_>) {
        self.with_inner(cx, |inner, cx| inner.resume(cx));
    }

    fn halt(&mut self, cx: &mut DeviceContext<'_>) {
        if let Some(DeviceEvent::Ended(status) | DeviceEvent::Refused { status, .. }) = self.held.take() {
            // The wrapped device has ended already: what is left to stop is the answer.
            self.running = false;
            self.set_timer(cx);
            let status = Status { ccw_address: status.ccw_address, ..Status::default() };
            cx.events.push(DeviceEvent::Halted(status));
            return;
        }
        self.with_inner(cx, |inner, cx| inner.halt(cx));
    }

    fn clear(&mut self, cx: &mut DeviceContext<'_>) {
        self.held = None;
        self.with_inner(cx, |inner, cx| inner.clear(cx));
    }

    fn reset(&mut self) {
        self.running = false;
        self.held = None;
        self.inner_timer = None;
        self.inner.reset();
    }

    fn operation_ended(&mut self, cx: &mut DeviceContext<'_>, result: OperationResult) {
        self.with_inner(cx, |inner, cx| inner.operation_ended(cx, result));
    }

    fn timer(&mut self, cx: &mut DeviceContext<'_>) {
        if self.inner_timer.is_some_and(|due| due <= cx.now) {
            self.inner_timer = None;
            self.with_inner(cx, |inner, cx| inner.timer(cx));
        }
        if cx.now >= self.due {
            if let Some(event) = self.held.take() {
                self.running = false;
                cx.events.push(event);
            }
        }
        self.set_timer(cx);
    }

    fn backing(&self) -> Option<Backing<'_>> {
        self.inner.backing()
    }

    fn files(&self) -> Vec<RawFd> {
        self.inner.files()
    }

    fn take_sense(&mut self) -> Option<Sense> {
        self.inner.take_sense()
    }
}
