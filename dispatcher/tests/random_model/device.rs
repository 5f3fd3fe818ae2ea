// SPDX-License-Identifier: MIT OR Apache-2.0
//! Devices that are watched, and scripted devices that keep to the rules between device and subchannel but use all of their freedom.

use fctl_dispatcher::device::{Backing, Capabilities, DeviceContext, DeviceEvent, Sense, Status, SubchannelDevice};
use fctl_dispatcher::engine::OperationResult;
use fctl_ringabi::arch::{DeviceStatus, Orb, OrbControl, SubchannelStatus};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

/// Why a device was called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    Timer,
    Start,
    Resume,
    Halt,
    Clear,
    OperationEnded,
}

/// One call of a device, and what it answered in it.
#[derive(Clone, Debug)]
pub struct Entry {
    pub sub: usize,
    pub call: Call,
    pub events: Vec<DeviceEvent>,
    /// Sense that was taken away from it right after.
    pub sense: Option<Sense>,
}

/// All calls of all devices in order, and what scripted devices are to do when they are called next.
#[derive(Clone, Default)]
pub struct Journal(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    entries: Vec<Entry>,
    choices: BTreeMap<usize, VecDeque<u8>>,
}

impl Journal {
    pub fn take(&self) -> Vec<Entry> {
        std::mem::take(&mut self.0.lock().unwrap().entries)
    }

    /// A device remembers two choices at most, so that it is not busy with old ones.
    pub fn choose(&self, sub: usize, choice: u8) {
        let mut inner = self.0.lock().unwrap();
        let choices = inner.choices.entry(sub).or_default();
        if choices.len() < 2 {
            choices.push_back(choice);
        }
    }

    fn choice(&self, sub: usize) -> Option<u8> {
        self.0.lock().unwrap().choices.get_mut(&sub)?.pop_front()
    }
}

/// Writes down what another device is told and answers.
pub struct Watched {
    pub sub: usize,
    pub journal: Journal,
    pub inner: Box<dyn SubchannelDevice>,
}

impl Watched {
    fn watch(
        &mut self,
        call: Call,
        cx: &mut DeviceContext<'_>,
        act: impl FnOnce(&mut dyn SubchannelDevice, &mut DeviceContext<'_>),
    ) {
        act(&mut *self.inner, cx);
        let events: Vec<DeviceEvent> = std::iter::from_fn(|| cx.events.pop()).collect();
        for event in &events {
            cx.events.push(*event);
        }
        self.journal.0.lock().unwrap().entries.push(Entry { sub: self.sub, call, events, sense: None });
    }
}

impl SubchannelDevice for Watched {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn start(&mut self, cx: &mut DeviceContext<'_>, orb: &Orb) {
        assert_eq!(cx.slot.is_some(), self.capabilities().contains(Capabilities::ENGINE), "a slot for who asked for one");
        self.watch(Call::Start, cx, |device, cx| device.start(cx, orb));
    }

    fn resume(&mut self, cx: &mut DeviceContext<'_>) {
        self.watch(Call::Resume, cx, |device, cx| device.resume(cx));
    }

    fn halt(&mut self, cx: &mut DeviceContext<'_>) {
        self.watch(Call::Halt, cx, |device, cx| device.halt(cx));
    }

    fn clear(&mut self, cx: &mut DeviceContext<'_>) {
        self.watch(Call::Clear, cx, |device, cx| device.clear(cx));
    }

    fn operation_ended(&mut self, cx: &mut DeviceContext<'_>, result: OperationResult) {
        self.watch(Call::OperationEnded, cx, |device, cx| device.operation_ended(cx, result));
    }

    fn timer(&mut self, cx: &mut DeviceContext<'_>) {
        self.watch(Call::Timer, cx, |device, cx| device.timer(cx));
    }

    fn backing(&self) -> Option<Backing<'_>> {
        self.inner.backing()
    }

    fn take_sense(&mut self) -> Option<Sense> {
        let sense = self.inner.take_sense();
        let mut inner = self.journal.0.lock().unwrap();
        let last = inner.entries.iter_mut().rev().find(|entry| entry.sub == self.sub);
        last.expect("sense is taken after a call").sense = sense;
        sense
    }
}

/// What a scripted device is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doing {
    Idle,
    /// `told`: something was said already, so that the start can no longer be refused. `z`: initial status is due.
    Running {
        told: bool,
        z: bool,
        may_suspend: bool,
    },
    Suspended,
    /// Channel end was given, device end was not.
    Finishing,
    HaltingRunning,
    HaltingFinishing,
    HaltingOther,
    /// `late`: a program was running, whose end may still come before the answer.
    Clearing {
        late: bool,
    },
}

/// A device that does in each call what was chosen for it, as far as it may.
pub struct Scripted {
    sub: usize,
    journal: Journal,
    engine: bool,
    doing: Doing,
    may_suspend: bool,
    checks: u8,
    address: u32,
}

const CE: DeviceStatus = DeviceStatus::CHANNEL_END;
const DE: DeviceStatus = DeviceStatus::DEVICE_END;
const UC: DeviceStatus = DeviceStatus::UNIT_CHECK;

impl Scripted {
    pub fn new(sub: usize, journal: Journal, engine: bool) -> Self {
        Self { sub, journal, engine, doing: Doing::Idle, may_suspend: false, checks: 0, address: 0x1000 }
    }

    /// A status that can be told from any other.
    fn status(&mut self, device: DeviceStatus) -> Status {
        self.address += 8;
        Status { device, ccw_address: self.address, residual: self.address.to_le_bytes()[0].into(), ..Status::default() }
    }

    fn pci(&mut self) -> DeviceEvent {
        let mut status = self.status(DeviceStatus::empty());
        status.subchannel = SubchannelStatus::PROGRAM_CONTROLLED_INTERRUPTION;
        DeviceEvent::Intermediate(Status { residual: 0, ..status })
    }

    fn ended(&mut self, device: DeviceStatus, pci: bool) -> DeviceEvent {
        let mut status = self.status(device);
        status.subchannel.set(SubchannelStatus::PROGRAM_CONTROLLED_INTERRUPTION, pci);
        status.subchannel.set(SubchannelStatus::PROGRAM_CHECK, device.is_empty());
        self.checks = self.checks.wrapping_add(u8::from(device.contains(UC)));
        DeviceEvent::Ended(status)
    }

    fn halted(&mut self, device: DeviceStatus) -> DeviceEvent {
        self.checks = self.checks.wrapping_add(u8::from(device.contains(UC)));
        DeviceEvent::Halted(self.status(device))
    }

    fn act(&mut self, cx: &mut DeviceContext<'_>) {
        let attention = DeviceEvent::Unsolicited(Status { device: DeviceStatus::ATTENTION, ..Status::default() });
        if let Some(choice) = self.journal.choice(self.sub) {
            let (mut events, next) = self.chosen(choice);
            if choice >= 0xE0 {
                // Not before a refusal, which would have to be for this very status.
                events.push(attention);
            }
            self.doing = match next {
                Doing::Running { z, may_suspend, .. } if !events.is_empty() => Doing::Running { told: true, z, may_suspend },
                next => next,
            };
            for event in events {
                cx.events.push(event);
            }
        }
        // One nanosecond later is the next turn.
        *cx.timer = (self.doing != Doing::Idle).then_some(cx.now + 1);
    }

    fn chosen(&mut self, choice: u8) -> (Vec<DeviceEvent>, Doing) {
        let unchanged = self.doing;
        let pci = choice & 0x10 != 0;
        match (self.doing, choice % 16) {
            (Doing::Idle, _) => (vec![], unchanged),
            (Doing::Running { z: true, may_suspend, .. }, 0 | 2) => {
                (vec![DeviceEvent::InitialStatus(Status::default())], Doing::Running { told: true, z: false, may_suspend })
            }
            (Doing::Running { .. }, 0..=2) => (vec![self.pci()], unchanged),
            (Doing::Running { told: false, .. }, 3) if choice < 0xE0 => {
                let status = Status { device: DeviceStatus::BUSY, ..Status::default() };
                (vec![DeviceEvent::Refused { deferred_cc: 1, status }], Doing::Idle)
            }
            (Doing::Running { told: false, .. }, 4) if choice < 0xE0 => {
                (vec![DeviceEvent::Refused { deferred_cc: 3, status: Status::default() }], Doing::Idle)
            }
            (Doing::Running { may_suspend: true, .. }, 3..=7) => {
                (vec![DeviceEvent::Suspended(Status::default())], Doing::Suspended)
            }
            (Doing::Running { .. }, 8 | 9) => (vec![self.ended(CE, pci)], Doing::Finishing),
            (Doing::Running { .. }, 10 | 11) => (vec![self.ended(CE | DE | UC, pci)], Doing::Idle),
            (Doing::Running { .. }, 12) => (vec![self.ended(DeviceStatus::empty(), pci)], Doing::Idle),
            (Doing::Running { .. }, 13) => (vec![self.pci(), self.ended(CE | DE, pci)], Doing::Idle),
            (Doing::Running { .. }, _) => (vec![self.ended(CE | DE, pci)], Doing::Idle),
            (Doing::Suspended, _) => (vec![], unchanged),
            (Doing::Finishing, 0 | 1) => (vec![], unchanged),
            (Doing::Finishing, _) => (vec![DeviceEvent::Secondary(Status { device: DE, ..Status::default() })], Doing::Idle),
            (Doing::HaltingRunning, 0 | 1) => (vec![self.pci()], unchanged),
            (Doing::HaltingRunning, 2 | 3) => (vec![self.halted(DE)], Doing::Idle),
            (Doing::HaltingRunning, 4) => (vec![self.halted(CE | DE)], Doing::Idle),
            (Doing::HaltingRunning, 5) => (vec![self.halted(CE | DE | UC)], Doing::Idle),
            (Doing::HaltingRunning, 6 | 7) => (vec![self.ended(CE | DE, false)], Doing::Idle),
            (Doing::HaltingRunning, 8) => (vec![self.ended(CE | DE | UC, false)], Doing::Idle),
            (Doing::HaltingRunning | Doing::HaltingFinishing, 9 | 10) => {
                (vec![DeviceEvent::HaltedDeviceActive(Status::default())], Doing::Finishing)
            }
            (Doing::HaltingFinishing, _) => (vec![self.halted(DE)], Doing::Idle),
            (Doing::HaltingRunning | Doing::HaltingOther, _) => (vec![self.halted(DeviceStatus::empty())], Doing::Idle),
            (Doing::Clearing { late: true }, 0 | 1) => (vec![self.pci()], unchanged),
            (Doing::Clearing { late: true }, 2) => (vec![self.ended(CE | DE, pci), DeviceEvent::Cleared], Doing::Idle),
            (Doing::Clearing { .. }, _) => (vec![DeviceEvent::Cleared], Doing::Idle),
        }
    }
}

impl SubchannelDevice for Scripted {
    fn capabilities(&self) -> Capabilities {
        if self.engine {
            Capabilities::ENGINE | Capabilities::RESUME
        } else {
            Capabilities::RESUME
        }
    }

    fn start(&mut self, cx: &mut DeviceContext<'_>, orb: &Orb) {
        assert_eq!(self.doing, Doing::Idle, "a start while the device is not idle");
        self.may_suspend = orb.control().contains(OrbControl::SUSPEND);
        let z = orb.control().contains(OrbControl::INITIAL_STATUS);
        self.doing = Doing::Running { told: false, z, may_suspend: self.may_suspend };
        self.act(cx);
    }

    fn resume(&mut self, cx: &mut DeviceContext<'_>) {
        assert_eq!(self.doing, Doing::Suspended, "a resume of what is not suspended");
        self.doing = Doing::Running { told: true, z: false, may_suspend: self.may_suspend };
        self.act(cx);
    }

    fn halt(&mut self, cx: &mut DeviceContext<'_>) {
        self.doing = match self.doing {
            Doing::Running { .. } | Doing::HaltingRunning => Doing::HaltingRunning,
            Doing::Finishing | Doing::HaltingFinishing => Doing::HaltingFinishing,
            Doing::Idle | Doing::Suspended | Doing::HaltingOther => Doing::HaltingOther,
            Doing::Clearing { .. } => panic!("a halt while a clear is performed"),
        };
        self.act(cx);
    }

    fn clear(&mut self, cx: &mut DeviceContext<'_>) {
        self.doing = Doing::Clearing { late: matches!(self.doing, Doing::Running { .. }) };
        self.act(cx);
    }

    fn timer(&mut self, cx: &mut DeviceContext<'_>) {
        self.act(cx);
    }

    fn take_sense(&mut self) -> Option<Sense> {
        // Any number of bytes that a device may have.
        let count = 1 + usize::from(self.checks % 32);
        Some(Sense::new(&vec![self.checks; count]))
    }
}
