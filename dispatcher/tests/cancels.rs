// SPDX-License-Identifier: MIT OR Apache-2.0
//! A stop reaches the operation that it is for, wherever that operation is.

mod common;

use common::scripted::{final_of, plain, ssch, Rig};
use common::{id, TestGuest};
use fctl_dispatcher::device::{Capabilities, DeviceContext, DeviceEvent, Status, SubchannelDevice};
use fctl_dispatcher::engine::{Operation as Perform, OperationResult, UringEngine};
use fctl_dispatcher::memory::{HostRange, Memory};
use fctl_dispatcher::{Builder, SubchannelOptions};
use fctl_ringabi::arch::Orb;
use fctl_ringabi::{Disposition, Operation, RingSizes};
use std::io::Write as _;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::Arc;

/// A program of two operations: the first ends as soon as its socket has something, the second only when it is cancelled.
struct TwoReads {
    sockets: [UnixStream; 2],
    submitted: Arc<AtomicU32>,
    stop: Option<DeviceEvent>,
}

impl TwoReads {
    fn read(&self, cx: &mut DeviceContext<'_>, which: usize) {
        let slot = cx.slot.unwrap();
        let segments = cx.engine.segments(slot);
        segments.clear();
        assert_eq!(cx.memory.segments(0, 512, segments).unwrap(), 512);
        cx.engine.submit(slot, Perform::Read { file: self.sockets[which].as_raw_fd(), offset: u64::MAX });
        self.submitted.fetch_add(1, Ordering::Relaxed);
    }

    fn stop(&mut self, cx: &mut DeviceContext<'_>, answer: DeviceEvent) {
        match cx.slot {
            Some(slot) if cx.engine.in_flight(slot) => {
                cx.engine.cancel(slot);
                self.stop = Some(answer);
            }
            _ => cx.events.push(answer),
        }
    }
}

impl SubchannelDevice for TwoReads {
    fn capabilities(&self) -> Capabilities {
        Capabilities::ENGINE
    }

    fn start(&mut self, cx: &mut DeviceContext<'_>, _orb: &Orb) {
        self.read(cx, 0);
    }

    fn halt(&mut self, cx: &mut DeviceContext<'_>) {
        self.stop(cx, DeviceEvent::Halted(Status::default()));
    }

    fn clear(&mut self, cx: &mut DeviceContext<'_>) {
        self.stop(cx, DeviceEvent::Cleared);
    }

    fn operation_ended(&mut self, cx: &mut DeviceContext<'_>, result: OperationResult) {
        match self.stop.take() {
            Some(answer) => {
                assert_eq!(result, Err(libc::ECANCELED));
                cx.events.push(answer);
            }
            None => self.read(cx, 1),
        }
    }
}

/// A start whose second operation was submitted in the turn that has just ended, and is not in the kernel yet. The writing ends come back too.
fn between_two_operations() -> (Rig, [UnixStream; 2]) {
    let mut rig = Rig::small();
    let (first, mut writes) = UnixStream::pair().unwrap();
    let (second, never_writes) = UnixStream::pair().unwrap();
    let submitted = Arc::new(AtomicU32::new(0));
    let device = Box::new(TwoReads { sockets: [first, second], submitted: submitted.clone(), stop: None });
    rig.reactor.attach_subchannel(rig.ring, id(1), SubchannelOptions::new(1), device).unwrap();
    rig.batch(&[ssch(1, 0, 1)]);
    writes.write_all(&[0; 512]).unwrap();
    rig.until("the second operation", |_| submitted.load(Ordering::Relaxed) == 2);
    (rig, [writes, never_writes])
}

#[test]
fn an_operation_that_was_not_given_to_the_kernel_yet_is_stopped_by_halt_and_by_clear() {
    for stop in [Operation::Halt, Operation::Clear] {
        let (mut rig, _writers) = between_two_operations();
        rig.post(&[plain(stop, 1, 2)]);
        let mut seen = Vec::new();
        let reader = &mut rig.guest.reader;
        let deadline = std::time::Instant::now() + common::PATIENCE / 4;
        while seen.len() < 2 && std::time::Instant::now() < deadline {
            rig.reactor.turn(64);
            seen.extend(std::iter::from_fn(|| reader.take().unwrap()).map(|found| found.0));
        }
        let by = if stop == Operation::Halt { Disposition::AbsorbedByHalt } else { Disposition::AbsorbedByClear };
        assert_eq!(final_of(&seen, 1).disposition(), Some(by), "{stop:?}");
        assert_eq!(final_of(&seen, 2).cc, 0, "{stop:?}");
        assert_eq!(rig.reactor.inventory().in_flight, 0);
    }
}

#[test]
fn a_ring_is_detached_whose_operation_was_not_given_to_the_kernel_yet() {
    let (mut rig, writers) = between_two_operations();
    rig.reactor.detach_ring(rig.ring, None, Box::new(|_| {})).unwrap();
    let deadline = std::time::Instant::now() + common::PATIENCE / 4;
    while rig.reactor.inventory().rings > 0 && std::time::Instant::now() < deadline {
        rig.reactor.turn(64);
    }
    assert_eq!((rig.reactor.inventory().rings, rig.reactor.inventory().in_flight), (0, 0));
    assert_eq!(final_of(&rig.completions(), 1).disposition(), Some(Disposition::AbsorbedByClear));
    drop(writers);
}

/// The kernel does not talk to the thread that drops the reactor: it returns nevertheless, and what the kernel may still write is not freed.
#[test]
fn a_reactor_that_is_dropped_on_another_thread_with_an_operation_in_the_kernel() {
    let layout = std::alloc::Layout::from_size_align(4096, 4096).unwrap();
    // SAFETY: the layout is not empty. The page is never freed.
    let host = unsafe { std::alloc::alloc_zeroed(layout) };
    let owner: Arc<()> = Arc::new(());
    let ranges = [HostRange { address: 0, host, length: 4096 }];
    // SAFETY: the page is never freed, and nobody else looks at it.
    let memory = unsafe { Memory::from_host_ranges(&ranges, owner.clone()) }.unwrap();
    let (reads, _writes) = UnixStream::pair().unwrap();
    let (report, done) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let turning = std::thread::spawn(move || {
            let mut guest = TestGuest::new(RingSizes::new(64));
            let (mut reactor, _handle) = Builder::default().build().unwrap();
            let guest_id = reactor.attach_guest(memory);
            let ring = reactor.attach_ring(guest_id, guest.ends()).unwrap();
            let device = TwoReads { sockets: [reads.try_clone().unwrap(), reads], submitted: Arc::default(), stop: None };
            reactor.attach_subchannel(ring, id(1), SubchannelOptions::new(1), Box::new(device)).unwrap();
            guest.poster.post(&ssch(1, 0, 1)).unwrap();
            reactor.turn(64);
            assert_eq!(reactor.inventory().in_flight, 1);
            reactor
        });
        drop(turning.join().unwrap());
        report.send(()).unwrap();
    });
    done.recv_timeout(common::PATIENCE / 2).expect("it returns");
    if UringEngine::new(1).unwrap().is_deferred() {
        assert!(Arc::strong_count(&owner) > 1, "the kernel may still write there");
    }
}
