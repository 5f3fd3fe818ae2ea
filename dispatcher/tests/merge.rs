// SPDX-License-Identifier: MIT OR Apache-2.0
//! Two instructions in one batch: condition codes, what reaches the device, and which final says what. The pair tables stand
//! here as the reference has them (§4.2), and are executed through a real ring.

mod common;

use common::id;
use common::scripted::{accepted, ended, final_of, final_tags, finals, plain, ssch, told, Call, Rig};
use fctl_dispatcher::device::{Capabilities, DeviceEvent, Status};
use fctl_dispatcher::subchannel::StatusMode;
use fctl_dispatcher::Builder;
use fctl_ringabi::arch::{ActivityControl, DeviceStatus, FunctionControl, Orb, OrbControl, Scsw, StatusControl};
use fctl_ringabi::{Completion, CompletionFlags, Descriptor, Disposition, Operation, RingSizes};

const OPERATIONS: [Operation; 5] = [Operation::Start, Operation::Halt, Operation::Clear, Operation::Cancel, Operation::Resume];

type Table = [[&'static str; 5]; 5];

const IDLE: Table = [
    ["0,2 SA", "0,0 Hs", "0,0 C", "0,0 X", "0,r SA"],
    ["0,2 H0", "0,2 H0", "0,0 C", "0,2 H0", "0,2 H0"],
    ["0,2 C", "0,2 C", "0,0 C", "0,2 C", "0,2 C"],
    ["2,0 SB", "2,0 H0", "2,0 C", "2,2 N", "2,2 N"],
    ["2,0 SB", "2,0 H0", "2,0 C", "2,2 N", "2,2 N"],
];

const START_PENDING: Table = [
    ["2,2 S0", "2,0 Hs", "2,0 C", "2,0 X", "2,r S0"],
    ["0,2 Hs", "0,2 Hs", "0,0 C", "0,2 Hs", "0,2 Hs"],
    ["0,2 C", "0,2 C", "0,0 C", "0,2 C", "0,2 C"],
    ["0,0 SB", "0,0 H0", "0,0 C", "0,2 X", "0,2 X"],
    ["r,2 S0", "r,0 Hs", "r,0 C", "r,0 X", "r,2 S0"],
];

const ACTIVE: Table = [
    ["2,2 S0", "2,0 Ha", "2,0 C", "2,2 S0", "2,r S0"],
    ["0,2 Ha", "0,2 Ha", "0,0 C", "0,2 Ha", "0,2 Ha"],
    ["0,2 C", "0,2 C", "0,0 C", "0,2 C", "0,2 C"],
    ["2,2 S0", "2,0 Ha", "2,0 C", "2,2 S0", "2,r S0"],
    ["r,2 S0", "r,0 Ha", "r,0 C", "r,2 S0", "r,2 S0"],
];

const STATUS_PENDING: Table = [
    ["1,1 P", "1,1 P", "1,0 C", "1,1 P", "1,1 P"],
    ["1,1 P", "1,1 P", "1,0 C", "1,1 P", "1,1 P"],
    ["0,2 C", "0,2 C", "0,0 C", "0,2 C", "0,2 C"],
    ["1,1 P", "1,1 P", "1,0 C", "1,1 P", "1,1 P"],
    ["1,1 P", "1,1 P", "1,0 C", "1,1 P", "1,1 P"],
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Before {
    Idle,
    StartPending,
    Active,
    StatusPending,
}

/// The subchannel under test, and one that has the only engine slot when starts are to stay pending.
const UNDER_TEST: u16 = 1;
const HOG: u16 = 9;
/// Tags: the start before the pair, and the pair.
const S0: u64 = 100;
const A: u64 = 1;
const B: u64 = 2;
/// Interruption parameters.
const INTPARM_S0: u32 = 0xA0;
const INTPARM_A: u32 = 0xA1;
const INTPARM_B: u32 = 0xA2;

fn orb(intparm: u32, suspend: bool) -> Orb {
    let orb = Orb::new(intparm, 0x1000).with_key(5).with_control(OrbControl::PREFETCH);
    if suspend {
        orb.with_control(OrbControl::SUSPEND)
    } else {
        orb
    }
}

fn instruction(operation: Operation, intparm: u32, suspend: bool, tag: u64) -> Descriptor {
    match operation {
        Operation::Start => Descriptor::start(id(UNDER_TEST), &orb(intparm, suspend), tag),
        other => plain(other, UNDER_TEST, tag),
    }
}

/// What the tables say about a descriptor's final.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// At acceptance, with this condition code.
    Decided(u8),
    /// At acceptance of the one that overtook it.
    Absorbed(Disposition),
    /// Just before the final of the one that overtook it.
    Stopped(Disposition),
    /// With the status.
    Won,
}

struct Accepted {
    operation: Operation,
    tag: u64,
    cc: u8,
}

/// The table of finals, applied to a sequence of instructions whose condition codes are known.
fn fates(sequence: &[Accepted], issued: bool) -> Vec<(u64, Fate)> {
    let fate = |position: usize| {
        let one = &sequence[position];
        if one.cc != 0 || matches!(one.operation, Operation::Cancel | Operation::Resume) {
            return Fate::Decided(one.cc);
        }
        let overtakes = |later: &&Accepted| {
            later.cc == 0
                && match later.operation {
                    Operation::Clear => true,
                    Operation::Halt | Operation::Cancel => one.operation == Operation::Start,
                    _ => false,
                }
        };
        let mut overtakers = sequence[position + 1..].iter().filter(overtakes);
        let by = |overtaker: &Accepted| match overtaker.operation {
            Operation::Halt => Disposition::AbsorbedByHalt,
            Operation::Clear => Disposition::AbsorbedByClear,
            _ => Disposition::AbsorbedByCancel,
        };
        if issued && position == 0 && one.operation == Operation::Start {
            return overtakers.next_back().map_or(Fate::Won, |last| Fate::Stopped(by(last)));
        }
        overtakers.next().map_or(Fate::Won, |first| Fate::Absorbed(by(first)))
    };
    (0..sequence.len()).map(|position| (sequence[position].tag, fate(position))).collect()
}

fn prepare(before: Before, suspend: bool) -> Rig {
    let mut rig = Rig::new(Builder::default().engine_slots(1), RingSizes::new(64));
    let capabilities = if before == Before::StartPending { Capabilities::ENGINE } else { Capabilities::empty() };
    let mode = if before == Before::StatusPending { StatusMode::Held } else { StatusMode::Delivered };
    rig.attach(UNDER_TEST, capabilities, mode);
    let start = Descriptor::start(id(UNDER_TEST), &orb(INTPARM_S0, suspend), S0);
    match before {
        Before::Idle => {}
        Before::StartPending => {
            rig.attach(HOG, Capabilities::ENGINE, StatusMode::Delivered);
            assert!(rig.batch(&[ssch(HOG, 0, 999)]).is_empty());
            assert!(rig.batch(&[start]).is_empty());
            assert_eq!(rig.stage.take_calls(), [(HOG, Call::Start(0))], "there is one slot only");
            let scsw = rig.schib(UNDER_TEST).scsw;
            assert_eq!((scsw.fctl(), scsw.actl()), (FunctionControl::START, ActivityControl::START_PENDING));
        }
        Before::Active => {
            assert!(rig.batch(&[start]).is_empty());
            assert_eq!(rig.stage.take_calls(), [(UNDER_TEST, Call::Start(INTPARM_S0))]);
            let scsw = rig.schib(UNDER_TEST).scsw;
            let active = ActivityControl::SUBCHANNEL_ACTIVE | ActivityControl::DEVICE_ACTIVE;
            assert_eq!((scsw.fctl(), scsw.actl()), (FunctionControl::START, active));
        }
        Before::StatusPending => {
            rig.stage.tell(UNDER_TEST, ended(0x1010));
            let mut seen = rig.batch(&[start]);
            rig.turns();
            seen.extend(rig.completions());
            let end = final_of(&seen, S0);
            assert_eq!((end.cc, end.disposition()), (0, Some(Disposition::Executed)));
        }
    }
    rig.stage.take_calls();
    rig
}

/// Lets the devices answer until all is quiet, and gives the calls that were made meanwhile.
fn let_all_end(rig: &mut Rig, before: Before, calls: &[Call], outcome: &str) -> Vec<Call> {
    let answer = |calls: &[Call]| match calls.last() {
        Some(Call::Clear) => Some(DeviceEvent::Cleared),
        Some(Call::Halt) => Some(DeviceEvent::Halted(Status::default())),
        Some(Call::Start(_)) => Some(ended(0x1010)),
        _ => None,
    };
    if let Some(event) = answer(calls) {
        rig.stage.tell(UNDER_TEST, event);
    } else if outcome == "S0" && before == Before::Active {
        rig.stage.tell(UNDER_TEST, ended(0x1010));
    }
    rig.turns();
    if before != Before::StartPending {
        return rig.stage.take_calls_of(UNDER_TEST);
    }
    // The slot becomes free, and who waits for it gets it.
    rig.stage.tell(HOG, ended(0x1008));
    rig.turns();
    let later = rig.stage.take_calls_of(UNDER_TEST);
    if let Some(event) = answer(&later) {
        rig.stage.tell(UNDER_TEST, event);
        rig.turns();
    }
    later
}

fn check_calls(at_once: &[Call], later: &[Call], outcome: &str, before: Before, why: &str) {
    let all: Vec<Call> = at_once.iter().chain(later).copied().collect();
    match outcome {
        "N" | "X" | "P" => assert_eq!(all, [], "{why}"),
        "S0" if before == Before::StartPending => {
            assert_eq!((at_once, later), (&[][..], &[Call::Start(INTPARM_S0)][..]), "{why}")
        }
        "S0" => assert_eq!(all, [], "{why}"),
        "SA" => assert_eq!((at_once, later), (&[Call::Start(INTPARM_A)][..], &[][..]), "{why}"),
        "SB" if before == Before::StartPending => assert_eq!((at_once, later), (&[][..], &[Call::Start(INTPARM_B)][..]), "{why}"),
        "SB" => assert_eq!((at_once, later), (&[Call::Start(INTPARM_B)][..], &[][..]), "{why}"),
        // The device may be signalled, but it needs not: what counts is that the start never gets there.
        "Hs" => assert!(all.is_empty() || all == [Call::Halt], "{why}: {all:?}"),
        "H0" | "Ha" => assert_eq!((at_once, later), (&[Call::Halt][..], &[][..]), "{why}"),
        "C" => assert_eq!((at_once, later), (&[Call::Clear][..], &[][..]), "{why}"),
        other => panic!("no such outcome: {other}"),
    }
}

/// SCSW contents per completion kind (reference §3.3).
fn check_status(scsw: &Scsw, outcome: &str, suspend: bool, why: &str) {
    let (fctl, stctl) = (scsw.fctl(), scsw.stctl());
    match outcome {
        "C" => assert_eq!(scsw.to_words(), [0x0000_1001, 0, 0], "{why}"),
        "H0" => {
            assert_eq!(
                (fctl, scsw.actl(), stctl),
                (FunctionControl::HALT, ActivityControl::empty(), StatusControl::PENDING),
                "{why}"
            );
            assert_eq!((scsw.deferred_cc(), scsw.device_status()), (0, DeviceStatus::empty()), "{why}");
        }
        "Hs" | "Ha" => {
            assert_eq!((fctl, stctl), (FunctionControl::START | FunctionControl::HALT, StatusControl::PENDING), "{why}");
            let allowed = if outcome == "Hs" { ActivityControl::START_PENDING } else { ActivityControl::DEVICE_ACTIVE };
            assert!(allowed.contains(scsw.actl()), "{why}: {:?}", scsw.actl());
            assert_eq!(scsw.device_status(), DeviceStatus::empty(), "{why}");
            // Key, S, F, P, I, A and U are the ORB's.
            assert_eq!(scsw.control_word() & 0xF8F8_0000, Scsw::from_orb(&orb(0, suspend)).control_word(), "{why}");
        }
        _ => {
            let ended = StatusControl::PRIMARY | StatusControl::SECONDARY | StatusControl::PENDING;
            assert_eq!((fctl, stctl), (FunctionControl::START, ended), "{why}");
            assert_eq!(scsw.actl() - ActivityControl::RESUME_PENDING, ActivityControl::empty(), "{why}");
            assert_eq!(scsw.device_status(), DeviceStatus::CHANNEL_END | DeviceStatus::DEVICE_END, "{why}");
            assert_eq!((scsw.ccw_address(), scsw.deferred_cc()), (0x1010, 0), "{why}");
            assert_eq!(scsw.control_word() & 0xF8F8_0000, Scsw::from_orb(&orb(0, suspend)).control_word(), "{why}");
        }
    }
}

fn run(before: Before, first: Operation, second: Operation, cell: &str, suspend: bool) {
    let why = format!("{before:?} [{}, {}] {cell}, S={}", first.mnemonic(), second.mnemonic(), u8::from(suspend));
    let (codes, outcome) = cell.split_once(' ').unwrap();
    let code = |text: &str| if text == "r" { u8::from(!suspend) * 2 } else { text.parse().unwrap() };
    let (cc_a, cc_b) = codes.split_once(',').map(|(a, b)| (code(a), code(b))).unwrap();

    let mut rig = prepare(before, suspend);
    let pair = [told(instruction(first, INTPARM_A, suspend, A)), told(instruction(second, INTPARM_B, suspend, B))];
    let at_acceptance = rig.batch(&pair);
    assert_eq!(accepted(&at_acceptance), [(A, cc_a), (B, cc_b)], "{why}");
    let calls = rig.stage.take_calls_of(UNDER_TEST);
    let later_calls = let_all_end(&mut rig, before, &calls, outcome);
    check_calls(&calls, &later_calls, outcome, before, &why);
    let at_end = rig.completions();
    assert_eq!(accepted(&at_end), [], "{why}: accepted is told once");

    let mut sequence = Vec::new();
    if matches!(before, Before::StartPending | Before::Active) {
        sequence.push(Accepted { operation: Operation::Start, tag: S0, cc: 0 });
    }
    sequence.push(Accepted { operation: first, tag: A, cc: cc_a });
    sequence.push(Accepted { operation: second, tag: B, cc: cc_b });
    let own = |completions: &[Completion]| -> Vec<Completion> {
        finals(completions).into_iter().filter(|completion| completion.tag != 999).collect()
    };
    let (early, late) = (own(&at_acceptance), own(&at_end));
    assert_eq!(early.len() + late.len(), sequence.len(), "{why}: one final for each: {early:?} {late:?}");
    let mut intparm = if before == Before::Idle { 0 } else { INTPARM_S0 };
    for (one, value) in
        sequence.iter().zip(if sequence.len() == 3 { [INTPARM_S0, INTPARM_A, INTPARM_B] } else { [INTPARM_A, INTPARM_B, 0] })
    {
        if one.operation == Operation::Start && one.cc == 0 {
            intparm = value;
        }
    }
    let mut status_seen = false;
    for (tag, fate) in fates(&sequence, before == Before::Active) {
        let why = format!("{why}, tag {tag} is to be {fate:?}");
        match fate {
            Fate::Decided(cc) => {
                let end = final_of(&early, tag);
                assert_eq!((end.cc, end.disposition()), (cc, Some(Disposition::Executed)), "{why}");
                assert!(!end.flags.contains(CompletionFlags::STATUS), "{why}");
            }
            Fate::Absorbed(by) => {
                let end = final_of(&early, tag);
                assert_eq!((end.cc, end.disposition()), (0, Some(by)), "{why}");
                assert!(!end.flags.intersects(CompletionFlags::STATUS | CompletionFlags::WAS_ISSUED), "{why}");
            }
            Fate::Stopped(by) => {
                let end = final_of(&late, tag);
                assert_eq!((end.cc, end.disposition()), (0, Some(by)), "{why}");
                assert!(!end.flags.contains(CompletionFlags::STATUS), "{why}: no status of its own");
                assert!(end.flags.contains(CompletionFlags::WAS_ISSUED), "{why}");
                let tags = final_tags(&late);
                assert_eq!((tags[0], tags.len()), (tag, 2), "{why}: just before the one that stopped it");
            }
            Fate::Won => {
                // A start that was never issued needs no device to be halted: its halt may end in the very turn.
                let seen = if outcome == "Hs" { [early.clone(), late.clone()].concat() } else { late.clone() };
                let end = final_of(&seen, tag);
                assert_eq!((end.cc, end.disposition()), (0, Some(Disposition::Executed)), "{why}");
                if before != Before::StatusPending {
                    assert!(end.flags.contains(CompletionFlags::STATUS), "{why}");
                    assert_eq!(end.intparm, intparm, "{why}: interruption parameter");
                    check_status(&end.scsw, outcome, suspend, &why);
                }
                assert!(!std::mem::replace(&mut status_seen, true), "{why}: one status only");
            }
        }
    }
    assert_eq!(status_seen, !matches!(outcome, "X" | "N" | "P"), "{why}");

    if before == Before::StatusPending {
        let taken = rig.batch(&[plain(Operation::Test, UNDER_TEST, 3), plain(Operation::Test, UNDER_TEST, 4)]);
        let (first, second) = (final_of(&taken, 3), final_of(&taken, 4));
        assert_eq!((first.cc, second.cc), (0, 1), "{why}: one status, taken once");
        check_status(&first.scsw, outcome, suspend, &why);
    }
    let schib = rig.schib(UNDER_TEST);
    assert_eq!(schib.scsw.control_word() & 0x7FFF, 0, "{why}: idle in the end, {:?}", schib.scsw);
    assert_eq!(schib.pmcw.intparm(), intparm, "{why}: a rejected start leaves no trace, an absorbed one its parameter");
    let counters = rig.reactor.counters();
    assert_eq!(counters.taken, counters.finals, "{why}");
    assert_eq!(
        counters.starts,
        counters.ran + counters.merged_away + counters.stopped_active + counters.cancelled + counters.refused,
        "{why}: {counters:?}"
    );
}

fn run_table(before: Before, table: &Table) {
    for (first, row) in OPERATIONS.into_iter().zip(table) {
        for (second, cell) in OPERATIONS.into_iter().zip(row) {
            for suspend in [false, true] {
                run(before, first, second, cell, suspend);
            }
        }
    }
}

#[test]
fn pairs_on_an_idle_subchannel() {
    run_table(Before::Idle, &IDLE);
}

#[test]
fn pairs_on_a_subchannel_whose_start_is_pending() {
    run_table(Before::StartPending, &START_PENDING);
}

#[test]
fn pairs_on_an_active_subchannel() {
    run_table(Before::Active, &ACTIVE);
}

#[test]
fn pairs_on_a_status_pending_subchannel() {
    run_table(Before::StatusPending, &STATUS_PENDING);
}

/// Reference §8, item 51.
#[test]
fn five_instructions_of_which_the_second_clear_wins() {
    let mut rig = Rig::small();
    rig.attach(1, Capabilities::empty(), StatusMode::Delivered);
    let batch = [
        told(ssch(1, 0x11, 1)),
        told(ssch(1, 0x22, 2)),
        told(plain(Operation::Clear, 1, 3)),
        told(ssch(1, 0x33, 4)),
        told(plain(Operation::Clear, 1, 5)),
    ];
    let early = rig.batch(&batch);
    assert_eq!(accepted(&early), [(1, 0), (2, 2), (3, 0), (4, 2), (5, 0)]);
    assert_eq!(rig.stage.take_calls(), [(1, Call::Clear)]);
    let fate = |tag| final_of(&early, tag).disposition();
    assert_eq!((fate(1), fate(3)), (Some(Disposition::AbsorbedByClear), Some(Disposition::AbsorbedByClear)));
    assert_eq!((final_of(&early, 2).cc, final_of(&early, 4).cc), (2, 2));
    assert_eq!(finals(&early).len(), 4, "the winner waits for the device");
    rig.stage.tell(1, DeviceEvent::Cleared);
    rig.turns();
    let late = rig.completions();
    assert_eq!(late.len(), 1);
    let end = final_of(&late, 5);
    assert_eq!((end.cc, end.intparm, end.scsw.to_words()), (0, 0x11, [0x0000_1001, 0, 0]));
    let counters = rig.reactor.counters();
    assert_eq!((counters.starts, counters.merged_away, counters.refused, counters.issued), (3, 1, 2, 1));
}

/// Reference §8, item 49.
#[test]
fn test_subchannel_is_a_barrier_when_status_is_held() {
    for (order, codes) in [([Operation::Test, Operation::Start], [0, 0]), ([Operation::Start, Operation::Test], [1, 0])] {
        let mut rig = prepare(Before::StatusPending, false);
        let pair = order.map(|operation| instruction(operation, INTPARM_A, false, operation as u64));
        let early = rig.batch(&pair.map(told));
        let expected: Vec<_> = order.iter().zip(codes).map(|(&operation, cc)| (operation as u64, cc)).collect();
        assert_eq!(accepted(&early), expected);
        check_status(&final_of(&early, Operation::Test as u64).scsw, "S0", false, "the status taken");
        let runs = codes == [0, 0];
        assert_eq!(rig.stage.take_calls(), if runs { vec![(1, Call::Start(INTPARM_A))] } else { vec![] });
        assert_eq!(final_tags(&early).contains(&(Operation::Start as u64)), !runs);
    }
}

/// Reference §8, items 23 and 24, in held mode.
#[test]
fn test_subchannel_before_the_end_takes_nothing_and_after_it_takes_once() {
    let mut rig = Rig::small();
    rig.attach(1, Capabilities::empty(), StatusMode::Held);
    let early = rig.batch(&[told(ssch(1, 7, 1)), told(plain(Operation::Test, 1, 2))]);
    assert_eq!(accepted(&early), [(1, 0), (2, 1)]);
    assert_eq!(final_tags(&early), [2], "the start goes on");
    let probe = final_of(&rig.batch(&[plain(Operation::Test, 1, 3)]), 3);
    assert_eq!(probe.cc, 1);
    rig.stage.tell(1, ended(0x1010));
    rig.turns();
    let end = final_of(&rig.completions(), 1);
    assert_eq!((end.cc, end.intparm), (0, 7));
    let taken = rig.batch(&[plain(Operation::Test, 1, 4), plain(Operation::Test, 1, 5)]);
    assert_eq!((final_of(&taken, 4).cc, final_of(&taken, 5).cc), (0, 1));
    check_status_plain(&final_of(&taken, 4).scsw);
    assert_eq!(rig.schib(1).scsw.fctl(), FunctionControl::empty());
}

fn check_status_plain(scsw: &Scsw) {
    let stctl = StatusControl::PRIMARY | StatusControl::SECONDARY | StatusControl::PENDING;
    assert_eq!((scsw.fctl(), scsw.stctl()), (FunctionControl::START, stctl));
    assert_eq!(scsw.ccw_address(), 0x1010);
}

/// Reference §8, item 50, and the barrier rule for STSCH (§4.4).
#[test]
fn modify_and_store_are_executed_at_their_place() {
    let mut rig = Rig::small();
    rig.attach(1, Capabilities::empty(), StatusMode::Delivered);
    let mut schib = rig.schib(1);
    let modify = rig.msch(1, &schib, 2);
    let early = rig.batch(&[told(ssch(1, 0x77, 1)), told(modify), told(plain(Operation::Store, 1, 3))]);
    assert_eq!(accepted(&early), [(1, 0), (2, 2), (3, 0)]);
    rig.stage.tell(1, ended(0x1010));
    rig.turns();
    rig.completions();

    rig.post(&[ssch(1, 0x78, 4), plain(Operation::Store, 1, 5)]);
    rig.reactor.turn(64);
    let found = rig.read();
    let Some((_, Some(fctl_ringabi::Extension::Schib(stored)))) = found.iter().find(|found| found.0.tag == 5) else {
        panic!("no SCHIB in {found:?}")
    };
    assert_eq!(stored.pmcw.intparm(), 0x78);
    assert_eq!((stored.scsw.fctl(), stored.scsw.actl()), (FunctionControl::START, ActivityControl::START_PENDING));
    rig.stage.tell(1, ended(0x1010));
    rig.turns();
    rig.completions();

    rig.stage.take_calls();
    let enabled = fctl_ringabi::arch::PmcwFlags::ENABLED;
    schib.pmcw.set_flags(schib.pmcw.flags() - enabled);
    let disable = rig.msch(1, &schib, 6);
    let early = rig.batch(&[told(disable), told(ssch(1, 0x79, 7))]);
    assert_eq!(accepted(&early), [(6, 0), (7, 3)]);
    assert_eq!(rig.stage.take_calls(), []);
    assert!(!rig.schib(1).pmcw.is_enabled());
    schib.pmcw.set_flags(schib.pmcw.flags() | enabled);
    let enable = rig.msch(1, &schib, 8);
    let early = rig.batch(&[told(enable), told(ssch(1, 0x7A, 9))]);
    assert_eq!(accepted(&early), [(8, 0), (9, 0)]);
    assert_eq!(rig.stage.take_calls(), [(1, Call::Start(0x7A))]);
}

/// Design: "in each turn all clears go out first, then halts, then starts".
#[test]
fn in_one_turn_clears_go_out_first_then_halts_then_starts() {
    let mut rig = Rig::small();
    for number in 1..=9 {
        rig.attach(number, Capabilities::empty(), StatusMode::Delivered);
    }
    rig.batch(&[ssch(2, 0, 102), ssch(3, 0, 103), ssch(5, 0, 105), ssch(6, 0, 106)]);
    rig.stage.take_calls();
    rig.batch(&[
        ssch(1, 0, 1),
        plain(Operation::Halt, 2, 2),
        plain(Operation::Clear, 3, 3),
        ssch(4, 0, 4),
        plain(Operation::Halt, 5, 5),
        plain(Operation::Clear, 6, 6),
        ssch(7, 0, 7),
        plain(Operation::Halt, 8, 8),
        plain(Operation::Clear, 9, 9),
    ]);
    let calls = rig.stage.take_calls();
    let rank = |call: &(u16, Call)| match call.1 {
        Call::Clear => 0,
        Call::Halt => 1,
        _ => 2,
    };
    assert_eq!(calls.len(), 9, "{calls:?}");
    assert!(calls.windows(2).all(|two| rank(&two[0]) <= rank(&two[1])), "{calls:?}");
    let mut numbers: Vec<u16> = calls.iter().map(|call| call.0).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=9).collect::<Vec<_>>());
}

/// A halt that the device is slow with can still be cleared, in a later turn; the start's pages are free only when the device says so.
#[test]
fn a_clear_overtakes_a_halt_that_was_issued() {
    let mut rig = prepare(Before::Active, false);
    assert_eq!(accepted(&rig.batch(&[told(plain(Operation::Halt, 1, A))])), [(A, 0)]);
    assert_eq!(rig.stage.take_calls(), [(1, Call::Halt)]);
    rig.turns();
    assert_eq!(rig.completions(), [], "nothing ends before the device has ended it");
    let early = rig.batch(&[told(plain(Operation::Clear, 1, B))]);
    assert_eq!(accepted(&early), [(B, 0)]);
    assert_eq!(final_tags(&early), [A]);
    assert_eq!(final_of(&early, A).disposition(), Some(Disposition::AbsorbedByClear));
    assert_eq!(rig.stage.take_calls(), [(1, Call::Clear)]);
    rig.turns();
    assert_eq!(rig.completions(), []);
    rig.stage.tell(1, DeviceEvent::Cleared);
    rig.turns();
    let late = rig.completions();
    assert_eq!(final_tags(&late), [S0, B]);
    assert_eq!(final_of(&late, S0).disposition(), Some(Disposition::AbsorbedByClear));
    assert!(final_of(&late, S0).flags.contains(CompletionFlags::WAS_ISSUED));
    check_status(&final_of(&late, B).scsw, "C", false, "the clear");
}

/// "Any [CSCH, CSCH]: only 0,0; first completion invisible" (§4.2), also when the first was issued in an earlier turn.
#[test]
fn a_clear_overtakes_a_clear_that_was_issued() {
    let mut rig = prepare(Before::Active, false);
    rig.batch(&[plain(Operation::Clear, 1, A)]);
    let early = rig.batch(&[told(plain(Operation::Clear, 1, B))]);
    assert_eq!(accepted(&early), [(B, 0)]);
    assert_eq!(final_of(&early, A).disposition(), Some(Disposition::AbsorbedByClear));
    // Two answers, if it was told twice.
    for _ in rig.stage.take_calls() {
        rig.stage.tell(1, DeviceEvent::Cleared);
    }
    rig.turns();
    let late = rig.completions();
    assert_eq!(final_tags(&late), [S0, B]);
    check_status(&final_of(&late, B).scsw, "C", false, "the second clear");
    assert_eq!(rig.schib(1).scsw.control_word() & 0x7FFF, 0);
}

/// A device that does not obey ends normally: FCTL is start and halt (§3.2).
#[test]
fn a_start_that_ends_by_itself_after_halt_shows_its_status_in_the_halts_final() {
    let done = DeviceStatus::CHANNEL_END | DeviceStatus::DEVICE_END;
    let status = Status { device: done, ccw_address: 0x1010, ..Status::default() };
    for answer in [DeviceEvent::Ended(status), DeviceEvent::Halted(status)] {
        let mut rig = prepare(Before::Active, false);
        rig.batch(&[plain(Operation::Halt, 1, A)]);
        rig.stage.tell(1, answer);
        rig.turns();
        let late = rig.completions();
        assert_eq!(final_tags(&late), [S0, A]);
        assert_eq!(final_of(&late, S0).disposition(), Some(Disposition::AbsorbedByHalt));
        let scsw = final_of(&late, A).scsw;
        assert_eq!(scsw.fctl(), FunctionControl::START | FunctionControl::HALT);
        assert!(scsw.stctl().contains(StatusControl::PENDING | StatusControl::PRIMARY), "{answer:?}: {:?}", scsw.stctl());
        assert_eq!((scsw.device_status(), scsw.ccw_address()), (done, 0x1010));
        assert_eq!(rig.reactor.counters().stopped_active, 1);
        assert_eq!(rig.schib(1).scsw.control_word() & 0x7FFF, 0);
    }
}

/// "XSCH cc 0 requires a guarantee that the start has not been and will not be issued" (§4.3).
#[test]
fn a_start_whose_cancel_was_told_zero_never_reaches_the_device() {
    let mut rig = prepare(Before::StartPending, false);
    let early = rig.batch(&[told(plain(Operation::Cancel, 1, A))]);
    assert_eq!(accepted(&early), [(A, 0)]);
    assert_eq!(final_of(&early, S0).disposition(), Some(Disposition::AbsorbedByCancel));
    rig.stage.tell(HOG, ended(0x1008));
    rig.turns();
    assert_eq!(rig.stage.take_calls(), []);
    assert_eq!(final_tags(&rig.completions()), [999]);
    assert_eq!(rig.reactor.counters().cancelled, 1);
    // The slot is not lost: another start gets it.
    rig.batch(&[ssch(1, 5, B)]);
    assert_eq!(rig.stage.take_calls(), [(1, Call::Start(5))]);
}
