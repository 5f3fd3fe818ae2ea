// SPDX-License-Identifier: MIT OR Apache-2.0
//! Guest memory that QEMU takes away while the kernel uses it. Not as QEMU calls it, since no volume there can be made to hang: the files of the library that
//! have a part in it, with a device that reads from a socket.
#![allow(dead_code, missing_docs)]

#[path = "../src/config.rs"]
mod config;
#[path = "../src/dispatcher.rs"]
mod dispatcher;
#[path = "../src/memory_map.rs"]
mod memory_map;
#[path = "../src/qemu.rs"]
mod qemu;

use dispatcher::Dispatcher;
use fctl_dispatcher::device::{Capabilities, DeviceContext, DeviceEvent, Status, SubchannelDevice};
use fctl_dispatcher::engine::{Operation, OperationResult};
use fctl_ringabi::arch::{DeviceStatus, Orb, SubsystemId};
use fctl_ringabi::Descriptor;
use memory_map::{MemoryMap, Range};
use std::io::Write as _;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::time::Duration;
use vmm_sys_util::eventfd::{EventFd, EFD_NONBLOCK};

/// Where the memory lies that goes.
const GOING: u64 = 1 << 30;

/// Has the kernel store what comes out of a socket into the memory that goes. No stop hastens it.
struct FromSocket(UnixStream);

impl SubchannelDevice for FromSocket {
    fn capabilities(&self) -> Capabilities {
        Capabilities::ENGINE
    }

    fn start(&mut self, cx: &mut DeviceContext<'_>, _orb: &Orb) {
        let slot = cx.slot.unwrap();
        let segments = cx.engine.segments(slot);
        segments.clear();
        assert_eq!(cx.memory.segments(GOING, 512, segments).unwrap(), 512);
        cx.engine.submit(slot, Operation::Read { file: self.0.as_raw_fd(), offset: u64::MAX });
    }

    fn halt(&mut self, _cx: &mut DeviceContext<'_>) {}

    fn clear(&mut self, _cx: &mut DeviceContext<'_>) {}

    fn operation_ended(&mut self, cx: &mut DeviceContext<'_>, _result: OperationResult) {
        let device = DeviceStatus::CHANNEL_END | DeviceStatus::DEVICE_END;
        cx.events.push(DeviceEvent::Ended(Status { device, ..Status::default() }));
    }
}

/// A page of memory that is never freed, at this guest address.
fn page(guest: u64) -> Range {
    let layout = std::alloc::Layout::from_size_align(4096, 4096).unwrap();
    // SAFETY: the layout is not empty.
    let host = unsafe { std::alloc::alloc_zeroed(layout) }.expose_provenance() as u64;
    Range { guest, host, bytes: 4096 }
}

#[test]
fn memory_is_given_back_when_the_kernel_has_done_with_it_and_not_before() {
    let configuration = config::Configuration {
        volumes: Vec::new(),
        cpu: None,
        polling: None,
        statistics: None,
        faults: config::Faults::default(),
    };
    let mut dispatcher = Dispatcher::start(&configuration).unwrap().with_patience(Duration::from_millis(5));
    let mut memory = MemoryMap::default();
    assert!(memory.add(page(0)) && memory.add(page(GOING)));
    let (reads, mut writes) = UnixStream::pair().unwrap();
    let subchannel = SubsystemId::new(0, 1);
    let interrupt = EventFd::new(EFD_NONBLOCK).unwrap();
    let (_ring, mut host) = dispatcher.attach(&memory, subchannel, Box::new(FromSocket(reads)), interrupt).unwrap();
    assert_eq!(host.post(&Descriptor::start(subchannel, &Orb::new(0, 0x100), 1)).unwrap(), 0);
    // More memory can come: that is not in the way of what runs, nor the other way round.
    assert!(memory.add(page(1 << 31)));
    dispatcher.memory_was_added(&memory).unwrap();
    assert_eq!(memory.remove(GOING, 4096), Some(4096));
    std::thread::scope(|scope| {
        let (answer, answered) = mpsc::channel();
        let (dispatcher, memory) = (&dispatcher, &memory);
        scope.spawn(move || answer.send(dispatcher.memory_was_removed(memory).map_err(|error| error.to_string())));
        // Many times its patience.
        assert!(answered.recv_timeout(Duration::from_millis(200)).is_err(), "the kernel may still store there");
        writes.write_all(&[1; 512]).unwrap();
        assert_eq!(answered.recv_timeout(Duration::from_secs(60)), Ok(Ok(())));
    });
    // All of it may go for a moment.
    assert_eq!(memory.remove(0, u64::MAX), Some(8192));
    dispatcher.memory_was_removed(&memory).unwrap();
    while host.arm().unwrap() {
        std::thread::yield_now();
        host.disarm();
    }
    assert_eq!(host.take().unwrap().map(|(end, _)| end.tag), Some(1));
}
