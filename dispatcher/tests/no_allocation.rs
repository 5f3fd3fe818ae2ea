// SPDX-License-Identifier: MIT OR Apache-2.0
//! Rule 5: the data path allocates nothing. A counting allocator sees what the reactor's thread asks for while it works on reads and writes of an
//! FBA volume by io_uring, on halts, clears, cancels, unit checks and bad descriptors. And what the engine is given for the kernel to read and
//! write is the guest's memory and nothing else.
//!
//! In a file of its own, because the allocator is the whole program's.

mod common;

use common::{id, TestGuest};
use fctl_dispatcher::device::delay::{Delay, FOREVER};
use fctl_dispatcher::device::fba::{Fba, FbaUnit};
use fctl_dispatcher::device::null::Null;
use fctl_dispatcher::device::{
    emulated::Emulated, Backing, Capabilities, DeviceContext, DeviceEvent, Sense, Status, SubchannelDevice,
};
use fctl_dispatcher::engine::{self, Engine, OperationResult, Segments, SlotId};
use fctl_dispatcher::memory::Memory;
use fctl_dispatcher::metrics::Counters;
use fctl_dispatcher::region::sealed_memory_file;
use fctl_dispatcher::subchannel::StatusMode;
use fctl_dispatcher::volume::{Volume, VolumeOptions};
use fctl_dispatcher::{Builder, Reactor, RingId, SubchannelOptions};
use fctl_ringabi::arch::{Ccw, CcwFlags, DeviceStatus, Orb, PmcwCharacteristics, PmcwFlags, Schib};
use fctl_ringabi::{Descriptor, DescriptorFlags, Operation, RingSizes};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

/// Counts what the thread that is watched asks for.
struct Counting;

thread_local! {
    static WATCHED: Cell<bool> = const { Cell::new(false) };
    static ASKED: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    // A thread that ends has no such variables any more, and is not watched.
    let watched = WATCHED.try_with(Cell::get).unwrap_or(false);
    if watched {
        ASKED.with(|asked| asked.set(asked.get() + 1));
    }
}

// SAFETY: everything is left to the system's allocator; counting touches thread-local cells without destructors only.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's contract is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        count();
        // SAFETY: the caller's contract is passed on.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's contract is passed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller's contract is passed on.
        unsafe { System.realloc(memory, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Calls of the allocator, by this thread, while `work` runs.
fn allocations(work: impl FnOnce()) -> u64 {
    ASKED.set(0);
    WATCHED.set(true);
    work();
    WATCHED.set(false);
    ASKED.get()
}

/// An FBA device of which each operation is looked at on its way to the engine.
struct Watched {
    device: Emulated<FbaUnit>,
    /// The addresses of the guest's memory in this process.
    mapping: Range<usize>,
    seen: Arc<Seen>,
}

/// Operations whose pieces all lay inside the guest's mapping.
#[derive(Default)]
struct Seen {
    operations: AtomicU64,
    /// Of these, with several pieces.
    vectored: AtomicU64,
}

/// The real engine, behind a look at what it is given.
struct WatchedEngine<'a> {
    engine: &'a mut dyn Engine,
    mapping: &'a Range<usize>,
    seen: &'a Seen,
}

impl WatchedEngine<'_> {
    fn look(&mut self, slot: SlotId) {
        let vectors = self.engine.segments(slot).vectors();
        assert!(!vectors.is_empty(), "an operation on nothing");
        for vector in vectors {
            let begin = vector.iov_base.addr();
            let inside =
                begin >= self.mapping.start && vector.iov_len > 0 && vector.iov_len <= self.mapping.end.saturating_sub(begin);
            assert!(inside, "{begin:#x} and {:#x} bytes on, outside of {:#x?}", vector.iov_len, self.mapping);
        }
        self.seen.operations.fetch_add(1, Ordering::Relaxed);
        self.seen.vectored.fetch_add(u64::from(vectors.len() > 1), Ordering::Relaxed);
    }
}

impl Engine for WatchedEngine<'_> {
    fn segments(&mut self, slot: SlotId) -> &mut Segments {
        self.engine.segments(slot)
    }

    fn submit(&mut self, slot: SlotId, operation: engine::Operation) {
        self.look(slot);
        self.engine.submit(slot, operation);
    }

    fn submit_aside(&mut self, slot: SlotId, operation: engine::Operation) {
        self.look(slot);
        self.engine.submit_aside(slot, operation);
    }

    fn cancel(&mut self, slot: SlotId) {
        self.engine.cancel(slot);
    }

    fn in_flight(&self, slot: SlotId) -> bool {
        self.engine.in_flight(slot)
    }
}

impl Watched {
    fn call(&mut self, cx: &mut DeviceContext<'_>, call: impl FnOnce(&mut Emulated<FbaUnit>, &mut DeviceContext<'_>)) {
        let mut engine = WatchedEngine { engine: &mut *cx.engine, mapping: &self.mapping, seen: &self.seen };
        let mut inner = DeviceContext {
            now: cx.now,
            memory: cx.memory,
            events: &mut *cx.events,
            engine: &mut engine,
            slot: cx.slot,
            timer: &mut *cx.timer,
        };
        call(&mut self.device, &mut inner);
    }
}

impl SubchannelDevice for Watched {
    fn capabilities(&self) -> Capabilities {
        self.device.capabilities()
    }

    fn start(&mut self, cx: &mut DeviceContext<'_>, orb: &Orb) {
        self.call(cx, |device, cx| device.start(cx, orb));
    }

    fn halt(&mut self, cx: &mut DeviceContext<'_>) {
        self.call(cx, |device, cx| device.halt(cx));
    }

    fn clear(&mut self, cx: &mut DeviceContext<'_>) {
        self.call(cx, |device, cx| device.clear(cx));
    }

    fn operation_ended(&mut self, cx: &mut DeviceContext<'_>, result: OperationResult) {
        self.call(cx, |device, cx| device.operation_ended(cx, result));
    }

    fn timer(&mut self, cx: &mut DeviceContext<'_>) {
        self.call(cx, |device, cx| device.timer(cx));
    }

    fn backing(&self) -> Option<Backing<'_>> {
        self.device.backing()
    }

    fn take_sense(&mut self) -> Option<Sense> {
        self.device.take_sense()
    }
}

/// Has no engine: ends starts at once, at a timer, or with a unit check, in turns; stops when told.
#[derive(Default)]
struct Varied {
    starts: u64,
    /// Turns until the running start ends.
    looks: u8,
}

impl Varied {
    fn end(&self) -> DeviceEvent {
        let good = DeviceStatus::CHANNEL_END | DeviceStatus::DEVICE_END;
        let device = if self.starts % 5 == 0 { good | DeviceStatus::UNIT_CHECK } else { good };
        DeviceEvent::Ended(Status { device, ccw_address: 0x1008, ..Status::default() })
    }
}

impl SubchannelDevice for Varied {
    fn capabilities(&self) -> Capabilities {
        Capabilities::empty()
    }

    fn start(&mut self, cx: &mut DeviceContext<'_>, _orb: &Orb) {
        self.starts += 1;
        if self.starts % 3 == 0 {
            // Some turns, so that it can be overtaken while it runs.
            self.looks = 3;
            *cx.timer = Some(cx.now);
        } else {
            cx.events.push(self.end());
        }
    }

    fn halt(&mut self, cx: &mut DeviceContext<'_>) {
        cx.events.push(DeviceEvent::Halted(Status::default()));
    }

    fn clear(&mut self, cx: &mut DeviceContext<'_>) {
        cx.events.push(DeviceEvent::Cleared);
    }

    fn timer(&mut self, cx: &mut DeviceContext<'_>) {
        self.looks -= 1;
        if self.looks > 0 {
            *cx.timer = Some(cx.now);
        } else {
            cx.events.push(self.end());
        }
    }

    fn take_sense(&mut self) -> Option<Sense> {
        Some(Sense::new(&[0x80; 24]))
    }
}

const SUBCHANNELS: u16 = 192;
const BLOCKS: u64 = 64;

/// One in four has a device without engine, the others an FBA disk; one in sixteen is held, the others deliver.
fn attach_all(reactor: &mut Reactor, ring: RingId, memory: &Memory) -> Arc<Seen> {
    // In memory: what the medium takes is not the question, and it is durable as soon as it is written.
    let file = sealed_memory_file("fctl-test", BLOCKS * 512).unwrap();
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let volume = Arc::new(Volume::open(path, VolumeOptions::default()).unwrap());
    let mut all = Segments::default();
    memory.segments(0, usize::try_from(memory.bytes()).unwrap(), &mut all).unwrap();
    let [all] = all.vectors() else { panic!("the guest's memory is one mapping") };
    assert_eq!(all.iov_len as u64, memory.bytes());
    let mapping = all.iov_base.addr()..all.iov_base.addr() + all.iov_len;
    let seen = Arc::new(Seen::default());
    for number in 0..SUBCHANNELS {
        let mode = if number % 16 == 5 { StatusMode::Held } else { StatusMode::Delivered };
        let device: Box<dyn SubchannelDevice> = if number % 4 == 3 {
            Box::new(Varied::default())
        } else {
            let device = Fba::new(volume.clone()).unwrap();
            Box::new(Watched { device, mapping: mapping.clone(), seen: seen.clone() })
        };
        reactor.attach_subchannel(ring, id(number), SubchannelOptions::new(number).with_mode(mode), device).unwrap();
    }
    seen
}

/// Where the guest's channel programs are, one for each of [`store_programs`].
const PROGRAMS: u32 = 0x1000;
const PROGRAM_BYTES: u32 = 0x100;
const KINDS: u32 = 8;

/// What the guest's starts do: reads and writes of one piece and of several, and what ends in unit check, program check or incorrect length.
fn store_programs(memory: &Memory) {
    const EXTENT: u32 = 0x4000;
    const LOCATE_READ: u32 = 0x4100;
    const LOCATE_WRITE: u32 = 0x4200;
    let last = u32::try_from(BLOCKS).unwrap() - 1;
    let mut extent = [0; 16];
    extent[0] = 0xC0;
    extent[12..].copy_from_slice(&last.to_be_bytes());
    memory.store(EXTENT.into(), &extent).unwrap();
    for (address, operation) in [(LOCATE_READ, 6), (LOCATE_WRITE, 5)] {
        memory.store(address.into(), &[operation, 0, 0, 4, 0, 0, 0, 8]).unwrap();
    }
    let (chain, data, length) = (CcwFlags::CHAIN_COMMAND, CcwFlags::CHAIN_DATA, CcwFlags::SUPPRESS_LENGTH);
    let define = (0x63, chain, 16, EXTENT);
    let (to_read, to_write) = ((0x43, chain, 8, LOCATE_READ), (0x43, chain, 8, LOCATE_WRITE));
    let programs: [&[(u8, CcwFlags, u16, u32)]; KINDS as usize] = [
        &[define, to_read, (0x42, length, 2048, 0x1_0000)],
        &[define, to_write, (0x41, length, 2048, 0x2_0000)],
        &[define, to_read, (0x42, data, 512, 0x1_0000), (0x42, data, 512, 0x1_1000), (0x42, length, 1024, 0x1_2000)],
        &[define, to_write, (0x41, data, 1024, 0x2_0000), (0x41, length, 1024, 0x2_1000)],
        // No such command; a block that is not in the extent; memory that is not there; too long.
        &[(0x9F, length, 1, 0)],
        &[define, (0x43, chain, 8, EXTENT), (0x42, length, 512, 0x1_0000)],
        &[define, to_read, (0x42, length, 512, 0x7000_0000)],
        &[define, to_read, (0x42, CcwFlags::empty(), 4096, 0x1_0000)],
    ];
    for (program, ccws) in (PROGRAMS..).step_by(PROGRAM_BYTES as usize).zip(programs) {
        for (address, &(command, flags, count, address_of_data)) in (u64::from(program)..).step_by(8).zip(ccws) {
            let ccw = Ccw { command, flags, count, address: address_of_data };
            memory.store(address, &ccw.to_format1()).unwrap();
        }
    }
}

fn instruction(tag: u64) -> Descriptor {
    // What stops goes to the subchannel of the instruction before it, so that a start is overtaken.
    let stops = matches!(tag % 37, 3 | 5 | 7 | 23);
    let number = u16::try_from((tag - u64::from(stops)) * 7 % u64::from(SUBCHANNELS)).unwrap();
    // Three in four read or write; each sort comes to each subchannel.
    let sort = u32::try_from(tag / u64::from(SUBCHANNELS) % 16).unwrap();
    let kind = if sort < 12 { sort % 4 } else { sort - 8 };
    let start = Descriptor::start(id(number), &Orb::new(1, PROGRAMS + PROGRAM_BYTES * kind), tag);
    // No common divisor with the above: each instruction comes to each subchannel.
    let descriptor = match tag % 37 {
        3 => Descriptor::new(Operation::Halt, id(number), tag),
        5 | 23 => Descriptor::new(Operation::Clear, id(number), tag),
        7 => Descriptor::new(Operation::Cancel, id(number), tag),
        9 => Descriptor::new(Operation::Store, id(number), tag),
        11 => Descriptor::by_address(Operation::Modify, id(number), 0x8000, tag),
        13 => Descriptor { operation: 77, ..start },
        15 => Descriptor::start(id(number), &Orb::from_words([u32::MAX; 3]), tag),
        17 => Descriptor::start(id(0x7777), &Orb::new(1, 0x1000), tag),
        19 | 21 => Descriptor::new(Operation::Test, id(number), tag),
        _ => start,
    };
    if tag % 3 == 0 {
        descriptor.with_flags(DescriptorFlags::ACCEPTED)
    } else {
        descriptor
    }
}

/// Completions that the guest took, by what they told.
#[derive(Clone, Copy, Debug, Default)]
struct Told {
    ended: u64,
    unit_checks: u64,
    channel_checks: u64,
}

/// Starts that were taken and not refused because their subchannel had one already.
fn accepted(counters: &Counters) -> u64 {
    counters.starts - counters.refused
}

/// The same work again and again, until `starts` starts were accepted.
fn work(reactor: &mut Reactor, guest: &mut TestGuest, tag: &mut u64, starts: u64) -> Told {
    let mut told = Told::default();
    while accepted(&reactor.counters()) < starts {
        while guest.poster.stage(&instruction(*tag)).is_ok() {
            *tag += 1;
        }
        let _ = guest.poster.publish();
        // Now and then the guest announces sleep, so that it is notified.
        if *tag % 8 == 0 && guest.reader.announce_sleep() {
            reactor.turn(64);
            guest.reader.awake();
        }
        for budget in [64, 64, 16, 64] {
            reactor.turn(budget);
        }
        while let Some((completion, _)) = guest.reader.take().unwrap() {
            let device = completion.scsw.device_status();
            told.ended += u64::from(device == DeviceStatus::CHANNEL_END | DeviceStatus::DEVICE_END);
            told.unit_checks += u64::from(device.contains(DeviceStatus::UNIT_CHECK));
            told.channel_checks += u64::from(!completion.scsw.subchannel_status().is_empty());
        }
        guest.reader.give_back();
    }
    told
}

#[test]
fn a_million_starts_with_clears_and_unit_checks_among_them_allocate_nothing() {
    // Fewer slots than disks: some starts wait for one.
    let (mut reactor, _handle) = Builder::default().engine_slots(64).build().unwrap();
    let mut guest = TestGuest::new(RingSizes::new(256));
    let guest_id = reactor.attach_guest(guest.memory.clone());
    let ring = reactor.attach_ring(guest_id, guest.ends()).unwrap();
    let seen = attach_all(&mut reactor, ring, &guest.memory);
    store_programs(&guest.memory);
    let mut schib = Schib::initial(0);
    schib.pmcw.set_flags(schib.pmcw.flags() | PmcwFlags::ENABLED);
    schib.pmcw.set_characteristics(PmcwCharacteristics::CONCURRENT_SENSE);
    guest.memory.store(0x8000, &schib.to_bytes()).unwrap();

    // A first lap, in which queues may still grow to what they need.
    let mut tag = 0;
    work(&mut reactor, &mut guest, &mut tag, 5_000);
    let (before, operations) = (reactor.counters(), reactor.engine_counters().operations);
    let target = accepted(&before) + 1_000_000;
    let mut told = Told::default();
    let asked = allocations(|| told = work(&mut reactor, &mut guest, &mut tag, target));
    let counters = reactor.counters();
    assert_eq!(asked, 0, "calls of the allocator in {} starts", accepted(&counters) - accepted(&before));

    // The work was what it was meant to be.
    let operations = reactor.engine_counters().operations - operations;
    for (what, number, least) in [
        ("ran", counters.ran - before.ran, 600_000),
        ("merged away", counters.merged_away - before.merged_away, 10_000),
        ("stopped while active", counters.stopped_active - before.stopped_active, 1000),
        ("refused", counters.refused - before.refused, 10_000),
        ("notifications", counters.notifications - before.notifications, 100),
        ("channel end and device end", told.ended, 500_000),
        ("unit checks", told.unit_checks, 50_000),
        ("program checks and incorrect lengths", told.channel_checks, 50_000),
        ("operations of the kernel", operations, 300_000),
        ("operations inside the guest's mapping", seen.operations.load(Ordering::Relaxed), operations),
        ("of them with several pieces", seen.vectored.load(Ordering::Relaxed), 100_000),
    ] {
        assert!(number >= least, "{what}: {number} of at least {least}: {counters:?}, {told:?}");
    }
}

/// A drain may last: what other rings do meanwhile costs no more than before.
#[test]
fn turns_in_which_a_ring_is_drained_allocate_nothing() {
    let (mut reactor, _handle) = Builder::default().build().unwrap();
    let mut guest = TestGuest::new(RingSizes::new(64));
    let guest_id = reactor.attach_guest(guest.memory.clone());
    let ring = reactor.attach_ring(guest_id, guest.ends()).unwrap();
    for number in 0..16 {
        let never_ends = Box::new(Delay::new(Null, FOREVER));
        reactor.attach_subchannel(ring, id(number), SubchannelOptions::new(number), never_ends).unwrap();
        guest.poster.post(&Descriptor::start(id(number), &Orb::new(1, 0x1000), 1)).unwrap();
    }
    reactor.turn(64);
    reactor.drain(ring, None, Box::new(|_| panic!("nothing ends"))).unwrap();
    let asked = allocations(|| {
        for _ in 0..1000 {
            reactor.turn(64);
        }
    });
    assert_eq!(asked, 0);
}

/// The counter counts: else zero would mean nothing.
#[test]
fn the_allocator_is_seen() {
    assert_eq!(allocations(|| drop(std::hint::black_box(Box::new(5)))), 2);
    assert_eq!(allocations(|| ()), 0);
}
