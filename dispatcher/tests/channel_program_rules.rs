// SPDX-License-Identifier: MIT OR Apache-2.0
//! The rules of channel programs (Principles of Operation ch. 15), by a unit without a volume. Items are those of the conformance checklist.

mod channel_program_support;
use channel_program_support::*;
use fctl_dispatcher::device::emulated::Limits;
use fctl_dispatcher::device::{DeviceEvent, Status};
use fctl_ringabi::arch::{CcwFormat, DeviceStatus, Orb, OrbControl, SubchannelStatus};

const NOP: u8 = 0x03;
const READ: u8 = 0x02;
const WRITE: u8 = 0x01;
const TIC: u8 = 0x08;

#[test]
fn item_53_tic_rules() {
    let mut toy = toy();
    // The first CCW is a TIC.
    assert_program_check(toy.run_program(&[ccw(TIC, 0, 0, PROGRAM + 8), ccw(NOP, 0, 0, 0)]), 0);
    // TIC to TIC: the second one is named. A TIC to itself is one too.
    let nop = ccw(NOP, CC, 0, 0);
    assert_program_check(toy.run_program(&[nop, ccw(TIC, 0, 0, PROGRAM + 24), nop, ccw(TIC, 0, 0, PROGRAM)]), 3);
    assert_program_check(toy.run_program(&[nop, ccw(TIC, 0, 0, PROGRAM + 8)]), 1);
    // Flags or count in format 1; any in format 0, whose command may be x8.
    assert_program_check(toy.run_program(&[nop, ccw(TIC, SLI, 0, PROGRAM + 16), ccw(NOP, 0, 0, 0)]), 1);
    assert_program_check(toy.run_program(&[nop, ccw(TIC, 0, 1, PROGRAM + 16), ccw(NOP, 0, 0, 0)]), 1);
    assert_program_check(toy.run_program(&[nop, ccw(0x18, 0, 1, PROGRAM + 16), ccw(NOP, 0, 0, 0)]), 1);
    let program = [ccw(NOP, CC, 1, 0), ccw(0xF8, 0xFF, 9, PROGRAM + 24), nop, ccw(NOP, 0, 1, 0)];
    assert_status(toy.run_program_0(&program), ENDED, NONE, 3, 1);
    // A target that is not aligned, not in memory, or has bit 0: the TIC is named.
    for target in [PROGRAM + 4, 0x3000_0000, 0x8000_1010] {
        assert_program_check(toy.run_program(&[nop, ccw(TIC, 0, 0, target)]), 1);
    }
    // A TIC among data-chained CCWs goes on with the data.
    let program = [ccw(READ, CD, 3, DATA), ccw(TIC, 0, 0, PROGRAM + 24), nop, ccw(0, 0, 5, DATA + 0x100)];
    assert_status(toy.run_program(&program), ENDED, NONE, 3, 0);
    assert_eq!((toy.get(DATA, 4), toy.get(DATA + 0x100, 5)), (vec![1, 2, 3, 0], vec![4, 5, 6, 7, 8]));
}

#[test]
fn item_54_bad_commands_and_counts() {
    let mut toy = toy();
    for command in [0x00, 0x10, 0xF0] {
        let status = toy.run_program(&[ccw(command, 0, 1, DATA)]);
        assert_program_check(status, 0);
        assert_eq!(status.device, DeviceStatus::empty());
    }
    assert_program_check(toy.run_program_0(&[ccw(NOP, 0, 0, DATA)]), 0);
    assert_program_check(toy.run_program(&[ccw(READ, CD, 0, DATA), ccw(READ, 0, 8, DATA)]), 0);
    assert_program_check(toy.run_program(&[ccw(READ, CD, 4, DATA), ccw(READ, 0, 0, DATA)]), 1);
    assert!(toy.device.unit().commands.iter().all(|&command| command == READ), "a bad command does not reach the unit");
    // Where the program is: not aligned, not in memory, beyond 16 MiB in format 0.
    let at = |cpa| Status { subchannel: PGM, ccw_address: cpa + 8, ..Status::default() };
    assert_eq!(toy.run(Orb::new(0, 0x1004)), at(0x1004));
    assert_eq!(toy.run(Orb::new(0, 0x3000_0000)), at(0x3000_0000));
    assert_eq!(toy.run(Orb::new(0, 0x100_0000).with_format(CcwFormat::Zero)), at(0x100_0000));
    // Running out of memory: the first bad address is named.
    let last = u32::try_from(MEMORY_END).unwrap() - 8;
    toy.put(last, &ccw(NOP, CC, 0, 0).to_format1());
    assert_eq!(toy.run(Orb::new(0, last)), at(last + 8));
    // Bit 0 of an address; S without ORB.S.
    assert_program_check(toy.run_program(&[ccw(NOP, 0, 0, 0x8000_0000)]), 0);
    assert_program_check(toy.run_program(&[ccw(NOP, SUSPEND, 0, 0)]), 0);
}

#[test]
fn item_55_count_0_in_format_1_stores_nothing() {
    let mut toy = toy();
    assert_status(toy.run_program(&[ccw(READ, SLI, 0, 0x7FFF_0000)]), ENDED, NONE, 0, 0);
    assert_status(toy.run_program(&[ccw(READ, 0, 0, 0x7FFF_0000)]), ENDED, IL, 0, 0);
}

#[test]
fn item_56_count_greater_than_data() {
    let mut toy = toy();
    let nop = ccw(NOP, 0, 0, 0);
    assert_status(toy.run_program(&[ccw(READ, CC, 10, DATA), nop]), ENDED, IL, 0, 2);
    assert_status(toy.run_program(&[ccw(READ, CC | SLI, 10, DATA), nop]), ENDED, NONE, 1, 0);
    assert_status(toy.run_program(&[ccw(READ, SLI, 10, DATA)]), ENDED, NONE, 0, 2);
    assert_eq!(toy.get(DATA, 10), [1, 2, 3, 4, 5, 6, 7, 8, 0, 0]);
    assert_status(toy.run_program(&[ccw(WRITE, 0, 20, DATA)]), ENDED, IL, 0, 12);
    assert_eq!(toy.device.unit().received, [1, 2, 3, 4, 5, 6, 7, 8]);
}

#[test]
fn item_57_count_less_than_data() {
    let mut toy = toy();
    assert_status(toy.run_program(&[ccw(READ, CC, 6, DATA), ccw(NOP, 0, 0, 0)]), ENDED, IL, 0, 0);
    assert_eq!(toy.get(DATA, 8), [1, 2, 3, 4, 5, 6, 0, 0]);
    assert_status(toy.run_program(&[ccw(READ, SLI, 6, DATA)]), ENDED, NONE, 0, 0);
    assert_status(toy.run_program(&[ccw(WRITE, 0, 6, DATA)]), ENDED, IL, 0, 0);
}

#[test]
fn item_58_data_chained_ccws_not_used_up() {
    let mut toy = toy();
    let rest = ccw(0, SLI, 4, DATA);
    assert_status(toy.run_program(&[ccw(READ, CD | SLI, 10, DATA), rest]), ENDED, IL, 0, 2);
    assert_status(toy.run_program(&[ccw(READ, CD | SLI | CC, 8, DATA), rest]), ENDED, IL, 0, 0);
}

#[test]
fn item_59_immediate_commands() {
    let mut toy = toy();
    let suppressed = Orb::new(0, PROGRAM).with_control(OrbControl::SUPPRESS_INCORRECT_LENGTH);
    assert_status(toy.run_program(&[ccw(NOP, CC, 1, 0), ccw(NOP, 0, 0, 0)]), ENDED, IL, 0, 1);
    assert_status(toy.run(suppressed), ENDED, NONE, 1, 0);
    assert_status(toy.run_program(&[ccw(NOP, SLI, 1, 0)]), ENDED, NONE, 0, 1);
    assert_status(toy.run_program(&[ccw(NOP, 0, 0, 0)]), ENDED, NONE, 0, 0);
    assert_status(toy.run_program_0(&[ccw(NOP, CC, 1, 0), ccw(NOP, 0, 1, 0)]), ENDED, NONE, 1, 1);
}

#[test]
fn item_60_skip_stores_nothing() {
    let mut toy = toy();
    assert_status(toy.run_program(&[ccw(READ, SKIP, 8, 0x7FFF_0000)]), ENDED, NONE, 0, 0);
    let program = [ccw(READ, CD | SKIP, 3, 0), ccw(0, CD, 2, DATA), ccw(0, SKIP, 3, 0)];
    assert_status(toy.run_program(&program), ENDED, NONE, 2, 0);
    assert_eq!(toy.get(DATA, 3), [4, 5, 0]);
    // Output is not skipped.
    toy.put(DATA, &[9; 8]);
    assert_status(toy.run_program(&[ccw(WRITE, SKIP, 8, DATA)]), ENDED, NONE, 0, 0);
    assert_eq!(toy.device.unit().received, [9; 8]);
}

#[test]
fn item_64_data_addresses() {
    let mut toy = toy();
    let read = |address| [ccw(READ, SLI, 8, address)];
    assert_status(toy.run_program_0(&read(0xFF_FFF8)), ENDED, NONE, 0, 0);
    let status = toy.run_program_0(&read(0xFF_FFFC));
    assert_program_check(status, 0);
    assert_eq!(status.device, ENDED, "the device ends the command that it began");
    assert_eq!(toy.get(0x100_0000, 8), [0; 8], "nothing beyond 16 MiB");
    let end = u32::try_from(MEMORY_END).unwrap();
    assert_status(toy.run_program(&read(end - 8)), ENDED, NONE, 0, 0);
    for address in [end - 4, end, 0x3000_0000, 0x7FFF_FFFC] {
        assert_program_check(toy.run_program(&read(address)), 0);
        assert_program_check(toy.run_program(&[ccw(WRITE, SLI, 8, address)]), 0);
    }
    // Only bytes that are used count.
    assert_status(toy.run_program(&[ccw(READ, SLI, 100, end - 8)]), ENDED, NONE, 0, 92);
    // Across two regions that touch.
    let seam = u32::try_from(FIRST_END).unwrap() - 4;
    assert_status(toy.run_program(&read(seam)), ENDED, NONE, 0, 0);
    assert_eq!(toy.get(seam, 8), [1, 2, 3, 4, 5, 6, 7, 8]);
}

#[test]
fn item_65_status_modifier_skips_one_ccw() {
    let mut toy = toy();
    let program = [ccw(0x07, CC, 0, 0), ccw(0, 0, 0, 0), ccw(READ, 0, 8, DATA)];
    assert_status(toy.run_program(&program), ENDED, NONE, 2, 0);
    assert_eq!(toy.device.unit().commands, [0x07, READ]);
    assert_status(toy.run_program(&[ccw(0x07, 0, 0, 0)]), ENDED | DeviceStatus::STATUS_MODIFIER, NONE, 0, 0);
}

#[test]
fn item_66_unit_check_stops_the_chain() {
    let mut toy = toy();
    assert_status(toy.run_program(&[ccw(0x0B, CC | SLI, 5, 0), ccw(NOP, 0, 0, 0)]), CHECKED, NONE, 0, 5);
    assert_eq!(toy.device.unit().commands, [0x0B]);
}

#[test]
fn item_68_pci_goes_with_an_end_that_comes_at_once() {
    let mut toy = toy();
    let told = SubchannelStatus::PROGRAM_CONTROLLED_INTERRUPTION;
    assert_status(toy.run_program(&[ccw(NOP, CC | PCI, 0, 0), ccw(NOP, 0, 0, 0)]), ENDED, told, 1, 0);
    assert_eq!(toy.events.len(), 1);
    assert_status(toy.run_program(&[ccw(NOP, 0, 0, 0)]), ENDED, NONE, 0, 0);
}

#[test]
fn item_67_pci_of_a_program_that_goes_on_is_intermediate() {
    let mut toy = toy_with(Limits::default().with_ccws_per_call(2));
    let nop = ccw(NOP, CC, 0, 0);
    let status = toy.run_program(&[ccw(NOP, CC | PCI, 0, 0), nop, nop, ccw(NOP, 0, 0, 0)]);
    assert_status(status, ENDED, NONE, 3, 0);
    let told = SubchannelStatus::PROGRAM_CONTROLLED_INTERRUPTION;
    let [DeviceEvent::Intermediate(first), DeviceEvent::Ended(_)] = toy.events[..] else { panic!("{:?}", toy.events) };
    assert_status(first, DeviceStatus::empty(), told, 1, 0);
}

/// Reference §5.9: the first command that is not immediate was accepted with zero status, and the program goes on.
#[test]
fn the_initial_status_interruption_comes_once_for_a_program_that_goes_on() {
    let asks = Orb::new(0, PROGRAM).with_control(OrbControl::INITIAL_STATUS);
    let nop = ccw(NOP, CC, 0, 0);
    let mut toy = toy_with(Limits::default().with_ccws_per_call(2));
    // Immediate commands do not count; the CCW address is that of the one that does, however far the program has come.
    toy.put_program(&[nop, nop, ccw(READ, CC, 8, DATA), nop, ccw(READ, CC | PCI, 8, DATA), nop, ccw(NOP, 0, 0, 0)]);
    assert_status(toy.run(asks), ENDED, NONE, 6, 0);
    let [DeviceEvent::InitialStatus(first), DeviceEvent::Intermediate(_), DeviceEvent::Ended(_)] = toy.events[..] else {
        panic!("{:?}", toy.events)
    };
    assert_status(first, DeviceStatus::empty(), NONE, 2, 0);
    // Both at once, in this order.
    toy.put_program(&[ccw(READ, CC | PCI, 8, DATA), nop, ccw(NOP, 0, 0, 0)]);
    toy.run(asks);
    assert!(
        matches!(toy.events[..], [DeviceEvent::InitialStatus(_), DeviceEvent::Intermediate(_), DeviceEvent::Ended(_)]),
        "{:?}",
        toy.events
    );
    // Not asked for; nothing but immediate commands; a command that was not accepted; a program that ends before it could be told.
    toy.put_program(&[ccw(READ, CC, 8, DATA), nop, ccw(NOP, 0, 0, 0)]);
    toy.run(Orb::new(0, PROGRAM));
    assert_eq!(toy.events.len(), 1);
    for program in
        [&[nop, nop, ccw(NOP, 0, 0, 0)][..], &[nop, nop, ccw(0x9F, SLI, 1, 0)], &[nop, nop, nop, ccw(READ, 0, 8, DATA)]]
    {
        toy.put_program(program);
        toy.run(asks);
        assert_eq!(toy.events.len(), 1, "{:?}", toy.events);
    }
    // Before a suspension, and not again after it.
    let orb = asks.with_control(OrbControl::SUSPEND);
    toy.events.clear();
    toy.put_program(&[ccw(READ, CC, 8, DATA), ccw(READ, SUSPEND | CC, 8, DATA), nop, nop, ccw(NOP, 0, 0, 0)]);
    toy.start(orb);
    assert!(matches!(toy.events[..], [DeviceEvent::InitialStatus(_), DeviceEvent::Suspended(_)]), "{:?}", toy.events);
    toy.put_program(&[nop, ccw(READ, CC, 8, DATA), nop, nop, ccw(NOP, 0, 0, 0)]);
    toy.resume();
    toy.finish();
    assert!(matches!(toy.events[2..], [DeviceEvent::Ended(_)]), "{:?}", toy.events);
    // One that was due when its program was stopped is not the next start's.
    toy.events.clear();
    toy.put_program(&[nop, nop, ccw(NOP, 0, 0, 0)]);
    toy.start(asks);
    toy.clear();
    toy.put_program(&[ccw(READ, CC, 8, DATA), nop, nop, ccw(NOP, 0, 0, 0)]);
    toy.run(Orb::new(0, PROGRAM));
    assert!(matches!(toy.events[..], [DeviceEvent::Ended(_)]), "{:?}", toy.events);
}

/// Reference §5.1: of several things that are wrong the first counts. All are program checks, so what tells them apart is the CCW that is
/// named, whether a PCI was recorded, whether the program suspends, and whether the device saw the command.
#[test]
fn the_first_of_several_violations_is_the_one_reported() {
    const BAD_COMMAND: u8 = 0x10;
    const RESERVED: u32 = 0x8000_0000;
    /// An IDAW list that is not aligned; no address of data, and no PCI.
    const BAD_LIST: u32 = DATA + 2;
    let orb = Orb::new(0, PROGRAM).with_control(OrbControl::SUSPEND);
    let told = SubchannelStatus::PROGRAM_CONTROLLED_INTERRUPTION;
    let mut toy = toy();
    // What is wrong, the CCW, whether it says PCI too, whether the command reached the device.
    let wrong = [
        ("1 address, 6 command", Orb::new(0, PROGRAM + 4), ccw(BAD_COMMAND, PCI, 0, 0), false, false),
        ("3 count, 5 PCI", orb, ccw(BAD_COMMAND, CD | PCI, 0, 0), false, false),
        ("4 TIC, 5 PCI", orb, ccw(TIC, PCI, 0, PROGRAM), false, false),
        ("5 PCI, 6 command", orb, ccw(BAD_COMMAND, PCI, 1, 0), true, false),
        ("6 command, 10 suspension", orb, ccw(BAD_COMMAND, SUSPEND, 1, 0), false, false),
        ("7 S with CD, 10 suspension", orb, ccw(READ, SUSPEND | CD, 1, DATA), false, false),
        ("7 S without ORB.S, 9 reserved bit", Orb::new(0, PROGRAM), ccw(READ, SUSPEND, 1, RESERVED), false, false),
        ("8 MIDA without ORB.D, 10 suspension", orb, ccw(READ, SUSPEND | MIDA, 1, DATA), false, false),
        ("9 reserved bit, 10 suspension", orb, ccw(READ, SUSPEND, 1, RESERVED), false, false),
        ("9 reserved bit, 11 list", orb, ccw(READ, IDA, 1, RESERVED | BAD_LIST), false, false),
        ("11 list", orb, ccw(READ, IDA | PCI, 8, BAD_LIST), true, true),
        ("12 data", orb, ccw(READ, PCI, 8, 0x3FFF_FFFF), true, true),
    ];
    for (what, orb, first, pci, reached) in wrong {
        toy.device = fctl_dispatcher::device::emulated::Emulated::new(Toy::default());
        toy.put(orb.cpa(), &first.to_format1());
        let status = toy.run(orb);
        let expected = if pci { PGM | told } else { PGM };
        assert_eq!((status.subchannel, status.ccw_address), (expected, orb.cpa() + 8), "{what}");
        assert_eq!(toy.device.unit().commands.len(), usize::from(reached), "{what}: what the device saw");
    }
    // 10 before 11 and 12: a program suspends whatever the data of that CCW is.
    for (flags, address) in [(IDA, BAD_LIST), (0, 0x3FFF_FFFF)] {
        toy.events.clear();
        toy.put_program(&[ccw(READ, SUSPEND | flags, 8, address)]);
        toy.start(orb);
        assert!(matches!(toy.events[..], [DeviceEvent::Suspended(_)]), "{:?}", toy.events);
        toy.clear();
    }
    // 1 before 6: what a TIC names is reported as the TIC's own, whatever stands there.
    toy.put_program(&[
        ccw(NOP, CC, 0, 0),
        ccw(TIC, 0, 0, PROGRAM + 20),
        ccw(BAD_COMMAND, PCI, 0, 0),
        ccw(BAD_COMMAND, PCI, 0, 0),
    ]);
    let status = toy.run(orb);
    assert_eq!((status.subchannel, status.ccw_address), (PGM, PROGRAM + 16));
    // 3 before 6 in a data-chained CCW, whose command means nothing: with a count it is no violation.
    for (count, good) in [(0, false), (4, true)] {
        toy.put_program(&[ccw(READ, CD, 4, DATA), ccw(BAD_COMMAND, PCI, count, DATA)]);
        let status = toy.run(orb);
        assert_eq!(status.subchannel, if good { told } else { PGM }, "count {count}");
    }
}

#[test]
fn loops_end_in_a_program_check_and_long_programs_give_way() {
    let mut toy = toy_with(Limits::default().with_ccws_per_call(10).with_ccws_without_data(100));
    let status = toy.run_program(&[ccw(NOP, CC, 0, 0), ccw(TIC, 0, 0, PROGRAM)]);
    assert_eq!(status.subchannel, PGM);
    assert_eq!(toy.device.unit().commands.len(), 50);
    assert!(toy.calls >= 5, "gave way {} times", toy.calls);
    // Data makes the difference: this loop ends only by a halt.
    toy.put_program(&[ccw(READ, CC, 8, DATA), ccw(TIC, 0, 0, PROGRAM)]);
    toy.events.clear();
    toy.start(Orb::new(0, PROGRAM));
    for _ in 0..1000 {
        assert!(toy.step());
    }
    assert!(toy.events.is_empty());
    toy.halt();
    assert!(matches!(toy.events[..], [DeviceEvent::Halted(status)] if status.ccw_address == PROGRAM + 8));
    toy.step();
    assert!(!toy.step(), "a late timer wakes nothing");
}

#[test]
fn suspend_and_resume() {
    let mut toy = toy();
    let orb = Orb::new(0, PROGRAM).with_control(OrbControl::SUSPEND);
    let suspending = [ccw(NOP, CC, 0, 0), ccw(READ, SUSPEND, 8, DATA)];
    toy.put_program(&suspending);
    toy.start(orb);
    let suspended = |status: &Status| status.ccw_address == PROGRAM + 16 && status.device.is_empty();
    assert!(matches!(&toy.events[..], [DeviceEvent::Suspended(status)] if suspended(status)), "{:?}", toy.events);
    assert_eq!(toy.device.unit().commands, [NOP]);
    // Still on: suspends again.
    toy.resume();
    assert_eq!(toy.events.len(), 2);
    // A TIC in its place may be the first CCW fetched.
    toy.put_program(&[suspending[0], ccw(TIC, 0, 0, PROGRAM + 24), ccw(0, 0, 0, 0), ccw(READ, 0, 8, DATA)]);
    toy.resume();
    assert_status(toy.finish(), ENDED, NONE, 3, 0);
    assert_eq!((toy.device.unit().commands.len(), toy.device.unit().chains), (2, 3));
    // Suspended on the first CCW, then halted; a resume after it does nothing.
    toy.events.clear();
    toy.put_program(&[ccw(NOP, SUSPEND, 0, 0)]);
    toy.start(orb);
    toy.halt();
    toy.resume();
    assert!(matches!(toy.events[..], [DeviceEvent::Suspended(_), DeviceEvent::Halted(_)]), "{:?}", toy.events);
    // S with CD, and S in a data-chained CCW.
    toy.put_program(&[ccw(READ, SUSPEND | CD, 4, DATA), ccw(0, 0, 4, DATA)]);
    assert_program_check(toy.run(orb), 0);
    toy.put_program(&[ccw(READ, CD, 4, DATA), ccw(0, SUSPEND, 4, DATA)]);
    assert_program_check(toy.run(orb), 1);
}

#[test]
fn an_idle_device_answers_halt_and_clear() {
    let mut toy = toy();
    toy.halt();
    toy.clear();
    assert_eq!(toy.events, [DeviceEvent::Halted(Status::default()), DeviceEvent::Cleared]);
}
