// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the comparison with the model does not look at: room for completions, tags, stage times, concurrent sense, addresses and counts, the
//! end of a subchannel, and states that no guest can bring about.

use super::*;
use crate::device::{DeviceEvent, Status};
use fctl_ringabi::arch::{DeviceStatus, Ecw, Erw, Esw, OrbControl, PmcwCharacteristics, PmcwFlags, SubchannelStatus};
use fctl_ringabi::{interruption_code, CompletionFlags, CompletionKind, DescriptorFlags, Disposition, Extension, Operation};

const CE: DeviceStatus = DeviceStatus::CHANNEL_END;
const DE: DeviceStatus = DeviceStatus::DEVICE_END;
const HELD: StatusMode = StatusMode::Held;
const DELIVERED: StatusMode = StatusMode::Delivered;

/// Answers, and room for more than the descriptors have paid for, or none.
struct Log {
    answers: Vec<Answer>,
    room: bool,
}

impl Answers for Log {
    fn post(&mut self, answer: &Answer) {
        self.answers.push(*answer);
    }

    fn uncharged_room(&mut self) -> bool {
        self.room
    }
}

struct Machine {
    subchannel: Subchannel,
    log: Log,
}

fn machine(mode: StatusMode) -> Machine {
    Machine { subchannel: Subchannel::new(0x120, true, mode), log: Log { answers: Vec::new(), room: true } }
}

fn orb() -> Orb {
    Orb::new(0xCAFE, 0x1000)
}

fn status(device: DeviceStatus) -> Status {
    Status { device, subchannel: SubchannelStatus::empty(), ccw_address: 0x1008, residual: 0x1234 }
}

/// A running start with tag 7 that was issued at 500.
fn active(mode: StatusMode) -> Machine {
    let mut machine = machine(mode);
    machine.does(Instruction::Start(&orb()), 7);
    machine.issues(Function::Start, 500);
    machine
}

/// The same program, suspended, nothing of it told.
fn suspended(mode: StatusMode) -> Machine {
    let mut machine = machine(mode);
    let orb = orb().with_control(OrbControl::SUSPEND | OrbControl::SUPPRESS_SUSPENDED);
    machine.does(Instruction::Start(&orb), 7);
    machine.issues(Function::Start, 500);
    machine.event(DeviceEvent::Suspended(status(DeviceStatus::empty())));
    machine.taken();
    machine
}

impl Machine {
    fn execute(&mut self, instruction: Instruction<'_>, tag: u64, flags: DescriptorFlags) {
        let owed = Owed { tag, posted: 1, taken: 2, flags, operation: Operation::Start };
        self.subchannel.accept(instruction, owed, &mut self.log);
    }

    /// Executes an instruction whose descriptor asked for nothing.
    fn does(&mut self, instruction: Instruction<'_>, tag: u64) {
        self.execute(instruction, tag, DescriptorFlags::empty());
    }

    fn issues(&mut self, function: Function, now: u64) {
        assert_eq!(self.subchannel.next_function(), Some(function));
        self.subchannel.issued(function, now);
        self.subchannel.perform_here(function, &mut self.log);
    }

    fn event(&mut self, event: DeviceEvent) {
        self.subchannel.event(&event, None, &mut self.log);
    }

    fn unit_check(&mut self, sense: Option<Sense>) {
        self.subchannel.event(&DeviceEvent::Ended(status(CE | DE | DeviceStatus::UNIT_CHECK)), sense, &mut self.log);
    }

    fn attention(&mut self) {
        self.event(DeviceEvent::Unsolicited(status(DeviceStatus::ATTENTION)));
    }

    fn taken(&mut self) -> Vec<Answer> {
        std::mem::take(&mut self.log.answers)
    }

    /// Kind and tag of what was answered since the last look.
    fn told(&mut self) -> Vec<(CompletionKind, u64)> {
        self.taken().iter().map(|answer| (answer.kind, answer.owed.tag)).collect()
    }

    /// Tags and fates of the finals since the last look.
    fn ends(&mut self) -> Vec<(u64, Disposition)> {
        self.taken().iter().map(|answer| (answer.owed.tag, answer.disposition)).collect()
    }

    fn control(&self) -> u32 {
        self.subchannel.word0 & 0x7FFF
    }
}

/// That `^` in the place of `|` between these constants would be the same: see `docs/mutants.md`.
#[test]
fn the_bits_of_word_0_have_none_in_common() {
    let bits =
        [S, H, C, RP, SP, HP, CP, SCHA, DEVA, SUSP, A, I, P, SEC, X, EXTENDED, ZERO_CONDITION, PATH_NOT_OPERATIONAL, DEFERRED_CC];
    for (at, one) in bits.iter().enumerate() {
        assert_ne!(*one, 0);
        assert!(bits[..at].iter().all(|other| one & other == 0), "{one:#010x}");
    }
    let echo = Scsw::from_orb(&Orb::from_words([u32::MAX; 3])).control_word();
    assert_eq!(echo & bits.iter().sum::<u32>(), 0, "the echo of an ORB has none of them");
    let together = [0x7000, 0x0FE0, 0x001F, 0x0307_7FFF];
    assert_eq!([FCTL, ACTL, STCTL, bits.iter().sum()], together);
}

#[test]
fn only_who_asks_is_told_the_condition_code_beforehand() {
    use CompletionKind::{Accepted, Final};
    let good = Schib::initial(0x120);
    let mut bad = good;
    bad.pmcw.set_flags(PmcwFlags::from_bits_retain(0x8000));
    let orb = orb();
    let alone: [(Instruction<'_>, &[CompletionKind]); 9] = [
        (Instruction::Start(&orb), &[]),
        (Instruction::Halt, &[]),
        (Instruction::Clear, &[]),
        (Instruction::Cancel, &[Final]),
        (Instruction::Resume, &[Final]),
        (Instruction::Modify(&good), &[Final]),
        (Instruction::Modify(&bad), &[Final]),
        (Instruction::Store, &[Final]),
        (Instruction::Test, &[Final]),
    ];
    for (instruction, expected) in alone {
        let mut silent = machine(DELIVERED);
        silent.does(instruction, 3);
        let seen = silent.taken();
        assert_eq!(seen.iter().map(|answer| answer.kind).collect::<Vec<_>>(), expected, "{instruction:?}");
        let mut curious = machine(DELIVERED);
        curious.execute(instruction, 3, DescriptorFlags::ACCEPTED);
        let told = curious.taken();
        assert_eq!(told[0].kind, Accepted, "{instruction:?}");
        assert_eq!(told[1..].iter().map(|answer| answer.kind).collect::<Vec<_>>(), expected, "{instruction:?}");
        // What is told beforehand is what is told in the end.
        for (first, last) in told.iter().zip(&told[1..]) {
            assert_eq!((first.cc, first.disposition, first.code), (last.cc, last.disposition, last.code), "{instruction:?}");
        }
    }
}

#[test]
fn an_operand_against_the_rules_changes_nothing() {
    let mut machine = machine(DELIVERED);
    let before = machine.subchannel.schib();
    let mut bad = before;
    bad.pmcw.set_isc(3);
    bad.pmcw.set_flags(bad.pmcw.flags() | PmcwFlags::from_bits_retain(0x8000));
    machine.does(Instruction::Modify(&bad), 3);
    let seen = machine.taken();
    assert_eq!((seen[0].disposition, seen[0].code), (Disposition::ProgramInterruption, interruption_code::OPERAND));
    assert_eq!(machine.subchannel.schib(), before);
}

/// No subchannel is made without a valid device number and MSCH does not change V, so no guest gets here: condition code 0, no change.
#[test]
fn without_a_valid_device_number_modify_does_nothing_and_the_rest_is_not_operational() {
    let mut machine = machine(HELD);
    machine.attention();
    machine.subchannel.schib.pmcw.set_flags(PmcwFlags::ENABLED);
    machine.subchannel.refresh_operational();
    let before = machine.subchannel.schib();
    let mut changed = before;
    changed.pmcw.set_isc(5);
    machine.taken();
    machine.does(Instruction::Modify(&changed), 1);
    machine.does(Instruction::Clear, 2);
    assert_eq!(machine.taken().iter().map(|answer| answer.cc).collect::<Vec<_>>(), [0, 3]);
    assert_eq!(machine.subchannel.schib(), before);
}

#[test]
fn a_stuck_subchannel_takes_no_start_but_everything_that_stops_one() {
    let mut machine = machine(HELD);
    machine.subchannel.set_stuck(true);
    machine.does(Instruction::Start(&orb()), 1);
    machine.does(Instruction::Halt, 2);
    assert_eq!(machine.taken().iter().map(|answer| (answer.owed.tag, answer.cc)).collect::<Vec<_>>(), [(1, 3)]);
    let mut machine = active(HELD);
    machine.subchannel.set_stuck(true);
    machine.subchannel.set_stuck(false);
    machine.event(DeviceEvent::Ended(status(CE | DE)));
    machine.does(Instruction::Test, 2);
    machine.does(Instruction::Start(&orb()), 3);
    assert_eq!(machine.told(), [(CompletionKind::Final, 7), (CompletionKind::Final, 2)]);
    assert_eq!(machine.subchannel.owed(), 1);
}

#[test]
fn how_many_finals_are_owed() {
    let mut machine = active(HELD);
    assert_eq!(machine.subchannel.owed(), 1);
    machine.does(Instruction::Halt, 8);
    assert_eq!(machine.subchannel.owed(), 2);
    machine.does(Instruction::Clear, 9);
    assert_eq!(machine.subchannel.owed(), 2, "the start, whose pages are in use, and the clear");
}

#[test]
fn which_functions_need_no_device() {
    let here = [Function::HaltUnissued, Function::RefuseStart, Function::PresentStacked];
    let device = [Function::Clear, Function::Halt, Function::Start, Function::Resume];
    assert!(here.into_iter().all(Function::is_performed_here) && !device.into_iter().any(Function::is_performed_here));
    let mut machine = active(HELD);
    for function in device {
        machine.subchannel.perform_here(function, &mut machine.log);
    }
    assert_eq!((machine.told(), machine.subchannel.device_busy()), (vec![], true));
}

#[test]
fn nothing_is_issued_twice_or_unasked() {
    let mut halting = active(HELD);
    halting.does(Instruction::Halt, 8);
    halting.issues(Function::Halt, 600);
    assert_eq!(halting.subchannel.next_function(), None);
    // The device is forgetting a cancelled program when the next function is accepted: first things first.
    let mut forgetting = suspended(HELD);
    assert_eq!(forgetting.subchannel.next_function(), None, "nobody resumed it");
    forgetting.does(Instruction::Cancel, 8);
    forgetting.issues(Function::Clear, 600);
    forgetting.does(Instruction::Halt, 9);
    assert_eq!(forgetting.subchannel.next_function(), None);
    forgetting.event(DeviceEvent::Cleared);
    forgetting.issues(Function::Halt, 700);
    // Stacked status waits until what is pending is taken, and until nothing is in progress.
    let mut stacked = machine(HELD);
    stacked.attention();
    stacked.attention();
    assert_eq!((stacked.told().len(), stacked.subchannel.next_function()), (1, None));
    stacked.does(Instruction::Test, 1);
    stacked.issues(Function::PresentStacked, 800);
    assert_eq!((stacked.told().len(), stacked.control()), (2, 0x0011));
}

#[test]
fn activity_that_is_said_twice_stays() {
    let mut machine = active(HELD);
    machine.subchannel.issued(Function::Start, 501);
    assert_eq!(machine.control(), S | SCHA | DEVA);
    let mut machine = suspended(HELD);
    assert_eq!(machine.control(), S | SUSP);
    machine.event(DeviceEvent::Suspended(status(DeviceStatus::empty())));
    assert_eq!(machine.control(), S | SUSP);
}

/// The suspension crossed the halt: the halt's status is the next thing told.
#[test]
fn a_suspension_under_a_pending_halt_is_not_told() {
    let mut machine = machine(HELD);
    machine.does(Instruction::Start(&orb().with_control(OrbControl::SUSPEND)), 7);
    machine.issues(Function::Start, 500);
    machine.does(Instruction::Halt, 8);
    machine.event(DeviceEvent::Suspended(status(DeviceStatus::empty())));
    assert_eq!((machine.told(), machine.control()), (vec![], S | H | HP | SCHA | DEVA));
    machine.issues(Function::Halt, 600);
    machine.event(DeviceEvent::Halted(status(DeviceStatus::empty())));
    assert_eq!((machine.told().len(), machine.control()), (2, S | H | X));
}

/// No device refuses what it has begun; one that does leaves a refusal and nothing of what it told before.
#[test]
fn a_refusal_replaces_what_was_pending() {
    let mut machine = active(HELD);
    machine.event(DeviceEvent::InitialStatus(status(DeviceStatus::empty())));
    machine.event(DeviceEvent::Refused { deferred_cc: 1, status: status(DeviceStatus::BUSY) });
    assert_eq!((machine.control(), machine.subchannel.word0 & DEFERRED_CC), (S | SP | A | X, 0x0100_0000));
}

#[test]
fn addresses_and_counts_of_each_status() {
    let words = |machine: &Machine| {
        let [_, address, word2] = machine.subchannel.scsw().to_words();
        (address, word2)
    };
    let empty = DeviceStatus::empty();
    let pci = Status { subchannel: SubchannelStatus::PROGRAM_CONTROLLED_INTERRUPTION, residual: 0, ..status(empty) };
    let mut machine = active(HELD);
    machine.event(DeviceEvent::Intermediate(pci));
    assert_eq!(words(&machine), (0x1008, 0x0080_0000));
    machine.event(DeviceEvent::Ended(Status { ccw_address: 0x1010, ..status(CE | DE) }));
    assert_eq!(words(&machine), (0x1010, 0x0C80_1234), "what was pending joins");
    // The end's own program-controlled interruption, with nothing wrong, is no alert and leaves device end to come.
    let mut machine = active(HELD);
    machine.event(DeviceEvent::Ended(Status { subchannel: SubchannelStatus::PROGRAM_CONTROLLED_INTERRUPTION, ..status(CE) }));
    assert_eq!((words(&machine), machine.control()), ((0x1008, 0x0880_1234), 0x4045));
    for (event, expected) in [
        (DeviceEvent::InitialStatus(Status { residual: 0, ..status(empty) }), (0x1008, 0)),
        (DeviceEvent::Refused { deferred_cc: 1, status: status(DeviceStatus::BUSY) }, (0x1008, 0x1000_1234)),
        (DeviceEvent::Ended(Status { subchannel: SubchannelStatus::PROGRAM_CHECK, ..status(empty) }), (0x1008, 0x0020_1234)),
    ] {
        let mut machine = active(HELD);
        machine.event(event);
        assert_eq!(words(&machine), expected, "{event:?}");
    }
    let mut machine = active(HELD);
    machine.does(Instruction::Halt, 8);
    machine.issues(Function::Halt, 600);
    machine.event(DeviceEvent::Halted(status(DE)));
    assert_eq!(words(&machine), (0x1008, 0x0400_1234));
}

#[test]
fn status_without_room_waits_and_is_told_once_there_is_room() {
    for (mode, kind, left) in [(DELIVERED, CompletionKind::Unsolicited, 0), (HELD, CompletionKind::InterruptionPending, 0x0011)] {
        let mut machine = machine(mode);
        assert!(!machine.subchannel.has_undelivered());
        machine.subchannel.deliver(&mut machine.log);
        assert_eq!(machine.told(), [], "nothing is pending");
        machine.log.room = false;
        machine.attention();
        machine.subchannel.deliver(&mut machine.log);
        assert_eq!((machine.told(), machine.control()), (vec![], 0x0011));
        assert!(machine.subchannel.has_undelivered());
        machine.log.room = true;
        machine.subchannel.deliver(&mut machine.log);
        assert_eq!((machine.told(), machine.control()), (vec![(kind, 0)], left), "{mode:?}");
        assert!(!machine.subchannel.has_undelivered());
        machine.subchannel.deliver(&mut machine.log);
        assert_eq!(machine.told(), []);
    }
}

#[test]
fn one_interruption_whatever_joins_it_and_another_one_after_the_status_was_taken() {
    use CompletionKind::{Final, InterruptionPending};
    let mut machine = active(HELD);
    let intermediate = DeviceEvent::Intermediate(Status { residual: 0, ..status(DeviceStatus::empty()) });
    machine.log.room = false;
    machine.event(intermediate);
    machine.event(intermediate);
    assert!(machine.subchannel.has_undelivered(), "joining does not tell");
    machine.log.room = true;
    machine.event(intermediate);
    machine.event(intermediate);
    assert_eq!(machine.told(), [(InterruptionPending, 7)]);
    machine.does(Instruction::Test, 1);
    machine.log.room = false;
    machine.event(intermediate);
    assert!(machine.subchannel.has_undelivered(), "a new one");
    machine.event(DeviceEvent::Ended(status(CE | DE)));
    assert!(!machine.subchannel.has_undelivered(), "told by the final");
    assert_eq!(machine.told(), [(Final, 1), (Final, 7)]);
}

#[test]
fn kinds_and_tags_of_status_that_no_final_brings() {
    use CompletionKind::{Final, Intermediate, InterruptionPending, Secondary, Unsolicited};
    for (mode, intermediate, secondary, unsolicited) in
        [(DELIVERED, Intermediate, Secondary, Unsolicited), (HELD, InterruptionPending, InterruptionPending, InterruptionPending)]
    {
        let mut machine = active(mode);
        machine.event(DeviceEvent::Intermediate(status(DeviceStatus::empty())));
        assert_eq!(machine.told(), [(intermediate, 7)]);
        machine.does(Instruction::Test, 1);
        machine.event(DeviceEvent::Ended(status(CE)));
        machine.does(Instruction::Test, 2);
        assert_eq!(machine.told(), [(Final, 1), (Final, 7), (Final, 2)]);
        machine.event(DeviceEvent::Secondary(status(DE)));
        assert_eq!(machine.told(), [(secondary, 7)]);
        machine.does(Instruction::Test, 3);
        machine.taken();
        machine.attention();
        let told = machine.taken();
        assert_eq!((told[0].kind, told[0].owed.tag, told[0].intparm), (unsolicited, 0, 0xCAFE));
        assert_eq!((told[0].owed.posted, told[0].owed.taken, told[0].issued), (0, 0, 0), "no stages of a descriptor");
        assert_eq!(told[0].flags.contains(CompletionFlags::STATUS), mode == DELIVERED);
    }
}

#[test]
fn the_device_end_after_a_halt_has_the_tag_of_the_start() {
    let mut machine = active(DELIVERED);
    machine.subchannel.secondary_tag = 99;
    machine.does(Instruction::Halt, 8);
    machine.issues(Function::Halt, 600);
    machine.event(DeviceEvent::HaltedDeviceActive(status(DeviceStatus::empty())));
    assert_eq!(machine.told(), [(CompletionKind::Final, 7), (CompletionKind::Final, 8)]);
    machine.event(DeviceEvent::Secondary(status(DE)));
    assert_eq!(machine.told(), [(CompletionKind::Secondary, 7)]);
}

#[test]
fn an_absorbed_start_says_whether_and_when_it_was_issued() {
    let mut machine = machine(HELD);
    machine.does(Instruction::Start(&orb()), 7);
    machine.does(Instruction::Clear, 8);
    let unissued = machine.taken()[0];
    assert_eq!((unissued.owed.tag, unissued.flags, unissued.issued), (7, CompletionFlags::empty(), 0));
    let mut machine = active(HELD);
    machine.does(Instruction::Clear, 8);
    machine.issues(Function::Clear, 600);
    machine.event(DeviceEvent::Cleared);
    let seen = machine.taken();
    assert_eq!((seen[0].owed.tag, seen[0].flags), (7, CompletionFlags::WAS_ISSUED));
    assert_eq!((seen[1].owed.tag, seen[1].issued), (8, 600));
    let mut machine = active(DELIVERED);
    machine.event(DeviceEvent::Ended(status(CE | DE)));
    let end = machine.taken()[0];
    assert_eq!((end.issued, end.owed.posted, end.owed.taken), (500, 1, 2));
    let mut machine = suspended(HELD);
    machine.does(Instruction::Cancel, 8);
    let seen = machine.taken();
    assert_eq!((seen[0].owed.tag, seen[0].flags, seen[0].issued), (7, CompletionFlags::WAS_ISSUED, 500));
    // The next start is not taken for the one before.
    machine.does(Instruction::Start(&orb()), 9);
    machine.does(Instruction::Halt, 10);
    let unissued = machine.taken()[0];
    assert_eq!((unissued.owed.tag, unissued.flags), (9, CompletionFlags::empty()));
}

#[test]
fn concurrent_sense_is_in_the_status_it_belongs_to_and_in_no_other() {
    let mut machine = active(HELD);
    assert!(!machine.subchannel.wants_concurrent_sense());
    let mut schib = machine.subchannel.schib;
    schib.pmcw.set_characteristics(PmcwCharacteristics::CONCURRENT_SENSE);
    machine.subchannel.schib = schib;
    assert!(machine.subchannel.wants_concurrent_sense());
    let sense: Sense = std::array::from_fn(|at| u8::try_from(at).unwrap());
    let plain = Extension::Irb { esw: Esw::format1(0x80), ecw: Ecw::default() };
    let filled = Extension::Irb { esw: Esw::format1(0x80).with_erw(Erw::concurrent_sense(32)), ecw: Ecw(sense) };
    for (mode, given, expected) in
        [(HELD, None, plain), (HELD, Some(sense), filled), (DELIVERED, None, plain), (DELIVERED, Some(sense), filled)]
    {
        let mut machine = active(mode);
        machine.unit_check(given);
        if mode == HELD {
            assert_eq!(machine.subchannel.word0 & EXTENDED != 0, given.is_some());
            machine.does(Instruction::Test, 8);
        }
        let last = *machine.taken().last().unwrap();
        assert_eq!((last.extension, last.scsw.control_word() & EXTENDED != 0), (Some(expected), given.is_some()));
        // The next unit check comes without.
        machine.does(Instruction::Start(&orb()), 9);
        machine.issues(Function::Start, 700);
        machine.unit_check(None);
        machine.does(Instruction::Test, 10);
        let seen = machine.taken();
        assert_eq!(seen[if mode == HELD { 1 } else { 0 }].extension, Some(plain));
    }
    // No alert, no extension.
    let mut machine = active(DELIVERED);
    machine.event(DeviceEvent::Ended(status(CE | DE)));
    assert_eq!(machine.taken()[0].extension, None);
    // A clear withdraws it with its status.
    let mut machine = active(HELD);
    machine.unit_check(Some(sense));
    machine.does(Instruction::Clear, 8);
    assert_eq!(machine.subchannel.sense, None);
    // What is presented after a stop is not taken for its status either.
    let mut machine = active(HELD);
    machine.unit_check(Some(sense));
    machine.subchannel.stop(&mut machine.log);
    machine.attention();
    machine.does(Instruction::Test, 8);
    assert_eq!(machine.taken().last().unwrap().extension, Some(plain));
}

/// The subchannel is being taken away: everybody gets a final, nobody a status.
#[test]
fn stop_in_every_phase() {
    use Disposition::AbsorbedByClear;
    let idle = |machine: &Machine| {
        assert_eq!((machine.subchannel.word0, machine.subchannel.owed()), (0, 0));
        assert_eq!((machine.subchannel.next_function(), machine.subchannel.device_busy()), (None, false));
    };
    // Nothing at the device: over at once, whatever was pending.
    let mut pending = machine(HELD);
    pending.attention();
    pending.attention();
    let mut start_pending = machine(HELD);
    start_pending.does(Instruction::Start(&orb()), 7);
    let mut clear_pending = machine(HELD);
    clear_pending.does(Instruction::Clear, 7);
    let mut halt_pending = machine(HELD);
    halt_pending.does(Instruction::Halt, 7);
    for (mut machine, expected) in [
        (machine(HELD), vec![]),
        (pending, vec![]),
        (start_pending, vec![(7, AbsorbedByClear)]),
        (clear_pending, vec![(7, AbsorbedByClear)]),
        (halt_pending, vec![(7, AbsorbedByClear)]),
    ] {
        machine.taken();
        machine.subchannel.stop(&mut machine.log);
        assert_eq!(machine.ends(), expected);
        idle(&machine);
    }
    // The device has something: it is told to clear, and a running start ends when it has answered.
    let mut halting = active(HELD);
    halting.does(Instruction::Halt, 8);
    halting.issues(Function::Halt, 600);
    let mut awaiting = active(HELD);
    awaiting.event(DeviceEvent::Ended(status(CE)));
    for (mut machine, at_once, later) in [
        (active(HELD), vec![], vec![(7, AbsorbedByClear)]),
        (suspended(HELD), vec![], vec![(7, AbsorbedByClear)]),
        (halting, vec![(8, AbsorbedByClear)], vec![(7, AbsorbedByClear)]),
        (awaiting, vec![], vec![]),
    ] {
        machine.taken();
        machine.subchannel.stop(&mut machine.log);
        assert_eq!(machine.ends(), at_once);
        machine.issues(Function::Clear, 700);
        machine.event(DeviceEvent::Cleared);
        assert_eq!(machine.ends(), later);
        idle(&machine);
    }
    // A clear that was issued is not issued again.
    let mut machine = active(HELD);
    machine.does(Instruction::Clear, 8);
    machine.issues(Function::Clear, 600);
    machine.subchannel.stop(&mut machine.log);
    assert_eq!(machine.ends(), [(8, AbsorbedByClear)]);
    assert_eq!(machine.subchannel.next_function(), None);
    machine.event(DeviceEvent::Cleared);
    assert_eq!(machine.ends(), [(7, AbsorbedByClear)]);
    idle(&machine);
}
