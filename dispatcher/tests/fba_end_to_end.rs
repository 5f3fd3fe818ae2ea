// SPDX-License-Identifier: MIT OR Apache-2.0
//! An FBA volume through the whole way: ring, subchannel, channel program, io_uring, file, and back.

mod common;

use common::{id, TestGuest, MEMORY_OFFSET};
use fctl_dispatcher::device::delay::Delay;
use fctl_dispatcher::device::fba::Fba;
use fctl_dispatcher::volume::{Cache, Durability, Volume, VolumeOptions};
use fctl_dispatcher::{Builder, Handle, SubchannelOptions};
use fctl_ringabi::arch::{
    Ccw, CcwFlags, DeviceStatus, FunctionControl, Orb, OrbControl, PmcwCharacteristics, Schib, SubchannelStatus,
};
use fctl_ringabi::{Completion, CompletionKind, Descriptor, Disposition, Extension, Operation, RingSizes};
use std::fs::FileTimes;
use std::io::Write as _;
use std::os::unix::fs::{FileExt, MetadataExt as _};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

const PROGRAM: u32 = 0x1000;
const EXTENT: u32 = 0x2000;
const LOCATE: u32 = 0x2100;
const DATA: u32 = 0x10000;

struct Disk {
    guest: TestGuest,
    handle: Handle,
    tag: u64,
}

impl Disk {
    fn new(path: &Path, options: VolumeOptions, delay: Duration) -> Self {
        let guest = TestGuest::new(RingSizes::new(64));
        let handle = Builder::default().spawn().unwrap();
        let (_, ring) = guest.attach(&handle);
        let volume = Arc::new(Volume::open(path, options).unwrap());
        handle
            .attach_subchannel(ring, id(0), SubchannelOptions::new(0x120), Box::new(Fba::new(volume.clone()).unwrap()))
            .unwrap();
        let slow = Box::new(Delay::new(Fba::new(volume).unwrap(), delay));
        handle.attach_subchannel(ring, id(1), SubchannelOptions::new(0x121), slow).unwrap();
        Self { guest, handle, tag: 0 }
    }

    fn put(&self, address: u32, bytes: &[u8]) {
        self.guest.file.write_all_at(bytes, MEMORY_OFFSET + u64::from(address)).unwrap();
    }

    fn get(&self, address: u32, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.guest.file.read_exact_at(&mut bytes, MEMORY_OFFSET + u64::from(address)).unwrap();
        bytes
    }

    /// DEFINE EXTENT, LOCATE, and one data CCW for `blocks` blocks from `first` on.
    fn program(&self, write: bool, first: u32, blocks: u16) -> Orb {
        let mut extent = [0; 16];
        extent[0] = if write { 0 } else { 0x40 };
        extent[4..8].copy_from_slice(&first.to_be_bytes());
        extent[12..].copy_from_slice(&(u32::from(blocks) - 1).to_be_bytes());
        let mut locate = [0; 8];
        locate[0] = if write { 5 } else { 6 };
        locate[2..4].copy_from_slice(&blocks.to_be_bytes());
        self.put(EXTENT, &extent);
        self.put(LOCATE, &locate);
        let ccws = [
            Ccw { command: 0x63, flags: CcwFlags::CHAIN_COMMAND, count: 16, address: EXTENT },
            Ccw { command: 0x43, flags: CcwFlags::CHAIN_COMMAND, count: 8, address: LOCATE },
            Ccw {
                command: if write { 0x41 } else { 0x42 },
                flags: CcwFlags::empty(),
                count: blocks.saturating_mul(512),
                address: DATA,
            },
        ];
        let bytes: Vec<u8> = ccws.iter().flat_map(Ccw::to_format1).collect();
        self.put(PROGRAM, &bytes);
        Orb::new(0x5EED, PROGRAM).with_control(OrbControl::PREFETCH)
    }

    fn post(&mut self, descriptor: Descriptor) -> u64 {
        self.tag += 1;
        self.guest.poster.stage(&Descriptor { tag: self.tag, ..descriptor }).unwrap();
        self.guest.publish();
        self.tag
    }

    fn start(&mut self, subchannel: u16, orb: &Orb) -> (Completion, Option<Extension>) {
        let tag = self.post(Descriptor::start(id(subchannel), orb, 0));
        let found = self.guest.next();
        assert_eq!(found.0.tag, tag);
        found
    }

    fn write(&mut self, first: u32, bytes: &[u8]) -> (Completion, Option<Extension>) {
        self.put(DATA, bytes);
        let orb = self.program(true, first, u16::try_from(bytes.len() / 512).unwrap());
        self.start(0, &orb)
    }

    fn read(&mut self, first: u32, blocks: u16) -> Vec<u8> {
        let orb = self.program(false, first, blocks);
        self.put(DATA, &vec![0xEE; usize::from(blocks) * 512]);
        let (completion, _) = self.start(0, &orb);
        assert_eq!(completion.scsw.device_status(), DeviceStatus::CHANNEL_END | DeviceStatus::DEVICE_END, "{completion:?}");
        self.get(DATA, usize::from(blocks) * 512)
    }
}

fn pattern(seed: u8, length: usize) -> Vec<u8> {
    (0..length).map(|at| u8::try_from((at * 7 + at / 512 + usize::from(seed)) % 251).unwrap()).collect()
}

fn volume_file(blocks: u64) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(blocks * 512).unwrap();
    file
}

#[test]
fn what_is_written_is_in_the_file_and_is_read_back() {
    for (cache, durability) in [
        (Cache::Buffered, Durability::Writethrough),
        (Cache::Buffered, Durability::Writeback),
        (Cache::Direct, Durability::Writethrough),
    ] {
        let file = volume_file(4096);
        let options = VolumeOptions::default().with_cache(cache).with_durability(durability);
        if let Err(error) = Volume::open(file.path(), options) {
            println!("{cache:?}: not run, {error}");
            continue;
        }
        let mut disk = Disk::new(file.path(), options, Duration::ZERO);
        let bytes = pattern(1, 96 * 512);
        let (completion, _) = disk.write(1000, &bytes);
        assert_eq!(completion.scsw.device_status(), DeviceStatus::CHANNEL_END | DeviceStatus::DEVICE_END, "{completion:?}");
        assert_eq!((completion.scsw.ccw_address(), completion.scsw.residual()), (PROGRAM + 24, 0));
        let mut there = vec![0; bytes.len()];
        file.as_file().read_exact_at(&mut there, 1000 * 512).unwrap();
        assert!(there == bytes, "{cache:?}");
        assert!(disk.read(1000, 96) == bytes, "{cache:?}");
        assert!(disk.read(1096, 8) == vec![0; 8 * 512]);
    }
}

#[test]
fn a_clear_stops_a_read_that_the_device_holds_back() {
    let file = volume_file(64);
    let mut disk = Disk::new(file.path(), VolumeOptions::default(), Duration::from_secs(3600));
    let orb = disk.program(false, 0, 8);
    let start = disk.post(Descriptor::start(id(1), &orb, 0));
    // The device has it: a store shows it active.
    loop {
        let store = disk.post(Descriptor::new(Operation::Store, id(1), 0));
        let (completion, extension) = disk.guest.next();
        assert_eq!(completion.tag, store);
        let Some(Extension::Schib(schib)) = extension else { panic!("no SCHIB") };
        if schib.scsw.actl()
            == fctl_ringabi::arch::ActivityControl::SUBCHANNEL_ACTIVE | fctl_ringabi::arch::ActivityControl::DEVICE_ACTIVE
        {
            break;
        }
    }
    let clear = disk.post(Descriptor::new(Operation::Clear, id(1), 0));
    let (absorbed, _) = disk.guest.next();
    assert_eq!((absorbed.tag, absorbed.disposition()), (start, Some(Disposition::AbsorbedByClear)));
    let (cleared, _) = disk.guest.next();
    assert_eq!((cleared.tag, cleared.scsw.fctl(), cleared.intparm), (clear, FunctionControl::CLEAR, 0x5EED));
    // And it works again.
    let halted_orb = disk.program(false, 0, 1);
    let tag = disk.post(Descriptor::start(id(1), &halted_orb, 0));
    let halt = disk.post(Descriptor::new(Operation::Halt, id(1), 0));
    assert_eq!(disk.guest.next().0.tag, tag);
    assert_eq!(disk.guest.next().0.tag, halt);
}

/// As Linux discards: what is discarded is given back to the host's file system.
#[test]
fn a_discard_gives_the_blocks_of_the_file_back() {
    use rustix::fs::FallocateFlags as Flags;
    let file = volume_file(2048);
    let probe = tempfile::NamedTempFile::new().unwrap();
    probe.as_file().set_len(1 << 20).unwrap();
    if let Err(error) = rustix::fs::fallocate(probe.as_file(), Flags::PUNCH_HOLE | Flags::KEEP_SIZE, 0, 1 << 20) {
        println!("a_discard_gives_the_blocks_of_the_file_back: not run, this file system makes no holes: {error}");
        return;
    }
    let allocated = || {
        file.as_file().sync_all().unwrap();
        file.as_file().metadata().unwrap().blocks()
    };
    file.as_file().write_all_at(&pattern(1, 1 << 20), 0).unwrap();
    let before = allocated();
    assert!(before >= 2048, "1 MiB takes {before} blocks of 512 bytes");
    let mut disk = Disk::new(file.path(), VolumeOptions::default(), Duration::ZERO);
    let orb = disk.program(true, 512, 1024);
    let discard = Ccw { command: 0x41, flags: CcwFlags::SUPPRESS_LENGTH, count: 0, address: 0 };
    disk.put(PROGRAM + 16, &discard.to_format1());
    let (ended, _) = disk.start(0, &orb);
    assert_eq!(ended.scsw.device_status(), DeviceStatus::CHANNEL_END | DeviceStatus::DEVICE_END, "{ended:?}");
    let after = allocated();
    assert!(after <= before - 1024, "{before} blocks before, {after} after");
    let kept = pattern(1, 1 << 20);
    let bytes = std::fs::read(file.path()).unwrap();
    assert!(bytes[..512 * 512] == kept[..512 * 512] && bytes[1536 * 512..] == kept[1536 * 512..]);
    assert!(bytes[512 * 512..1536 * 512].iter().all(|&byte| byte == 0));
}

/// Reference §3.3 and §5.9: intermediate status with Z, CCW address of the first command, then the end without.
#[test]
fn a_program_that_asks_for_it_is_told_of_its_initial_status_while_it_runs() {
    let file = volume_file(64);
    let mut disk = Disk::new(file.path(), VolumeOptions::default(), Duration::ZERO);
    let orb = disk.program(false, 0, 8).with_control(OrbControl::INITIAL_STATUS);
    let tag = disk.post(Descriptor::start(id(0), &orb, 0));
    let (told, _) = disk.guest.next();
    assert_eq!((told.kind(), told.tag), (Some(CompletionKind::Intermediate), tag));
    // P, I and format 1 of the ORB; Z; start; subchannel and device active; intermediate and pending.
    assert_eq!(told.scsw.to_words(), [0x00E4_40C9, PROGRAM + 8, 0]);
    let (ended, _) = disk.guest.next();
    assert_eq!((ended.kind(), ended.tag), (Some(CompletionKind::Final), tag));
    assert_eq!(ended.scsw.to_words(), [0x00E0_4007, PROGRAM + 24, 0x0C00_0000]);
    // A program that ends at once has nothing intermediate to tell.
    disk.put(PROGRAM, &Ccw { command: 0xE4, flags: CcwFlags::SUPPRESS_LENGTH, count: 256, address: DATA }.to_format1());
    let (ended, _) = disk.start(0, &Orb::new(0, PROGRAM).with_control(OrbControl::INITIAL_STATUS));
    assert_eq!(ended.scsw.to_words(), [0x00A0_4007, PROGRAM + 8, 0x0C00_00F9]);
}

#[test]
fn sense_comes_with_the_status_when_the_program_asked_for_it() {
    let file = volume_file(64);
    let mut disk = Disk::new(file.path(), VolumeOptions::default(), Duration::ZERO);
    let mut schib = Schib::initial(0x120);
    schib.pmcw.set_characteristics(PmcwCharacteristics::CONCURRENT_SENSE);
    schib.pmcw.set_flags(schib.pmcw.flags() | fctl_ringabi::arch::PmcwFlags::ENABLED);
    disk.put(0x3000, &schib.to_bytes());
    disk.post(Descriptor::by_address(Operation::Modify, id(0), 0x3000, 0));
    assert_eq!(disk.guest.next().0.cc, 0);
    let orb = disk.program(false, 1000, 1);
    let (completion, extension) = disk.start(0, &orb);
    assert!(completion.scsw.device_status().contains(DeviceStatus::UNIT_CHECK));
    let Some(Extension::Irb { esw, ecw }) = extension else { panic!("no ESW and ECW") };
    assert!(esw.erw().has_concurrent_sense());
    assert_eq!(esw.erw().sense_count(), 24, "as many as the sense command of an FBA device has");
    assert_eq!(ecw.0[0] & 0x80, 0x80, "command reject: the extent is beyond the volume");
}

#[test]
fn a_program_outside_memory_is_a_program_check() {
    let file = volume_file(64);
    let mut disk = Disk::new(file.path(), VolumeOptions::default(), Duration::ZERO);
    for cpa in [0x7FFF_FFF8, 0x0100_0000 - 8 + 0x0100_0000] {
        let (completion, _) = disk.start(0, &Orb::new(1, cpa));
        assert_eq!(completion.scsw.subchannel_status(), SubchannelStatus::PROGRAM_CHECK);
    }
    let orb = disk.program(false, 0, 1);
    let outside = Ccw { command: 0x42, flags: CcwFlags::empty(), count: 512, address: 0x7000_0000 };
    disk.put(PROGRAM + 16, &outside.to_format1());
    let (completion, _) = disk.start(0, &orb);
    assert_eq!(completion.scsw.subchannel_status(), SubchannelStatus::PROGRAM_CHECK);
    assert_eq!(completion.scsw.ccw_address(), PROGRAM + 24);
}

/// Runs only where its directory is given: a file system that is too small for the volume.
#[test]
fn inside_a_full_file_system() {
    let Ok(place) = std::env::var("FCTL_TEST_SMALL_FILE_SYSTEM") else { return };
    let path = Path::new(&place).join("volume");
    let file = std::fs::File::create_new(&path).unwrap();
    file.set_len(64 << 20).unwrap();
    let mut disk = Disk::new(&path, VolumeOptions::default(), Duration::ZERO);
    let bytes = pattern(3, 100 * 512);
    let mut good = 0;
    let failed = (0..1000u32).find_map(|n| {
        let (completion, _) = disk.write(n * 100, &bytes);
        let checked = completion.scsw.device_status().contains(DeviceStatus::UNIT_CHECK);
        good += u32::from(!checked);
        checked.then_some(completion)
    });
    let completion = failed.expect("the file system never got full");
    assert!(good > 0);
    assert_eq!(completion.scsw.device_status(), DeviceStatus::CHANNEL_END | DeviceStatus::DEVICE_END | DeviceStatus::UNIT_CHECK);
    // Basic sense tells equipment check; and reading what had been written still works.
    disk.put(PROGRAM, &Ccw { command: 0x04, flags: CcwFlags::SUPPRESS_LENGTH, count: 24, address: DATA }.to_format1());
    disk.start(0, &Orb::new(1, PROGRAM));
    assert_eq!(disk.get(DATA, 1), [0x10]);
    assert!(disk.read(0, 100) == bytes);
    assert_eq!(disk.handle.inventory().unwrap().in_flight, 0);
    print!("full after {good} writes");
    std::io::stdout().flush().unwrap();
}

#[test]
fn a_full_disk_is_a_unit_check_with_sense() {
    let place = tempfile::tempdir().unwrap();
    let script = "mount -t tmpfs -o size=1m fctl-test \"$1\" && FCTL_TEST_SMALL_FILE_SYSTEM=\"$1\" exec \"$2\" --exact inside_a_full_file_system --nocapture";
    let this = std::env::current_exe().unwrap();
    for arguments in [&["-m"][..], &["-r", "-m"]] {
        let probe = Command::new("unshare")
            .args(arguments)
            .args(["sh", "-c", "mount -t tmpfs fctl-test \"$1\"", "sh"])
            .arg(place.path())
            .output();
        if !probe.is_ok_and(|probe| probe.status.success()) {
            continue;
        }
        let run = Command::new("unshare")
            .args(arguments)
            .args(["sh", "-c", script, "sh"])
            .arg(place.path())
            .arg(&this)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&run.stdout);
        assert!(run.status.success() && text.contains("full after"), "{text}{}", String::from_utf8_lossy(&run.stderr));
        return;
    }
    println!("a_full_disk_is_a_unit_check_with_sense: not run, no file system may be mounted here (neither as root nor in a user namespace)");
}

#[test]
fn a_guests_reads_write_down_no_times_of_access() {
    let file = volume_file(64);
    // So long ago that the next read that counts is written down.
    let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    let forget = || file.as_file().set_times(FileTimes::new().set_accessed(long_ago)).unwrap();
    let written_down = || file.as_file().metadata().unwrap().accessed().unwrap() != long_ago;
    forget();
    file.as_file().read_exact_at(&mut [0; 512], 0).unwrap();
    if !written_down() {
        println!("times of access: not run, this file system writes none down");
        return;
    }
    for cache in [Cache::Buffered, Cache::Direct] {
        let options = VolumeOptions::default().with_cache(cache);
        if let Err(error) = Volume::open(file.path(), options) {
            println!("{cache:?}: not run, {error}");
            continue;
        }
        let mut disk = Disk::new(file.path(), options, Duration::ZERO);
        forget();
        assert_eq!(disk.read(0, 8), vec![0; 8 * 512]);
        assert!(!written_down(), "{cache:?}");
    }
}
