// SPDX-License-Identifier: MIT OR Apache-2.0
//! The shortest way through: starts to null devices, and their finals.

mod common;

use common::{id, TestGuest};
use fctl_dispatcher::device::null::Null;
use fctl_dispatcher::{Builder, SubchannelOptions};
use fctl_ringabi::arch::{DeviceStatus, FunctionControl, Orb};
use fctl_ringabi::{CompletionKind, Descriptor, Operation, RingSizes};
use std::time::Duration;

#[test]
fn starts_to_null_devices_each_get_one_final() {
    let mut guest = TestGuest::new(RingSizes::new(64));
    let handle = Builder::default().spawn().unwrap();
    let (guest_id, ring) = guest.attach(&handle);
    for number in 0..16 {
        handle.attach_subchannel(ring, id(number), SubchannelOptions::new(number), Box::new(Null)).unwrap();
    }
    let mut seen = vec![0u8; 1000];
    let (mut posted, mut done) = (0u64, 0u64);
    while done < 1000 {
        while posted < 1000 && posted < done + 16 {
            let number = u16::try_from(posted % 16).unwrap();
            let orb = Orb::new(7, 0x1000);
            if guest.poster.stage(&Descriptor::start(id(number), &orb, posted)).is_err() {
                break;
            }
            posted += 1;
        }
        guest.publish();
        let (completion, _) = guest.next();
        assert_eq!(completion.kind(), Some(CompletionKind::Final));
        assert_eq!((completion.cc, completion.intparm), (0, 7));
        assert_eq!(completion.scsw.device_status(), DeviceStatus::CHANNEL_END | DeviceStatus::DEVICE_END);
        assert_eq!(completion.scsw.fctl(), FunctionControl::START);
        seen[usize::try_from(completion.tag).unwrap()] += 1;
        done += 1;
    }
    assert!(seen.iter().all(|&count| count == 1));
    let counters = handle.counters().unwrap();
    assert_eq!((counters.taken, counters.finals, counters.ran), (1000, 1000, 1000));
    handle.detach_ring(ring, Duration::from_secs(10)).unwrap();
    handle.detach_guest(guest_id).unwrap();
    assert_eq!(handle.inventory().unwrap(), Default::default());
    handle.stop().unwrap();
}

#[test]
fn a_sleeping_dispatcher_is_woken_by_the_doorbell_and_wakes_a_sleeping_guest() {
    let mut guest = TestGuest::new(RingSizes::new(64));
    let handle = Builder::default().wait(fctl_dispatcher::WaitPolicy::sleeping()).spawn().unwrap();
    let (_, ring) = guest.attach(&handle);
    handle.attach_subchannel(ring, id(1), SubchannelOptions::new(1), Box::new(Null)).unwrap();
    for tag in 0..200 {
        guest.poster.stage(&Descriptor::new(Operation::Clear, id(1), tag)).unwrap();
        guest.publish();
        while guest.reader.is_empty() {
            if guest.reader.announce_sleep() {
                guest.notification.read().unwrap();
                guest.reader.awake();
            }
        }
        assert_eq!(guest.next().0.tag, tag);
    }
    assert!(handle.counters().unwrap().sleeps > 0);
}
