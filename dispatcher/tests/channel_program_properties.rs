// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whatever a guest puts into its memory, and whenever: no panic, no segment outside it, and exactly one end for each start.

mod channel_program_support;
use channel_program_support::*;
use fctl_dispatcher::device::emulated::Limits;
use fctl_dispatcher::device::fba::{Fba, FbaConfig, FbaUnit};
use fctl_dispatcher::device::DeviceEvent;
use fctl_dispatcher::volume::{Volume, VolumeOptions};
use fctl_ringabi::arch::{Ccw, Orb};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use std::cell::Cell;
use std::sync::Arc;

/// What the guest does after a start, between the turns of the dispatcher.
#[derive(Clone, Copy, Debug)]
enum Move {
    Step,
    Halt,
    Clear,
    Resume,
    /// Other bytes are where the program, its lists or its parameters are.
    Change {
        address: u32,
        bytes: [u8; 8],
    },
}

fn a_move() -> impl Strategy<Value = Move> {
    prop_oneof![6 => Just(Move::Step), 1 => Just(Move::Halt), 1 => Just(Move::Clear), 2 => Just(Move::Resume)]
}

/// A CCW in either format that has a chance to get somewhere.
fn a_ccw(format_1: bool) -> impl Strategy<Value = [u8; 8]> {
    let command = prop_oneof![
        prop::sample::select(&[0x02_u8, 0x03, 0x04, 0x08, 0x14, 0x41, 0x42, 0x43, 0x63, 0x64, 0x94, 0xB4, 0xE4][..]),
        any::<u8>()
    ];
    let flags = prop_oneof![
        prop::sample::select(&[CC, CC | SLI, CD, CD | SKIP, SLI, CC | IDA, CC | SLI | MIDA, CC | PCI][..]),
        any::<u8>()
    ];
    let count = prop_oneof![Just(8_u16), Just(16), Just(512), Just(1024), Just(0), any::<u16>()];
    let address = prop_oneof![
        Just(EXTENT),
        Just(LOCATE),
        (0..64_u32).prop_map(|n| PROGRAM + 8 * n),
        (0..0x400_u32).prop_map(|n| 0x8000 + 4 * n),
        0..0x20_0000_u32,
        (0x1FF_FF00_u32..0x210_0100),
        any::<u32>()
    ];
    (command, flags, count, address).prop_map(move |(command, flags, count, address)| {
        let ccw = ccw(command, flags, count, address);
        if format_1 {
            ccw.to_format1()
        } else {
            ccw.to_format0()
        }
    })
}

/// Gives whether data was moved after the guest had changed its memory.
fn play(disk: &mut Machine<FbaUnit>, orb: Orb, moves: &[Move]) -> bool {
    disk.events.clear();
    disk.start(orb);
    let mut cleared_or_halted = 0;
    let mut when_changed = None;
    for &a_move in moves {
        let ended = disk.events.iter().any(is_end);
        match a_move {
            _ if ended => break,
            Move::Step => drop(disk.step()),
            Move::Resume => disk.resume(),
            Move::Change { address, bytes } => {
                when_changed.get_or_insert(disk.engine.log.len());
                disk.put(address, &bytes);
            }
            Move::Halt | Move::Clear => {
                cleared_or_halted += 1;
                if matches!(a_move, Move::Halt) {
                    disk.halt();
                } else {
                    disk.clear();
                }
                break;
            }
        }
    }
    // A loop that moves data never ends by itself, nor does a suspended program.
    for _ in 0..300 {
        if !disk.step() {
            break;
        }
    }
    if !disk.events.iter().any(is_end) && cleared_or_halted == 0 {
        disk.halt();
    }
    // A stop waits for one operation at most.
    disk.step();
    let ends: Vec<_> = disk.events.iter().filter(|event| is_end(event)).collect();
    assert!(matches!(ends[..], [_]), "{ends:?}");
    if let [DeviceEvent::Ended(status)] = ends[..] {
        assert_eq!(status.ccw_address & 0x8000_0000, 0);
    }
    while disk.step() {}
    assert_eq!(disk.events.iter().filter(|event| is_end(event)).count(), 1, "nothing after the end");
    when_changed.is_some_and(|before| disk.engine.log.len() > before)
}

/// A CCW that reads or writes blocks, in most cases properly.
fn a_data_ccw(command: u8) -> impl Strategy<Value = Ccw> {
    let flags = prop_oneof![
        8 => Just(CD),
        2 => Just(CD | SKIP),
        2 => Just(CD | IDA),
        1 => Just(CD | PCI),
        1 => Just(CC | SLI),
        1 => any::<u8>()
    ];
    let count = prop_oneof![8 => (1..9_u16).prop_map(|n| 512 * n), 1 => Just(0), 1 => any::<u16>()];
    let address = prop_oneof![
        8 => (0..0x800_u32).prop_map(|n| DATA + 512 * n),
        4 => (0..0x40_u32).prop_map(|n| 0x8000 + 8 * n),
        2 => 0..0x10_0000_u32,
        1 => 0x1FF_FF00_u32..0x210_0100,
        1 => any::<u32>()
    ];
    (flags, count, address).prop_map(move |(flags, count, address)| ccw(command, flags, count, address))
}

/// Entries of a list of IDAWs of either format: blocks, in most cases.
fn an_idaw() -> impl Strategy<Value = [u8; 8]> {
    prop_oneof![
        6 => (0..0x200_u64).prop_map(|n| (u64::from(DATA) + 0x1000 * n).to_be_bytes()),
        4 => (0..0x200_u32, 0..0x200_u32).prop_map(|(m, n)| {
            (u64::from(DATA + 0x800 * m) << 32 | u64::from(DATA + 0x800 * n)).to_be_bytes()
        }),
        1 => any::<[u8; 8]>()
    ]
}

/// What a guest does that changes its program while it runs: mostly to something that has a chance to get somewhere.
fn a_change(command: u8, format_1: bool) -> impl Strategy<Value = Move> {
    let data = a_data_ccw(command).prop_map(move |ccw| if format_1 { ccw.to_format1() } else { ccw.to_format0() });
    let ccw = prop_oneof![3 => data, 2 => a_ccw(format_1), 1 => any::<[u8; 8]>()];
    let place = |first: u32, count: u32| (0..count).prop_map(move |n| first + 8 * n);
    let change = prop_oneof![
        6 => (place(PROGRAM, 40), ccw),
        3 => (place(0x8000, 64), an_idaw()),
        1 => (prop_oneof![place(EXTENT, 2), place(LOCATE, 1)], any::<[u8; 8]>()),
        // Not aligned: parts of two entries.
        1 => ((PROGRAM..PROGRAM + 320), any::<[u8; 8]>()),
    ];
    let change = change.prop_map(|(address, bytes)| Move::Change { address, bytes });
    prop_oneof![9 => change, 9 => Just(Move::Step), 1 => a_move()]
}

const CASES: u32 = 400;

fn config() -> ProptestConfig {
    ProptestConfig { cases: CASES, failure_persistence: None, ..ProptestConfig::default() }
}

/// Programs that define, locate and move data, more or less properly, from and to areas of all sorts.
#[test]
fn transfers_in_all_shapes() {
    let shape = (prop::sample::select(&[1_u8, 5, 6, 6, 2][..]), any::<bool>()).prop_flat_map(|(operation, format_1)| {
        let command = if operation & 1 == 1 { 0x41 } else { 0x42 };
        let data = prop::collection::vec(a_data_ccw(command), 1..24);
        (Just(operation), Just(format_1), data, prop::collection::vec(a_ccw(format_1), 0..4), 1..39_u16)
    });
    let rest = (
        any::<u32>(),
        prop::collection::vec(an_idaw(), 64),
        prop::collection::vec(a_move(), 0..30),
        prop_oneof![4 => Just(usize::MAX), 1 => 1..5000_usize],
        prop::collection::vec(prop_oneof![Just(libc::EINTR), Just(libc::EIO), Just(libc::EOPNOTSUPP)], 0..2),
    );
    let moved = Cell::new(0);
    let played = TestRunner::new(config()).run(
        &(shape, rest),
        |((operation, format_1, data, more, blocks), (control, list, moves, most, errors))| {
            let (mut disk, file) = fba(40);
            disk.engine.scratch_expected = true;
            disk.engine.most = most;
            disk.engine.injected.extend(errors.into_iter().map(|error: i32| Some(Err(error))));
            let [define, locate] = disk.locate(operation, 1, blocks);
            if operation == 2 {
                disk.put(LOCATE, &locate_bytes(2, 40, blocks, 0));
            }
            disk.put(0x8000, &list.concat());
            let encode = |ccw: &Ccw| if format_1 { ccw.to_format1() } else { ccw.to_format0() };
            let known: Vec<Ccw> = [define, locate].into_iter().chain(data).collect();
            let bytes: Vec<u8> = known.iter().map(encode).chain(more).flatten().collect();
            disk.put(PROGRAM, &bytes);
            let format = if format_1 { 0x0080_0000 } else { 0 };
            play(&mut disk, Orb::from_words([0, control & !0x0080_0000 | format, PROGRAM]), &moves);
            moved.set(moved.get() + u32::from(!disk.engine.log.is_empty()));
            // The volume keeps its size, and blocks that were not located keep their contents.
            let bytes = std::fs::read(file.path()).unwrap();
            assert_eq!(bytes.len(), 40 * 512);
            assert!(bytes[..512] == block(0)[..], "block 0 is outside the extent");
            let end = 512 * (1 + usize::from(blocks));
            let after: Vec<u8> = (1 + usize::from(blocks)..40).flat_map(block).collect();
            assert!(bytes[end..] == after[..], "so are the blocks behind it");
            if operation & 1 == 0 {
                assert!(
                    bytes[..end] == (0..1 + usize::from(blocks)).flat_map(block).collect::<Vec<_>>()[..],
                    "reading writes nothing"
                );
            }
            Ok(())
        },
    );
    played.unwrap();
    let moved = moved.get();
    assert!(moved > CASES / 3, "only {moved} programs moved data: the test has lost its point");
}

/// The guest writes into its program, its lists and its parameters between the pieces of a transfer and between commands. What was executed
/// counts, so the extent of the chain stays what it was when DEFINE EXTENT was: nothing outside it is touched, and a read writes nothing.
#[test]
fn a_program_that_is_changed_while_it_runs() {
    let shape = (prop::sample::select(&[5_u8, 6][..]), any::<bool>()).prop_flat_map(|(operation, format_1)| {
        let command = if operation == 5 { 0x41 } else { 0x42 };
        let data = prop::collection::vec(a_data_ccw(command), 4..24);
        let moves = prop::collection::vec(a_change(command, format_1), 4..60);
        (Just(operation), Just(format_1), data, moves)
    });
    // Neither the S flag, with which a second chain could define an extent of its own, nor the format is left to chance.
    let rest = (any::<u32>(), prop::collection::vec(an_idaw(), 64), 1..39_u16, prop_oneof![Just(usize::MAX), 1..2000_usize]);
    let moved_after_a_change = Cell::new(0);
    let played =
        TestRunner::new(config()).run(&(shape, rest), |((operation, format_1, data, moves), (control, list, blocks, most))| {
            let file = volume_file(40);
            let volume = Arc::new(Volume::open(file.path(), VolumeOptions::default()).unwrap());
            let limits = Limits::default().with_stop_grain(1024).with_ccws_per_call(3);
            let mut disk = Machine::new(Fba::with_config(volume, FbaConfig::default().with_limits(limits)).unwrap());
            disk.engine.scratch_expected = true;
            disk.engine.most = most;
            let [define, locate] = disk.locate(operation, 1, blocks);
            disk.put(0x8000, &list.concat());
            let encode = |ccw: &Ccw| if format_1 { ccw.to_format1() } else { ccw.to_format0() };
            let bytes: Vec<u8> = [define, locate].iter().chain(&data).flat_map(encode).collect();
            disk.put(PROGRAM, &bytes);
            let control = control & !0x0880_0000 | if format_1 { 0x0080_0000 } else { 0 };
            let moved = play(&mut disk, Orb::from_words([0, control, PROGRAM]), &moves);
            moved_after_a_change.set(moved_after_a_change.get() + u32::from(moved));
            let bytes = std::fs::read(file.path()).unwrap();
            assert_eq!(bytes.len(), 40 * 512);
            let may_change = if operation == 5 { 1..1 + usize::from(blocks) } else { 0..0 };
            for (number, found) in bytes.chunks(512).enumerate() {
                assert!(may_change.contains(&number) || found == block(number), "block {number} is outside the extent");
            }
            Ok(())
        });
    played.unwrap();
    let moved = moved_after_a_change.get();
    assert!(moved > CASES / 4, "only {moved} programs moved data after a change: the test has lost its point");
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn programs_that_nearly_make_sense(
        (format_1, ccws) in any::<bool>().prop_flat_map(|one| (Just(one), prop::collection::vec(a_ccw(one), 1..40))),
        control in any::<u32>(),
        operation in prop::sample::select(&[1_u8, 2, 5, 6, 4, 0][..]),
        list in prop::collection::vec(prop_oneof![any::<u8>(), Just(0)], 0..512),
        moves in prop::collection::vec(a_move(), 0..30),
        most in prop_oneof![Just(usize::MAX), 1..2000_usize],
    ) {
        let (mut disk, _file) = fba(40);
        disk.engine.scratch_expected = true;
        disk.engine.most = most;
        disk.locate(operation, 1, 7);
        disk.put(0x8000, &list);
        // Most programs begin as programs for this disk do.
        let prefix = [ccw(0x63, CC, 16, EXTENT), ccw(0x43, CC, 8, LOCATE)];
        let mut bytes: Vec<u8> = if control & 2 == 0 {
            prefix.iter().flat_map(|ccw| if format_1 { ccw.to_format1() } else { ccw.to_format0() }).collect()
        } else {
            Vec::new()
        };
        bytes.extend(ccws.concat());
        disk.put(PROGRAM, &bytes);
        let format = if format_1 { 0x0080_0000 } else { 0 };
        let orb = Orb::from_words([0, control & !0x0080_0000 | format, PROGRAM]);
        play(&mut disk, orb, &moves);
    }

    #[test]
    fn arbitrary_bytes(
        memory in prop::collection::vec(any::<u8>(), 0..4096),
        words in any::<[u32; 3]>(),
        near in any::<bool>(),
        moves in prop::collection::vec(a_move(), 0..30),
    ) {
        let (mut disk, _file) = fba(40);
        disk.engine.scratch_expected = true;
        disk.put(0, &memory);
        let cpa = if near { words[2] & 0xFF8 } else { words[2] };
        play(&mut disk, Orb::from_words([words[0], words[1], cpa]), &moves);
    }
}
