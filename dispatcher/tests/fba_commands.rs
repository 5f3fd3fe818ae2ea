// SPDX-License-Identifier: MIT OR Apache-2.0
//! The FBA disk's commands on a real file. Items are those of the conformance checklist.

mod channel_program_support;
use channel_program_support::*;
use fctl_dispatcher::device::fba::{Fba, FbaConfig};
use fctl_dispatcher::device::SubchannelDevice;
use fctl_dispatcher::engine::Operation;
use fctl_dispatcher::volume::{Cache, Durability, Volume, VolumeError, VolumeOptions};
use fctl_ringabi::arch::{Ccw, DeviceStatus, Midaw, MidawFlags, Orb, OrbControl};
use std::sync::Arc;

const REJECT: (u8, u8) = (0x80, 0);

/// `count` blocks at [`DATA`], one CCW each, data-chained: as Linux does.
fn chained(command: u8, count: u32) -> impl Iterator<Item = Ccw> {
    (0..count).map(move |n| ccw(command, if n + 1 < count { CD } else { 0 }, 512, DATA + 512 * n))
}

#[test]
fn item_74_commands_out_of_order_are_rejected() {
    let (mut disk, _file) = fba(100);
    let [define, write] = disk.locate(5, 0, 2);
    let transfer = |command| ccw(command, SLI, 512, DATA);
    let rejected: [&[Ccw]; 9] = [
        &[write],
        &[define, define],
        &[define, write, transfer(0x42)],
        &[define, transfer(0x41)],
        &[transfer(0x42)],
        &[define, write, ccw(0x03, CC, 0, 0), transfer(0x41)],
        &[define, write, ccw(0x41, CC | SLI, 512, DATA), transfer(0x41)],
        &[define, ccw(0x02, SLI, 512, DATA)],
        &[ccw(0x9F, SLI, 1, 0)],
    ];
    for program in rejected {
        let last = u32::try_from(program.len()).unwrap() - 1;
        let status = disk.run_program(program);
        assert_eq!((status.device, status.subchannel), (CHECKED, NONE), "{program:?}");
        assert_eq!(status.ccw_address, PROGRAM + 8 * last + 8, "{program:?}");
        assert_eq!(status.residual, if program[program.len() - 1] == define { 16 } else { program[program.len() - 1].count });
        assert_eq!(disk.sense(), REJECT);
        assert_eq!(disk.sense(), (0, 0), "sense is read once");
    }
    // An extent beyond the device, too few bytes; blocks outside the extent; an inhibited write.
    disk.define(0, 99, 0, 1);
    assert_status(disk.run_program(&[define]), CHECKED, NONE, 0, 0);
    assert_eq!(disk.sense(), REJECT);
    disk.define(0, 98, 0, 1);
    assert_status(disk.run_program(&[ccw(0x63, SLI, 15, EXTENT)]), CHECKED, NONE, 0, 0);
    for (mask, operation, count) in [(0, 6, 3), (0x40, 5, 1), (0, 3, 1)] {
        disk.define(mask, 98, 0, 1);
        disk.put(LOCATE, &locate_bytes(operation, 0, count, 0));
        assert_status(disk.run_program(&[define, write]), CHECKED, NONE, 1, 0);
        assert_eq!(disk.sense(), REJECT);
    }
    assert!(disk.engine.log.iter().all(|(operation, _)| !matches!(operation, Operation::Read { .. })));
}

#[test]
fn item_66_sense_is_taken_once_by_either_way() {
    let (mut disk, _file) = fba(8);
    disk.run_program(&[ccw(0x9F, SLI, 1, 0)]);
    assert_eq!(disk.device.take_sense().map(|sense| (sense.bytes()[0], sense.bytes()[1])), Some(REJECT));
    assert_eq!(disk.device.take_sense(), None);
    disk.run_program(&[ccw(0x9F, SLI, 1, 0)]);
    disk.run_program(&[ccw(0x03, 0, 0, 0)]);
    assert_eq!(disk.sense(), REJECT, "no-operation keeps it");
    disk.run_program(&[ccw(0x9F, SLI, 1, 0)]);
    disk.run_program(&[ccw(0x64, SLI, 32, DATA)]);
    assert_eq!(disk.sense(), (0, 0), "another command forgets it");
    disk.run_program(&[ccw(0x9F, SLI, 1, 0)]);
    disk.clear();
    assert_eq!(disk.device.take_sense(), None, "clear forgets it");
}

#[test]
fn item_75_linux_reads_blocks_by_data_chaining() {
    let (mut disk, _file) = fba(200);
    for count in [1_u16, 3, 96] {
        let mut program = disk.locate(6, 7, count).to_vec();
        program.extend(chained(0x42, count.into()));
        let status = disk.run_program(&program);
        assert_status(status, ENDED, NONE, u32::from(count) + 1, 0);
        let expected: Vec<u8> = (7..7 + usize::from(count)).flat_map(block).collect();
        assert_eq!(disk.get(DATA, expected.len()), expected);
        let (operation, bytes) = disk.engine.log.last().unwrap();
        assert!(matches!(operation, Operation::Read { offset: 3584, .. }) && *bytes == expected.len(), "in one operation");
    }
    // With format-2 IDAWs, as for pages above 2 GiB, each block apart.
    let mut program = disk.locate(6, 0, 2).to_vec();
    program.extend([ccw(0x42, CD | IDA, 512, 0x8000), ccw(0x42, IDA, 512, 0x8008)]);
    disk.put(0x8000, &[APART.start.to_be_bytes(), (APART.start + 0x2200).to_be_bytes()].concat());
    disk.put_program(&program);
    let orb = Orb::new(0, PROGRAM).with_control(OrbControl::FORMAT_2_IDAW | OrbControl::PREFETCH);
    assert_status(disk.run(orb), ENDED, NONE, 3, 0);
    let apart = u32::try_from(APART.start).unwrap();
    assert_eq!((disk.get(apart, 512), disk.get(apart + 0x2200, 512)), (block(0), block(1)));
}

#[test]
fn linux_writes_are_durable_unless_told_otherwise() {
    for durability in [Durability::Writethrough, Durability::Writeback] {
        let (mut disk, file) = fba_with(16, VolumeOptions::default().with_durability(durability));
        let pattern = |n: u8| vec![n; 512];
        for n in 0..3_u8 {
            disk.put(DATA + 512 * u32::from(n), &pattern(0xA0 + n));
        }
        let mut program = disk.locate(5, 4, 3).to_vec();
        program.extend(chained(0x41, 3));
        assert_status(disk.run_program(&program), ENDED, NONE, 4, 0);
        let durable = durability == Durability::Writethrough;
        assert!(matches!(disk.engine.log[..], [(Operation::Write { offset: 2048, durable: d, .. }, 1536)] if d == durable));
        let expected = [block(3), pattern(0xA0), pattern(0xA1), pattern(0xA2), block(7)].concat();
        assert_eq!(std::fs::read(file.path()).unwrap()[3 * 512..8 * 512], expected);
    }
}

#[test]
fn item_76_a_write_of_count_0_discards() {
    let (mut disk, file) = fba(64);
    // As Linux: an unaligned head with real zeros, the middle with count 0.
    let [define, _] = disk.locate(5, 7, 17);
    disk.put(LOCATE, &locate_bytes(5, 0, 1, 0));
    disk.put(LOCATE + 8, &locate_bytes(5, 0, 16, 1));
    disk.put(DATA, &[0; 512]);
    let locate = |n: u32| ccw(0x43, CC, 8, LOCATE + 8 * n);
    let program = [define, locate(0), ccw(0x41, CC, 512, DATA), locate(1), ccw(0x41, SLI, 0, 0)];
    assert_status(disk.run_program(&program), ENDED, NONE, 4, 0);
    let zero =
        disk.engine.log.iter().position(|(op, _)| matches!(op, Operation::Zero { offset: 4096, length: 8192, .. })).unwrap();
    assert!(matches!(disk.engine.log[zero + 1..], [(Operation::Sync { .. }, 0)]), "made durable before the end");
    let bytes = std::fs::read(file.path()).unwrap();
    assert_eq!(bytes.len(), 64 * 512);
    assert!(bytes[7 * 512..24 * 512].iter().all(|&byte| byte == 0));
    assert_eq!((&bytes[6 * 512..7 * 512], &bytes[24 * 512..25 * 512]), (&block(6)[..], &block(24)[..]));
    // Without SLI it is an incorrect length.
    assert_status(disk.run_program(&[define, locate(1), ccw(0x41, 0, 0, 0)]), ENDED, IL, 2, 0);
}

#[test]
fn a_file_without_holes_gets_zeros_written() {
    let (mut disk, file) = fba(1200);
    disk.engine.scratch_expected = true;
    disk.engine.injected.push_back(Some(Err(libc::EOPNOTSUPP)));
    let [define, locate] = disk.locate(5, 10, 1100);
    assert_status(disk.run_program(&[define, locate, ccw(0x41, SLI, 0, 0)]), ENDED, NONE, 2, 0);
    let bytes = std::fs::read(file.path()).unwrap();
    assert!(bytes[10 * 512..1110 * 512].iter().all(|&byte| byte == 0));
    assert_eq!((&bytes[9 * 512..10 * 512], &bytes[1110 * 512..1111 * 512]), (&block(9)[..], &block(1110)[..]));
    assert!(disk.engine.log.iter().all(|(_, bytes)| *bytes <= 256 << 10), "in pieces");
}

#[test]
fn a_short_write_fills_the_located_blocks_with_zeros() {
    let (mut disk, file) = fba(16);
    disk.engine.scratch_expected = true;
    disk.put(DATA, &[0xCC; 700]);
    let [define, locate] = disk.locate(1, 2, 4);
    assert_status(disk.run_program(&[define, locate, ccw(0x41, SLI, 700, DATA)]), ENDED, NONE, 2, 0);
    let expected = [block(1), vec![0xCC; 700], vec![0; 4 * 512 - 700], block(6)].concat();
    assert_eq!(std::fs::read(file.path()).unwrap()[512..7 * 512], expected);
    assert_status(disk.run_program(&[define, locate, ccw(0x41, 0, 700, DATA)]), ENDED, IL, 2, 0);
}

#[test]
fn item_77_device_characteristics() {
    let (mut disk, _file) = fba(1000);
    assert_status(disk.run_program(&[ccw(0x64, 0, 32, DATA)]), ENDED, NONE, 0, 0);
    let mut expected = vec![0x30, 0x08, 0x21, 0x11, 2, 0, 0, 0, 0, 111, 0, 0, 3, 9, 0, 0, 3, 232];
    expected.resize(32, 0);
    assert_eq!(disk.get(DATA, 32), expected);
    assert_status(disk.run_program(&[ccw(0x64, 0, 64, DATA)]), ENDED, IL, 0, 32);
    assert_status(disk.run_program(&[ccw(0xE4, SLI, 256, DATA)]), ENDED, NONE, 0, 249);
    assert_eq!(disk.get(DATA, 7), [0xFF, 0x63, 0x10, 0x01, 0x93, 0x36, 0x10]);
    assert_status(disk.run_program(&[ccw(0xA4, 0, 24, DATA)]), ENDED, NONE, 0, 0);
    assert_eq!(disk.get(DATA, 24), [0; 24]);
}

#[test]
fn data_chaining_inside_a_block_is_an_overrun() {
    let (mut disk, file) = fba(16);
    let [define, locate] = disk.locate(6, 0, 2);
    let status = disk.run_program(&[define, locate, ccw(0x42, CD, 100, DATA), ccw(0, 0, 924, DATA)]);
    assert_status(status, CHECKED, NONE, 2, 0);
    assert_eq!(disk.sense(), (0x04, 0));
    let [define, locate] = disk.locate(5, 0, 2);
    disk.put(DATA, &[0xDD; 1024]);
    let status = disk.run_program(&[define, locate, ccw(0x41, CD, 612, DATA), ccw(0, 0, 412, DATA)]);
    assert_status(status, CHECKED, NONE, 2, 0);
    assert_eq!(std::fs::read(file.path()).unwrap()[..1024], [vec![0xDD; 512], block(1)].concat(), "no block half written");
    // A program check leaves whole blocks, too.
    disk.put(DATA, &[0xEE; 512]);
    let status = disk.run_program(&[define, locate, ccw(0x41, CD, 512, DATA), ccw(0, 0, 512, 0x7FFF_0000)]);
    assert_program_check(status, 3);
    assert_eq!(std::fs::read(file.path()).unwrap()[..1024], [vec![0xEE; 512], block(1)].concat());
}

#[test]
fn a_read_may_skip_blocks() {
    let (mut disk, _file) = fba(1000);
    disk.engine.scratch_expected = true;
    let [define, locate] = disk.locate(6, 0, 3);
    let program = [define, locate, ccw(0x42, CD, 512, DATA), ccw(0, CD | SKIP, 512, 0), ccw(0, 0, 512, DATA + 512)];
    assert_status(disk.run_program(&program), ENDED, NONE, 4, 0);
    assert_eq!(disk.get(DATA, 1536), [block(0), block(2), vec![0; 512]].concat());
    // More than the list of segments takes at once.
    let [define, locate] = disk.locate(6, 0, 127);
    assert_status(disk.run_program(&[define, locate, ccw(0x42, SKIP, 65024, 0)]), ENDED, NONE, 2, 0);
    // Skipped blocks and others, so many that the list fills up.
    let [define, locate] = disk.locate(6, 0, 300);
    let mut program = vec![define, locate];
    for n in 0..300_u32 {
        let last = if n == 299 { 0 } else { CD };
        let skip = if n % 2 == 0 { SKIP } else { 0 };
        program.push(ccw(0x42, last | skip, 512, DATA + 512 * n));
    }
    assert_status(disk.run_program(&program), ENDED, NONE, 301, 0);
    for n in (1..300_u32).step_by(2) {
        assert_eq!(disk.get(DATA + 512 * n, 512), block(usize::try_from(n).unwrap()));
    }
    let pieces: Vec<usize> = disk.engine.log.iter().rev().map(|(_, bytes)| *bytes).take(3).collect();
    assert!(pieces.iter().all(|bytes| bytes % 512 == 0), "{pieces:?} end at block boundaries");
}

#[test]
fn midaws_so_small_that_a_block_fills_the_list_of_segments() {
    let (mut disk, file) = fba(16);
    let entries = |addresses: &mut dyn Iterator<Item = u32>| -> Vec<u8> {
        let addresses: Vec<u32> = addresses.collect();
        let last = addresses.len() - 1;
        let entry = |(n, address): (usize, &u32)| {
            let flags = if n == last { MidawFlags::LAST } else { MidawFlags::empty() };
            Midaw::new(flags, 4, u64::from(*address)).to_bytes()
        };
        addresses.iter().enumerate().flat_map(entry).collect()
    };
    // 128 entries of 4 bytes, each apart from the next.
    disk.put(0x8000, &entries(&mut (0..128).map(|n| DATA + 8 * n)));
    let orb = Orb::new(0, PROGRAM).with_control(OrbControl::MIDAW);
    let [define, locate] = disk.locate(6, 5, 2);
    let two = |command| [define, locate, ccw(command, CD | MIDA, 512, 0x8000), ccw(command, 0, 512, DATA + 0x1000)];
    disk.put_program(&two(0x42));
    assert_status(disk.run(orb), ENDED, NONE, 3, 0);
    let gathered: Vec<u8> = (0..128).flat_map(|n| disk.get(DATA + 8 * n, 4)).collect();
    assert_eq!((gathered, disk.get(DATA + 0x1000, 512)), (block(5), block(6)));
    disk.locate(5, 8, 2);
    disk.put_program(&two(0x41));
    assert_status(disk.run(orb), ENDED, NONE, 3, 0);
    assert_eq!(std::fs::read(file.path()).unwrap()[8 * 512..10 * 512], [block(5), block(6)].concat());
}

#[test]
fn pieces_of_a_write_end_at_block_boundaries() {
    let (mut disk, file) = fba(80);
    let orb = Orb::new(0, PROGRAM).with_control(OrbControl::MIDAW);
    let mut program = disk.locate(5, 10, 60).to_vec();
    // Each block in three parts that lie apart, so that the list of segments is full in the middle of one.
    for n in 0..60_u32 {
        let (list, buffer) = (0x8000 + 0x40 * n, DATA + 0x400 * n);
        let parts = [(0, 200, 0), (0, 200, 0x100), (0x80, 112, 0x200)];
        for (part, (flags, count, offset)) in (0_u32..).zip(parts) {
            let midaw = Midaw::new(MidawFlags::from_bits_retain(flags), count, u64::from(buffer + offset));
            disk.put(list + 16 * part, &midaw.to_bytes());
        }
        disk.put(buffer, &[u8::try_from(n).unwrap(); 0x400]);
        program.push(ccw(0x41, MIDA | if n == 59 { 0 } else { CD }, 512, list));
    }
    disk.put_program(&program);
    assert_status(disk.run(orb), ENDED, NONE, 61, 0);
    assert!(disk.engine.log.len() > 1 && disk.engine.log.iter().all(|(_, bytes)| bytes % 512 == 0), "{:?}", disk.engine.log);
    let expected: Vec<u8> = (0..60).flat_map(|n| [n; 512]).collect();
    assert!(std::fs::read(file.path()).unwrap()[10 * 512..70 * 512] == expected[..]);
}

#[test]
fn read_replicated_and_read_ipl() {
    let (mut disk, _file) = fba(16);
    let [define, locate] = disk.locate(2, 3, 2);
    disk.put(LOCATE, &locate_bytes(2, 4, 2, 0));
    assert_status(disk.run_program(&[define, locate, ccw(0x42, 0, 1024, DATA)]), ENDED, NONE, 2, 0);
    assert_eq!(disk.get(DATA, 1024), [block(3), block(4)].concat());
    let program = [ccw(0x02, CC, 512, DATA), ccw(0x42, CC, 512, DATA + 512), locate, ccw(0x42, 0, 1024, DATA + 1024)];
    disk.put(LOCATE, &locate_bytes(6, 0, 2, 9));
    assert_status(disk.run_program(&program), ENDED, NONE, 3, 0);
    assert_eq!(disk.get(DATA, 2048), [block(0), block(1), block(9), block(10)].concat());
}

/// Reference §6.2: whatever the counts, and nothing is read.
#[test]
fn read_ipl_with_data_chaining_is_an_overrun() {
    let (mut disk, _file) = fba(16);
    for counts in [[512, 512], [256, 256], [8, 504]] {
        disk.put(DATA, &[0xEE; 1024]);
        let program = [ccw(0x02, CD | SLI, counts[0], DATA), ccw(0x02, SLI, counts[1], DATA + 512)];
        assert_status(disk.run_program(&program), CHECKED, NONE, 0, counts[0]);
        assert_eq!(disk.sense(), (0x04, 0), "overrun");
        assert_eq!(disk.get(DATA, 1024), [0xEE; 1024]);
    }
    // One after the other by command chaining is what it is made for, and a READ behind it may chain data.
    let program = [ccw(0x02, CC, 512, DATA), ccw(0x02, CC, 512, DATA), ccw(0x42, CD, 256, DATA), ccw(0, SLI, 256, DATA + 256)];
    let status = disk.run_program(&program);
    assert_eq!((status.device, disk.sense()), (CHECKED, (0x04, 0)), "a READ chains data at block boundaries only");
    let program = [ccw(0x02, CC, 512, DATA), ccw(0x02, CC, 512, DATA), ccw(0x42, SLI, 512, DATA + 512)];
    assert_status(disk.run_program(&program), ENDED, NONE, 2, 0);
    assert_eq!(disk.get(DATA, 1024), [block(0), block(1)].concat());
}

#[test]
fn a_volume_with_more_blocks_than_32_bits_can_number_is_refused() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let most = u64::from(u32::MAX);
    if let Err(error) = file.as_file().set_len((most + 1) * 512) {
        println!("a file of 2 TiB without contents: not run, {error}");
        return;
    }
    let open = || Arc::new(Volume::open(file.path(), VolumeOptions::default()).unwrap());
    let refused = Fba::new(open()).err().expect("one block too many");
    assert_eq!((refused.name.as_str(), refused.blocks), (file.path().to_str().unwrap(), most + 1));
    let text = refused.to_string();
    assert!(text.contains("4294967296 blocks") && text.contains("at most 4294967295"), "{text}");
    file.as_file().set_len(most * 512).unwrap();
    let mut disk = Machine::new(Fba::new(open()).unwrap());
    assert_status(disk.run_program(&[ccw(0x64, 0, 32, DATA)]), ENDED, NONE, 0, 0);
    assert_eq!(disk.get(DATA + 14, 4), [0xFF; 4], "the capacity");
    // Its last block can be read.
    disk.define(0x40, u32::MAX - 1, 0, 0);
    disk.put(LOCATE, &locate_bytes(6, 0, 1, 0));
    disk.put(DATA, &[0xEE; 512]);
    let program = [ccw(0x63, CC, 16, EXTENT), ccw(0x43, CC, 8, LOCATE), ccw(0x42, 0, 512, DATA)];
    assert_status(disk.run_program(&program), ENDED, NONE, 2, 0);
    assert_eq!(disk.get(DATA, 512), [0; 512]);
}

#[test]
fn a_read_only_volume_inhibits_writes() {
    let (mut disk, file) = fba_with(16, VolumeOptions::default().with_read_only(true));
    let [define, locate] = disk.locate(5, 0, 1);
    assert_status(disk.run_program(&[define, locate, ccw(0x41, 0, 512, DATA)]), CHECKED, NONE, 2, 512);
    assert_eq!(disk.sense(), (0x80, 0x02));
    let [define, locate] = disk.locate(6, 0, 1);
    assert_status(disk.run_program(&[define, locate, ccw(0x42, 0, 512, DATA)]), ENDED, NONE, 2, 0);
    assert_eq!(std::fs::read(file.path()).unwrap()[..512], block(0));
}

#[test]
fn a_direct_volume_reads_and_writes_what_is_aligned_and_what_is_not() {
    let options = VolumeOptions::default().with_cache(Cache::Direct);
    let file = volume_file(64);
    let volume = match Volume::open(file.path(), options) {
        // Not every file system has direct I/O.
        Err(VolumeError::NoDirect { .. }) => return,
        opened => Arc::new(opened.unwrap()),
    };
    let direct_file = volume.direct_file().unwrap();
    let mut disk = Machine::new(Fba::new(volume).unwrap());
    for (start, address, is_direct) in [(8, DATA, true), (9, DATA + 3, false)] {
        let [define, locate] = disk.locate(6, start, 8);
        assert_status(disk.run_program(&[define, locate, ccw(0x42, 0, 4096, address)]), ENDED, NONE, 2, 0);
        let start = usize::try_from(start).unwrap();
        assert_eq!(disk.get(address, 4096), (start..start + 8).flat_map(block).collect::<Vec<_>>());
        let (Operation::Read { file, .. }, _) = disk.engine.log.pop().unwrap() else { panic!("a read") };
        // What a sink is to store comes into a buffer, which is aligned wherever the guest wants it.
        if is_direct || !through_sink() {
            assert_eq!(file == direct_file, is_direct);
        }
        let [define, locate] = disk.locate(5, 40, 8);
        assert_status(disk.run_program(&[define, locate, ccw(0x41, 0, 4096, address)]), ENDED, NONE, 2, 0);
        assert_eq!(
            std::fs::read(disk.device.unit().shared_volume().name()).unwrap()[40 * 512..48 * 512],
            disk.get(address, 4096)
        );
    }
}

#[test]
fn a_reservation_keeps_other_initiators_out() {
    let (mut one, _file) = fba(16);
    let volume = one.device.unit().shared_volume().clone();
    let mut other = Machine::new(Fba::with_config(volume, FbaConfig::default().with_initiator(2)).unwrap());
    let command = |command| [ccw(command, SLI, 24, DATA)];
    assert_status(one.run_program(&command(0xB4)), ENDED, NONE, 0, 0);
    assert_status(other.run_program(&command(0x64)), DeviceStatus::BUSY, NONE, 0, 24);
    assert_status(other.run_program(&command(0xB4)), DeviceStatus::BUSY, NONE, 0, 24);
    assert_status(other.run_program(&command(0xE4)), ENDED, NONE, 0, 17);
    assert_status(other.run_program(&command(0x14)), ENDED, NONE, 0, 0);
    assert_status(one.run_program(&command(0x64)), DeviceStatus::BUSY, NONE, 0, 24);
    assert_status(other.run_program(&command(0x94)), ENDED, NONE, 0, 0);
    assert_status(one.run_program(&command(0x64)), ENDED, NONE, 0, 0);
    let [define, _] = one.locate(6, 0, 1);
    assert_status(one.run_program(&[define, ccw(0xB4, SLI, 24, DATA)]), CHECKED, NONE, 1, 24);
}
