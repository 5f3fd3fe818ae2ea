// SPDX-License-Identifier: MIT OR Apache-2.0
//! A volume whose I/O does not end is declared stuck: new starts get condition code 3, it is reported by name and age, nothing is claimed
//! released; when the operation ends, all is as before.

mod common;

use common::{gather, id, TestGuest};
use fctl_dispatcher::device::{Backing, Capabilities, DeviceContext, DeviceEvent, Status, SubchannelDevice};
use fctl_dispatcher::engine::{Operation, OperationResult};
use fctl_dispatcher::{Builder, ControlError, Reactor, SubchannelOptions};
use fctl_ringabi::arch::{DeviceStatus, Orb};
use fctl_ringabi::{Descriptor, Disposition, RingSizes};
use std::io::Write as _;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Reads from a pipe: for as long as nobody writes, the operation does not end.
struct PipeDevice {
    pipe: Arc<UnixStream>,
    clearing: bool,
}

impl SubchannelDevice for PipeDevice {
    fn capabilities(&self) -> Capabilities {
        Capabilities::ENGINE
    }

    fn start(&mut self, cx: &mut DeviceContext<'_>, _orb: &Orb) {
        let slot = gather(cx, 512);
        cx.engine.submit(slot, Operation::Read { file: self.pipe.as_raw_fd(), offset: u64::MAX });
    }

    fn halt(&mut self, _cx: &mut DeviceContext<'_>) {}

    /// Does not cancel the operation: it goes on whatever the guest asks for, as on a disk.
    fn clear(&mut self, cx: &mut DeviceContext<'_>) {
        match cx.slot {
            Some(slot) if cx.engine.in_flight(slot) => self.clearing = true,
            _ => cx.events.push(DeviceEvent::Cleared),
        }
    }

    fn operation_ended(&mut self, cx: &mut DeviceContext<'_>, result: OperationResult) {
        assert_eq!(result, Ok(512));
        let good = DeviceStatus::CHANNEL_END | DeviceStatus::DEVICE_END;
        cx.events.push(if std::mem::take(&mut self.clearing) {
            DeviceEvent::Cleared
        } else {
            DeviceEvent::Ended(Status { device: good, ..Status::default() })
        });
    }

    fn backing(&self) -> Option<Backing<'_>> {
        Some(Backing { id: Arc::as_ptr(&self.pipe).addr(), name: "a pipe that nobody writes to" })
    }
}

fn turn_until(reactor: &mut Reactor, what: &str, mut done: impl FnMut(&mut Reactor) -> bool) {
    let deadline = Instant::now() + common::PATIENCE;
    while !done(reactor) {
        reactor.turn(64);
        assert!(Instant::now() < deadline, "{what}: not within {:?}", common::PATIENCE);
    }
}

struct Setup {
    guest: TestGuest,
    reactor: Reactor,
    _handle: fctl_dispatcher::Handle,
    writer: UnixStream,
}

/// Two subchannels on one pipe, one on another.
fn setup(stuck_after: Duration) -> Setup {
    let guest = TestGuest::new(RingSizes::new(64));
    let (mut reactor, handle) = Builder::default().stuck_after(stuck_after).build().unwrap();
    let guest_id = reactor.attach_guest(guest.memory.clone());
    let ring = reactor.attach_ring(guest_id, guest.ends()).unwrap();
    let (reader, writer) = UnixStream::pair().unwrap();
    let pipe = Arc::new(reader);
    for number in [0, 1] {
        let device = PipeDevice { pipe: pipe.clone(), clearing: false };
        reactor.attach_subchannel(ring, id(number), SubchannelOptions::new(number), Box::new(device)).unwrap();
    }
    reactor.attach_subchannel(ring, id(2), SubchannelOptions::new(2), Box::new(fctl_dispatcher::device::null::Null)).unwrap();
    Setup { guest, reactor, _handle: handle, writer }
}

fn start(guest: &mut TestGuest, number: u16, tag: u64) {
    guest.poster.stage(&Descriptor::start(id(number), &Orb::new(0, 0x1000), tag)).unwrap();
    guest.publish();
}

#[test]
fn new_starts_are_refused_while_an_operation_does_not_end() {
    let Setup { mut guest, mut reactor, _handle, mut writer } = setup(Duration::from_millis(20));
    start(&mut guest, 0, 1);
    turn_until(&mut reactor, "stuck", |reactor| !reactor.stuck().is_empty());
    let stuck = reactor.stuck()[0].clone();
    assert_eq!((stuck.name.as_str(), stuck.subsystem), ("a pipe that nobody writes to", id(0).word()));
    assert!(stuck.age >= Duration::from_millis(20));
    // On the same volume nothing more is started; elsewhere it goes on.
    start(&mut guest, 1, 2);
    start(&mut guest, 2, 3);
    turn_until(&mut reactor, "finals", |_| !guest.reader.is_empty());
    let (refused, other) = (guest.next().0, guest.next().0);
    assert_eq!((refused.tag, refused.cc), (2, 3));
    assert_eq!((other.tag, other.cc), (3, 0));
    // A clear is accepted, and not answered before the kernel has given the buffer back.
    guest.poster.stage(&Descriptor::new(fctl_ringabi::Operation::Clear, id(0), 4)).unwrap();
    guest.publish();
    for _ in 0..1000 {
        reactor.turn(64);
    }
    assert!(guest.reader.is_empty(), "no status claims an early release");
    assert_eq!(reactor.inventory().in_flight, 1);
    writer.write_all(&[0; 512]).unwrap();
    turn_until(&mut reactor, "no longer stuck", |reactor| reactor.stuck().is_empty() && reactor.inventory().in_flight == 0);
    let (absorbed, cleared) = (guest.next().0, guest.next().0);
    assert_eq!((absorbed.tag, absorbed.disposition(), cleared.tag), (1, Some(Disposition::AbsorbedByClear), 4));
    writer.write_all(&[0; 512]).unwrap();
    start(&mut guest, 1, 5);
    turn_until(&mut reactor, "a start", |_| !guest.reader.is_empty());
    let completion = guest.next().0;
    assert_eq!((completion.tag, completion.cc), (5, 0));
}

#[test]
fn drain_and_detach_say_what_is_still_in_flight() {
    let mut guest = TestGuest::new(RingSizes::new(64));
    let handle = Builder::default().spawn().unwrap();
    let (_, ring) = guest.attach(&handle);
    let (reader, mut writer) = UnixStream::pair().unwrap();
    let device = PipeDevice { pipe: Arc::new(reader), clearing: false };
    handle.attach_subchannel(ring, id(7), SubchannelOptions::new(7), Box::new(device)).unwrap();
    start(&mut guest, 7, 1);
    let deadline = Instant::now() + common::PATIENCE;
    while handle.inventory().unwrap().in_flight == 0 {
        assert!(Instant::now() < deadline);
    }
    for attempt in [handle.drain(ring, Duration::from_millis(5)), handle.detach_ring(ring, Duration::from_millis(5))] {
        match attempt {
            Err(ControlError::Deadline(busy)) => assert_eq!(busy.0, [id(7).word()]),
            other => panic!("{other:?}"),
        }
    }
    // It goes by itself as soon as the kernel gives the buffer back.
    writer.write_all(&[0; 512]).unwrap();
    let deadline = Instant::now() + common::PATIENCE;
    while handle.inventory().unwrap().rings > 0 {
        assert!(Instant::now() < deadline);
    }
    let final_of_the_start = guest.next().0;
    assert_eq!((final_of_the_start.tag, final_of_the_start.disposition()), (1, Some(Disposition::AbsorbedByClear)));
}
