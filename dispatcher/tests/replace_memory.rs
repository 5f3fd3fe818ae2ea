// SPDX-License-Identifier: MIT OR Apache-2.0
//! Guest memory replaced while everything runs: the new one counts at once, the old one is untouched once that is acknowledged.

mod common;

use common::scripted::{final_of, ssch, Rig};
use common::{id, TestGuest, PATIENCE};
use fctl_dispatcher::device::emulated::Limits;
use fctl_dispatcher::device::fba::{Fba, FbaConfig};
use fctl_dispatcher::device::{Capabilities, DeviceContext, DeviceEvent, Status, SubchannelDevice};
use fctl_dispatcher::engine::{Operation as Io, OperationResult};
use fctl_dispatcher::memory::{FileRange, HostRange, Memory};
use fctl_dispatcher::region::sealed_memory_file;
use fctl_dispatcher::volume::{Volume, VolumeOptions};
use fctl_dispatcher::{AttachError, Builder, ControlError, SubchannelOptions};
use fctl_ringabi::arch::{Ccw, CcwFlags, DeviceStatus, SubchannelStatus};
use fctl_ringabi::{interruption_code, Descriptor, Operation, RingSizes};
use memmap2::{MmapOptions, MmapRaw};
use std::fs::File;
use std::io::Write as _;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::sync::Arc;
use std::time::{Duration, Instant};

const BYTES: usize = 2 << 20;

fn memory_file() -> File {
    sealed_memory_file("fctl-test", BYTES as u64).unwrap()
}

fn memory(file: &File, length: usize) -> Memory {
    Memory::from_file(file, &[FileRange { address: 0, offset: 0, length }]).unwrap()
}

/// Memory that tells when it is given up.
fn owned(file: &File) -> (Memory, Arc<MmapRaw>) {
    let mapping = Arc::new(MmapOptions::new().len(BYTES).map_raw(file).unwrap());
    let range = HostRange { address: 0, host: mapping.as_mut_ptr(), length: BYTES };
    // SAFETY: the mapping lives in the owner, its file is sealed, and nobody has a reference into it.
    (unsafe { Memory::from_host_ranges(&[range], mapping.clone()) }.unwrap(), mapping)
}

/// Reads 512 bytes from a pipe to guest address 0: for as long as nobody writes, the operation does not end.
struct PipeDevice(UnixStream);

impl SubchannelDevice for PipeDevice {
    fn capabilities(&self) -> Capabilities {
        Capabilities::ENGINE
    }

    fn start(&mut self, cx: &mut DeviceContext<'_>, _orb: &fctl_ringabi::arch::Orb) {
        let slot = cx.slot.unwrap();
        let segments = cx.engine.segments(slot);
        segments.clear();
        assert_eq!(cx.memory.segments(0, 512, segments).unwrap(), 512);
        cx.engine.submit(slot, Io::Read { file: self.0.as_raw_fd(), offset: u64::MAX });
    }

    fn halt(&mut self, _cx: &mut DeviceContext<'_>) {}

    fn clear(&mut self, _cx: &mut DeviceContext<'_>) {}

    fn operation_ended(&mut self, cx: &mut DeviceContext<'_>, result: OperationResult) {
        assert_eq!(result, Ok(512));
        let good = DeviceStatus::CHANNEL_END | DeviceStatus::DEVICE_END;
        cx.events.push(DeviceEvent::Ended(Status { device: good, ..Status::default() }));
    }
}

fn first_block(file: &File) -> [u8; 512] {
    let mut bytes = [0; 512];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

#[test]
fn the_old_memory_is_given_up_when_the_kernel_has_done_with_it() {
    let mut rig = Rig::small();
    let (ours, theirs) = UnixStream::pair().unwrap();
    rig.reactor.attach_subchannel(rig.ring, id(0), SubchannelOptions::new(0), Box::new(PipeDevice(theirs))).unwrap();
    let files = [memory_file(), memory_file()];
    let (first, first_owner) = owned(&files[0]);
    let (second, _) = owned(&files[1]);
    let (tell, told) = channel();
    let reply = |tell: &std::sync::mpsc::Sender<Vec<u32>>| {
        let tell = tell.clone();
        Box::new(move |busy| tell.send(busy).unwrap())
    };
    rig.reactor.replace_memory(rig.guest_id, first, None, reply(&tell)).unwrap();
    rig.turns();
    assert_eq!(told.try_recv(), Ok(vec![]), "nothing was in the kernel");
    rig.batch(&[ssch(0, 0, 1)]);
    rig.turns();
    rig.reactor.replace_memory(rig.guest_id, second, Some(Instant::now()), reply(&tell)).unwrap();
    rig.turns();
    assert_eq!(told.try_recv(), Ok(vec![id(0).word()]), "the deadline names who uses it");
    // One more replacement waits for the same operation.
    rig.reactor.replace_memory(rig.guest_id, memory(&files[1], BYTES), None, reply(&tell)).unwrap();
    rig.turns();
    assert!(told.try_recv().is_err());
    assert!(Arc::strong_count(&first_owner) > 1, "it is kept");
    (&ours).write_all(&[0xAA; 512]).unwrap();
    rig.until("the acknowledgement", |_| Arc::strong_count(&first_owner) == 1);
    assert_eq!(told.try_recv(), Ok(vec![]));
    assert_eq!((first_block(&files[0]), first_block(&files[1])), ([0xAA; 512], [0; 512]));
    assert_eq!(final_of(&rig.completions(), 1).cc, 0);
    // The next one goes to the new memory.
    rig.batch(&[ssch(0, 0, 2)]);
    (&ours).write_all(&[0xBB; 512]).unwrap();
    rig.until("the second read", |reactor| reactor.counters().finals == 2);
    assert_eq!((first_block(&files[0]), first_block(&files[1])), ([0xAA; 512], [0xBB; 512]));
}

fn put(file: &File, address: u32, bytes: &[u8]) {
    file.write_all_at(bytes, address.into()).unwrap();
}

/// A program that reads `blocks` blocks from `first` on to `data`.
fn put_program(file: &File, at: u32, first: u32, blocks: u16, data: u32) {
    let mut extent = vec![0x40, 0, 2, 0];
    for word in [first, 0, u32::from(blocks) - 1] {
        extent.extend(word.to_be_bytes());
    }
    put(file, at + 0x100, &extent);
    let mut locate = [0x06, 0, 0, 0, 0, 0, 0, 0];
    locate[2..4].copy_from_slice(&blocks.to_be_bytes());
    put(file, at + 0x200, &locate);
    let chain = CcwFlags::CHAIN_COMMAND;
    let ccws = [
        Ccw { command: 0x63, flags: chain, count: 16, address: at + 0x100 },
        Ccw { command: 0x43, flags: chain, count: 8, address: at + 0x200 },
        Ccw { command: 0x42, flags: CcwFlags::empty(), count: blocks * 512, address: data },
    ];
    put(file, at, &ccws.map(|ccw| ccw.to_format1()).concat());
}

fn volume(blocks: u64, byte: u8) -> (Arc<Volume>, tempfile::NamedTempFile) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), vec![byte; usize::try_from(blocks).unwrap() * 512]).unwrap();
    (Arc::new(Volume::open(file.path(), VolumeOptions::default()).unwrap()), file)
}

#[test]
fn a_program_that_needs_what_is_gone_gets_a_program_check() {
    let mut rig = Rig::small();
    let (volume, _file) = volume(128, 0x77);
    // Many pieces, so that most are still to come.
    let config = FbaConfig::default().with_limits(Limits::default().with_stop_grain(512));
    let device = Box::new(Fba::with_config(volume, config).unwrap());
    rig.reactor.attach_subchannel(rig.ring, id(0), SubchannelOptions::new(0), device).unwrap();
    let file = memory_file();
    put_program(&file, 0x1000, 0, 100, 0x10_0000);
    rig.reactor.replace_memory(rig.guest_id, memory(&file, BYTES), None, Box::new(drop)).unwrap();
    rig.batch(&[ssch(0, 0, 1)]);
    rig.until("some pieces", |reactor| reactor.engine_counters().operations >= 10);
    rig.reactor.replace_memory(rig.guest_id, memory(&file, 0x10_0000), None, Box::new(drop)).unwrap();
    rig.until("its end", |reactor| reactor.counters().finals == 1);
    let end = final_of(&rig.completions(), 1);
    assert_eq!(end.scsw.subchannel_status(), SubchannelStatus::PROGRAM_CHECK);
    assert_eq!(end.scsw.ccw_address(), 0x1000 + 24);
    assert!(rig.reactor.engine_counters().operations < 100);
    // An operand that is gone is an addressing exception, as for the processor.
    rig.batch(&[]);
    let modify = Descriptor::by_address(Operation::Modify, id(0), 0x10_0000, 2);
    let end = final_of(&rig.batch(&[modify]), 2);
    assert_eq!(end.code, interruption_code::ADDRESSING);
    // With the range back it runs.
    rig.reactor.replace_memory(rig.guest_id, memory(&file, BYTES), None, Box::new(drop)).unwrap();
    rig.batch(&[ssch(0, 0, 3)]);
    rig.until("its end", |reactor| reactor.counters().finals == 3);
    let mut bytes = vec![0; 51200];
    file.read_exact_at(&mut bytes, 0x10_0000).unwrap();
    assert!(bytes.iter().all(|&byte| byte == 0x77));
}

const SUBCHANNELS: u16 = 8;
const BLOCKS: u16 = 64;

const fn place(number: u16) -> (u32, u32) {
    (0x1000 * (number as u32 + 1), 0x10_0000 + 0x1_0000 * number as u32)
}

#[test]
fn under_load_no_byte_of_the_old_memory_changes_after_the_acknowledgement() {
    let mut guest = TestGuest::new(RingSizes::new(64));
    let handle = Builder::default().spawn().unwrap();
    let (guest_id, ring) = guest.attach(&handle);
    let (volume, _file) = volume(u64::from(BLOCKS), 0x77);
    for number in 0..SUBCHANNELS {
        let config = FbaConfig::default().with_limits(Limits::default().with_stop_grain(4096));
        let device = Box::new(Fba::with_config(volume.clone(), config).unwrap());
        handle.attach_subchannel(ring, id(number), SubchannelOptions::new(number), device).unwrap();
    }
    let files = [memory_file(), memory_file()];
    for file in &files {
        for number in 0..SUBCHANNELS {
            put_program(file, place(number).0, 0, BLOCKS, place(number).1);
        }
    }
    handle.replace_memory(guest_id, memory(&files[0], BYTES), PATIENCE).unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reads = scope.spawn(|| {
            let (mut posted, mut ended) = (0_u64, 0);
            while !stop.load(Ordering::Relaxed) || ended < posted {
                if !stop.load(Ordering::Relaxed) && posted - ended < 32 {
                    let number = u16::try_from(posted % u64::from(SUBCHANNELS)).unwrap();
                    guest.poster.stage(&Descriptor::start(id(number), &orb(number), posted)).unwrap();
                    guest.publish();
                    posted += 1;
                }
                while let Some((completion, _)) = guest.reader.take().unwrap() {
                    ended += 1;
                    let good = completion.cc == 2 || completion.scsw.subchannel_status().is_empty();
                    assert!(good, "its range is in both memories: {completion:?}");
                }
            }
            ended
        });
        let mut changed = 0;
        for round in 0..300_usize {
            let (old, new) = (&files[round % 2], &files[(round + 1) % 2]);
            handle.replace_memory(guest_id, memory(new, BYTES), PATIENCE).unwrap();
            let canary = vec![u8::try_from(round % 100).unwrap(); SUBCHANNELS as usize * 0x1_0000];
            old.write_all_at(&canary, 0x10_0000).unwrap();
            let mut now = canary.clone();
            // The guest goes on reading into the new one meanwhile.
            let deadline = Instant::now() + PATIENCE;
            loop {
                new.read_exact_at(&mut now, 0x10_0000).unwrap();
                if now.contains(&0x77) {
                    break;
                }
                assert!(Instant::now() < deadline, "the guest reads nothing");
                std::thread::sleep(Duration::from_micros(200));
            }
            old.read_exact_at(&mut now, 0x10_0000).unwrap();
            changed += usize::from(now != canary);
        }
        stop.store(true, Ordering::Relaxed);
        let ended = reads.join().unwrap();
        println!("300 replacements during {ended} reads of {BLOCKS} blocks, {changed} of them changed afterwards");
        assert_eq!(changed, 0);
    });
}

fn orb(number: u16) -> fctl_ringabi::arch::Orb {
    fctl_ringabi::arch::Orb::new(0, place(number).0)
}

#[test]
fn a_guest_that_is_not_there_has_no_memory_to_replace() {
    let guest = TestGuest::new(RingSizes::new(8));
    let handle = Builder::default().spawn().unwrap();
    let (guest_id, ring) = guest.attach(&handle);
    handle.detach_ring(ring, PATIENCE).unwrap();
    handle.detach_guest(guest_id).unwrap();
    let error = handle.replace_memory(guest_id, guest.memory.clone(), PATIENCE).unwrap_err();
    assert!(matches!(error, ControlError::Attach(AttachError::NoGuest(found)) if found == guest_id), "{error}");
}
