// SPDX-License-Identifier: MIT OR Apache-2.0
//! One instruction at a time.

use crate::common::id;
use crate::{attach, memory, start};
use fctl_dispatcher::device::delay::{Delay, FOREVER};
use fctl_dispatcher::device::null::Null;
use fctl_dispatcher::device::{Capabilities, DeviceContext, DeviceEvent, Status, SubchannelDevice};
use fctl_dispatcher::host::{HostError, HostRing, HostRingError, HostRingOptions};
use fctl_dispatcher::subchannel::StatusMode;
use fctl_dispatcher::{Builder, SubchannelOptions};
use fctl_ringabi::arch::{FunctionControl, Orb, SubsystemId};
use fctl_ringabi::{
    interruption_code, Completion, CompletionKind, Descriptor, DescriptorError, Disposition, Extension, Operation,
};
use std::time::Duration;

fn instruction(operation: Operation, number: u16, tag: u64) -> Descriptor {
    Descriptor::new(operation, id(number), tag)
}

/// The next completion, waited for as an event loop does.
fn wait(host: &mut HostRing) -> Completion {
    loop {
        if let Some((completion, _)) = host.take().unwrap() {
            return completion;
        }
        if host.arm().unwrap() {
            host.notification().read().unwrap();
        }
    }
}

#[test]
fn condition_codes_come_at_once_and_finals_in_order() {
    let handle = Builder::default().spawn().unwrap();
    let (mut host, _) = attach(&handle, HostRingOptions::default(), vec![Box::new(Null), Box::new(Delay::new(Null, FOREVER))]);
    assert_eq!(host.post(&start(1, 10)).unwrap(), 0);
    assert_eq!(host.post(&start(1, 11)).unwrap(), 2);
    assert_eq!(host.post(&start(0, 12)).unwrap(), 0);
    assert_eq!(host.post(&start(7, 13)).unwrap(), 3);
    assert_eq!(host.post(&instruction(Operation::Cancel, 1, 14)).unwrap(), 2, "it runs");
    assert_eq!(host.post(&instruction(Operation::Halt, 1, 15)).unwrap(), 0);
    assert_eq!(host.post(&instruction(Operation::Clear, 1, 16)).unwrap(), 0);
    let finals: Vec<_> = (0..4).map(|_| wait(&mut host)).map(|end| (end.tag, end.disposition())).collect();
    let run = Some(Disposition::Executed);
    // The halt is performed, or the clear overtakes it; the start is stopped either way.
    assert_eq!(finals[0], (12, run));
    let (first, second) = (finals[1], finals[2]);
    let halted = first == (10, Some(Disposition::AbsorbedByHalt)) && second == (15, run);
    let cleared = [first, second].contains(&(10, Some(Disposition::AbsorbedByClear)))
        && [first, second].contains(&(15, Some(Disposition::AbsorbedByClear)));
    assert!(halted || cleared, "{finals:?}");
    assert_eq!(finals[3], (16, run));
    assert!(host.take().unwrap().is_none(), "refused ones and those that ended at once are not left behind");
    assert!(host.arm().unwrap());
}

#[test]
fn what_ends_with_its_condition_code_comes_along() {
    let handle = Builder::default().spawn().unwrap();
    let guest = handle.attach_guest(memory()).unwrap();
    let (mut host, ends) = HostRing::new(HostRingOptions::default()).unwrap();
    let ring = handle.attach_host_ring(guest, ends).unwrap();
    let mut options = SubchannelOptions::new(0x1234);
    options.mode = StatusMode::Held;
    handle.attach_subchannel(ring, id(0), options, Box::new(Null)).unwrap();
    let stored = host.execute(&instruction(Operation::Store, 0, 1)).unwrap();
    assert_eq!(stored.condition_code(), 0);
    let Some((end, Some(Extension::Schib(schib)))) = stored.ended else { panic!("{stored:?}") };
    assert_eq!((end.tag, schib.pmcw.devno()), (1, 0x1234));
    assert_eq!(host.post(&instruction(Operation::Test, 0, 2)).unwrap(), 1);
    let started = host.execute(&start(0, 3)).unwrap();
    assert!(started.condition_code() == 0 && started.ended.is_none(), "its final comes by itself");
    let end = wait(&mut host);
    assert_eq!((end.tag, end.kind()), (3, Some(CompletionKind::Final)));
    let tested = host.execute(&instruction(Operation::Test, 0, 4)).unwrap();
    let Some((status, _)) = tested.ended else { panic!("{tested:?}") };
    assert_eq!((tested.condition_code(), status.tag), (0, 4));
    assert!(status.scsw.fctl().contains(FunctionControl::START));
    assert!(host.take().unwrap().is_none());
}

#[test]
fn refusals_are_told_by_their_code() {
    let handle = Builder::default().spawn().unwrap();
    let (mut host, _) = attach(&handle, HostRingOptions::default(), vec![Box::new(Null)]);
    let bad_id = Descriptor::start(SubsystemId::from_word(0x0002_0000), &Orb::new(0, 0x1000), 0);
    let error = host.post(&bad_id).unwrap_err();
    assert!(matches!(
        error,
        HostError::Refused { disposition: Disposition::ProgramInterruption, code: interruption_code::OPERAND }
    ));
    let mut unknown = start(0, 0);
    unknown.operation = 77;
    let code = DescriptorError::UnknownOperation as u16;
    let error = host.post(&unknown).unwrap_err();
    assert!(matches!(error, HostError::Refused { disposition: Disposition::DescriptorError, code: found } if found == code));
    assert!(host.take().unwrap().is_none());
}

#[test]
fn a_size_that_no_ring_has_is_refused_by_name() {
    let mut options = HostRingOptions::default();
    options.entries = 100;
    let error = HostRing::new(options).unwrap_err();
    assert!(matches!(error, HostRingError::Header(_)));
    assert!(error.to_string().contains("100"), "{error}");
}

#[test]
fn who_never_takes_is_told_so_and_loses_nothing() {
    let handle = Builder::default().spawn().unwrap();
    let mut options = HostRingOptions::default();
    options.entries = 8;
    let (mut host, _) = attach(&handle, options, vec![Box::new(Null)]);
    let mut posted = 0;
    let error = loop {
        match host.post(&start(0, posted)) {
            Ok(cc) => assert_eq!(cc, 0),
            Err(error) => break error,
        }
        posted += 1;
        assert!(posted < 1000, "there is an end to what can be kept");
    };
    assert!(matches!(error, HostError::Untaken(kept) if kept > 32), "{error}");
    for tag in 0..posted {
        assert_eq!(wait(&mut host).tag, tag);
    }
    assert_eq!(host.post(&start(0, posted)).unwrap(), 0);
}

/// Its starts last until somebody says that they may end.
struct Waits(std::sync::mpsc::Receiver<()>);

impl SubchannelDevice for Waits {
    fn capabilities(&self) -> Capabilities {
        Capabilities::empty()
    }

    fn start(&mut self, cx: &mut DeviceContext<'_>, _orb: &Orb) {
        self.0.recv_timeout(Duration::from_secs(30)).expect("the poster has its condition code meanwhile");
        cx.events.push(DeviceEvent::Ended(Status::default()));
    }

    fn halt(&mut self, cx: &mut DeviceContext<'_>) {
        cx.events.push(DeviceEvent::Halted(Status::default()));
    }

    fn clear(&mut self, cx: &mut DeviceContext<'_>) {
        cx.events.push(DeviceEvent::Cleared);
    }
}

#[test]
fn a_condition_code_does_not_wait_for_what_the_device_does_in_the_same_turn() {
    let handle = Builder::default().spawn().unwrap();
    let (may_end, waits) = std::sync::mpsc::channel();
    let (mut host, _) = attach(&handle, HostRingOptions::default(), vec![Box::new(Waits(waits))]);
    for tag in 0..100 {
        assert_eq!(host.post(&start(0, tag)).unwrap(), 0);
        may_end.send(()).unwrap();
        assert_eq!(wait(&mut host).tag, tag);
    }
}
