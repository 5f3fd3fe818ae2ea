// SPDX-License-Identifier: MIT OR Apache-2.0
//! Rule 5: the data path allocates nothing. A counting allocator sees what the reactor's thread asks for while it works on starts, halts,
//! clears, cancels, unit checks and bad descriptors.
//!
//! In a file of its own, because the allocator is the whole program's.

mod common;

use common::{id, TestGuest};
use fctl_dispatcher::device::{Capabilities, DeviceContext, DeviceEvent, Sense, Status, SubchannelDevice};
use fctl_dispatcher::engine;
use fctl_dispatcher::region::sealed_memory_file;
use fctl_dispatcher::subchannel::StatusMode;
use fctl_dispatcher::{Builder, Reactor, RingId, SubchannelOptions};
use fctl_ringabi::arch::{DeviceStatus, Orb, PmcwCharacteristics, PmcwFlags, Schib};
use fctl_ringabi::{Descriptor, DescriptorFlags, Operation, RingSizes};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::fs::File;
use std::os::fd::AsRawFd;

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

/// Ends starts at once, at a timer, after an operation of the kernel's, or with a unit check, in turns; stops when told.
struct Varied {
    starts: u64,
    /// Turns until the running start ends.
    looks: u8,
    file: Option<File>,
    after_operation: Option<DeviceEvent>,
}

impl Varied {
    fn end(&self) -> DeviceEvent {
        let good = DeviceStatus::CHANNEL_END | DeviceStatus::DEVICE_END;
        let device = if self.starts % 5 == 0 { good | DeviceStatus::UNIT_CHECK } else { good };
        DeviceEvent::Ended(Status { device, ccw_address: 0x1008, ..Status::default() })
    }

    fn stop(&mut self, cx: &mut DeviceContext<'_>, event: DeviceEvent) {
        if let Some(slot) = cx.slot.filter(|&slot| cx.engine.in_flight(slot)) {
            cx.engine.cancel(slot);
            self.after_operation = Some(event);
        } else {
            cx.events.push(event);
        }
    }
}

impl SubchannelDevice for Varied {
    fn capabilities(&self) -> Capabilities {
        if self.file.is_some() {
            Capabilities::ENGINE
        } else {
            Capabilities::empty()
        }
    }

    fn start(&mut self, cx: &mut DeviceContext<'_>, _orb: &Orb) {
        self.starts += 1;
        self.after_operation = None;
        match (&self.file, cx.slot) {
            (Some(file), Some(slot)) => {
                let segments = cx.engine.segments(slot);
                segments.clear();
                cx.memory.segments(0x10000, 512, segments).unwrap();
                cx.engine.submit(slot, engine::Operation::Read { file: file.as_raw_fd(), offset: 0 });
            }
            // Some turns, so that it can be overtaken while it runs.
            _ if self.starts % 3 == 0 => {
                self.looks = 3;
                *cx.timer = Some(cx.now);
            }
            _ => cx.events.push(self.end()),
        }
    }

    fn halt(&mut self, cx: &mut DeviceContext<'_>) {
        self.stop(cx, DeviceEvent::Halted(Status::default()));
    }

    fn clear(&mut self, cx: &mut DeviceContext<'_>) {
        self.stop(cx, DeviceEvent::Cleared);
    }

    fn operation_ended(&mut self, cx: &mut DeviceContext<'_>, _result: engine::OperationResult) {
        let event = self.after_operation.take().unwrap_or_else(|| self.end());
        cx.events.push(event);
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
        Some([0x80; 32])
    }
}

const SUBCHANNELS: u16 = 48;

/// Subchannels of all sorts: with and without an engine slot, delivered and held.
fn attach_all(reactor: &mut Reactor, ring: RingId) {
    for number in 0..SUBCHANNELS {
        let file = (number % 4 == 0).then(|| sealed_memory_file("fctl-test", 4096).unwrap());
        let mode = if number % 16 == 5 { StatusMode::Held } else { StatusMode::Delivered };
        let device = Box::new(Varied { starts: 0, looks: 0, file, after_operation: None });
        reactor.attach_subchannel(ring, id(number), SubchannelOptions::new(number).with_mode(mode), device).unwrap();
    }
}

fn instruction(tag: u64) -> Descriptor {
    // Two neighbours go to one subchannel, so that a start is overtaken by what follows.
    let number = u16::try_from(tag / 2 * 7 % u64::from(SUBCHANNELS)).unwrap();
    let start = Descriptor::start(id(number), &Orb::new(1, 0x1000), tag);
    // No common divisor with the above: each instruction comes to each subchannel.
    let descriptor = match tag % 37 {
        3 => Descriptor::new(Operation::Halt, id(number), tag),
        5 => Descriptor::new(Operation::Clear, id(number), tag),
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

/// The same work again and again, until `starts` starts were taken.
fn work(reactor: &mut Reactor, guest: &mut TestGuest, tag: &mut u64, starts: u64) {
    while reactor.counters().starts < starts {
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
        while guest.reader.take().unwrap().is_some() {}
        guest.reader.give_back();
    }
}

#[test]
fn a_million_starts_with_clears_and_unit_checks_among_them_allocate_nothing() {
    let (mut reactor, _handle) = Builder::default().engine_slots(8).build().unwrap();
    let mut guest = TestGuest::new(RingSizes::new(256));
    let guest_id = reactor.attach_guest(guest.memory.clone());
    let ring = reactor.attach_ring(guest_id, guest.ends()).unwrap();
    attach_all(&mut reactor, ring);
    let mut schib = Schib::initial(0);
    schib.pmcw.set_flags(schib.pmcw.flags() | PmcwFlags::ENABLED);
    schib.pmcw.set_characteristics(PmcwCharacteristics::CONCURRENT_SENSE);
    guest.memory.store(0x8000, &schib.to_bytes()).unwrap();

    // A first lap, in which queues may still grow to what they need.
    let mut tag = 0;
    work(&mut reactor, &mut guest, &mut tag, 5_000);
    let before = reactor.counters();
    let target = before.starts + 1_000_000;
    let asked = allocations(|| work(&mut reactor, &mut guest, &mut tag, target));
    let counters = reactor.counters();
    assert_eq!(asked, 0, "calls of the allocator in {} starts", counters.starts - before.starts);

    // The work was what it was meant to be.
    assert!(counters.starts - before.starts >= 1_000_000);
    for (what, number, least) in [
        ("ran", counters.ran - before.ran, 100_000),
        ("merged away", counters.merged_away - before.merged_away, 100),
        ("stopped while active", counters.stopped_active - before.stopped_active, 10),
        ("refused", counters.refused - before.refused, 10_000),
        ("notifications", counters.notifications - before.notifications, 100),
    ] {
        assert!(number >= least, "{what}: {number} of at least {least}: {counters:?}");
    }
    assert!(reactor.engine_counters().operations > 1000);
}

/// The counter counts: else zero would mean nothing.
#[test]
fn the_allocator_is_seen() {
    assert_eq!(allocations(|| drop(std::hint::black_box(Box::new(5)))), 2);
    assert_eq!(allocations(|| ()), 0);
}
