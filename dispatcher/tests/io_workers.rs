// SPDX-License-Identifier: MIT OR Apache-2.0
//! The kernel's worker threads: where they run, and how many there are. A process of its own, since they are told from all others by their names only.

mod common;

use common::{gather, id, TestGuest};
use fctl_dispatcher::affinity::{allowed_cpus, ranges};
use fctl_dispatcher::device::{Capabilities, DeviceContext, DeviceEvent, Status, SubchannelDevice};
use fctl_dispatcher::engine::{Operation, OperationResult};
use fctl_dispatcher::{BuildError, Builder, SubchannelOptions, WaitPolicy};
use fctl_ringabi::arch::{DeviceStatus, Orb};
use fctl_ringabi::{Descriptor, RingSizes};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::sync::Arc;

/// Reads from a file, and has the kernel's workers do it.
struct Aside(Arc<File>);

impl SubchannelDevice for Aside {
    fn capabilities(&self) -> Capabilities {
        Capabilities::ENGINE
    }

    fn start(&mut self, cx: &mut DeviceContext<'_>, _orb: &Orb) {
        let slot = gather(cx, 4096);
        cx.engine.submit_aside(slot, Operation::Read { file: self.0.as_raw_fd(), offset: 0 });
    }

    fn operation_ended(&mut self, cx: &mut DeviceContext<'_>, result: OperationResult) {
        assert_eq!(result, Ok(4096));
        let device = DeviceStatus::CHANNEL_END | DeviceStatus::DEVICE_END;
        cx.events.push(DeviceEvent::Ended(Status { device, ..Status::default() }));
    }

    fn halt(&mut self, _cx: &mut DeviceContext<'_>) {}

    fn clear(&mut self, _cx: &mut DeviceContext<'_>) {}
}

/// Masks of the workers of this process that are there now.
fn workers() -> Vec<String> {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    let status = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("status")).ok());
    let workers = status.filter(|text| text.starts_with("Name:\tiou-wrk-"));
    workers.map(|text| text.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:\t")).unwrap().into()).collect()
}

/// Has many reads wait for workers at once, and gives the masks of those.
fn read_aside(builder: Builder) -> Vec<String> {
    const SUBCHANNELS: u16 = 64;
    let file = tempfile::tempfile().unwrap();
    file.set_len(4096).unwrap();
    let file = Arc::new(file);
    let handle = builder.spawn().unwrap();
    let mut guest = TestGuest::new(RingSizes::new(u32::from(SUBCHANNELS)));
    let (_, ring) = guest.attach(&handle);
    for number in 0..SUBCHANNELS {
        let device = Box::new(Aside(Arc::clone(&file)));
        handle.attach_subchannel(ring, id(number), SubchannelOptions::new(number), device).unwrap();
    }
    for _ in 0..20 {
        for number in 0..SUBCHANNELS {
            guest.poster.stage(&Descriptor::start(id(number), &Orb::new(0, 0x1000), number.into())).unwrap();
        }
        guest.publish();
        for _ in 0..SUBCHANNELS {
            assert_eq!(guest.next().0.cc, 0);
        }
    }
    // They stay for some seconds after their last work, or until their thread has ended.
    workers()
}

#[test]
fn workers_keep_to_their_bound_and_off_the_cpu_of_a_pinned_reactor_that_never_sleeps() {
    let cpus = allowed_cpus();
    let pinned = *cpus.last().unwrap();
    let others: Vec<_> = cpus.iter().copied().filter(|&cpu| cpu != pinned || cpus.len() == 1).collect();
    let masks = read_aside(Builder::default().cpu(pinned).wait(WaitPolicy::busy()).io_workers(2, 1));
    assert!((1..=2).contains(&masks.len()), "{masks:?}");
    assert!(masks.iter().all(|mask| *mask == ranges(&others)), "{masks:?}, wanted {}", ranges(&others));
}

#[test]
fn a_bound_out_of_range_is_an_error_that_names_it() {
    for (bounded, unbounded, name) in [(0, 1, "bounded is 0"), (1, 0, "unbounded is 0"), (4097, 1, "bounded is 4097")] {
        let error = Builder::default().io_workers(bounded, unbounded).build().err().unwrap();
        assert!(matches!(error, BuildError::Engine(_)));
        let text = error.to_string();
        assert!(text.contains(name) && text.contains("1 to 4096"), "{text}");
    }
}
