// SPDX-License-Identifier: MIT OR Apache-2.0
//! Sabotage: devices that misbehave on purpose, as wrappers around good ones. The library has no code for it.

use crate::cli::Sabotage;
use crate::guest::program::{CANARY, DEFINE_EXTENT, LOCATE, READ, WRITE};
use fctl_dispatcher::device::{Capabilities, DeviceContext, DeviceEvent, Events, Sense, Status, SubchannelDevice};
use fctl_dispatcher::engine::OperationResult;
use fctl_dispatcher::memory::Memory;
use fctl_ringabi::arch::{Ccw, CcwFlags, DeviceStatus, Orb};

/// Every so many occasions are used: often enough for a second, seldom enough to show that one is found.
const EVERY: u32 = 50;

/// What a program moves: looked up in guest memory at its start.
#[derive(Clone, Copy, Debug)]
struct Moves {
    command: u8,
    /// Guest address of the first block; none if it is reached through IDAWs.
    address: Option<u64>,
}

/// Finds the first READ or WRITE of a program: behind DEFINE EXTENT and LOCATE.
fn moves(memory: &Memory, orb: &Orb) -> Option<Moves> {
    for index in 0..3u64 {
        let ccw = Ccw::from_format1(&memory.fetch(u64::from(orb.cpa()) + index * 8).ok()?);
        match ccw.command {
            READ | WRITE => {
                let direct = !ccw.flags.contains(CcwFlags::INDIRECT);
                return Some(Moves { command: ccw.command, address: direct.then_some(u64::from(ccw.address)) });
            }
            DEFINE_EXTENT | LOCATE => {}
            _ => return None,
        }
    }
    None
}

/// A device that misbehaves now and then.
pub struct Saboteur<D> {
    inner: D,
    sabotage: Sabotage,
    /// Occasions until the next misdeed.
    left: u32,
    running: Option<Moves>,
    /// Where a stopped read will be written late.
    late: Option<u64>,
}

impl<D: SubchannelDevice> Saboteur<D> {
    /// Wraps a good device.
    pub fn new(inner: D, sabotage: Sabotage) -> Self {
        Self { inner, sabotage, left: 1, running: None, late: None }
    }

    fn is_due(&mut self) -> bool {
        self.left -= 1;
        if self.left == 0 {
            self.left = EVERY;
            return true;
        }
        false
    }

    /// Calls the good device; what it answers passes through here.
    fn with_inner(&mut self, cx: &mut DeviceContext<'_>, call: impl FnOnce(&mut D, &mut DeviceContext<'_>)) {
        let mut events = Events::default();
        let mut inner = DeviceContext {
            now: cx.now,
            memory: cx.memory,
            events: &mut events,
            engine: &mut *cx.engine,
            slot: cx.slot,
            timer: &mut *cx.timer,
        };
        call(&mut self.inner, &mut inner);
        while let Some(event) = events.pop() {
            if let DeviceEvent::Ended(_) = event {
                self.ended(cx.memory);
            }
            cx.events.push(event);
        }
    }

    /// A start has ended well: perhaps one bit of what it read is turned before the guest hears of it.
    fn ended(&mut self, memory: &Memory) {
        let Some(Moves { command: READ, address: Some(address) }) = self.running.take() else { return };
        if self.sabotage == Sabotage::FlipBit && self.is_due() {
            if let Ok([byte]) = memory.fetch::<1>(address + 200) {
                // The range was just fetched from.
                let _ = memory.store(address + 200, &[byte ^ 0x10]);
            }
        }
    }

    /// A start is stopped: a read of it may come late.
    fn stopped(&mut self) {
        if let Some(Moves { command: READ, address: Some(address) }) = self.running.take() {
            if self.sabotage == Sabotage::ClearEarly {
                self.late = Some(address);
            }
        }
    }
}

impl<D: SubchannelDevice> SubchannelDevice for Saboteur<D> {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn start(&mut self, cx: &mut DeviceContext<'_>, orb: &Orb) {
        // The read that was reported as stopped lands only now: while the guest still watches its memory, so that the fault shows as what it is.
        if let Some(address) = self.late.take().filter(|&address| cx.memory.fetch(address) == Ok(CANARY.to_le_bytes())) {
            // The range was just fetched from.
            let _ = cx.memory.store(address, &[0x5A; 512]);
        }
        self.running = moves(cx.memory, orb);
        let is_write = matches!(self.running, Some(Moves { command: WRITE, .. }));
        if self.sabotage == Sabotage::SkipWrite && is_write && self.is_due() {
            self.running = None;
            cx.events.push(DeviceEvent::Ended(Status {
                device: DeviceStatus::CHANNEL_END | DeviceStatus::DEVICE_END,
                ccw_address: orb.cpa().wrapping_add(24),
                ..Status::default()
            }));
            return;
        }
        self.with_inner(cx, |inner, cx| inner.start(cx, orb));
    }

    fn resume(&mut self, cx: &mut DeviceContext<'_>) {
        self.with_inner(cx, |inner, cx| inner.resume(cx));
    }

    fn halt(&mut self, cx: &mut DeviceContext<'_>) {
        self.stopped();
        self.with_inner(cx, |inner, cx| inner.halt(cx));
    }

    fn clear(&mut self, cx: &mut DeviceContext<'_>) {
        self.stopped();
        self.with_inner(cx, |inner, cx| inner.clear(cx));
    }

    fn operation_ended(&mut self, cx: &mut DeviceContext<'_>, result: OperationResult) {
        self.with_inner(cx, |inner, cx| inner.operation_ended(cx, result));
    }

    fn timer(&mut self, cx: &mut DeviceContext<'_>) {
        self.with_inner(cx, |inner, cx| inner.timer(cx));
    }

    fn reset(&mut self) {
        self.inner.reset();
    }

    fn take_sense(&mut self) -> Option<Sense> {
        self.inner.take_sense()
    }
}
