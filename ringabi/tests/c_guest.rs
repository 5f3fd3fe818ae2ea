// SPDX-License-Identifier: MIT OR Apache-2.0
//! A guest written in C, in a process of its own, against the Rust end of the dispatcher: rings in a sealed memory file,
//! doorbell and notification over eventfds, both sides really asleep in between.

#[path = "c/cc.rs"]
mod cc;

use fctl_ringabi::arch::{Ecw, Erw, Esw, Orb, Scsw, SubsystemId};
use fctl_ringabi::header::word;
use fctl_ringabi::{
    Completion, CompletionFlags, CompletionKind, Descriptor, DescriptorFlags, DispatcherPort, Extension, Header, MappedWords,
    Operation, RingSizes, WordMemory,
};
use memmap2::MmapRaw;
use rustix::event::{eventfd, EventfdFlags};
use rustix::fs::{fcntl_add_seals, ftruncate, memfd_create, MemfdFlags, SealFlags};
use std::collections::VecDeque;
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::{Child, Stdio};
use std::ptr::NonNull;
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::time::{Duration, Instant};

type Memory = MappedWords<Arc<MmapRaw>>;

const TAG: u64 = 0x1000;
const SUBCHANNELS: u64 = 5;

/// A formatted ring in shared memory, with the two eventfds.
struct Ring {
    file: OwnedFd,
    doorbell: OwnedFd,
    notification: OwnedFd,
    memory: Memory,
    program: cc::Program,
}

impl Ring {
    fn new(sizes: RingSizes) -> Self {
        let header = Header::layout(sizes).unwrap();
        // Without CLOEXEC: the guest inherits all three.
        let file = memfd_create("fctl-ring", MemfdFlags::ALLOW_SEALING).unwrap();
        ftruncate(&file, header.region_bytes()).unwrap();
        fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL).unwrap();
        let map = Arc::new(MmapRaw::map_raw(&file).unwrap());
        let base = NonNull::new(map.as_mut_ptr()).unwrap();
        // SAFETY: the mapping lives as long as the `Arc`, is reached through these words alone, and the file is sealed against shrinking.
        let memory = unsafe { MappedWords::new(base, map.len(), map) }.unwrap();
        header.format(&memory).unwrap();
        let doorbell = eventfd(0, EventfdFlags::NONBLOCK).unwrap();
        let notification = eventfd(0, EventfdFlags::empty()).unwrap();
        Self { file, doorbell, notification, memory, program: cc::build("guest") }
    }

    /// Attaches a dispatcher that sleeps before the guest exists, so that the guest's first batch must ring; then starts the guest.
    fn start(&self, starts: u64, mode: &str) -> (DispatcherPort<Memory>, Child) {
        let mut port = DispatcherPort::attach(self.memory.clone()).unwrap();
        port.announce_sleep();
        (port, self.spawn_guest(starts, mode))
    }

    fn spawn_guest(&self, starts: u64, mode: &str) -> Child {
        let fds = [&self.file, &self.doorbell, &self.notification].map(|fd| fd.as_raw_fd().to_string());
        self.program
            .command()
            .args(fds)
            .args([starts.to_string(), SUBCHANNELS.to_string(), mode.into()])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the guest starts")
    }
}

/// What the test dispatcher waits for before it answers anything.
#[derive(Clone, Copy, PartialEq)]
enum Hold {
    /// The guest has gone to sleep.
    UntilAsleep,
    /// The guest has posted a clear.
    UntilClear,
}

/// Plays the dispatcher until the guest ends. Gives the descriptors in the order taken.
fn serve(ring: &Ring, mut port: DispatcherPort<Memory>, guest: &mut Child, hold: Hold) -> Vec<Descriptor> {
    let deadline = Instant::now() + Duration::from_secs(60);
    let (mut taken, mut owed) = (Vec::new(), VecDeque::new());
    let mut held = true;
    wait_for_doorbell(ring, guest, deadline);
    port.awake();
    while guest.try_wait().unwrap().is_none() {
        assert!(Instant::now() < deadline, "the guest does not end; {} taken, {} owed", taken.len(), owed.len());
        let mut idle = true;
        while let Some(descriptor) = port.take().unwrap() {
            idle = false;
            taken.push(descriptor);
            owed.push_back(descriptor);
        }
        if held {
            held = match hold {
                Hold::UntilAsleep => ring.memory.load(word::CQ_SLEEP, Ordering::Relaxed) % 2 == 0,
                Hold::UntilClear => !taken.iter().any(|descriptor| descriptor.operation == Operation::Clear as u8),
            };
            if !held {
                let unsolicited = Completion::new(CompletionKind::Unsolicited, subchannel(1).word(), 0, 0);
                assert!(port.room(1).unwrap() > 0);
                port.stage(unsolicited, None).unwrap();
            }
        }
        while !held && !owed.is_empty() && port.room(2).unwrap() >= 2 {
            idle = false;
            answer(&mut port, &owed.pop_front().unwrap());
        }
        if port.publish() && port.must_notify() {
            rustix::io::write(&ring.notification, &1u64.to_ne_bytes()).unwrap();
        }
        if idle && owed.is_empty() {
            sleep(ring, &mut port, guest, deadline);
        }
    }
    taken
}

/// Sleeps as a dispatcher does: only the doorbell (or the guest's end) wakes it.
fn sleep(ring: &Ring, port: &mut DispatcherPort<Memory>, guest: &mut Child, deadline: Instant) {
    port.give_back();
    port.announce_sleep();
    port.memory().full_fence();
    if port.is_empty() {
        wait_for_doorbell(ring, guest, deadline);
    }
    port.awake();
}

fn wait_for_doorbell(ring: &Ring, guest: &mut Child, deadline: Instant) {
    while rustix::io::read(&ring.doorbell, &mut [0u8; 8]).is_err() && guest.try_wait().unwrap().is_none() {
        assert!(Instant::now() < deadline, "the doorbell did not ring");
        std::thread::sleep(Duration::from_micros(200));
    }
}

fn subchannel(number: u64) -> SubsystemId {
    SubsystemId::new(0, u16::try_from(number).unwrap())
}

fn answer(port: &mut DispatcherPort<Memory>, descriptor: &Descriptor) {
    if descriptor.flags & DescriptorFlags::ACCEPTED.bits() != 0 {
        let accepted = Completion::new(CompletionKind::Accepted, descriptor.subsystem, descriptor.tag, 0);
        port.stage(accepted, None).unwrap();
    }
    let mut completion = Completion::new(CompletionKind::Final, descriptor.subsystem, descriptor.tag, 0);
    completion.flags = CompletionFlags::STATUS;
    let index = descriptor.tag - TAG;
    let mut extension = None;
    if descriptor.operation == Operation::Clear as u8 {
        completion.scsw = Scsw::from_words([0x0000_1001, 0, 0]);
    } else {
        let orb = Orb::from_bytes(descriptor.operand[..12].try_into().unwrap());
        completion.intparm = orb.intparm();
        completion.scsw = Scsw::from_words([0x0080_4007, orb.cpa() + 8, 0x0C00_0000]);
        if index % 7 == 3 {
            completion.scsw = Scsw::from_words([0x0082_4017, orb.cpa() + 8, 0x0E00_0000]);
            let esw = Esw::format1(0x80).with_erw(Erw::concurrent_sense(1));
            extension = Some(Extension::Irb { esw, ecw: Ecw::from_sense(&index.to_le_bytes()[..1]) });
        }
    }
    port.stage(completion, extension.as_ref()).unwrap();
}

/// Ends the guest's process and gives what it printed as (name, value).
fn result(guest: Child) -> Vec<(String, u64)> {
    let output = guest.wait_with_output().unwrap();
    assert!(output.status.success(), "guest ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let counts = text.split_whitespace().map(|pair| pair.split_once('=').expect("name=value"));
    counts.map(|(name, value)| (name.to_string(), value.parse().unwrap())).collect()
}

fn assert_start(descriptor: &Descriptor, index: u64, asks_accepted: bool) {
    let cpa = 0x1000 + 8 * u32::try_from(index).unwrap();
    let orb = Orb::new(0xCAFE_0000 + u32::try_from(index).unwrap(), cpa);
    let mut expected = Descriptor::start(subchannel(index % SUBCHANNELS), &orb, TAG + index);
    if asks_accepted {
        expected = expected.with_flags(DescriptorFlags::ACCEPTED);
    }
    assert_eq!(*descriptor, expected, "start {index}");
}

#[test]
fn a_guest_in_c_gets_one_final_for_each_descriptor() {
    const STARTS: u64 = 1000;
    let ring = Ring::new(RingSizes { completion_entries: 128, ..RingSizes::new(64) });
    let (port, mut guest) = ring.start(STARTS, "wait");
    let taken = serve(&ring, port, &mut guest, Hold::UntilAsleep);
    let counts = result(guest);

    let (clear, starts) = taken.split_last().expect("descriptors were posted");
    assert_eq!(starts.len() as u64, STARTS);
    for (index, descriptor) in (0..).zip(starts) {
        assert_start(descriptor, index, index % 5 == 0);
    }
    assert_eq!(*clear, Descriptor::new(Operation::Clear, subchannel(0), TAG + STARTS));
    let [(_, posted), (_, unsolicited), (_, doorbells), (_, notifications)] = &counts[..] else {
        panic!("the guest printed {counts:?}");
    };
    assert_eq!((*posted, *unsolicited), (STARTS, 1));
    assert!(*doorbells > 0 && *notifications > 0, "nobody slept: {counts:?}");
    // What the guest left behind: everything charged was given back.
    let at = |index| ring.memory.load(index, Ordering::Acquire);
    assert_eq!(at(word::CHARGED), STARTS + STARTS / 5 + 1);
    assert_eq!(at(word::RELEASED), at(word::CHARGED));
    assert_eq!(at(word::CQ_HEAD), at(word::CHARGED) + 1, "the unsolicited one was not charged");
    assert_eq!(at(word::SQ_TICKET), STARTS + 1);
}

#[test]
fn the_reserve_lets_a_clear_pass_when_the_credit_of_starts_is_used_up() {
    let sizes = RingSizes { completion_entries: 256, reserve: 10, ..RingSizes::new(64) };
    let ring = Ring::new(sizes);
    let (port, mut guest) = ring.start(1000, "fill");
    let taken = serve(&ring, port, &mut guest, Hold::UntilClear);
    let counts = result(guest);

    let (clear, starts) = taken.split_last().expect("descriptors were posted");
    assert_eq!(starts.len(), 256 - 10, "starts may use the ring but the reserve");
    for (index, descriptor) in (0..).zip(starts) {
        assert_start(descriptor, index, false);
    }
    assert_eq!(clear.operation, Operation::Clear as u8);
    assert_eq!(counts[0], ("starts".to_string(), 246));
}
