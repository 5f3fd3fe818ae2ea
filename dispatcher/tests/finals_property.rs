// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whatever is posted, by however many guests and rings, and however the devices answer: each descriptor taken gets exactly one final,
//! *accepted* exactly once if it asked, on its own ring; condition codes are those of the fold (reference §4.1); the ledger adds up.

mod common;

use common::scripted::{status, Call, Stage};
use common::{id, TestGuest, MEMORY_BYTES};
use fctl_dispatcher::device::{Capabilities, DeviceEvent, Status};
use fctl_dispatcher::subchannel::StatusMode;
use fctl_dispatcher::{Builder, Reactor, RingId, SubchannelOptions};
use fctl_ringabi::arch::{DeviceStatus, Orb, OrbControl, PmcwFlags, Schib, SubchannelStatus};
use fctl_ringabi::{CompletionKind, Descriptor, DescriptorFlags, Disposition, Operation, RingSizes};
use proptest::prelude::*;
use std::collections::{BTreeMap, HashMap};

/// Two guests; the first has two rings. Subchannel numbers 0 to 2 exist twice, once in each guest.
const RINGS: usize = 3;
const GUEST_OF_RING: [usize; RINGS] = [0, 0, 1];
/// Home ring of each subchannel, its number, how it is set up.
const SUBCHANNELS: [(usize, u16, StatusMode, bool); 8] = [
    (0, 0, StatusMode::Delivered, false),
    (0, 1, StatusMode::Delivered, true),
    (0, 2, StatusMode::Held, false),
    (1, 3, StatusMode::Delivered, true),
    (1, 4, StatusMode::Held, true),
    (2, 0, StatusMode::Delivered, true),
    (2, 1, StatusMode::Delivered, false),
    (2, 2, StatusMode::Held, true),
];
const NUMBERS: u16 = 6;
/// Subchannels whose instructions do not all ask for *accepted*, so that their fold cannot be followed.
const NOT_FOLLOWED: [usize; 2] = [1, 6];

// ---------------------------------------------------------------------------------------------------------------------
// What happens

#[derive(Clone, Debug)]
enum Step {
    Instruction {
        ring: usize,
        number: u16,
        operation: Operation,
        flags: u8,
        suspend: bool,
    },
    BadOrb {
        ring: usize,
        number: u16,
        flags: u8,
    },
    Enable {
        ring: usize,
        number: u16,
        enabled: bool,
        flags: u8,
    },
    Garbage {
        ring: usize,
        words: [u64; 8],
    },
    Publish {
        ring: usize,
    },
    Turn {
        budget: u32,
    },
    /// The device does what it can do in its state; `choice` picks.
    Answer {
        subchannel: usize,
        choice: u8,
    },
    Read {
        ring: usize,
        most: usize,
    },
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        6 => Just(Operation::Start),
        2 => Just(Operation::Halt),
        2 => Just(Operation::Clear),
        2 => Just(Operation::Cancel),
        1 => Just(Operation::Resume),
        1 => Just(Operation::Store),
        3 => Just(Operation::Test),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let (ring, number, flags) = (0..RINGS, 0..NUMBERS, prop_oneof![3 => Just(1u8), 1 => 0u8..4]);
    prop_oneof![
        14 => (ring.clone(), number.clone(), operation(), flags.clone(), any::<bool>())
            .prop_map(|(ring, number, operation, flags, suspend)| Step::Instruction { ring, number, operation, flags, suspend }),
        1 => (ring.clone(), number.clone(), flags.clone()).prop_map(|(ring, number, flags)| Step::BadOrb { ring, number, flags }),
        1 => (ring.clone(), number, any::<bool>(), flags)
            .prop_map(|(ring, number, enabled, flags)| Step::Enable { ring, number, enabled, flags }),
        1 => (ring.clone(), prop::array::uniform8(prop_oneof![Just(0u64), any::<u64>(), 0u64..10]))
            .prop_map(|(ring, words)| Step::Garbage { ring, words }),
        4 => ring.clone().prop_map(|ring| Step::Publish { ring }),
        6 => prop_oneof![Just(64u32), 1u32..5].prop_map(|budget| Step::Turn { budget }),
        8 => (0..SUBCHANNELS.len(), any::<u8>()).prop_map(|(subchannel, choice)| Step::Answer { subchannel, choice }),
        3 => (ring, 1usize..40).prop_map(|(ring, most)| Step::Read { ring, most }),
    ]
}

// ---------------------------------------------------------------------------------------------------------------------
// The fold, and what is owed

/// A subchannel as the condition codes see it. Its functions are followed from the completions, in their order; only the moment
/// when a start is issued comes from the device.
#[derive(Clone, Copy, Debug, Default)]
struct Fold {
    held: bool,
    disabled: bool,
    start: bool,
    halt_or_clear: bool,
    pending: bool,
    intermediate_only: bool,
    start_pending: bool,
    resume_pending: bool,
    active: bool,
    resumable: bool,
}

impl Fold {
    fn code(&self, operation: Operation) -> u8 {
        let function = self.start || self.halt_or_clear;
        if self.disabled && !matches!(operation, Operation::Modify | Operation::Store) {
            return 3;
        }
        let (status, ok) = match operation {
            Operation::Start => (self.pending, !function),
            Operation::Halt => (self.pending && !self.intermediate_only, !self.halt_or_clear),
            Operation::Clear | Operation::Store => (false, true),
            Operation::Cancel => {
                let unissued = (self.start_pending || self.resume_pending) && !self.active;
                (self.pending, self.start && !self.halt_or_clear && unissued)
            }
            Operation::Resume => (self.pending, self.start && !self.halt_or_clear && !self.resume_pending && self.resumable),
            Operation::Modify => (self.pending, !function),
            Operation::Test => return u8::from(!self.pending),
        };
        match (status, ok) {
            (true, _) => 1,
            (false, true) => 0,
            (false, false) => 2,
        }
    }

    fn idle(&self) -> Self {
        Self { held: self.held, disabled: self.disabled, ..Self::default() }
    }

    fn accept(&mut self, descriptor: &Posted) {
        match descriptor.operation {
            Operation::Start => {
                (self.start, self.start_pending, self.resumable) = (true, true, descriptor.suspend);
            }
            Operation::Halt => {
                self.halt_or_clear = true;
                if self.intermediate_only {
                    (self.pending, self.intermediate_only) = (false, false);
                }
            }
            Operation::Clear => *self = Self { halt_or_clear: true, ..self.idle() },
            Operation::Cancel => *self = self.idle(),
            Operation::Resume => self.resume_pending = true,
            Operation::Modify => self.disabled = descriptor.disables,
            Operation::Test if self.intermediate_only => (self.pending, self.intermediate_only) = (false, false),
            Operation::Test => *self = self.idle(),
            Operation::Store => {}
        }
    }

    /// Status is there: taken at once, or pending until TSCH.
    fn ended(&mut self) {
        if self.held {
            (self.pending, self.intermediate_only) = (true, false);
            (self.active, self.start_pending, self.resume_pending) = (false, false, false);
        } else {
            *self = self.idle();
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Posted {
    operation: Operation,
    /// An instruction that a subchannel decides: the fold says its condition code.
    subchannel: Option<usize>,
    asked: bool,
    suspend: bool,
    disables: bool,
    accepted: bool,
    accepted_cc: u8,
    finished: bool,
}

/// What the device does, as far as it was told and has answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Idle,
    Running,
    /// Channel end was given, device end is outstanding.
    Finishing,
    Halting,
    Clearing,
}

struct World {
    reactor: Reactor,
    guests: Vec<TestGuest>,
    rings: Vec<RingId>,
    stage: Stage,
    posted: Vec<BTreeMap<u64, Posted>>,
    folds: Vec<Fold>,
    phases: Vec<Phase>,
    tags: u64,
}

fn name(subchannel: usize) -> u16 {
    u16::try_from(subchannel).unwrap()
}

impl World {
    fn new(slots: u16) -> Self {
        let (mut reactor, _handle) = Builder::default().engine_slots(slots).build().unwrap();
        let stage = Stage::default();
        // The least rings there are, so that they go round often.
        let sizes = RingSizes { completion_entries: 64, ..RingSizes::new(16) };
        let guests: Vec<TestGuest> = (0..RINGS).map(|_| TestGuest::new(sizes)).collect();
        let ids = [reactor.attach_guest(guests[0].memory.clone()), reactor.attach_guest(guests[2].memory.clone())];
        let rings: Vec<RingId> =
            (0..RINGS).map(|ring| reactor.attach_ring(ids[GUEST_OF_RING[ring]], guests[ring].ends()).unwrap()).collect();
        for (index, &(ring, number, mode, engine)) in SUBCHANNELS.iter().enumerate() {
            let capabilities = if engine { Capabilities::ENGINE } else { Capabilities::empty() };
            let options = SubchannelOptions::new(number).with_mode(mode);
            let device = stage.device(name(index), capabilities);
            reactor.attach_subchannel(rings[ring], id(number), options, device).unwrap();
        }
        let folds = SUBCHANNELS.iter().map(|one| Fold { held: one.2 == StatusMode::Held, ..Fold::default() }).collect();
        Self {
            reactor,
            guests,
            rings,
            stage,
            posted: vec![BTreeMap::new(); RINGS],
            folds,
            phases: vec![Phase::Idle; SUBCHANNELS.len()],
            tags: 0,
        }
    }

    /// Memory of the guest that has this ring.
    fn memory(&self, ring: usize) -> &fctl_dispatcher::memory::Memory {
        &self.guests[if GUEST_OF_RING[ring] == 0 { 0 } else { 2 }].memory
    }

    fn post(&mut self, ring: usize, mut descriptor: Descriptor, suspend: bool, disables: bool) {
        self.tags += 1;
        descriptor.tag = (ring as u64) << 32 | self.tags;
        let subchannel = SUBCHANNELS.iter().position(|one| one.0 == ring && id(one.1).word() == descriptor.subsystem);
        let instruction = descriptor.check().is_ok() && well_formed(&descriptor);
        let subchannel = subchannel.filter(|index| instruction && !NOT_FOLLOWED.contains(index));
        if subchannel.is_some() {
            descriptor.flags |= DescriptorFlags::ACCEPTED.bits();
        }
        let one = Posted {
            operation: Operation::from_code(descriptor.operation).unwrap_or(Operation::Store),
            subchannel,
            asked: descriptor.flags & DescriptorFlags::ACCEPTED.bits() != 0,
            suspend,
            disables,
            accepted: false,
            accepted_cc: 0,
            finished: false,
        };
        // A full ring gives the descriptor back: nothing is owed then.
        if self.guests[ring].poster.stage(&descriptor).is_ok() {
            self.posted[ring].insert(descriptor.tag, one);
        }
    }

    fn apply(&mut self, step: &Step) {
        match *step {
            Step::Instruction { ring, number, operation, flags, suspend } => {
                let orb = Orb::new(7, 0x1000);
                let orb = if suspend { orb.with_control(OrbControl::SUSPEND) } else { orb };
                let descriptor = match operation {
                    Operation::Start => Descriptor::start(id(number), &orb, 0),
                    other => Descriptor::new(other, id(number), 0),
                };
                self.post(ring, Descriptor { flags, ..descriptor }, suspend, false);
            }
            Step::BadOrb { ring, number, flags } => {
                let descriptor = Descriptor::start(id(number), &Orb::from_words([1, 0x3E, 2]), 0);
                self.post(ring, Descriptor { flags, ..descriptor }, false, false);
            }
            Step::Enable { ring, number, enabled, flags } => {
                let mut schib = Schib::initial(0);
                if enabled {
                    schib.pmcw.set_flags(schib.pmcw.flags() | PmcwFlags::ENABLED);
                }
                let address = 0x8000 + u64::from(enabled) * 64;
                self.memory(ring).store(address, &schib.to_bytes()).unwrap();
                let descriptor = Descriptor::by_address(Operation::Modify, id(number), address, 0);
                self.post(ring, Descriptor { flags: descriptor.flags | flags, ..descriptor }, false, !enabled);
            }
            Step::Garbage { ring, words } => self.post(ring, Descriptor::from_words(&words), false, false),
            Step::Publish { ring } => self.guests[ring].publish(),
            Step::Turn { budget } => self.turn(budget),
            Step::Answer { subchannel, choice } => self.answer(subchannel, choice),
            Step::Read { ring, most } => self.read(ring, most),
        }
    }

    /// One turn; then the folds learn what was issued in it. All condition codes of a turn are decided before anything is issued, so
    /// its completions are read first.
    fn turn(&mut self, budget: u32) {
        self.reactor.turn(budget);
        for ring in 0..RINGS {
            self.read(ring, usize::MAX);
        }
        for (device, call) in self.stage.take_calls() {
            let index = usize::from(device);
            let phase = &mut self.phases[index];
            match call {
                Call::Start(_) => {
                    assert!(matches!(phase, Phase::Idle), "started while {phase:?}");
                    *phase = Phase::Running;
                    (self.folds[index].active, self.folds[index].start_pending) = (true, false);
                }
                Call::Halt => {
                    assert!(!matches!(phase, Phase::Halting | Phase::Clearing), "halted while {phase:?}");
                    *phase = Phase::Halting;
                }
                Call::Clear => *phase = Phase::Clearing,
                Call::Resume => panic!("the devices cannot resume"),
            }
        }
    }

    /// Gives an event that the device may give in its state.
    fn answer(&mut self, index: usize, choice: u8) {
        let ends = [
            DeviceStatus::CHANNEL_END | DeviceStatus::DEVICE_END,
            DeviceStatus::CHANNEL_END | DeviceStatus::DEVICE_END | DeviceStatus::UNIT_CHECK,
        ];
        let ended = ends[usize::from(choice / 8 % 2)];
        let pci = Status { subchannel: SubchannelStatus::PROGRAM_CONTROLLED_INTERRUPTION, ..Status::default() };
        let events: Vec<DeviceEvent> = match (self.phases[index], choice % 8) {
            (Phase::Idle, _) => return,
            (Phase::Running, 0) => vec![DeviceEvent::Intermediate(pci)],
            (Phase::Running, 1) => {
                vec![DeviceEvent::Refused { deferred_cc: 1 + choice / 16 % 2 * 2, status: status(DeviceStatus::BUSY) }]
            }
            (Phase::Running, 2) => vec![DeviceEvent::Ended(status(DeviceStatus::CHANNEL_END))],
            (Phase::Running, 3) => {
                vec![DeviceEvent::Ended(status(ended)), DeviceEvent::Unsolicited(status(DeviceStatus::ATTENTION))]
            }
            (Phase::Running, 4) => vec![DeviceEvent::Intermediate(pci), DeviceEvent::Ended(status(ended))],
            (Phase::Running, _) => vec![DeviceEvent::Ended(status(ended))],
            (Phase::Finishing, _) => vec![DeviceEvent::Secondary(status(DeviceStatus::DEVICE_END))],
            (Phase::Halting, _) => vec![DeviceEvent::Halted(Status::default())],
            (Phase::Clearing, _) => vec![DeviceEvent::Cleared],
        };
        let next = match events.last() {
            Some(DeviceEvent::Intermediate(_)) => Phase::Running,
            Some(DeviceEvent::Ended(status)) if !status.device.contains(DeviceStatus::DEVICE_END) => Phase::Finishing,
            _ => Phase::Idle,
        };
        // The event is given by a timer in a turn of its own that takes nothing, so it answers the function it was meant for.
        self.stage.tell_all(name(index), &events);
        self.reactor.turn(0);
        self.phases[index] = next;
        self.turn(0);
    }

    fn read(&mut self, ring: usize, most: usize) {
        for _ in 0..most {
            let Some((completion, _)) = self.guests[ring].reader.take().unwrap() else { break };
            let kind = completion.kind().expect("a known kind");
            let index = SUBCHANNELS.iter().position(|one| one.0 == ring && id(one.1).word() == completion.subsystem);
            if matches!(kind, CompletionKind::Unsolicited | CompletionKind::InterruptionPending) {
                let index = index.expect("a subchannel that is at home here");
                let fold = &mut self.folds[index];
                if kind == CompletionKind::InterruptionPending && !NOT_FOLLOWED.contains(&index) {
                    assert!(fold.held && !fold.pending, "told twice: {fold:?}");
                    (fold.pending, fold.intermediate_only) = (true, fold.start && fold.active);
                }
                continue;
            }
            let one = self.posted[ring].get_mut(&completion.tag);
            let one = one.unwrap_or_else(|| panic!("ring {ring} was given {completion:?}, which it never posted"));
            match kind {
                CompletionKind::Accepted => {
                    assert!(one.asked && !one.accepted && !one.finished, "accepted out of place: {one:?} {completion:?}");
                    (one.accepted, one.accepted_cc) = (true, completion.cc);
                    if let Some(fold) = one.subchannel.map(|index| &mut self.folds[index]) {
                        let code = fold.code(one.operation);
                        assert_eq!(completion.cc, code, "{:?} on {fold:?}", one.operation);
                        if code == 0 {
                            fold.accept(one);
                        }
                    }
                }
                CompletionKind::Final => {
                    assert!(!one.finished, "a second final: {completion:?}");
                    assert_eq!(one.accepted, one.asked, "accepted comes before the final: {one:?}");
                    one.finished = true;
                    if one.asked {
                        assert_eq!(completion.cc, one.accepted_cc, "what was told does not change");
                    }
                    let executed = completion.disposition() == Some(Disposition::Executed);
                    if let Some(index) = one.subchannel.filter(|_| executed) {
                        let function = matches!(one.operation, Operation::Start | Operation::Halt | Operation::Clear);
                        if completion.cc == 0 && function {
                            self.folds[index].ended();
                        }
                    }
                }
                CompletionKind::Intermediate | CompletionKind::Secondary => {
                    assert!(one.finished || kind == CompletionKind::Intermediate)
                }
                CompletionKind::InterruptionPending | CompletionKind::Unsolicited => unreachable!("handled above"),
            }
        }
    }

    /// Lets everything end, and looks at the ledger.
    fn finish(mut self) {
        for _ in 0..300 {
            for ring in 0..RINGS {
                self.guests[ring].publish();
            }
            self.turn(64);
            for index in 0..SUBCHANNELS.len() {
                self.answer(index, 5);
            }
            if self.posted.iter().all(|ring| ring.values().all(|one| one.finished)) {
                break;
            }
        }
        let lost: Vec<_> = self.posted.iter().flat_map(|ring| ring.iter().filter(|(_, one)| !one.finished)).collect();
        assert!(lost.is_empty(), "without a final: {lost:?}, devices {:?}, folds {:?}", self.phases, self.folds);
        let counters = self.reactor.counters();
        let all: Vec<&Posted> = self.posted.iter().flat_map(BTreeMap::values).collect();
        assert_eq!((counters.taken, counters.finals, counters.unstored), (all.len() as u64, all.len() as u64, 0));
        let starts = all.iter().filter(|one| one.operation == Operation::Start).count() as u64;
        assert_eq!(counters.starts, starts, "{counters:?}");
        let fates = counters.ran + counters.merged_away + counters.stopped_active + counters.cancelled + counters.refused;
        assert_eq!(counters.starts, fates, "{counters:?}");
        assert_eq!((counters.fenced, counters.stalls), (0, 0));
        for &ring in &self.rings {
            assert_eq!(self.reactor.ring_status(ring).unwrap().owed, 0);
        }
        let by_ring: HashMap<_, _> = self.rings.iter().zip(&self.posted).collect();
        assert_eq!(by_ring.len(), RINGS);
    }
}

/// True if the descriptor is an instruction that its subchannel decides: operand where it belongs, and by the rules.
fn well_formed(descriptor: &Descriptor) -> bool {
    let by_address = descriptor.flags & DescriptorFlags::OPERAND_BY_ADDRESS.bits() != 0;
    match Operation::from_code(descriptor.operation) {
        Some(Operation::Start) if !by_address => {
            descriptor.operand.first_chunk().is_some_and(|bytes| Orb::from_bytes(bytes).check().is_ok())
        }
        Some(Operation::Start | Operation::Modify) if by_address => {
            // Only the operands that this test has put there itself.
            (0x8000..MEMORY_BYTES).contains(&descriptor.operand_address()) && descriptor.operation == Operation::Modify as u8
        }
        Some(Operation::Modify) | None => false,
        Some(_) => !by_address,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn each_descriptor_gets_exactly_one_final(slots in 1u16..4, steps in prop::collection::vec(step(), 1..400)) {
        let mut world = World::new(slots);
        for step in &steps {
            world.apply(step);
        }
        world.finish();
    }
}
