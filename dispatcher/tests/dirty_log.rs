// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whatever the dispatcher changes in guest memory is told before the guest can see a completion.

mod channel_program_support;
mod common;

use channel_program_support::*;
use common::TestGuest;
use fctl_dispatcher::device::emulated::Limits;
use fctl_dispatcher::device::fba::{Fba, FbaConfig, FbaUnit};
use fctl_dispatcher::device::DeviceEvent;
use fctl_dispatcher::memory::DirtyLog;
use fctl_dispatcher::volume::{Volume, VolumeOptions};
use fctl_dispatcher::{Builder, SubchannelOptions};
use fctl_ringabi::arch::{Ccw, Midaw, MidawFlags, Orb, OrbControl};
use fctl_ringabi::{Descriptor, RingSizes};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

const PAGE: u64 = 4096;

/// The pages that were marked.
#[derive(Default)]
struct Pages(Mutex<BTreeSet<u64>>);

impl Pages {
    fn take(&self) -> BTreeSet<u64> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl DirtyLog for Pages {
    fn mark(&self, address: u64, length: u64) {
        assert_ne!(length, 0);
        self.0.lock().unwrap().extend(address / PAGE..=(address + length - 1) / PAGE);
    }
}

/// Where all data goes in these tests.
const WINDOW: std::ops::Range<u64> = 0x10_0000..0x18_0000;

fn window<U: fctl_dispatcher::device::emulated::ControlUnit>(disk: &Machine<U>) -> Vec<u8> {
    disk.get(u32::try_from(WINDOW.start).unwrap(), usize::try_from(WINDOW.end - WINDOW.start).unwrap())
}

/// The pages in which two looks at the window differ.
fn differing(before: &[u8], after: &[u8]) -> BTreeSet<u64> {
    let pages = before.chunks(4096).zip(after.chunks(4096));
    (WINDOW.start / PAGE..).zip(pages).filter(|(_, (before, after))| before != after).map(|(page, _)| page).collect()
}

/// A disk with pieces of 8 KiB and a log.
fn disk() -> (Machine<FbaUnit>, Arc<Pages>, tempfile::NamedTempFile) {
    let file = volume_file(256);
    let volume = Arc::new(Volume::open(file.path(), VolumeOptions::default()).unwrap());
    let limits = Limits::default().with_stop_grain(8192);
    let device = Fba::with_config(volume, FbaConfig::default().with_limits(limits)).unwrap();
    let pages = Arc::new(Pages::default());
    let mut guest = GuestMemory::new(false);
    guest.memory = guest.memory.with_dirty_log(pages.clone());
    let disk = Machine::with_memory(device, guest);
    disk.put(DATA, &vec![0xEE; usize::try_from(WINDOW.end - WINDOW.start).unwrap()]);
    (disk, pages, file)
}

/// Reads `blocks` blocks with these data CCWs, step by step. Each page that changed was marked when the step was over; gives how many did.
fn read(blocks: u16, data: &[Ccw], control: OrbControl, prepare: impl FnOnce(&mut Machine<FbaUnit>)) -> usize {
    let (mut disk, pages, _file) = disk();
    prepare(&mut disk);
    let [define, locate] = disk.locate(6, 0, blocks);
    let program: Vec<Ccw> = [define, locate].iter().chain(data).copied().collect();
    disk.put_program(&program);
    let mut before = window(&disk);
    let mut total = BTreeSet::new();
    disk.start(Orb::new(0, PROGRAM).with_control(control));
    loop {
        let after = window(&disk);
        let (changed, marked) = (differing(&before, &after), pages.take());
        assert!(changed.is_subset(&marked), "changed {changed:x?}, marked {marked:x?}");
        total.extend(changed);
        before = after;
        if !disk.step() {
            break;
        }
    }
    assert!(disk.events.iter().any(is_end));
    total.len()
}

#[test]
fn every_page_that_a_read_changes_is_marked() {
    let none = OrbControl::empty();
    assert_eq!(read(128, &[ccw(0x42, 0, 0xFFFF, DATA + 100)], none, |_| {}), 16 + 1);
    // As Linux sends it, with gaps, and with a part skipped.
    let chained: Vec<Ccw> = (0..64).map(|n| ccw(0x42, if n < 63 { CD } else { 0 }, 512, DATA + 1024 * n)).collect();
    assert_eq!(read(64, &chained, none, |_| {}), 16);
    let skipping = [ccw(0x42, CD, 4096, DATA), ccw(0, CD | SKIP, 4096, DATA + 4096), ccw(0, SLI, 4096, DATA + 8192)];
    assert_eq!(read(24, &skipping, none, |disk| disk.engine.scratch_expected = true), 2);
    // IDAWs, backwards.
    let entries: Vec<u8> = (0..16_u64).rev().flat_map(|n| (u64::from(DATA) + 8192 * n).to_be_bytes()).collect();
    let list = |disk: &mut Machine<FbaUnit>| disk.put(0x8000, &entries);
    assert_eq!(read(128, &[ccw(0x42, IDA | SLI, 0xF000, 0x8000)], OrbControl::FORMAT_2_IDAW, list), 15);
    // Short operations, interrupted ones, and one that fails.
    assert_eq!(read(64, &[ccw(0x42, 0, 0x8000, DATA)], none, |disk| disk.engine.most = 700), 8);
    let failing = [None, Some(Err(libc::EINTR)), None, Some(Err(libc::EIO))];
    assert_eq!(read(64, &[ccw(0x42, 0, 0x8000, DATA)], none, |disk| disk.engine.injected.extend(failing)), 4);
    // More ranges than a list has.
    let tiny: Vec<Ccw> = (0..200).map(|n| ccw(0x42, if n < 199 { CD } else { 0 }, 512, DATA + 0x800 * n)).collect();
    assert_eq!(read(200, &tiny, none, |_| {}), 100);
    // And more than a list has room for when it is nearly full, in one block.
    let crumbs = (0..137).map(|n| match n {
        136 => Midaw::new(MidawFlags::LAST, 16, u64::from(DATA) + 0x800 * n),
        _ => Midaw::new(MidawFlags::empty(), 30, u64::from(DATA) + 0x800 * n),
    });
    let crumbs: Vec<u8> = crumbs.flat_map(|midaw| midaw.to_bytes()).collect();
    let list = |disk: &mut Machine<FbaUnit>| disk.put(0x8000, &crumbs);
    assert_eq!(read(8, &[ccw(0x42, MIDA, 4096, 0x8000)], OrbControl::MIDAW, list), 69);
}

#[test]
fn what_was_stopped_may_have_changed_memory_and_is_marked() {
    let (mut disk, pages, _file) = disk();
    let [define, locate] = disk.locate(6, 0, 64);
    disk.put_program(&[define, locate, ccw(0x42, 0, 0x8000, DATA)]);
    let before = window(&disk);
    disk.start(Orb::new(0, PROGRAM));
    disk.step();
    pages.take();
    disk.halt();
    disk.step();
    assert!(matches!(disk.events[..], [DeviceEvent::Halted(_)]));
    assert_eq!(differing(&before, &window(&disk)).len(), 4, "the kernel has performed it in spite of the cancel");
    assert_eq!(pages.take().len(), 2, "the second piece");
}

#[test]
fn what_the_unit_itself_sends_is_marked_and_what_is_read_from_the_guest_is_not() {
    let (mut disk, pages, _file) = disk();
    disk.put_program(&[ccw(0xE4, SLI, 7, DATA + 0xFFE)]);
    disk.run(Orb::new(0, PROGRAM));
    assert_eq!(pages.take(), BTreeSet::from([u64::from(DATA) / PAGE, u64::from(DATA) / PAGE + 1]));
    let [define, locate] = disk.locate(5, 0, 64);
    disk.put_program(&[define, locate, ccw(0x41, 0, 0x8000, DATA)]);
    assert_eq!(disk.run(Orb::new(0, PROGRAM)).subchannel, NONE);
    assert_eq!(pages.take(), BTreeSet::new());
}

#[test]
fn a_completion_is_visible_only_after_its_marks() {
    let mut guest = TestGuest::new(RingSizes::new(64));
    let pages = Arc::new(Pages::default());
    guest.memory = guest.memory.clone().with_dirty_log(pages.clone());
    let handle = Builder::default().spawn().unwrap();
    let (_, ring) = guest.attach(&handle);
    let file = volume_file(8);
    let volume = Arc::new(Volume::open(file.path(), VolumeOptions::default()).unwrap());
    let device = Box::new(Fba::new(volume).unwrap());
    handle.attach_subchannel(ring, common::id(0), SubchannelOptions::new(0), device).unwrap();
    for n in 0..2000_u32 {
        let address = 0x10_0000 + 4096 * (n % 1000);
        let ipl = ccw(0x02, 0, 512, address);
        guest.memory.store(0x1000, &ipl.to_format1()).unwrap();
        pages.take();
        guest.poster.stage(&Descriptor::start(common::id(0), &Orb::new(0, 0x1000), n.into())).unwrap();
        guest.publish();
        let (completion, _) = guest.next();
        assert_eq!(completion.scsw.subchannel_status(), NONE);
        assert!(pages.take().contains(&(u64::from(address) / PAGE)), "read {n}");
    }
}
