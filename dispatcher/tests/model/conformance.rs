// SPDX-License-Identifier: MIT OR Apache-2.0
//! The items of the conformance checklist (reference §8) that concern one subchannel, as literal sequences of instructions, condition codes
//! and status words. Status is held, so that TEST SUBCHANNEL is what takes it. `docs/conformance.md` maps items to tests.

use super::lockstep::Log;
use fctl_dispatcher::device::{DeviceEvent, Status};
use fctl_dispatcher::subchannel::{Answer, Function, Instruction, Owed, StatusMode, Subchannel};
use fctl_ringabi::arch::{DeviceStatus, Orb, OrbControl, PmcwFlags, Schib, SubchannelStatus};
use fctl_ringabi::{CompletionFlags, CompletionKind, DescriptorFlags, Disposition, Extension, Operation};

const CE: DeviceStatus = DeviceStatus::CHANNEL_END;
const DE: DeviceStatus = DeviceStatus::DEVICE_END;

/// One subchannel, and the device that the test plays.
struct Machine {
    subchannel: Subchannel,
    log: Log,
    tag: u64,
}

impl Machine {
    fn new(enabled: bool) -> Self {
        Self { subchannel: Subchannel::new(0x120, enabled, StatusMode::Held), log: Log::default(), tag: 0 }
    }

    fn execute(&mut self, operation: Operation, instruction: Instruction<'_>) -> Answer {
        self.tag += 1;
        let owed = Owed { tag: self.tag, posted: 0, taken: 0, flags: DescriptorFlags::ACCEPTED, operation };
        self.subchannel.accept(instruction, owed, &mut self.log);
        let accepted = |answer: &&Answer| answer.kind == CompletionKind::Accepted && answer.owed.tag == self.tag;
        *self.log.0.iter().find(accepted).expect("each instruction is told its condition code")
    }

    fn ssch(&mut self, orb: &Orb) -> u8 {
        self.execute(Operation::Start, Instruction::Start(orb)).cc
    }

    fn hsch(&mut self) -> u8 {
        self.execute(Operation::Halt, Instruction::Halt).cc
    }

    fn csch(&mut self) -> u8 {
        self.execute(Operation::Clear, Instruction::Clear).cc
    }

    fn xsch(&mut self) -> u8 {
        self.execute(Operation::Cancel, Instruction::Cancel).cc
    }

    fn rsch(&mut self) -> u8 {
        self.execute(Operation::Resume, Instruction::Resume).cc
    }

    fn msch(&mut self, schib: &Schib) -> u8 {
        let answer = self.execute(Operation::Modify, Instruction::Modify(schib));
        assert_eq!(answer.disposition, Disposition::Executed);
        answer.cc
    }

    /// Condition code and the status word stored.
    fn tsch(&mut self) -> (u8, [u32; 3]) {
        let cc = self.execute(Operation::Test, Instruction::Test).cc;
        let last = self.log.0.last().unwrap();
        assert_eq!(last.flags.contains(CompletionFlags::STATUS), cc != 3);
        (cc, last.scsw.to_words())
    }

    /// In the extended status of what was stored last.
    fn lpum_of_the_status(&self) -> u8 {
        match self.log.0.last().unwrap().extension {
            Some(Extension::Irb { esw, .. }) => esw.lpum(),
            other => panic!("{other:?} is no extended status"),
        }
    }

    fn stsch(&mut self) -> Schib {
        assert_eq!(self.execute(Operation::Store, Instruction::Store).cc, 0);
        match self.log.0.last().unwrap().extension {
            Some(Extension::Schib(schib)) => schib,
            other => panic!("STSCH stored {other:?}"),
        }
    }

    fn control(&mut self) -> u32 {
        self.stsch().scsw.to_words()[0]
    }

    /// Issues what is to be issued next; what needs no device is performed.
    fn issue(&mut self) -> Option<Function> {
        let function = self.subchannel.next_function()?;
        self.subchannel.issued(function, 1);
        self.subchannel.perform_here(function, &mut self.log);
        Some(function)
    }

    fn event(&mut self, event: DeviceEvent) {
        self.subchannel.event(&event, None, &mut self.log);
    }

    fn end(&mut self, device: DeviceStatus, subchannel: SubchannelStatus) {
        self.event(DeviceEvent::Ended(Status { device, subchannel, ccw_address: 0x1008, residual: 0 }));
    }

    /// Interruption parameters of the interruptions since the last look.
    fn interruptions(&mut self) -> Vec<u32> {
        let announces = |answer: &Answer| match answer.kind {
            CompletionKind::InterruptionPending => true,
            CompletionKind::Final => {
                let function = matches!(answer.owed.operation, Operation::Start | Operation::Halt | Operation::Clear);
                function && answer.cc == 0 && answer.disposition == Disposition::Executed
            }
            _ => false,
        };
        std::mem::take(&mut self.log.0).iter().filter(|answer| announces(answer)).map(|answer| answer.intparm).collect()
    }

    /// Tags of the descriptors with this fate, since the last look at the interruptions.
    fn fates(&self, disposition: Disposition) -> Vec<u64> {
        let fits = |answer: &&Answer| answer.kind == CompletionKind::Final && answer.disposition == disposition;
        self.log.0.iter().filter(fits).map(|answer| answer.owed.tag).collect()
    }
}

/// Format 1, key 0: the echo in word 0 is 00800000.
fn orb(intparm: u32) -> Orb {
    Orb::new(intparm, 0x1000)
}

/// The same with S: the echo is 08800000.
fn suspendable(intparm: u32) -> Orb {
    orb(intparm).with_control(OrbControl::SUSPEND)
}

fn idle() -> Machine {
    Machine::new(true)
}

fn disabled() -> Machine {
    Machine::new(false)
}

fn start_pending() -> Machine {
    let mut machine = idle();
    assert_eq!(machine.ssch(&orb(0x11)), 0);
    machine
}

fn active() -> Machine {
    let mut machine = start_pending();
    assert_eq!(machine.issue(), Some(Function::Start));
    machine
}

/// P+2+X, the interruption not taken.
fn status_pending() -> Machine {
    let mut machine = active();
    machine.end(CE | DE, SubchannelStatus::empty());
    assert_eq!(machine.interruptions(), [0x11]);
    machine
}

fn pci_pending() -> Machine {
    let mut machine = active();
    let pci = SubchannelStatus::PROGRAM_CONTROLLED_INTERRUPTION;
    machine.event(DeviceEvent::Intermediate(Status { subchannel: pci, ccw_address: 0x1008, ..Status::default() }));
    assert_eq!(machine.interruptions(), [0x11]);
    machine
}

/// I+X, the interruption not taken.
fn suspended_pending() -> Machine {
    let mut machine = idle();
    assert_eq!(machine.ssch(&suspendable(0x22)), 0);
    assert_eq!(machine.issue(), Some(Function::Start));
    machine.event(DeviceEvent::Suspended(Status { ccw_address: 0x1010, ..Status::default() }));
    assert_eq!(machine.interruptions(), [0x22]);
    machine
}

fn suspended() -> Machine {
    let mut machine = suspended_pending();
    assert_eq!(machine.tsch(), (0, [0x0880_4029, 0x1010, 0]));
    machine
}

fn halt_pending() -> Machine {
    let mut machine = active();
    assert_eq!(machine.hsch(), 0);
    machine
}

fn clear_pending() -> Machine {
    let mut machine = idle();
    assert_eq!(machine.csch(), 0);
    machine
}

/// Device active only: channel end was presented and taken.
fn device_active() -> Machine {
    let mut machine = active();
    machine.end(CE, SubchannelStatus::empty());
    assert_eq!(machine.interruptions(), [0x11]);
    assert_eq!(machine.tsch(), (0, [0x0080_4045, 0x1008, 0x0800_0000]));
    machine
}

/// Status pending in each combination that an end, a refusal, a halt or a device by itself leaves, with the control bits of word 0.
fn all_status_pending() -> Vec<(Machine, u32)> {
    let mut all = vec![(status_pending(), 0x4007)];
    let mut with = |mut machine: Machine, event: DeviceEvent, control: u32| {
        machine.event(event);
        assert_eq!(machine.interruptions().len(), 1);
        all.push((machine, control));
    };
    let status = |device| Status { device, ccw_address: 0x1008, ..Status::default() };
    with(active(), DeviceEvent::Ended(status(CE)), 0x4045);
    with(active(), DeviceEvent::Ended(status(CE | DE | DeviceStatus::UNIT_CHECK)), 0x4017);
    with(active(), DeviceEvent::Refused { deferred_cc: 3, status: Status::default() }, 0x4411);
    with(device_active(), DeviceEvent::Secondary(status(DE)), 0x0003);
    with(idle(), DeviceEvent::Unsolicited(status(DeviceStatus::ATTENTION)), 0x0011);
    let mut halted = halt_pending();
    halted.issue();
    with(halted, DeviceEvent::Halted(Status::default()), 0x6001);
    let mut cleared = clear_pending();
    cleared.issue();
    with(cleared, DeviceEvent::Cleared, 0x1001);
    all
}

// ---------------------------------------------------------------------------------------------------------------------
// Enumeration, enablement

#[test]
fn item_12_msch_enables_and_sets_the_subclass() {
    let mut machine = disabled();
    assert_eq!(machine.ssch(&orb(1)), 3);
    let mut schib = machine.stsch();
    assert!(!schib.pmcw.is_enabled());
    schib.pmcw.set_flags(schib.pmcw.flags() | PmcwFlags::ENABLED);
    schib.pmcw.set_isc(5);
    assert_eq!(machine.msch(&schib), 0);
    let stored = machine.stsch();
    assert_eq!((stored.pmcw.is_enabled(), stored.pmcw.isc()), (true, 5));
    assert_eq!(machine.ssch(&orb(1)), 0);
}

#[test]
fn item_13_a_disabled_subchannel_is_not_operational() {
    let mut machine = disabled();
    let schib = machine.stsch();
    assert_eq!([machine.ssch(&orb(1)), machine.hsch(), machine.csch(), machine.xsch(), machine.rsch(), machine.tsch().0], [3; 6]);
    assert_eq!(machine.msch(&schib), 0);
    assert_eq!(machine.stsch(), schib, "nothing was changed");
    assert_eq!(machine.subchannel.next_function(), None);
    assert_eq!(machine.interruptions(), [0; 0]);
}

/// A subchannel without a valid device number cannot be made here: each has one from the beginning, and MSCH does not change V.
#[test]
fn item_14_every_subchannel_has_a_valid_device_number() {
    for mut machine in [idle(), disabled()] {
        let before = machine.stsch();
        assert!(before.pmcw.is_valid());
        let mut schib = before;
        schib.pmcw.set_flags(schib.pmcw.flags() - PmcwFlags::VALID);
        assert_eq!(machine.msch(&schib), 0);
        assert_eq!(machine.stsch(), before);
    }
}

#[test]
fn item_15_msch_while_a_function_is_in_progress_or_status_pending() {
    for (mut machine, expected) in
        [(start_pending(), 2), (active(), 2), (halt_pending(), 2), (clear_pending(), 2), (suspended(), 2)]
    {
        let schib = machine.stsch();
        let mut changed = schib;
        changed.pmcw.set_isc(7);
        changed.pmcw.set_intparm(0xFFFF);
        assert_eq!(machine.msch(&changed), expected);
        assert_eq!(machine.stsch(), schib);
    }
    for (mut machine, control) in all_status_pending() {
        let schib = machine.stsch();
        let mut changed = schib;
        changed.pmcw.set_isc(7);
        assert_eq!(machine.msch(&changed), 1, "{control:#06x}");
        assert_eq!(machine.stsch(), schib);
    }
}

#[test]
fn item_16_msch_ignores_what_is_not_modifiable() {
    let mut machine = idle();
    let before = machine.stsch();
    // The modifiable fields stay as they are; T, V, device number, PNOM, LPUM, PIM, PAM, CHPIDs, type, SCSW and the model's word change.
    let mut bytes = before.to_bytes();
    bytes[5] ^= 0x03;
    bytes[6] ^= 0xFF;
    bytes[7] ^= 0xFF;
    for at in [9, 10, 11, 15, 16, 17, 18, 19, 20, 21, 22, 23, 48, 49, 50, 51].into_iter().chain(28..40) {
        bytes[at] ^= 0xFF;
    }
    bytes[25] ^= 0xE0;
    assert_eq!(machine.msch(&Schib::from_bytes(&bytes)), 0);
    assert_eq!(machine.stsch(), before);
}

// ---------------------------------------------------------------------------------------------------------------------
// Start

#[test]
fn item_19_a_second_ssch_is_refused_and_its_orb_ignored() {
    let mut machine = start_pending();
    assert_eq!(machine.ssch(&suspendable(0x99)), 2);
    assert_eq!(machine.stsch().pmcw.intparm(), 0x11);
    assert_eq!(machine.issue(), Some(Function::Start));
    assert_eq!(*machine.subchannel.orb(), orb(0x11));
    assert_eq!(machine.ssch(&suspendable(0x99)), 2);
    machine.end(CE | DE, SubchannelStatus::empty());
    assert_eq!(machine.ssch(&suspendable(0x99)), 1);
    assert_eq!(machine.interruptions(), [0x11]);
    assert_eq!(machine.tsch(), (0, [0x0080_4007, 0x1008, 0x0C00_0000]));
    assert_eq!(machine.issue(), None);
}

#[test]
fn item_20_ssch_with_status_pending() {
    let mut machine = status_pending();
    assert_eq!((machine.ssch(&orb(0x12)), machine.tsch().0, machine.ssch(&orb(0x12))), (1, 0, 0));
    assert_eq!(machine.issue(), Some(Function::Start));
    assert_eq!(machine.subchannel.orb().intparm(), 0x12);
}

#[test]
fn item_21_stsch_after_ssch_shows_the_start() {
    let mut machine = idle();
    assert_eq!(machine.ssch(&orb(0xCAFE)), 0);
    let schib = machine.stsch();
    assert_eq!((schib.pmcw.intparm(), schib.scsw.to_words()), (0xCAFE, [0x0080_4400, 0, 0]));
    machine.issue();
    assert_eq!(machine.control(), 0x0080_40C0);
}

#[test]
fn item_22_no_path_is_a_deferred_condition_code_3() {
    let mut machine = active();
    machine.event(DeviceEvent::Refused { deferred_cc: 3, status: Status::default() });
    assert_eq!(machine.interruptions(), [0x11]);
    let (cc, words) = machine.tsch();
    assert_eq!((cc, words[0]), (0, 0x0381_4411), "CC=3, N, start, start pending, alert and status pending");
    assert_eq!(machine.control() & 0x7FFF, 0);
    assert_eq!(machine.stsch().pmcw.pnom, 0x80);
    assert_eq!(machine.ssch(&orb(0x12)), 0);
    let schib = machine.stsch();
    assert_eq!((schib.pmcw.pnom, schib.scsw.to_words()[0]), (0, 0x0080_4400), "the next start begins anew");
}

#[test]
fn item_22_a_start_that_selects_no_available_path_is_refused_at_once() {
    for mask in [0, 0x7F, 0x01] {
        let mut machine = idle();
        let before = machine.stsch();
        assert_eq!((machine.ssch(&orb(0x12).with_lpm(mask)), machine.issue()), (3, None), "{mask:02X}");
        assert_eq!(machine.stsch(), before, "nothing is changed: neither interruption parameter nor status");
        assert_eq!(machine.tsch().0, 1, "and nothing is pending");
        assert_eq!(machine.ssch(&orb(0x12)), 0);
        // It is not operational for this start: that comes before a function in progress and before pending status.
        assert_eq!((machine.ssch(&orb(0x13)), machine.ssch(&orb(0x13).with_lpm(mask))), (2, 3));
        let mut machine = status_pending();
        assert_eq!((machine.ssch(&orb(0x13)), machine.ssch(&orb(0x13).with_lpm(mask)), machine.tsch().0), (1, 3, 0));
    }
    for mask in [0x80, 0xFF, 0x81] {
        assert_eq!(idle().ssch(&orb(0x12).with_lpm(mask)), 0, "{mask:02X}");
    }
    // The ORB brings its own mask; what MODIFY SUBCHANNEL put into the PMCW's has no say.
    let mut machine = idle();
    let mut schib = machine.stsch();
    (schib.pmcw.lpm, schib.pmcw.pom, schib.pmcw.pam) = (0, 0, 0);
    assert_eq!((machine.msch(&schib), machine.ssch(&orb(0x12))), (0, 0));
    // Disabled, no mask helps; enabled again, it does.
    let mut machine = idle();
    let mut schib = machine.stsch();
    schib.pmcw.set_flags(schib.pmcw.flags() - PmcwFlags::ENABLED);
    assert_eq!((machine.msch(&schib), machine.ssch(&orb(0x12).with_lpm(0xFF))), (0, 3));
    schib.pmcw.set_flags(schib.pmcw.flags() | PmcwFlags::ENABLED);
    assert_eq!((machine.msch(&schib), machine.ssch(&orb(0x12).with_lpm(0xFF))), (0, 0));
}

/// Reference §3.3: LPUM is the path over which the device was last spoken with.
#[test]
fn the_path_last_used() {
    let mut machine = start_pending();
    assert_eq!(machine.stsch().pmcw.lpum, 0, "accepting needs no path");
    machine.issue();
    assert_eq!(machine.stsch().pmcw.lpum, 0x80);
    // In the status as well.
    machine.end(CE | DE | DeviceStatus::UNIT_CHECK, SubchannelStatus::empty());
    assert_eq!(machine.tsch().0, 0);
    assert_eq!(machine.lpum_of_the_status(), 0x80);
    // A start to which no path led used none, and its status says so.
    machine.ssch(&orb(0x12));
    machine.issue();
    machine.event(DeviceEvent::Refused { deferred_cc: 3, status: Status::default() });
    assert_eq!((machine.stsch().pmcw.lpum, machine.tsch().0), (0, 0));
    assert_eq!(machine.lpum_of_the_status(), 0);
    // A halt of a start that was never issued needs none; one that signals the device does, and so does a clear.
    machine.ssch(&orb(0x12));
    machine.hsch();
    machine.issue();
    assert_eq!((machine.stsch().pmcw.lpum, machine.tsch().0), (0, 0));
    machine.hsch();
    machine.issue();
    machine.event(DeviceEvent::Halted(Status::default()));
    assert_eq!(machine.stsch().pmcw.lpum, 0x80);
    let mut machine = idle();
    machine.csch();
    assert_eq!(machine.stsch().pmcw.lpum, 0);
    machine.issue();
    machine.event(DeviceEvent::Cleared);
    assert_eq!(machine.stsch().pmcw.lpum, 0x80);
    // So does status that nobody asked for.
    let mut machine = idle();
    machine.event(DeviceEvent::Unsolicited(Status { device: DeviceStatus::ATTENTION, ..Status::default() }));
    assert_eq!((machine.tsch().0, machine.lpum_of_the_status(), machine.stsch().pmcw.lpum), (0, 0x80, 0x80));
}

#[test]
fn item_23_tsch_before_the_end_takes_nothing() {
    let mut machine = start_pending();
    assert_eq!(machine.tsch(), (1, [0x0080_4400, 0, 0]));
    machine.issue();
    assert_eq!(machine.tsch(), (1, [0x0080_40C0, 0, 0]));
    assert_eq!(machine.control(), 0x0080_40C0);
    machine.end(CE | DE, SubchannelStatus::empty());
    assert_eq!(machine.tsch(), (0, [0x0080_4007, 0x1008, 0x0C00_0000]));
}

#[test]
fn item_24_the_second_tsch_finds_nothing() {
    let mut machine = status_pending();
    assert_eq!(machine.tsch(), (0, [0x0080_4007, 0x1008, 0x0C00_0000]));
    assert_eq!(machine.control() & 0x7FFF, 0);
    let (cc, words) = machine.tsch();
    assert_eq!((cc, words[0] & 0x7FFF), (1, 0));
}

#[test]
fn item_25_stsch_shows_what_tsch_takes_and_does_not_take_it() {
    for (mut machine, control) in all_status_pending() {
        let first = machine.stsch().scsw.to_words();
        assert_eq!(machine.stsch().scsw.to_words(), first);
        assert_eq!(first[0] & 0x7FFF, control);
        assert_eq!(machine.tsch(), (0, first));
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// Halt, clear, cancel, resume

#[test]
fn item_26_hsch_on_an_idle_subchannel() {
    let mut machine = idle();
    assert_eq!(machine.hsch(), 0);
    assert_eq!(machine.control(), 0x0000_2200);
    assert_eq!(machine.issue(), Some(Function::Halt));
    machine.event(DeviceEvent::Halted(Status::default()));
    assert_eq!(machine.interruptions().len(), 1);
    assert_eq!(machine.tsch(), (0, [0x0000_2001, 0, 0]));
    assert_eq!(machine.control(), 0);
}

#[test]
fn item_27_a_start_that_was_halted_before_it_was_issued_never_runs() {
    let mut machine = start_pending();
    assert_eq!(machine.hsch(), 0);
    assert_eq!(machine.control(), 0x0080_6600);
    assert_eq!(machine.fates(Disposition::AbsorbedByHalt), [1]);
    assert_eq!(machine.issue(), Some(Function::HaltUnissued), "performed without the device");
    assert_eq!(machine.interruptions(), [0x11]);
    assert_eq!(machine.tsch(), (0, [0x0080_6001, 0, 0]));
    assert_eq!(machine.issue(), None);
}

#[test]
fn item_28_hsch_of_a_running_program() {
    let checked = CE | DE | DeviceStatus::UNIT_CHECK;
    for (device, control) in [(DeviceStatus::empty(), 0x6001), (DE, 0x6003), (CE | DE, 0x6007), (checked, 0x6017)] {
        let mut machine = halt_pending();
        assert_eq!(machine.control(), 0x0080_62C0);
        assert_eq!(machine.issue(), Some(Function::Halt));
        assert_eq!(machine.fates(Disposition::AbsorbedByHalt), [0; 0], "its pages are still in use");
        machine.event(DeviceEvent::Halted(Status { device, ccw_address: 0x1008, ..Status::default() }));
        assert_eq!(machine.fates(Disposition::AbsorbedByHalt), [1]);
        assert_eq!(machine.interruptions(), [0x11]);
        let (cc, words) = machine.tsch();
        assert_eq!((cc, words[0], words[2]), (0, 0x0080_0000 | control, u32::from(device.bits()) << 24));
        assert_eq!(machine.issue(), None);
    }
}

#[test]
fn item_29_a_halt_in_progress() {
    for issued in [false, true] {
        let mut machine = halt_pending();
        if issued {
            assert_eq!(machine.issue(), Some(Function::Halt));
        }
        assert_eq!((machine.hsch(), machine.ssch(&orb(9)), machine.csch()), (2, 2, 0));
        assert_eq!(machine.fates(Disposition::AbsorbedByClear), [2], "the halt");
        assert_eq!(machine.control(), 0x0000_1100);
        assert_eq!(machine.issue(), Some(Function::Clear));
        machine.event(DeviceEvent::Cleared);
        assert_eq!(machine.interruptions(), [0x11]);
        assert_eq!(machine.tsch(), (0, [0x0000_1001, 0, 0]));
    }
}

#[test]
fn item_30_hsch_with_status_pending_changes_nothing() {
    for (mut machine, control) in all_status_pending() {
        let before = machine.stsch();
        assert_eq!(machine.hsch(), 1, "{control:#06x}");
        assert_eq!(machine.stsch(), before);
        assert_eq!(machine.issue(), None);
    }
}

#[test]
fn item_31_hsch_withdraws_a_pci() {
    let mut machine = pci_pending();
    assert_eq!(machine.control(), 0x0080_40C9);
    assert_eq!(machine.hsch(), 0);
    let (cc, words) = machine.tsch();
    assert_eq!((cc, words[0], words[2]), (1, 0x0080_62C0, 0));
    assert_eq!(machine.issue(), Some(Function::Halt));
    machine.event(DeviceEvent::Halted(Status::default()));
    assert_eq!(machine.interruptions(), [0x11]);
    assert_eq!(machine.tsch(), (0, [0x0080_6001, 0, 0]));
}

#[test]
fn item_32_csch_in_any_state() {
    let simple: [fn() -> Machine; 9] =
        [idle, start_pending, active, pci_pending, device_active, suspended_pending, suspended, halt_pending, clear_pending];
    let pending = all_status_pending().into_iter().map(|found| found.0);
    for mut machine in simple.into_iter().map(|make| make()).chain(pending) {
        machine.interruptions();
        assert_eq!(machine.csch(), 0);
        assert_eq!(machine.stsch().scsw.to_words(), [0x0000_1100, 0, 0]);
        assert_eq!(machine.issue(), Some(Function::Clear));
        machine.event(DeviceEvent::Cleared);
        assert_eq!(machine.interruptions().len(), 1);
        assert_eq!(machine.tsch(), (0, [0x0000_1001, 0, 0]));
        assert_eq!((machine.tsch().0, machine.control()), (1, 0));
        assert_eq!((machine.issue(), machine.interruptions().len()), (None, 0));
    }
}

#[test]
fn item_33_csch_withdraws_pending_status() {
    for (mut machine, control) in all_status_pending() {
        assert_eq!(machine.csch(), 0, "{control:#06x}");
        assert_eq!(machine.tsch(), (1, [0x0000_1100, 0, 0]), "the old status is gone");
        assert_eq!(machine.issue(), Some(Function::Clear));
        machine.event(DeviceEvent::Cleared);
        assert_eq!(machine.interruptions().len(), 1);
        assert_eq!(machine.tsch(), (0, [0x0000_1001, 0, 0]));
    }
}

#[test]
fn item_34_two_clears_are_one_interruption() {
    for issued in [false, true] {
        let mut machine = clear_pending();
        if issued {
            assert_eq!(machine.issue(), Some(Function::Clear));
        }
        assert_eq!(machine.csch(), 0);
        assert_eq!(machine.fates(Disposition::AbsorbedByClear), [1]);
        while machine.issue().is_some() {}
        machine.event(DeviceEvent::Cleared);
        assert_eq!(machine.interruptions(), [0]);
        assert_eq!((machine.tsch(), machine.tsch().0), ((0, [0x0000_1001, 0, 0]), 1));
    }
}

#[test]
fn item_35_ssch_after_csch_needs_tsch_first() {
    let mut machine = clear_pending();
    assert_eq!(machine.ssch(&orb(5)), 2);
    machine.issue();
    assert_eq!(machine.ssch(&orb(5)), 2);
    machine.event(DeviceEvent::Cleared);
    assert_eq!(machine.ssch(&orb(5)), 1);
    assert_eq!(machine.tsch().0, 0);
    assert_eq!(machine.ssch(&orb(5)), 0);
}

#[test]
fn item_36_masks_after_a_clear() {
    let mut machine = idle();
    let mut schib = machine.stsch();
    schib.pmcw.pom = 0x7F;
    assert_eq!(machine.msch(&schib), 0);
    assert_eq!(machine.ssch(&orb(0x11)), 0);
    machine.issue();
    machine.event(DeviceEvent::Refused { deferred_cc: 3, status: Status::default() });
    let schib = machine.stsch();
    assert_eq!((schib.pmcw.pnom, schib.pmcw.pom, schib.scsw.to_words()[0]), (0x80, 0x7F, 0x0381_4411));
    assert_eq!(machine.csch(), 0);
    machine.issue();
    machine.event(DeviceEvent::Cleared);
    let schib = machine.stsch();
    assert_eq!((schib.pmcw.pnom, schib.pmcw.pom, schib.scsw.to_words()[0]), (0, 0xFF, 0x0000_1001));
}

#[test]
fn item_37_xsch() {
    let mut machine = idle();
    assert_eq!((machine.xsch(), machine.control()), (2, 0));
    for (mut machine, control) in all_status_pending() {
        let before = machine.stsch();
        assert_eq!(machine.xsch(), 1, "{control:#06x}");
        assert_eq!(machine.stsch(), before);
    }
    let mut machine = start_pending();
    assert_eq!(machine.xsch(), 0);
    assert_eq!(machine.fates(Disposition::AbsorbedByCancel), [1]);
    assert_eq!(machine.control() & 0x7FFF, 0);
    assert_eq!(machine.issue(), None);
    assert_eq!(machine.interruptions(), [0; 0]);
    assert_eq!(machine.tsch().0, 1);
    assert_eq!(machine.ssch(&orb(0x12)), 0);
    let mut machine = active();
    assert_eq!((machine.xsch(), machine.control()), (2, 0x0080_40C0));
}

#[test]
fn item_38_xsch_of_a_suspended_program() {
    let mut machine = suspended();
    assert_eq!(machine.xsch(), 0);
    assert_eq!(machine.control() & 0x7FFF, 0);
    // The device is made to forget the program; the guest sees nothing of that.
    assert_eq!(machine.issue(), Some(Function::Clear));
    machine.event(DeviceEvent::Cleared);
    assert_eq!(machine.control() & 0x7FFF, 0);
    assert_eq!(machine.interruptions(), [0; 0]);
    assert_eq!(machine.tsch().0, 1);
    assert_eq!(machine.ssch(&orb(0x12)), 0);
    assert_eq!(machine.issue(), Some(Function::Start));
}

#[test]
fn item_39_rsch_refused() {
    let mut machine = active();
    assert_eq!((machine.rsch(), machine.control()), (2, 0x0080_40C0));
    let mut machine = idle();
    assert_eq!((machine.rsch(), machine.control()), (2, 0));
    for (mut machine, control) in all_status_pending() {
        let before = machine.stsch();
        assert_eq!(machine.rsch(), 1, "{control:#06x}");
        assert_eq!(machine.stsch(), before);
    }
    assert_eq!(suspended_pending().rsch(), 1);
}

#[test]
fn item_40_rsch_of_a_suspended_program() {
    let mut machine = suspended();
    assert_eq!((machine.rsch(), machine.rsch()), (0, 2));
    assert_eq!(machine.control(), 0x0880_4820);
    assert_eq!(machine.issue(), Some(Function::Resume));
    assert_eq!(machine.control(), 0x0880_40C0);
    machine.end(CE | DE, SubchannelStatus::empty());
    assert_eq!(machine.interruptions(), [0x22]);
    assert_eq!(machine.tsch(), (0, [0x0880_4007, 0x1008, 0x0C00_0000]));
}

#[test]
fn item_41_the_interruption_of_a_suspension() {
    let mut machine = suspended_pending();
    assert_eq!(machine.tsch(), (0, [0x0880_4029, 0x1010, 0]));
    assert_eq!(machine.control(), 0x0880_4020);
    let mut machine = idle();
    assert_eq!(machine.ssch(&suspendable(0x33).with_control(OrbControl::SUPPRESS_SUSPENDED)), 0);
    machine.issue();
    machine.event(DeviceEvent::Suspended(Status { ccw_address: 0x1010, ..Status::default() }));
    assert_eq!(machine.interruptions(), [0; 0]);
    assert_eq!(machine.tsch().0, 1);
    assert_eq!(machine.control(), 0x0888_4020);
}

#[test]
fn item_42_hsch_of_a_suspended_program() {
    let mut machine = suspended();
    assert_eq!(machine.hsch(), 0);
    assert_eq!(machine.issue(), Some(Function::Halt));
    machine.event(DeviceEvent::Halted(Status { ccw_address: 0x1010, ..Status::default() }));
    assert_eq!(machine.interruptions(), [0x22]);
    assert_eq!(machine.tsch(), (0, [0x0880_6021, 0x1010, 0]));
    assert_eq!(machine.control() & 0x7FFF, 0);
}

// ---------------------------------------------------------------------------------------------------------------------
// Batch merge: what stands in one batch is accepted before anything is issued

#[test]
fn item_43_start_halt() {
    let mut machine = idle();
    assert_eq!((machine.ssch(&orb(0x11)), machine.hsch()), (0, 0));
    assert_eq!(machine.issue(), Some(Function::HaltUnissued), "no device I/O");
    assert_eq!(machine.interruptions(), [0x11]);
    assert_eq!((machine.tsch(), machine.tsch().0), ((0, [0x0080_6001, 0, 0]), 1));
}

#[test]
fn item_44_start_clear() {
    let mut machine = idle();
    assert_eq!((machine.ssch(&orb(0x11)), machine.csch()), (0, 0));
    assert_eq!(machine.issue(), Some(Function::Clear));
    machine.event(DeviceEvent::Cleared);
    assert_eq!(machine.interruptions(), [0x11]);
    assert_eq!((machine.tsch(), machine.tsch().0), ((0, [0x0000_1001, 0, 0]), 1));
}

#[test]
fn item_45_clear_start() {
    let mut machine = idle();
    assert_eq!((machine.csch(), machine.ssch(&orb(0x11))), (0, 2));
    assert_eq!(machine.stsch().pmcw.intparm(), 0);
    assert_eq!(machine.issue(), Some(Function::Clear));
    machine.event(DeviceEvent::Cleared);
    assert_eq!(machine.interruptions(), [0]);
    assert_eq!(machine.tsch(), (0, [0x0000_1001, 0, 0]));
    assert_eq!(machine.issue(), None);
}

#[test]
fn item_46_halt_clear() {
    let mut machine = idle();
    assert_eq!((machine.hsch(), machine.csch()), (0, 0));
    assert_eq!(machine.issue(), Some(Function::Clear));
    machine.event(DeviceEvent::Cleared);
    assert_eq!(machine.interruptions(), [0]);
    assert_eq!((machine.tsch(), machine.tsch().0), ((0, [0x0000_1001, 0, 0]), 1));
}

#[test]
fn item_47_start_cancel() {
    let mut machine = idle();
    assert_eq!((machine.ssch(&orb(0x11)), machine.xsch()), (0, 0));
    assert_eq!((machine.issue(), machine.interruptions().len(), machine.tsch().0), (None, 0, 1));
    // Issued in between.
    let mut machine = active();
    assert_eq!(machine.xsch(), 2);
}

#[test]
fn item_48_cancel_start() {
    let mut machine = start_pending();
    assert_eq!((machine.xsch(), machine.ssch(&orb(0x22))), (0, 0));
    assert_eq!(machine.issue(), Some(Function::Start));
    assert_eq!(machine.subchannel.orb().intparm(), 0x22);
    machine.end(CE | DE, SubchannelStatus::empty());
    assert_eq!(machine.interruptions(), [0x22]);
}

#[test]
fn item_49_test_is_a_barrier() {
    let mut machine = status_pending();
    assert_eq!((machine.tsch().0, machine.ssch(&orb(0x22))), (0, 0));
    let mut machine = status_pending();
    assert_eq!(machine.ssch(&orb(0x22)), 1);
    assert_eq!(machine.tsch(), (0, [0x0080_4007, 0x1008, 0x0C00_0000]));
}

#[test]
fn item_50_modify_is_a_barrier() {
    let mut machine = idle();
    let mut schib = machine.stsch();
    assert_eq!((machine.ssch(&orb(0x11)), machine.msch(&schib)), (0, 2));
    let mut machine = idle();
    schib.pmcw.set_flags(schib.pmcw.flags() - PmcwFlags::ENABLED);
    assert_eq!((machine.msch(&schib), machine.ssch(&orb(0x11))), (0, 3));
}

#[test]
fn item_51_five_instructions_one_status() {
    let mut machine = idle();
    let codes = [machine.ssch(&orb(0x11)), machine.ssch(&orb(0x22)), machine.csch(), machine.ssch(&orb(0x33)), machine.csch()];
    assert_eq!(codes, [0, 2, 0, 2, 0]);
    assert_eq!(machine.fates(Disposition::AbsorbedByClear), [1, 3]);
    assert_eq!(machine.issue(), Some(Function::Clear));
    machine.event(DeviceEvent::Cleared);
    assert_eq!(machine.interruptions(), [0x11]);
    assert_eq!((machine.tsch(), machine.tsch().0), ((0, [0x0000_1001, 0, 0]), 1));
}

#[test]
fn item_52_condition_codes_in_order_and_before_the_status() {
    let mut machine = idle();
    assert_eq!(
        (machine.ssch(&orb(0x11)), machine.rsch(), machine.hsch(), machine.ssch(&orb(9)), machine.csch()),
        (0, 2, 0, 2, 0)
    );
    machine.issue();
    machine.event(DeviceEvent::Cleared);
    let place = |kind, tag| machine.log.0.iter().position(|one| one.kind == kind && one.owed.tag == tag).unwrap();
    let accepted: Vec<u64> =
        machine.log.0.iter().filter(|one| one.kind == CompletionKind::Accepted).map(|one| one.owed.tag).collect();
    assert_eq!(accepted, [1, 2, 3, 4, 5]);
    for tag in 1..=5 {
        assert!(place(CompletionKind::Accepted, tag) < place(CompletionKind::Final, tag));
    }
    let last = machine.log.0.last().unwrap();
    assert_eq!((last.kind, last.owed.tag), (CompletionKind::Final, 5));
}

// ---------------------------------------------------------------------------------------------------------------------
// Ends that come late, and device end apart from channel end: no items of their own, but rules that the items stand on

/// The end was on its way when the clear was accepted; it comes before the clear is issued, or after.
#[test]
fn the_late_end_of_a_start_that_was_cleared_is_nobodys() {
    for issued in [false, true] {
        let mut machine = active();
        assert_eq!(machine.csch(), 0);
        if issued {
            assert_eq!(machine.issue(), Some(Function::Clear));
        }
        machine.end(CE | DE, SubchannelStatus::empty());
        machine.event(DeviceEvent::Secondary(Status { device: DE, ..Status::default() }));
        assert_eq!(machine.interruptions(), [0; 0]);
        assert_eq!(machine.tsch(), (1, [0x0000_1100, 0, 0]));
        assert_eq!(machine.issue(), (!issued).then_some(Function::Clear), "told once");
        assert_eq!(machine.fates(Disposition::AbsorbedByClear), [0; 0], "its pages are still in use");
        machine.event(DeviceEvent::Cleared);
        assert_eq!(machine.fates(Disposition::AbsorbedByClear), [1]);
        assert_eq!(machine.interruptions(), [0x11]);
        assert_eq!((machine.tsch(), machine.tsch().0), ((0, [0x0000_1001, 0, 0]), 1));
    }
    // Channel end was taken, the clear is accepted, device end comes.
    let mut machine = device_active();
    machine.interruptions();
    assert_eq!(machine.csch(), 0);
    machine.event(DeviceEvent::Secondary(Status { device: DE, ..Status::default() }));
    assert_eq!(machine.interruptions(), [0; 0]);
    assert_eq!(machine.tsch(), (1, [0x0000_1100, 0, 0]));
    assert_eq!(machine.issue(), Some(Function::Clear));
}

#[test]
fn a_device_end_after_channel_end_is_an_interruption_of_its_own() {
    let device_end = DeviceEvent::Secondary(Status { device: DE, ..Status::default() });
    let mut machine = device_active();
    machine.interruptions();
    assert_eq!(machine.control(), 0x0080_0040);
    machine.event(device_end);
    assert_eq!(machine.interruptions(), [0x11]);
    assert_eq!((machine.tsch(), machine.tsch().0), ((0, [0x0080_0003, 0x1008, 0x0400_0000]), 1));
    assert_eq!(machine.control() & 0x7FFF, 0);
    // Channel end was not taken yet: device end joins it.
    let mut machine = active();
    machine.end(CE, SubchannelStatus::empty());
    machine.event(device_end);
    assert_eq!(machine.interruptions(), [0x11]);
    assert_eq!((machine.tsch(), machine.tsch().0), ((0, [0x0080_4007, 0x1008, 0x0C00_0000]), 1));
}

#[test]
fn a_start_that_waits_for_device_end_is_all_the_guest_hears_of_it() {
    let mut machine = device_active();
    assert_eq!(machine.ssch(&orb(0x12)), 0);
    assert_eq!((machine.control(), machine.issue()), (0x0080_4440, None));
    machine.interruptions();
    machine.event(DeviceEvent::Secondary(Status { device: DE, ..Status::default() }));
    assert_eq!(machine.interruptions(), [0; 0]);
    assert_eq!(machine.tsch(), (1, [0x0080_4400, 0, 0]));
    assert_eq!(machine.issue(), Some(Function::Start));
}

// ---------------------------------------------------------------------------------------------------------------------
// Unsolicited status

#[test]
fn item_69_attention() {
    let attention = DeviceEvent::Unsolicited(Status { device: DeviceStatus::ATTENTION, ..Status::default() });
    let mut machine = idle();
    machine.event(attention);
    assert_eq!(machine.interruptions().len(), 1);
    assert_eq!(machine.tsch(), (0, [0x0000_0011, 0, 0x8000_0000]));
    assert_eq!(machine.tsch().0, 1);
    let mut machine = disabled();
    machine.event(attention);
    assert_eq!(machine.interruptions(), [0; 0]);
    assert_eq!((machine.control(), machine.issue()), (0, None));
}
