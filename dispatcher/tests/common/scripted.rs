// SPDX-License-Identifier: MIT OR Apache-2.0
//! Devices that do what a test tells them and write down what they were told, and a reactor that the test turns by hand.

use super::{id, TestGuest, PATIENCE};
use fctl_dispatcher::device::{Capabilities, DeviceContext, DeviceEvent, Sense, Status, SubchannelDevice};
use fctl_dispatcher::subchannel::StatusMode;
use fctl_dispatcher::{Builder, GuestId, Handle, Reactor, RingId, SubchannelOptions};
use fctl_ringabi::arch::{DeviceStatus, Orb, Schib, SubchannelStatus};
use fctl_ringabi::{Completion, CompletionKind, Descriptor, DescriptorFlags, Extension, Operation, RingSizes};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// What a device was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// Start, with the ORB's interruption parameter.
    Start(u32),
    Resume,
    Halt,
    Clear,
}

/// When a device answers a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum When {
    /// When the test says so.
    #[default]
    Told,
    /// Within the call, normally.
    AtOnce,
}

#[derive(Default)]
struct Inner {
    calls: Vec<(u16, Call)>,
    told: BTreeMap<u16, VecDeque<Vec<DeviceEvent>>>,
    at_once: Vec<(u16, Operation)>,
    gone: Vec<u16>,
}

/// Where all scripted devices of a test meet: their orders, and one log of all calls in order.
#[derive(Clone, Default)]
pub struct Stage(Arc<Mutex<Inner>>);

impl Stage {
    /// A device with this name.
    pub fn device(&self, name: u16, capabilities: Capabilities) -> Box<Scripted> {
        Box::new(Scripted { name, capabilities, stage: self.clone(), last_cpa: 0, busy: false })
    }

    /// Has a device give an event as soon as it is called next: in the next turn, if it is busy.
    pub fn tell(&self, name: u16, event: DeviceEvent) {
        self.tell_all(name, &[event]);
    }

    /// The same with several events in one call.
    pub fn tell_all(&self, name: u16, events: &[DeviceEvent]) {
        self.0.lock().unwrap().told.entry(name).or_default().push_back(events.to_vec());
    }

    /// From now on the device answers this function within the call.
    pub fn answer_at_once(&self, name: u16, operation: Operation) {
        self.0.lock().unwrap().at_once.push((name, operation));
    }

    /// The calls since the last look.
    pub fn take_calls(&self) -> Vec<(u16, Call)> {
        std::mem::take(&mut self.0.lock().unwrap().calls)
    }

    /// The calls of one device since the last look; forgets those of all.
    pub fn take_calls_of(&self, name: u16) -> Vec<Call> {
        self.take_calls().into_iter().filter(|call| call.0 == name).map(|call| call.1).collect()
    }

    /// The devices that were dropped.
    pub fn gone(&self) -> Vec<u16> {
        let mut gone = self.0.lock().unwrap().gone.clone();
        gone.sort_unstable();
        gone
    }

    fn record(&self, name: u16, call: Call) {
        self.0.lock().unwrap().calls.push((name, call));
    }
}

/// A device of a [`Stage`].
pub struct Scripted {
    name: u16,
    capabilities: Capabilities,
    stage: Stage,
    last_cpa: u32,
    /// It has something to answer still.
    busy: bool,
}

impl Scripted {
    fn give(&mut self, cx: &mut DeviceContext<'_>, event: DeviceEvent) {
        self.busy = match event {
            DeviceEvent::Ended(status) => status.device == DeviceStatus::CHANNEL_END && status.subchannel.is_empty(),
            DeviceEvent::Refused { .. } | DeviceEvent::Halted(_) | DeviceEvent::Cleared | DeviceEvent::Secondary(_) => false,
            _ => self.busy,
        };
        cx.events.push(event);
    }

    /// Gives what it was told to give. As long as it is busy it looks again in the next turn, by a timer that has passed already.
    fn look(&mut self, cx: &mut DeviceContext<'_>, asked: Option<Operation>) {
        let stage = self.stage.clone();
        let mut inner = stage.0.lock().unwrap();
        if let Some(operation) = asked.filter(|&operation| inner.at_once.contains(&(self.name, operation))) {
            let answer = match operation {
                Operation::Start => ended(self.last_cpa.wrapping_add(8)),
                Operation::Halt => DeviceEvent::Halted(Status::default()),
                _ => DeviceEvent::Cleared,
            };
            self.give(cx, answer);
        }
        for event in inner.told.get_mut(&self.name).and_then(VecDeque::pop_front).unwrap_or_default() {
            self.give(cx, event);
        }
        *cx.timer = self.busy.then_some(cx.now);
    }
}

impl SubchannelDevice for Scripted {
    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    fn start(&mut self, cx: &mut DeviceContext<'_>, orb: &Orb) {
        self.busy = true;
        self.last_cpa = orb.cpa();
        self.stage.record(self.name, Call::Start(orb.intparm()));
        assert_eq!(cx.slot.is_some(), self.capabilities.contains(Capabilities::ENGINE), "a slot for who asked for one");
        self.look(cx, Some(Operation::Start));
    }

    fn resume(&mut self, cx: &mut DeviceContext<'_>) {
        self.busy = true;
        self.stage.record(self.name, Call::Resume);
        self.look(cx, None);
    }

    fn halt(&mut self, cx: &mut DeviceContext<'_>) {
        self.busy = true;
        self.stage.record(self.name, Call::Halt);
        self.look(cx, Some(Operation::Halt));
    }

    fn clear(&mut self, cx: &mut DeviceContext<'_>) {
        self.busy = true;
        self.stage.record(self.name, Call::Clear);
        self.look(cx, Some(Operation::Clear));
    }

    fn timer(&mut self, cx: &mut DeviceContext<'_>) {
        self.look(cx, None);
    }

    fn take_sense(&mut self) -> Option<Sense> {
        Some(Sense::new(&[0x5A; 24]))
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.stage.0.lock().unwrap().gone.push(self.name);
    }
}

/// Status bytes with this device status.
pub fn status(device: DeviceStatus) -> Status {
    Status { device, ccw_address: 0x1008, ..Status::default() }
}

/// A program check.
pub fn program_check() -> Status {
    Status { subchannel: SubchannelStatus::PROGRAM_CHECK, ccw_address: 0x1008, ..Status::default() }
}

/// Channel end and device end.
pub fn ended(ccw_address: u32) -> DeviceEvent {
    DeviceEvent::Ended(Status { ccw_address, ..status(DeviceStatus::CHANNEL_END | DeviceStatus::DEVICE_END) })
}

/// A start with this interruption parameter.
pub fn ssch(number: u16, intparm: u32, tag: u64) -> Descriptor {
    Descriptor::start(id(number), &Orb::new(intparm, 0x1000), tag)
}

/// An instruction without operand.
pub fn plain(operation: Operation, number: u16, tag: u64) -> Descriptor {
    Descriptor::new(operation, id(number), tag)
}

/// The same, and its *accepted* completion is wanted.
pub fn told(descriptor: Descriptor) -> Descriptor {
    descriptor.with_flags(DescriptorFlags::ACCEPTED)
}

/// One guest, one ring, scripted devices, and a reactor that runs only when the test says so.
pub struct Rig {
    // Before the guest: what the reactor has of the guest is given back first.
    pub reactor: Reactor,
    pub handle: Handle,
    pub guest: TestGuest,
    pub guest_id: GuestId,
    pub ring: RingId,
    pub stage: Stage,
}

impl Rig {
    pub fn new(builder: Builder, sizes: RingSizes) -> Self {
        let (mut reactor, handle) = builder.build().unwrap();
        let guest = TestGuest::new(sizes);
        let guest_id = reactor.attach_guest(guest.memory.clone());
        let ring = reactor.attach_ring(guest_id, guest.ends()).unwrap();
        Self { reactor, handle, guest, guest_id, ring, stage: Stage::default() }
    }

    pub fn small() -> Self {
        Self::new(Builder::default(), RingSizes::new(64))
    }

    /// Attaches an enabled scripted device; its name is the subchannel's number.
    pub fn attach(&mut self, number: u16, capabilities: Capabilities, mode: StatusMode) {
        let options = SubchannelOptions::new(number).with_mode(mode);
        let device = self.stage.device(number, capabilities);
        self.reactor.attach_subchannel(self.ring, id(number), options, device).unwrap();
    }

    pub fn post(&mut self, batch: &[Descriptor]) {
        for descriptor in batch {
            self.guest.poster.stage(descriptor).unwrap();
        }
        self.guest.publish();
    }

    /// Turns so often that whatever can go on goes on.
    pub fn turns(&mut self) {
        for _ in 0..6 {
            self.reactor.turn(64);
        }
    }

    /// Turns until something is so that the kernel has a part in.
    pub fn until(&mut self, what: &str, mut is_so: impl FnMut(&mut Reactor) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_so(&mut self.reactor) {
            assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
            self.reactor.turn(64);
            std::thread::yield_now();
        }
    }

    /// All completions that are there, with their extensions.
    pub fn read(&mut self) -> Vec<(Completion, Option<Extension>)> {
        std::iter::from_fn(|| self.guest.reader.take().unwrap()).collect()
    }

    pub fn completions(&mut self) -> Vec<Completion> {
        self.read().into_iter().map(|found| found.0).collect()
    }

    /// Posts a batch, turns once, and reads what is there then.
    pub fn batch(&mut self, batch: &[Descriptor]) -> Vec<Completion> {
        self.post(batch);
        self.reactor.turn(64);
        self.completions()
    }

    /// The SCHIB, by STSCH.
    pub fn schib(&mut self, number: u16) -> Schib {
        self.post(&[plain(Operation::Store, number, 0x5C41B)]);
        self.reactor.turn(64);
        let found = self.read();
        let stored = found.iter().find(|(completion, _)| completion.tag == 0x5C41B);
        let Some((completion, Some(Extension::Schib(schib)))) = stored else { panic!("no SCHIB in {found:?}") };
        assert_eq!((completion.kind(), completion.cc), (Some(CompletionKind::Final), 0));
        *schib
    }

    /// Puts a SCHIB into guest memory, as an operand of MSCH.
    pub fn msch(&mut self, number: u16, schib: &Schib, tag: u64) -> Descriptor {
        let address = 0x8000 + 64 * u64::from(number);
        self.guest.memory.store(address, &schib.to_bytes()).unwrap();
        Descriptor::by_address(Operation::Modify, id(number), address, tag)
    }
}

/// The accepted completions, as tag and condition code, in order.
pub fn accepted(completions: &[Completion]) -> Vec<(u64, u8)> {
    of_kind(completions, CompletionKind::Accepted).map(|completion| (completion.tag, completion.cc)).collect()
}

/// The final completions in order.
pub fn finals(completions: &[Completion]) -> Vec<Completion> {
    of_kind(completions, CompletionKind::Final).copied().collect()
}

/// The tags of the final completions in order.
pub fn final_tags(completions: &[Completion]) -> Vec<u64> {
    of_kind(completions, CompletionKind::Final).map(|completion| completion.tag).collect()
}

pub fn of_kind(completions: &[Completion], kind: CompletionKind) -> impl Iterator<Item = &Completion> {
    completions.iter().filter(move |completion| completion.kind() == Some(kind))
}

/// The one final completion with this tag.
pub fn final_of(completions: &[Completion], tag: u64) -> Completion {
    let found: Vec<_> = of_kind(completions, CompletionKind::Final).filter(|completion| completion.tag == tag).collect();
    assert_eq!(found.len(), 1, "finals with tag {tag} in {completions:?}");
    *found[0]
}
