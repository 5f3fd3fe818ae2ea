// SPDX-License-Identifier: MIT OR Apache-2.0
//! Indirect data addressing: IDAWs and MIDAWs (Principles of Operation ch. 15).

mod channel_program_support;
use channel_program_support::*;
use fctl_ringabi::arch::{Midaw, MidawFlags, Orb, OrbControl};

const SENSE_64: u8 = 0x04;
const LIST: u32 = 0x8000;

fn idaws_1(addresses: &[u32]) -> Vec<u8> {
    addresses.iter().flat_map(|address| address.to_be_bytes()).collect()
}

fn idaws_2(addresses: &[u64]) -> Vec<u8> {
    addresses.iter().flat_map(|address| address.to_be_bytes()).collect()
}

fn format_2(control: OrbControl) -> Orb {
    Orb::new(0, PROGRAM).with_control(OrbControl::FORMAT_2_IDAW | control)
}

#[test]
fn item_61_every_idaw_but_the_first_designates_a_whole_block() {
    let mut toy = toy();
    let orb = format_2(OrbControl::empty());
    toy.put_program(&[ccw(SENSE_64, IDA, 64, LIST)]);
    // The first one anywhere: 16 bytes to the end of its 4K block, the rest apart.
    toy.put(LIST, &idaws_2(&[u64::from(DATA) + 0xFF0, APART.start]));
    assert_status(toy.run(orb), ENDED, NONE, 0, 0);
    for second in [u64::from(DATA) + 8, u64::from(DATA) + 0x800, 1 << 63, u64::MAX] {
        toy.put(LIST, &idaws_2(&[u64::from(DATA) + 0xFF0, second]));
        assert_program_check(toy.run(orb), 0);
    }
    // The list: aligned, in memory, and the entry that nobody needs is not looked at.
    toy.put(LIST, &idaws_2(&[u64::from(DATA), 1]));
    assert_status(toy.run(orb), ENDED, NONE, 0, 0);
    for list in [LIST + 4, 0x3000_0000, 0x7FFF_FFF8] {
        toy.put_program(&[ccw(SENSE_64, IDA, 64, list)]);
        assert_program_check(toy.run(orb), 0);
    }
}

#[test]
fn item_62_blocks_of_2k() {
    let mut toy = toy();
    toy.put_program(&[ccw(SENSE_64, IDA, 64, LIST)]);
    let orb = format_2(OrbControl::IDAW_2K);
    toy.put(LIST, &idaws_2(&[u64::from(DATA) + 0x7F0, u64::from(DATA) + 0x800]));
    assert_status(toy.run(orb), ENDED, NONE, 0, 0);
    toy.put(LIST, &idaws_2(&[u64::from(DATA) + 0x7F0, u64::from(DATA) + 0x400]));
    assert_program_check(toy.run(orb), 0);
    toy.put(LIST, &idaws_1(&[DATA + 0x7F0, DATA + 0x1800]));
    assert_status(toy.run(Orb::new(0, PROGRAM)), ENDED, NONE, 0, 0);
    for second in [DATA + 0x400, 0x8000_0000 | DATA] {
        toy.put(LIST, &idaws_1(&[DATA + 0x7F0, second]));
        assert_program_check(toy.run(Orb::new(0, PROGRAM)), 0);
    }
}

#[test]
fn idaws_scatter_what_is_sent_and_gather_what_is_received() {
    let mut toy = toy();
    toy.put(LIST, &idaws_1(&[DATA + 0x7FD, DATA + 0x1000]));
    assert_status(toy.run_program(&[ccw(0x02, IDA, 8, LIST)]), ENDED, NONE, 0, 0);
    assert_eq!((toy.get(DATA + 0x7FD, 4), toy.get(DATA + 0x1000, 6)), (vec![1, 2, 3, 0], vec![4, 5, 6, 7, 8, 0]));
    assert_status(toy.run_program(&[ccw(0x01, IDA, 8, LIST)]), ENDED, NONE, 0, 0);
    assert_eq!(toy.device.unit().received, [1, 2, 3, 4, 5, 6, 7, 8]);
}

#[test]
fn item_63_midaws() {
    let mut toy = toy();
    let orb = Orb::new(0, PROGRAM).with_control(OrbControl::MIDAW);
    let (none, last) = (MidawFlags::empty(), MidawFlags::LAST);
    let list = |entries: &[(MidawFlags, u16, u64)]| -> Vec<u8> {
        entries.iter().flat_map(|&(flags, count, address)| Midaw::new(flags, count, address).to_bytes()).collect()
    };
    let data = u64::from(DATA);
    let mut run = |at: u32, entries: &[(MidawFlags, u16, u64)], flags: u8| {
        toy.put(at, &list(entries));
        toy.put_program(&[ccw(0x02, MIDA | flags, 8, at)]);
        (toy.run(orb), toy.get(DATA, 16))
    };
    let good = [(none, 3, data), (MidawFlags::SKIP, 2, 0), (last, 3, data + 8)];
    let (status, stored) = run(LIST, &good, 0);
    assert_status(status, ENDED, NONE, 0, 0);
    assert_eq!(stored, [1, 2, 3, 0, 0, 0, 0, 0, 6, 7, 8, 0, 0, 0, 0, 0]);
    assert_status(run(LIST + 0xFD0, &good, 0).0, ENDED, NONE, 0, 0);
    // The list crosses a 4K boundary, is not aligned; MIDA with skip or IDA.
    assert_program_check(run(LIST + 0xFE0, &good, 0).0, 0);
    assert_program_check(run(LIST + 8, &good, 0).0, 0);
    assert_program_check(run(LIST, &good, SKIP).0, 0);
    assert_program_check(run(LIST, &good, IDA).0, 0);
    // Counts that do not add up, a last flag too early or missing, an entry across 4K, flags that are not provided.
    for bad in [
        vec![(none, 3, data), (last, 4, data)],
        vec![(none, 3, data), (last, 6, data)],
        vec![(last, 3, data), (last, 5, data)],
        vec![(none, 3, data), (none, 5, data)],
        vec![(last, 0, data)],
        vec![(last, 8, data + 0xFFC)],
        vec![(last | MidawFlags::DATA_TRANSFER_INTERRUPTION, 8, data)],
        vec![(MidawFlags::from_bits_retain(0x90), 8, data)],
    ] {
        assert_program_check(run(LIST, &bad, 0).0, 0);
    }
    // Without ORB.D.
    toy.put(LIST, &list(&good));
    assert_program_check(toy.run_program(&[ccw(0x02, MIDA, 8, LIST)]), 0);
}

/// As that of a CCW: what is written comes from memory, whatever the flag says.
#[test]
fn the_skip_flag_of_a_midaw_means_nothing_to_a_write() {
    let mut toy = toy();
    let entries = [Midaw::new(MidawFlags::SKIP, 3, u64::from(DATA)), Midaw::new(MidawFlags::LAST, 5, u64::from(DATA) + 8)];
    toy.put(LIST, &entries.map(|entry| entry.to_bytes()).concat());
    toy.put(DATA, &[1, 2, 3, 0, 0, 0, 0, 0, 4, 5, 6, 7, 8]);
    toy.put_program(&[ccw(0x01, MIDA, 8, LIST)]);
    assert_status(toy.run(Orb::new(0, PROGRAM).with_control(OrbControl::MIDAW)), ENDED, NONE, 0, 0);
    assert_eq!(toy.device.unit().received, [1, 2, 3, 4, 5, 6, 7, 8]);
}
