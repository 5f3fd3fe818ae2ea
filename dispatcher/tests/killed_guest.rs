// SPDX-License-Identifier: MIT OR Apache-2.0
//! A guest in another process that is killed in the middle of its work leaves nothing behind: no descriptor, no mapping, no
//! subchannel, however often that happens.

mod common;

use common::{id, PATIENCE};
use fctl_dispatcher::device::delay::{Delay, FOREVER};
use fctl_dispatcher::device::null::Null;
use fctl_dispatcher::device::SubchannelDevice;
use fctl_dispatcher::memory::{FileRange, Memory};
use fctl_dispatcher::region::{sealed_memory_file, Region};
use fctl_dispatcher::{Builder, GuestId, Handle, Inventory, RingEnds, RingId, SubchannelOptions, WaitPolicy};
use fctl_ringabi::arch::Orb;
use fctl_ringabi::{CompletionKind, Descriptor, GuestPort, Header, Operation, RingSizes};
use rustix::event::{poll, PollFd, PollFlags, Timespec};
use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsRawFd, FromRawFd, RawFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use vmm_sys_util::eventfd::{EventFd, EFD_CLOEXEC};

/// Names the descriptors that the guest process has inherited: memory file, doorbell, notification.
const INHERITED: &str = "FCTL_TEST_GUEST_DESCRIPTORS";
const REGION_BYTES: u64 = 1 << 20;
const MEMORY_BYTES: u64 = 1 << 20;
const SUBCHANNELS: u16 = 16;

/// The guest. Run as a test of the whole file it does nothing; run by [`spawn_guest`] it never returns.
#[test]
fn the_guest_process() {
    let Ok(list) = std::env::var(INHERITED) else { return };
    let numbers: Vec<RawFd> = list.split(',').map(|number| number.parse().unwrap()).collect();
    // SAFETY: the parent left these three descriptors open for this process alone, and nobody else here uses them.
    let [file, doorbell, notification] = [0, 1, 2].map(|index| unsafe { File::from_raw_fd(numbers[index]) });
    let region = Region::from_memory_file(&file, 0, REGION_BYTES).unwrap();
    let (mut poster, mut reader) = GuestPort::open(region.words().clone()).unwrap().split();
    // SAFETY: as above; the file gives its descriptor up.
    let doorbell = unsafe { EventFd::from_raw_fd(std::os::fd::IntoRawFd::into_raw_fd(doorbell)) };
    let orb = Orb::new(1, 0x1000);
    let mut tag = 0u64;
    loop {
        let number = u16::try_from(tag % u64::from(SUBCHANNELS)).unwrap();
        let descriptor = match tag % 7 {
            5 => Descriptor::new(Operation::Halt, id(number), tag),
            6 => Descriptor::new(Operation::Clear, id(number), tag),
            _ => Descriptor::start(id(number), &orb, tag),
        };
        tag += 1;
        if poster.stage(&descriptor).is_err() || tag % 16 == 0 {
            if poster.publish() {
                doorbell.write(1).unwrap();
            }
            while let Some((completion, _)) = reader.take().unwrap() {
                assert_eq!(completion.kind(), Some(CompletionKind::Final));
            }
            // Asleep now and then, so that it is killed while it waits for a notification too. Not for ever: what is still outstanding may be the
            // business of devices that never answer.
            if tag % 64 == 0 && reader.announce_sleep() {
                let mut wait = [PollFd::new(&notification, PollFlags::IN)];
                if poll(&mut wait, Some(&Timespec { tv_sec: 0, tv_nsec: 2_000_000 })).unwrap() > 0 {
                    (&notification).read_exact(&mut [0; 8]).unwrap();
                }
                reader.awake();
            }
        }
    }
}

struct Guest {
    process: Child,
    id: GuestId,
    ring: RingId,
    doorbell: EventFd,
}

fn spawn_guest(file: &File, doorbell: &EventFd, notification: &EventFd) -> Child {
    let numbers = [file.as_raw_fd(), doorbell.as_raw_fd(), notification.as_raw_fd()];
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "the_guest_process", "--nocapture", "--test-threads=1"])
        .env(INHERITED, numbers.map(|number| number.to_string()).join(","))
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    // SAFETY: between fork and exec only fcntl is called, which is async-signal-safe, on descriptors that are open in the parent.
    unsafe {
        command.pre_exec(move || {
            for number in numbers {
                if libc::fcntl(number, libc::F_SETFD, 0) < 0 {
                    return Err(std::io::Error::last_os_error());
                }
            }
            Ok(())
        });
    }
    command.spawn().unwrap()
}

fn attach(handle: &Handle) -> Guest {
    let file = sealed_memory_file("fctl-killed-guest", REGION_BYTES + MEMORY_BYTES).unwrap();
    let region = Region::from_memory_file(&file, 0, REGION_BYTES).unwrap();
    Header::layout(RingSizes::new(128)).unwrap().format(region.words()).unwrap();
    let length = usize::try_from(MEMORY_BYTES).unwrap();
    let memory = Memory::from_file(&file, &[FileRange { address: 0, offset: REGION_BYTES, length }]).unwrap();
    let [doorbell, notification] = [0, 1].map(|_| EventFd::new(EFD_CLOEXEC).unwrap());
    let process = spawn_guest(&file, &doorbell, &notification);
    let id = handle.attach_guest(memory).unwrap();
    let kept = doorbell.try_clone().unwrap();
    let ring = handle.attach_ring(id, RingEnds { region, doorbell, notification }).unwrap();
    for number in 0..SUBCHANNELS {
        // Some answer at once, some late, some never: the guest is killed with work in flight.
        let device: Box<dyn SubchannelDevice> = match number % 4 {
            0 => Box::new(Null),
            1 | 2 => Box::new(Delay::new(Null, Duration::from_micros(200))),
            _ => Box::new(Delay::new(Null, FOREVER)),
        };
        handle.attach_subchannel(ring, common::id(number), SubchannelOptions::new(number), device).unwrap();
    }
    Guest { process, id, ring, doorbell: kept }
}

fn kill_in_the_middle(handle: &Handle, mut guest: Guest, more: u64) {
    let (deadline, before) = (Instant::now() + PATIENCE, handle.counters().unwrap().finals);
    while handle.counters().unwrap().finals < before + more {
        assert!(Instant::now() < deadline, "the guest does not get going: {:?}", guest.process.try_wait());
        std::thread::yield_now();
    }
    // SIGKILL.
    guest.process.kill().unwrap();
    assert_eq!(guest.process.wait().unwrap().signal(), Some(libc::SIGKILL), "it did not end by itself");
    let status = handle.ring_status(guest.ring).unwrap().unwrap();
    assert_eq!((status.serving, status.fenced), (true, None), "a guest that is gone has broken no rule");
    // Whoever had the doorbell may still ring it.
    guest.doorbell.write(1).unwrap();
    handle.detach_ring(guest.ring, PATIENCE).unwrap();
    handle.detach_guest(guest.id).unwrap();
}

/// What the process has: descriptors by what they are, and mappings of memory files.
fn possessions() -> (Vec<String>, usize) {
    let link = |entry: std::io::Result<std::fs::DirEntry>| {
        let target = std::fs::read_link(entry.unwrap().path());
        target.map_or_else(|_| "gone".into(), |path| path.to_string_lossy().into_owned())
    };
    let mut descriptors: Vec<String> = std::fs::read_dir("/proc/self/fd").unwrap().map(link).collect();
    // The directory that is being read is one of them.
    descriptors.retain(|target| target != "gone" && !target.starts_with("/proc/"));
    descriptors.sort();
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    (descriptors, maps.lines().filter(|line| line.contains("fctl-killed-guest")).count())
}

fn mappings() -> usize {
    std::fs::read_to_string("/proc/self/maps").unwrap().lines().count()
}

#[test]
fn a_hundred_killed_guests_leave_the_dispatcher_as_it_was() {
    if std::env::var(INHERITED).is_ok() {
        return;
    }
    let handle = Builder::default().wait(WaitPolicy::sleeping()).spawn().unwrap();
    // One guest is there all the time and must not notice.
    let mut witness = common::TestGuest::new(RingSizes::new(64));
    let (_, ring) = witness.attach(&handle);
    handle.attach_subchannel(ring, id(1), SubchannelOptions::new(1), Box::new(Null)).unwrap();
    let before = handle.inventory().unwrap();
    assert_eq!(before, Inventory { guests: 1, rings: 1, subchannels: 1, in_flight: 0 });

    let mut settled = None;
    for cycle in 0..110u64 {
        kill_in_the_middle(&handle, attach(&handle), 1 + cycle % 5 * 50);
        assert_eq!(handle.inventory().unwrap(), before, "cycle {cycle}");
        witness.poster.stage(&Descriptor::start(id(1), &Orb::new(0, 0x1000), cycle)).unwrap();
        witness.publish();
        assert_eq!(witness.next().0.tag, cycle);
        if cycle == 9 {
            // Allocators have what they need by now.
            settled = Some((possessions(), mappings()));
        }
    }
    let (had, maps) = settled.unwrap();
    assert_eq!(possessions(), had);
    assert_eq!(had.1, 0, "no mapping of a guest is left");
    assert!(mappings() <= maps + 4, "{maps} mappings became {}", mappings());
    let counters = handle.counters().unwrap();
    assert_eq!((counters.taken, counters.fenced), (counters.finals, 0), "{counters:?}");
    handle.stop().unwrap();
}
