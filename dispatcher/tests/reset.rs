// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reset and detachment of subchannels: what was taken ends, what was left is gone, and nobody is notified.

mod common;

use common::scripted::{ended, final_of, finals, plain, ssch, status, Call, Rig};
use common::{id, PATIENCE};
use fctl_dispatcher::device::fba::{Fba, FbaConfig};
use fctl_dispatcher::device::{Capabilities, DeviceEvent, Status};
use fctl_dispatcher::subchannel::StatusMode;
use fctl_dispatcher::volume::{Volume, VolumeOptions};
use fctl_dispatcher::{AttachError, Builder, ControlError, SubchannelOptions};
use fctl_ringabi::arch::{Ccw, CcwFlags, DeviceStatus, Orb, OrbControl, PmcwFlags, Schib};
use fctl_ringabi::{Descriptor, Disposition, Operation, RingSizes};
use rustix::event::{poll, PollFd, PollFlags, Timespec};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::mpsc::{channel, Receiver};
use std::sync::Arc;
use std::time::{Duration, Instant};

type Reply = (Box<dyn FnOnce(Vec<u32>) + Send>, Receiver<Vec<u32>>);

fn reply() -> Reply {
    let (send, receive) = channel();
    (Box::new(move |busy| send.send(busy).unwrap()), receive)
}

fn is_notified(rig: &Rig) -> bool {
    // SAFETY: the rig keeps it open.
    let file = unsafe { BorrowedFd::borrow_raw(rig.guest.notification.as_raw_fd()) };
    let mut fds = [PollFd::from_borrowed_fd(file, PollFlags::IN)];
    poll(&mut fds, Some(&Timespec::default())).unwrap() > 0
}

/// Ways for a subchannel to have something, each with the tags that are owed.
type Situation = (&'static str, StatusMode, fn(&mut Rig), &'static [u64]);

fn running(rig: &mut Rig) {
    rig.batch(&[ssch(1, 0, 10)]);
    rig.turns();
}

fn situations() -> Vec<Situation> {
    vec![
        ("idle", StatusMode::Delivered, |_| {}, &[]),
        ("running", StatusMode::Delivered, running, &[10]),
        (
            "halting",
            StatusMode::Delivered,
            |rig| {
                running(rig);
                rig.batch(&[plain(Operation::Halt, 1, 11)]);
            },
            &[10, 11],
        ),
        (
            "clearing, with a start, a halt and a clear",
            StatusMode::Delivered,
            |rig| {
                running(rig);
                rig.batch(&[plain(Operation::Halt, 1, 11)]);
                // The halt ends here.
                rig.batch(&[plain(Operation::Clear, 1, 12)]);
            },
            &[10, 12],
        ),
        (
            "device end outstanding, the next start waits for it",
            StatusMode::Delivered,
            |rig| {
                running(rig);
                rig.stage.tell(1, DeviceEvent::Ended(status(DeviceStatus::CHANNEL_END)));
                rig.turns();
                rig.batch(&[ssch(1, 0, 11)]);
            },
            &[11],
        ),
        (
            "suspended",
            StatusMode::Held,
            |rig| {
                let orb = Orb::new(0, 0x1000).with_control(OrbControl::SUSPEND);
                rig.batch(&[Descriptor::start(id(1), &orb, 10)]);
                rig.stage.tell(1, DeviceEvent::Suspended(Status::default()));
                rig.turns();
            },
            &[10],
        ),
        (
            "status held, other status stacked",
            StatusMode::Held,
            |rig| {
                running(rig);
                rig.stage.tell_all(1, &[ended(0x1008), DeviceEvent::Unsolicited(status(DeviceStatus::ATTENTION))]);
                rig.turns();
            },
            &[],
        ),
        (
            "disabled, with an interruption parameter",
            StatusMode::Delivered,
            |rig| {
                let mut schib = rig.schib(1);
                schib.pmcw.set_flags(schib.pmcw.flags() - PmcwFlags::ENABLED);
                schib.pmcw.set_intparm(0xBEEF);
                let modify = rig.msch(1, &schib, 11);
                rig.batch(&[modify]);
                assert!(!rig.schib(1).pmcw.is_enabled());
            },
            &[],
        ),
    ]
}

fn rig(mode: StatusMode) -> (Rig, Schib) {
    let mut rig = Rig::small();
    rig.attach(1, Capabilities::RESUME, mode);
    rig.attach(2, Capabilities::empty(), mode);
    let schib = rig.schib(1);
    (rig, schib)
}

#[test]
fn whatever_a_subchannel_had_it_is_as_at_attachment_and_nobody_is_notified() {
    for (what, mode, prepare, owed) in situations() {
        let (mut rig, before) = rig(mode);
        prepare(&mut rig);
        rig.batch(&[ssch(2, 0, 20)]);
        rig.turns();
        rig.completions();
        rig.stage.take_calls();
        assert!(rig.guest.reader.announce_sleep(), "{what}");
        let was_notified = is_notified(&rig);
        let (tell, told) = reply();
        rig.reactor.reset_subchannel(rig.guest_id, id(1), None, tell).unwrap();
        rig.turns();
        if told.try_recv().is_err() {
            // It waits for the device.
            rig.stage.tell(1, DeviceEvent::Cleared);
            rig.turns();
            assert_eq!(told.try_recv().as_deref(), Ok(&[][..]), "{what}");
            assert!(rig.stage.take_calls().iter().all(|call| *call == (1, Call::Clear)), "{what}");
        } else {
            assert_eq!(rig.stage.take_calls(), [], "{what}: an idle device is told nothing");
        }
        assert_eq!(is_notified(&rig), was_notified, "{what}");
        let seen = rig.completions();
        let absorbed: Vec<u64> = finals(&seen).iter().map(|end| end.tag).collect();
        assert_eq!(
            {
                let mut tags = absorbed.clone();
                tags.sort_unstable();
                tags
            },
            owed,
            "{what}"
        );
        assert!(owed.iter().all(|&tag| final_of(&seen, tag).disposition() == Some(Disposition::AbsorbedByClear)), "{what}");
        assert_eq!(rig.schib(1), before, "{what}");
        assert_eq!(rig.reactor.counters().finals, rig.reactor.counters().taken - 1, "{what}: the other one goes on");
        // It works again.
        rig.batch(&[ssch(1, 0, 60)]);
        rig.stage.tell(1, ended(0x1008));
        rig.turns();
        assert_eq!(final_of(&rig.completions(), 60).cc, 0, "{what}");
    }
}

#[test]
fn meanwhile_it_is_not_operational_and_the_deadline_names_it() {
    let (mut rig, before) = rig(StatusMode::Delivered);
    running(&mut rig);
    let (tell, told) = reply();
    rig.reactor.reset_subchannel(rig.guest_id, id(1), Some(Instant::now()), tell).unwrap();
    let seen = rig.batch(&[ssch(1, 0, 11), plain(Operation::Clear, 1, 12), plain(Operation::Store, 1, 13)]);
    assert_eq!([11, 12, 13].map(|tag| final_of(&seen, tag).cc), [3, 3, 0]);
    assert_eq!(told.try_recv(), Ok(vec![id(1).word()]));
    // A second one waits for the same device; both are done by one answer.
    let (tell, told) = reply();
    rig.reactor.reset_guest(rig.guest_id, None, tell).unwrap();
    rig.turns();
    assert!(told.try_recv().is_err());
    rig.stage.tell(1, DeviceEvent::Cleared);
    rig.turns();
    assert_eq!(told.try_recv(), Ok(vec![]));
    assert_eq!(final_of(&rig.completions(), 10).disposition(), Some(Disposition::AbsorbedByClear));
    assert_eq!(rig.schib(1), before);
}

#[test]
fn what_the_guest_posts_meanwhile_does_not_make_it_operational_again() {
    let (mut rig, before) = rig(StatusMode::Delivered);
    let enabling = rig.msch(1, &before, 11);
    let orb = Orb::new(0, 0x1000).with_control(OrbControl::SUSPEND);
    rig.stage.tell(1, DeviceEvent::Suspended(Status::default()));
    rig.post(&[enabling, Descriptor::start(id(1), &orb, 12)]);
    let (tell, told) = reply();
    rig.reactor.reset_subchannel(rig.guest_id, id(1), None, tell).unwrap();
    rig.turns();
    assert_eq!(told.try_recv(), Ok(vec![]), "the reset ends");
    let seen = rig.completions();
    assert_eq!([11, 12].map(|tag| final_of(&seen, tag).cc), [0, 3]);
    assert_eq!((rig.stage.take_calls(), rig.schib(1)), (vec![], before));
}

#[test]
fn a_detached_subchannel_is_gone_and_its_number_free() {
    let (mut rig, _) = rig(StatusMode::Delivered);
    running(&mut rig);
    let (tell, told) = reply();
    rig.reactor.detach_subchannel(rig.guest_id, id(1), Some(Instant::now()), tell).unwrap();
    rig.turns();
    assert_eq!(told.try_recv(), Ok(vec![id(1).word()]));
    assert!(rig.stage.gone().is_empty(), "it is kept while it works");
    rig.stage.tell(1, DeviceEvent::Cleared);
    rig.turns();
    assert_eq!((rig.stage.gone(), rig.reactor.inventory().subchannels), (vec![1], 1));
    let seen = rig.batch(&[ssch(1, 0, 11)]);
    assert_eq!((final_of(&seen, 10).disposition(), final_of(&seen, 11).cc), (Some(Disposition::AbsorbedByClear), 3));
    let (tell, _) = reply();
    let error = rig.reactor.detach_subchannel(rig.guest_id, id(1), None, tell).unwrap_err();
    assert!(matches!(error, AttachError::NoSubchannel(word) if word == id(1).word()));
    rig.attach(1, Capabilities::empty(), StatusMode::Delivered);
    let (tell, told) = reply();
    rig.reactor.detach_subchannel(rig.guest_id, id(1), None, tell).unwrap();
    rig.turns();
    assert_eq!((told.try_recv(), rig.stage.gone()), (Ok(vec![]), vec![1, 1]), "an idle one goes at once");
    rig.batch(&[ssch(2, 0, 12)]);
    rig.stage.tell(2, ended(0x1008));
    rig.turns();
    assert_eq!(final_of(&rig.completions(), 12).cc, 0, "the other one is where it was");
}

#[test]
fn a_ring_that_goes_during_a_reset_answers_both() {
    let (mut rig, _) = rig(StatusMode::Delivered);
    running(&mut rig);
    let (tell, reset) = reply();
    rig.reactor.reset_all(None, tell);
    let (tell, detached) = reply();
    rig.reactor.detach_ring(rig.ring, None, tell).unwrap();
    rig.turns();
    assert!(reset.try_recv().is_err() && detached.try_recv().is_err());
    rig.stage.tell(1, DeviceEvent::Cleared);
    rig.until("the ring is gone", |reactor| reactor.inventory().rings == 0);
    rig.turns();
    assert_eq!((reset.try_recv(), detached.try_recv()), (Ok(vec![]), Ok(vec![])));
    let counters = rig.reactor.counters();
    assert_eq!(counters.taken, counters.finals);
}

/// Subchannels of an FBA disk: 0 and 1 of initiator 7, 2 of initiator 8.
fn disk() -> (Rig, tempfile::NamedTempFile, Arc<Volume>) {
    let mut rig = Rig::new(Builder::default(), RingSizes::new(64));
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(64 * 512).unwrap();
    let volume = Arc::new(Volume::open(file.path(), VolumeOptions::default()).unwrap());
    for (number, initiator) in [(0, 7), (1, 7), (2, 8)] {
        let config = FbaConfig::default().with_initiator(initiator);
        let device = Box::new(Fba::with_config(volume.clone(), config).unwrap());
        rig.reactor.attach_subchannel(rig.ring, id(number), SubchannelOptions::new(number), device).unwrap();
    }
    (rig, file, volume)
}

/// Runs one command that transfers 24 bytes. Gives its device status.
fn command(rig: &mut Rig, number: u16, command: u8) -> DeviceStatus {
    let ccw = Ccw { command, flags: CcwFlags::SUPPRESS_LENGTH, count: 24, address: 0x4000 };
    rig.guest.memory.store(0x1000, &ccw.to_format1()).unwrap();
    rig.post(&[ssch(number, 0, 1)]);
    let mut seen = Vec::new();
    for _ in 0..1000 {
        rig.turns();
        seen.extend(rig.completions());
        if !seen.is_empty() {
            break;
        }
    }
    final_of(&seen, 1).scsw.device_status()
}

const RESERVE: u8 = 0xB4;
const CHARACTERISTICS: u8 = 0x64;

#[test]
fn a_reset_withdraws_sense_and_reservation() {
    let (mut rig, _file, volume) = disk();
    assert!(!command(&mut rig, 0, RESERVE).contains(DeviceStatus::BUSY));
    assert!(command(&mut rig, 2, CHARACTERISTICS).contains(DeviceStatus::BUSY));
    assert!(command(&mut rig, 0, 0x42).contains(DeviceStatus::UNIT_CHECK), "a read without an extent");
    let (tell, told) = reply();
    rig.reactor.reset_subchannel(rig.guest_id, id(0), None, tell).unwrap();
    rig.turns();
    assert_eq!(told.try_recv(), Ok(vec![]));
    assert!(!volume.is_reserved_against(8));
    assert!(!command(&mut rig, 2, CHARACTERISTICS).contains(DeviceStatus::BUSY));
    rig.guest.memory.store(0x4000, &[0xEE; 24]).unwrap();
    assert!(!command(&mut rig, 0, 0x04).contains(DeviceStatus::UNIT_CHECK));
    assert_eq!(rig.guest.memory.fetch::<24>(0x4000).unwrap(), [0; 24], "no sense is left");
}

#[test]
fn with_its_last_subchannel_an_initiator_loses_its_reservation() {
    let (mut rig, _file, volume) = disk();
    command(&mut rig, 0, RESERVE);
    assert!(volume.is_reserved_against(8));
    for (number, still) in [(0, true), (1, false)] {
        let (tell, told) = reply();
        rig.reactor.detach_subchannel(rig.guest_id, id(number), None, tell).unwrap();
        rig.turns();
        assert_eq!(told.try_recv(), Ok(vec![]));
        assert_eq!(volume.is_reserved_against(8), still, "after subchannel {number}");
    }
    // And when the ring goes with all that is on it.
    command(&mut rig, 2, RESERVE);
    assert!(volume.is_reserved_against(7));
    rig.reactor.detach_ring(rig.ring, None, Box::new(|_| {})).unwrap();
    rig.until("the ring is gone", |reactor| reactor.inventory().rings == 0);
    assert!(!volume.is_reserved_against(7));
}

#[test]
fn a_handle_resets_and_detaches_while_the_guest_works() {
    let mut guest = common::TestGuest::new(RingSizes::new(64));
    let handle = Builder::default().spawn().unwrap();
    let (guest_id, ring) = guest.attach(&handle);
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(1 << 20).unwrap();
    let volume = Arc::new(Volume::open(file.path(), VolumeOptions::default()).unwrap());
    let fba = || Box::new(Fba::new(volume.clone()).unwrap());
    for number in 0..4 {
        handle.attach_subchannel(ring, id(number), SubchannelOptions::new(number), fba()).unwrap();
    }
    let ipl = Ccw { command: 0x02, flags: CcwFlags::empty(), count: 512, address: 0x4000 };
    guest.memory.store(0x1000, &ipl.to_format1()).unwrap();
    let (mut posted, mut taken) = (0_u64, 0_u64);
    for round in 0..400_u64 {
        for number in 0..4 {
            guest.poster.stage(&ssch(number, 0, posted)).unwrap();
            posted += 1;
        }
        guest.publish();
        match round % 4 {
            0 => handle.reset_subchannel(guest_id, id(1), PATIENCE).unwrap(),
            1 => handle.reset_guest(guest_id, PATIENCE).unwrap(),
            2 => handle.reset_all(PATIENCE).unwrap(),
            _ => {
                handle.detach_subchannel(guest_id, id(2), PATIENCE).unwrap();
                handle.attach_subchannel(ring, id(2), SubchannelOptions::new(2), fba()).unwrap();
            }
        }
        while taken < posted {
            guest.next();
            taken += 1;
        }
    }
    let error = handle.reset_subchannel(guest_id, id(99), Duration::ZERO).unwrap_err();
    assert!(matches!(error, ControlError::Attach(AttachError::NoSubchannel(_))), "{error}");
    handle.drain(ring, PATIENCE).unwrap();
    let counters = handle.counters().unwrap();
    assert_eq!((counters.taken, counters.finals, counters.unstored), (posted, posted, 0));
}
