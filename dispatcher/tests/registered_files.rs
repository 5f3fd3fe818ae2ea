// SPDX-License-Identifier: MIT OR Apache-2.0
//! Files of volumes that come and go while the reactor lives on. It has them registered with its io_uring, and nobody may notice: a guest reads and writes
//! the volume that is attached now, whatever descriptor numbers it has; a volume that has gone can be opened again at once; a reactor touches no io_uring
//! but its own.

mod common;

use common::{id, TestGuest, PATIENCE};
use fctl_dispatcher::device::fba::Fba;
use fctl_dispatcher::volume::{Cache, Durability, Volume, VolumeError, VolumeOptions};
use fctl_dispatcher::{Builder, GuestId, Handle, Reactor, RingId, SubchannelOptions};
use fctl_ringabi::arch::{Ccw, CcwFlags, DeviceStatus, Orb, OrbControl};
use fctl_ringabi::{Completion, CompletionKind, Descriptor, Disposition, RingSizes};
use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::process::{getrlimit, setrlimit, Resource, Rlimit};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::FileExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{mpsc, Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tempfile::NamedTempFile;

const BLOCK: usize = 512;

/// Descriptor numbers, and how many there may be, belong to the process: one test after the other.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

// ---------------------------------------------------------------------------------------------------------------------
// Volumes

/// What is in some blocks. Each block says whose it is and where it stands, so that no block can be taken for another one.
fn content(owner: u32, first: u32, blocks: u16) -> Vec<u8> {
    static PATTERN: LazyLock<[u8; BLOCK]> =
        LazyLock::new(|| std::array::from_fn(|at| u8::try_from((at * 7 + at / 64) % 251).unwrap()));
    let block = |number: u32| {
        let mut bytes = *PATTERN;
        bytes[..4].copy_from_slice(&owner.to_be_bytes());
        bytes[4..8].copy_from_slice(&number.to_be_bytes());
        bytes
    };
    (first..first + u32::from(blocks)).flat_map(block).collect()
}

/// Compares, and names the first block that is not as it should be by what it says of itself.
#[track_caller]
fn assert_bytes(found: &[u8], expected: &[u8], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let name = |block: &[u8]| [0, 4].map(|at| u32::from_be_bytes(block[at..at + 4].try_into().unwrap()));
    for (found, expected) in found.chunks(BLOCK).zip(expected.chunks(BLOCK)) {
        let [theirs, ours] = [found, expected].map(name);
        assert!(found == expected, "{what}: [owner, block] {theirs:?} (in hex {theirs:x?}) is there, {ours:?} is expected");
    }
}

/// A file with blocks of this owner.
fn volume_file(owner: u32, blocks: u16) -> NamedTempFile {
    let file = NamedTempFile::new().unwrap();
    file.as_file().write_all_at(&content(owner, 0, blocks), 0).unwrap();
    file
}

/// Not durable: these tests are about which file is written, not about when.
fn options(cache: Cache) -> VolumeOptions {
    VolumeOptions::default().with_durability(Durability::Writeback).with_cache(cache)
}

/// Opens a volume, which nobody else may have.
#[track_caller]
fn open_with(path: &Path, cache: Cache) -> Arc<Volume> {
    Arc::new(Volume::open(path, options(cache)).unwrap())
}

#[track_caller]
fn open(path: &Path) -> Arc<Volume> {
    open_with(path, Cache::Buffered)
}

/// Closes a volume, which nothing else may have any more.
#[track_caller]
fn close(volume: Arc<Volume>) {
    drop(Arc::into_inner(volume).expect("a device still has the volume"));
}

/// The caches that the file system has for such a file. What is left out is said.
fn caches(test: &str) -> Vec<Cache> {
    let probe = volume_file(0, 8);
    let has = |&cache: &Cache| match Volume::open(probe.path(), options(cache)) {
        Ok(_) => true,
        Err(error @ VolumeError::NoDirect { .. }) => {
            println!("{test}: not run with {cache:?}, {error}");
            false
        }
        Err(error) => panic!("{error}"),
    };
    [Cache::Buffered, Cache::Direct].into_iter().filter(has).collect()
}

// ---------------------------------------------------------------------------------------------------------------------
// Guests

/// Some blocks of a volume, and the subchannel by which they are moved.
#[derive(Clone, Copy, Debug)]
struct Part {
    number: u16,
    first: u32,
    blocks: u16,
    /// How many bytes behind a page boundary they are in guest memory.
    shift: u32,
}

impl Part {
    fn new(number: u16, first: u32, blocks: u16) -> Self {
        Self { number, first, blocks, shift: 0 }
    }

    /// Where program and data are: 64 subchannels do not get into each other's way.
    fn area(self) -> u32 {
        0x1_0000 + u32::from(self.number % 64) * 0x2_0000
    }

    fn data(self) -> u32 {
        self.area() + 0x1000 + self.shift
    }

    fn length(self) -> usize {
        usize::from(self.blocks) * BLOCK
    }
}

/// A guest with one ring, which starts FBA programs.
struct Guest {
    ring: TestGuest,
    tag: u64,
}

impl Guest {
    fn new() -> Self {
        Self { ring: TestGuest::new(RingSizes::new(64)), tag: 0 }
    }

    fn put(&self, address: u32, bytes: &[u8]) {
        self.ring.memory.store(u64::from(address), bytes).unwrap();
    }

    fn data(&self, part: Part) -> Vec<u8> {
        let mut bytes = vec![0; part.length()];
        self.ring.memory.fetch_into(u64::from(part.data()), &mut bytes).unwrap();
        bytes
    }

    /// Posts a start of DEFINE EXTENT, LOCATE, and WRITE of these bytes or READ.
    fn start(&mut self, part: Part, written: Option<&[u8]>) -> u64 {
        let [program, extent, locate] = [0, 0x100, 0x200].map(|at| part.area() + at);
        let mut define = [0; 16];
        define[0] = if written.is_some() { 0 } else { 0x40 };
        define[4..8].copy_from_slice(&part.first.to_be_bytes());
        define[12..].copy_from_slice(&(u32::from(part.blocks) - 1).to_be_bytes());
        self.put(extent, &define);
        let mut place = [0; 8];
        place[0] = if written.is_some() { 5 } else { 6 };
        place[2..4].copy_from_slice(&part.blocks.to_be_bytes());
        self.put(locate, &place);
        let ccw = |command, flags, count, address| Ccw { command, flags, count, address }.to_format1();
        let chain = CcwFlags::CHAIN_COMMAND;
        self.put(program, &ccw(0x63, chain, 16, extent));
        self.put(program + 8, &ccw(0x43, chain, 8, locate));
        let command = if written.is_some() { 0x41 } else { 0x42 };
        let count = u16::try_from(part.length()).unwrap();
        self.put(program + 16, &ccw(command, CcwFlags::empty(), count, part.data()));
        self.put(part.data(), written.unwrap_or(&vec![0xEE; part.length()]));
        self.tag += 1;
        let orb = Orb::new(0, program).with_control(OrbControl::PREFETCH);
        self.ring.poster.stage(&Descriptor::start(id(part.number), &orb, self.tag)).unwrap();
        self.ring.publish();
        self.tag
    }

    /// A completion, if one is there.
    fn take(&mut self) -> Option<Completion> {
        self.ring.reader.take().unwrap().map(|found| found.0)
    }
}

/// True if a start has run to its normal end.
fn ran(end: &Completion) -> bool {
    let executed = (end.cc, end.disposition()) == (0, Some(Disposition::Executed));
    executed && end.scsw.device_status() == DeviceStatus::CHANNEL_END | DeviceStatus::DEVICE_END
}

// ---------------------------------------------------------------------------------------------------------------------
// Dispatchers

#[derive(Clone, Copy, Debug)]
enum Way {
    OwnThread,
    Turned,
}

const WAYS: [Way; 2] = [Way::OwnThread, Way::Turned];

/// A dispatcher with a thread of its own, or one that is turned while something is waited for.
enum Dispatcher {
    OwnThread(Handle),
    Turned(Box<Reactor>),
}

impl Dispatcher {
    fn new(way: Way) -> Self {
        match way {
            Way::OwnThread => Self::OwnThread(Builder::default().spawn().unwrap()),
            Way::Turned => Self::turned(),
        }
    }

    fn turned() -> Self {
        Self::Turned(Box::new(Builder::default().build().unwrap().0))
    }

    fn turn(&mut self) {
        if let Self::Turned(reactor) = self {
            reactor.turn(64);
        }
    }

    /// Sleeps if there is nothing to do, as the documentation of `prepare_sleep` describes it; `before` is done right before.
    #[track_caller]
    fn sleep(&mut self, before: impl FnOnce()) {
        let Self::Turned(reactor) = self else { unreachable!() };
        if !reactor.prepare_sleep() {
            return;
        }
        before();
        let timer = reactor.next_timer();
        let timeout = Timespec::try_from(timer.unwrap_or(PATIENCE)).unwrap();
        let ready = poll(&mut [PollFd::new(&*reactor, PollFlags::IN)], Some(&timeout)).unwrap();
        reactor.wake();
        // A timeout of seconds is there for what nobody expects to happen.
        let expected = timer.is_some_and(|timer| timer < Duration::from_secs(1));
        assert!(ready > 0 || expected || !reactor.turn(64), "a wake-up was lost");
    }

    #[track_caller]
    fn until<T>(&mut self, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = look() {
                return found;
            }
            assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
            self.turn();
            std::thread::yield_now();
        }
    }

    fn attach(&mut self, guest: &Guest) -> (GuestId, RingId) {
        match self {
            Self::OwnThread(handle) => guest.ring.attach(handle),
            Self::Turned(reactor) => {
                let owner = reactor.attach_guest(guest.ring.memory.clone());
                (owner, reactor.attach_ring(owner, guest.ring.ends()).unwrap())
            }
        }
    }

    fn attach_volume(&mut self, ring: RingId, number: u16, volume: &Arc<Volume>) {
        let device = Box::new(Fba::new(Arc::clone(volume)).unwrap());
        let options = SubchannelOptions::new(number);
        match self {
            Self::OwnThread(handle) => handle.attach_subchannel(ring, id(number), options, device).unwrap(),
            Self::Turned(reactor) => reactor.attach_subchannel(ring, id(number), options, device).unwrap(),
        }
    }

    /// Takes a ring with its subchannels away, and its guest.
    fn detach(&mut self, (owner, ring): (GuestId, RingId)) {
        match self {
            Self::OwnThread(handle) => {
                handle.detach_ring(ring, PATIENCE).unwrap();
                handle.detach_guest(owner).unwrap();
            }
            Self::Turned(reactor) => {
                let (reply, answer) = mpsc::channel();
                let deadline = Some(Instant::now() + PATIENCE);
                reactor.detach_ring(ring, deadline, Box::new(move |busy| reply.send(busy).unwrap())).unwrap();
                assert_eq!(self.until("a ring goes", || answer.try_recv().ok()), [0; 0], "still busy");
                let Self::Turned(reactor) = self else { unreachable!() };
                reactor.detach_guest(owner).unwrap();
            }
        }
    }

    /// Takes a subchannel away; its ring stays.
    fn detach_volume(&mut self, owner: GuestId, number: u16) {
        match self {
            Self::OwnThread(handle) => handle.detach_subchannel(owner, id(number), PATIENCE).unwrap(),
            Self::Turned(reactor) => {
                let (reply, answer) = mpsc::channel();
                let deadline = Some(Instant::now() + PATIENCE);
                reactor.detach_subchannel(owner, id(number), deadline, Box::new(move |busy| reply.send(busy).unwrap())).unwrap();
                assert_eq!(self.until("a subchannel goes", || answer.try_recv().ok()), [0; 0], "still busy");
            }
        }
    }

    /// Waits for the end of the only start of a guest.
    #[track_caller]
    fn end(&mut self, guest: &mut Guest, tag: u64) {
        let end = self.until("a start ends", || guest.take());
        assert!((end.kind(), end.tag) == (Some(CompletionKind::Final), tag) && ran(&end), "{end:?}");
    }

    #[track_caller]
    fn read(&mut self, guest: &mut Guest, part: Part) -> Vec<u8> {
        let tag = guest.start(part, None);
        self.end(guest, tag);
        guest.data(part)
    }

    #[track_caller]
    fn write(&mut self, guest: &mut Guest, part: Part, bytes: &[u8]) {
        let tag = guest.start(part, Some(bytes));
        self.end(guest, tag);
    }

    /// Reads, and compares with what an owner's file has.
    #[track_caller]
    fn check(&mut self, guest: &mut Guest, part: Part, owner: u32) {
        let found = self.read(guest, part);
        assert_bytes(&found, &content(owner, part.first, part.blocks), &format!("{part:?}"));
    }

    /// Descriptors taken, finals given, and operations that are in the kernel.
    fn accounts(&self) -> (u64, u64, usize) {
        let (counters, inventory) = match self {
            Self::OwnThread(handle) => (handle.counters().unwrap(), handle.inventory().unwrap()),
            Self::Turned(reactor) => (reactor.counters(), reactor.inventory()),
        };
        (counters.taken, counters.finals, inventory.in_flight)
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// Descriptor numbers that come again

/// Two files take turns under the same descriptor numbers. What was registered for one must not be used for the other.
fn same_numbers(way: Way, cache: Cache, take_ring_away: bool) {
    let mut dispatcher = Dispatcher::new(way);
    let mut guest = Guest::new();
    let files = [volume_file(1, 64), volume_file(2, 64)];
    let mut expected = [content(1, 0, 64), content(2, 0, 64)];
    let (mut attached, mut numbers) = (None, None);
    for round in 0..40u16 {
        let this = usize::from(round % 2);
        // Before the ring gets its descriptors, so that it always finds the same numbers free.
        let volume = open_with(files[this].path(), cache);
        assert_eq!(
            volume.unlocked_files(),
            *numbers.get_or_insert(volume.unlocked_files()),
            "the test is worth nothing with other numbers"
        );
        let (owner, ring) = *attached.get_or_insert_with(|| dispatcher.attach(&guest));
        dispatcher.attach_volume(ring, 0, &volume);
        let found = dispatcher.read(&mut guest, Part::new(0, 0, 64));
        assert_bytes(&found, &expected[this], &format!("{way:?}, round {round}, read"));
        let part = Part::new(0, u32::from(round), 2);
        let bytes = content(1000 + u32::from(round), part.first, part.blocks);
        dispatcher.write(&mut guest, part, &bytes);
        expected[this][usize::from(round) * BLOCK..][..part.length()].copy_from_slice(&bytes);
        for (file, expected) in files.iter().zip(&expected) {
            assert_bytes(&std::fs::read(file.path()).unwrap(), expected, &format!("{way:?}, round {round}, in the file"));
        }
        if take_ring_away {
            dispatcher.detach((owner, ring));
            attached = None;
        } else {
            dispatcher.detach_volume(owner, 0);
        }
        close(volume);
    }
}

#[test]
fn a_volume_with_the_descriptor_numbers_of_one_that_has_gone_is_read_and_written_itself() {
    let _alone = alone();
    for cache in caches("a_volume_with_the_descriptor_numbers_of_one_that_has_gone_is_read_and_written_itself") {
        for way in WAYS {
            for take_ring_away in [true, false] {
                same_numbers(way, cache, take_ring_away);
            }
        }
    }
}

/// Built and furnished by one thread, turned by another: that is allowed until the first turn.
#[test]
fn what_was_attached_before_the_first_turn_on_another_thread_works_and_goes() {
    let _alone = alone();
    let files = [volume_file(1, 64), volume_file(2, 64)];
    let volume = open(files[0].path());
    let numbers = volume.unlocked_files();
    let mut dispatcher = Dispatcher::turned();
    let mut guest = Guest::new();
    let attached = dispatcher.attach(&guest);
    dispatcher.attach_volume(attached.1, 0, &volume);
    let turned = std::thread::spawn(move || {
        dispatcher.check(&mut guest, Part::new(0, 0, 64), 1);
        dispatcher.detach(attached);
        close(volume);
        let next = open(files[1].path());
        assert_eq!(next.unlocked_files(), numbers, "the test is worth nothing with other numbers");
        let attached = dispatcher.attach(&guest);
        dispatcher.attach_volume(attached.1, 0, &next);
        dispatcher.check(&mut guest, Part::new(0, 0, 64), 2);
        dispatcher.write(&mut guest, Part::new(0, 7, 1), &content(3, 7, 1));
        dispatcher.check(&mut guest, Part::new(0, 7, 1), 3);
        assert_bytes(&std::fs::read(files[0].path()).unwrap(), &content(1, 0, 64), "the one that has gone");
        dispatcher.detach(attached);
        close(next);
        // Each can be had again, while the reactor lives on.
        files.iter().for_each(|file| drop(open(file.path())));
        assert_eq!(dispatcher.accounts(), (4, 4, 0));
    });
    turned.join().unwrap();
}

// ---------------------------------------------------------------------------------------------------------------------
// Several subchannels, and the lock

#[test]
fn two_subchannels_of_one_volume_go_one_by_one_and_the_lock_with_the_volume() {
    let _alone = alone();
    for way in WAYS {
        let mut dispatcher = Dispatcher::new(way);
        let file = volume_file(1, 64);
        let mut guests = [Guest::new(), Guest::new()];
        let mut last = 1;
        for round in 0..100u32 {
            let volume = Volume::open(file.path(), options(Cache::Buffered));
            let volume = Arc::new(volume.unwrap_or_else(|error| panic!("{way:?}, round {round}: {error}")));
            assert!(!volume.unlocked_files().contains(&volume.lock_file()), "the lock carries no I/O");
            let attached = [0, 1].map(|at| dispatcher.attach(&guests[at]));
            for (number, (_, ring)) in (0..).zip(attached) {
                dispatcher.attach_volume(ring, number, &volume);
            }
            // From now on the devices alone have it.
            drop(volume);
            let [goes, stays] = if round % 2 == 0 { [0u16, 1] } else { [1, 0] };
            for number in [goes, stays] {
                let guest = &mut guests[usize::from(number)];
                dispatcher.check(guest, Part::new(number, 0, 1), last);
                dispatcher.check(guest, Part::new(number, 32, 32), 1);
            }
            dispatcher.detach(attached[usize::from(goes)]);
            let guest = &mut guests[usize::from(stays)];
            last = 1000 + round;
            dispatcher.check(guest, Part::new(stays, 32, 32), 1);
            dispatcher.write(guest, Part::new(stays, 0, 1), &content(last, 0, 1));
            dispatcher.check(guest, Part::new(stays, 0, 1), last);
            let error = Volume::open(file.path(), options(Cache::Buffered)).err();
            assert!(matches!(error, Some(VolumeError::InUse { .. })), "{way:?}, round {round}: a device has it still: {error:?}");
            dispatcher.detach(attached[usize::from(stays)]);
        }
        // The last round's lock has gone, too, and the file has what the last one wrote.
        drop(open(file.path()));
        let found = std::fs::read(file.path()).unwrap();
        assert_bytes(&found, &[content(last, 0, 1), content(1, 1, 63)].concat(), "the file");
        assert_eq!(dispatcher.accounts().2, 0, "the reactor lives on, with nothing to do");
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// Coming and going in the middle of traffic

/// A guest that keeps books: which starts have no final yet.
struct Traffic {
    guest: Guest,
    open: BTreeMap<u64, Part>,
    finals: u64,
}

impl Traffic {
    fn new() -> Self {
        Self { guest: Guest::new(), open: BTreeMap::new(), finals: 0 }
    }

    fn start(&mut self, part: Part) {
        self.open.insert(self.guest.start(part, None), part);
    }

    /// Takes what has ended. What has run must have the blocks of this owner; where more is allowed, starts may have been stopped or refused.
    fn look(&mut self, owner: u32, may_be_stopped: bool) -> Vec<Part> {
        let mut ended = Vec::new();
        while let Some(end) = self.guest.take() {
            assert_eq!(end.kind(), Some(CompletionKind::Final), "{end:?}");
            let part = self.open.remove(&end.tag);
            let part = part.unwrap_or_else(|| panic!("a final of no start, or a second one: {end:?}"));
            self.finals += 1;
            if ran(&end) {
                let what = format!("tag {}, {part:?}", end.tag);
                assert_bytes(&self.guest.data(part), &content(owner, part.first, part.blocks), &what);
            } else {
                assert!(may_be_stopped, "{end:?}");
            }
            ended.push(part);
        }
        ended
    }

    /// Reads without a pause from eight subchannels until it is told to stop, then waits for what is left.
    fn read_until(mut self, stop: &AtomicBool, owner: u32, blocks: u32) -> Self {
        let mut next = 0;
        let mut again = |traffic: &mut Self, number| {
            next = (next + 5) % (blocks - 8);
            traffic.start(Part::new(number, next, 8));
        };
        (0..8).for_each(|number| again(&mut self, number));
        let mut deadline = Instant::now() + PATIENCE;
        while !self.open.is_empty() {
            for part in self.look(owner, false) {
                deadline = Instant::now() + PATIENCE;
                if !stop.load(Ordering::Relaxed) {
                    again(&mut self, part.number);
                }
            }
            assert!(Instant::now() < deadline, "{} starts do not end", self.open.len());
            std::thread::yield_now();
        }
        self
    }
}

/// Stops the traffic when it is dropped, so that a test that fails does not wait for it for ever.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn volumes_come_and_go_in_the_middle_of_traffic() {
    const ROUNDS: u32 = 200;
    const STAYS: u32 = 99;
    let _alone = alone();
    let caches = caches("volumes_come_and_go_in_the_middle_of_traffic");
    for way in WAYS {
        let mut dispatcher = Dispatcher::new(way);
        let file = volume_file(STAYS, 256);
        // Without the page cache, if that is possible: then its reads are in the kernel for a while.
        let volume = open_with(file.path(), *caches.last().unwrap());
        let traffic = Traffic::new();
        let stays = dispatcher.attach(&traffic.guest);
        (0..8).for_each(|number| dispatcher.attach_volume(stays.1, number, &volume));
        let files: Vec<_> = (0..12u32).map(|owner| (owner, volume_file(owner, 64))).collect();
        let mut comer = Traffic::new();
        let stop = AtomicBool::new(false);
        let (traffic, posted) = std::thread::scope(|scope| {
            let stopped = Stop(&stop);
            let reader = scope.spawn(|| traffic.read_until(&stop, STAYS, 256));
            for (round, (owner, file)) in (0..ROUNDS).zip(files.iter().cycle()) {
                let cache = caches[usize::try_from(round / 12).unwrap() % caches.len()];
                let volume = open_with(file.path(), cache);
                let attached = dispatcher.attach(&comer.guest);
                (0..4).for_each(|number| dispatcher.attach_volume(attached.1, number, &volume));
                // What the last ring was not given the time to take is taken now, perhaps before the subchannels are there.
                dispatcher.until("what was left ends", || {
                    comer.look(*owner, true);
                    comer.open.is_empty().then_some(())
                });
                for first in [0, 8, 16] {
                    (0..4).for_each(|number| comer.start(Part::new(number, first + u32::from(number) * 8, 8)));
                    dispatcher.until("reads end", || {
                        comer.look(*owner, false);
                        comer.open.is_empty().then_some(())
                    });
                }
                // Every other time it goes with starts that have not ended, except in the last round, after which nobody would end them.
                if round % 2 == 0 && round + 1 < ROUNDS {
                    (0..4).for_each(|number| comer.start(Part::new(number, 0, 64)));
                    if round % 4 == 0 {
                        dispatcher.turn();
                    }
                }
                dispatcher.detach(attached);
                comer.look(*owner, true);
                close(volume);
            }
            drop(stopped);
            dispatcher.until("the traffic ends", || reader.is_finished().then_some(()));
            let traffic = reader.join().unwrap();
            (traffic, comer.guest.tag)
        });
        assert_eq!((comer.open.len(), comer.finals), (0, posted), "exactly one final for each start of those that came and went");
        assert_eq!(traffic.finals, traffic.guest.tag, "and for each of the one that stayed");
        assert!(traffic.finals > 8, "there was no traffic");
        let all = posted + traffic.finals;
        assert_eq!(dispatcher.accounts(), (all, all, 0), "{way:?}");
        dispatcher.detach(stays);
        close(volume);
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// Past the page cache

#[test]
fn aligned_and_unaligned_reads_and_writes_are_right_each_time_a_volume_is_attached() {
    const BLOCKS: u16 = 256;
    let _alone = alone();
    // Whole pages; single blocks; pieces of memory that begin anywhere.
    let parts = [(0, 8, 0), (64, 64, 0), (1, 3, 0), (71, 8, 0x200), (8, 8, 1), (131, 7, 0x203)];
    let parts = parts.map(|(first, blocks, shift)| Part { number: 0, first, blocks, shift });
    for cache in caches("aligned_and_unaligned_reads_and_writes_are_right_each_time_a_volume_is_attached") {
        for way in WAYS {
            let mut dispatcher = Dispatcher::new(way);
            let mut guest = Guest::new();
            let file = volume_file(1, BLOCKS);
            let mut expected = content(1, 0, BLOCKS);
            let mut writer = 1000;
            // Attached twice while it is open, then opened anew.
            for _ in 0..2 {
                let volume = open_with(file.path(), cache);
                assert!(!volume.unlocked_files().contains(&volume.lock_file()));
                for time in 0..2 {
                    let attached = dispatcher.attach(&guest);
                    dispatcher.attach_volume(attached.1, 0, &volume);
                    for part in parts {
                        let what = format!("{cache:?}, {way:?}, attached {time} times before, {part:?}");
                        let range = usize::try_from(part.first).unwrap() * BLOCK..;
                        let range = range.start..range.start + part.length();
                        assert_bytes(&dispatcher.read(&mut guest, part), &expected[range.clone()], &what);
                        writer += 1;
                        expected[range.clone()].copy_from_slice(&content(writer, part.first, part.blocks));
                        dispatcher.write(&mut guest, part, &expected[range.clone()]);
                        assert_bytes(&std::fs::read(file.path()).unwrap(), &expected, &what);
                        assert_bytes(&dispatcher.read(&mut guest, part), &expected[range], &what);
                    }
                    dispatcher.detach(attached);
                }
                close(volume);
            }
        }
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// Threads that are not the reactor's

/// A turned reactor with one guest and one volume, of which each block is read.
struct Set {
    dispatcher: Dispatcher,
    guest: Guest,
    attached: (GuestId, RingId),
    file: NamedTempFile,
    owner: u32,
    next: u32,
}

impl Set {
    fn new(owner: u32, cache: Cache) -> Self {
        Self::of(Dispatcher::turned(), owner, cache)
    }

    fn of(mut dispatcher: Dispatcher, owner: u32, cache: Cache) -> Self {
        let (guest, file) = (Guest::new(), volume_file(owner, 64));
        let attached = dispatcher.attach(&guest);
        dispatcher.attach_volume(attached.1, 0, &open_with(file.path(), cache));
        Self { dispatcher, guest, attached, file, owner, next: 0 }
    }

    /// Posts a read.
    fn post(&mut self) -> (Part, u64) {
        let part = self.part();
        (part, self.guest.start(part, None))
    }

    /// Waits for the end of a read.
    #[track_caller]
    fn end(&mut self, (part, tag): (Part, u64)) {
        self.dispatcher.end(&mut self.guest, tag);
        assert_bytes(&self.guest.data(part), &content(self.owner, part.first, part.blocks), &format!("{part:?}"));
    }

    fn part(&mut self) -> Part {
        self.next = (self.next + 3) % 56;
        Part::new(0, self.next, 8)
    }

    #[track_caller]
    fn check(&mut self) {
        let part = self.part();
        self.dispatcher.check(&mut self.guest, part, self.owner);
    }

    /// Reads, and does something to another reactor at each step of that. Sleeps as an embedder's loop does, if it is told to.
    #[track_caller]
    fn check_beside(&mut self, sleeps: bool, mut other: impl FnMut()) {
        other();
        let (part, tag) = self.post();
        let deadline = Instant::now() + PATIENCE;
        let end = loop {
            other();
            self.dispatcher.turn();
            other();
            if let Some(end) = self.guest.take() {
                break end;
            }
            assert!(Instant::now() < deadline, "a read beside a misplaced reactor does not end");
            if sleeps {
                self.dispatcher.sleep(&mut other);
            }
        };
        assert!(end.tag == tag && ran(&end), "{end:?}");
        assert_bytes(&self.guest.data(part), &content(self.owner, part.first, part.blocks), &format!("{part:?}"));
        other();
        assert_eq!(self.guest.take(), None, "one final");
    }
}

/// When a read of the misplaced reactor is posted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Posted {
    /// At home, and taken there.
    AndTaken,
    /// At home, and taken where it does not belong.
    AtHome,
    /// Where it does not belong.
    There,
}

/// Turns where it must not. Nothing is expected of that but that it harms nobody.
fn turn_misplaced(set: &mut Set, sleeps: bool) {
    let Dispatcher::Turned(reactor) = &mut set.dispatcher else { unreachable!() };
    reactor.turn(64);
    if sleeps && reactor.prepare_sleep() {
        reactor.wake();
    }
}

/// Not allowed, and still no harm to others. A thread knows the io_urings that it has registered by small numbers; on another thread these name other ones.
#[test]
fn a_reactor_that_is_turned_on_another_reactors_thread_does_nothing_to_that_one() {
    const READS: u64 = 60;
    let _alone = alone();
    // Without the page cache, if that is possible: then reads are in the kernel for a while.
    let cache = *caches("a_reactor_that_is_turned_on_another_reactors_thread_does_nothing_to_that_one").last().unwrap();
    let mut strayed = Set::new(1, cache);
    strayed.check();
    for posted in [Posted::AndTaken, Posted::AtHome, Posted::There] {
        let mut open = None;
        if posted != Posted::There {
            open = Some(strayed.post());
        }
        if posted == Posted::AndTaken {
            strayed.dispatcher.turn();
        }
        let other = std::thread::spawn(move || {
            let mut resident = Set::new(2, cache);
            for read in 0..READS {
                if read == READS / 2 && open.is_none() {
                    open = Some(strayed.post());
                }
                let sleeps = read >= READS / 3 * 2;
                resident.check_beside(sleeps, || turn_misplaced(&mut strayed, sleeps));
            }
            assert_eq!(resident.dispatcher.accounts(), (READS, READS, 0));
            // It goes, and the misplaced one has the thread for itself, where it still cannot do anything.
            resident.dispatcher.detach(resident.attached);
            drop(open_with(resident.file.path(), cache));
            drop(resident);
            turn_misplaced(&mut strayed, true);
            (strayed, open)
        });
        // At home again what was posted ends, if it has not, and all goes on.
        (strayed, open) = other.join().unwrap();
        strayed.end(open.unwrap());
        for _ in 0..20 {
            strayed.check();
        }
        let posted = strayed.guest.tag;
        assert_eq!(strayed.dispatcher.accounts(), (posted, posted, 0));
    }
    strayed.dispatcher.detach(strayed.attached);
    drop(open_with(strayed.file.path(), cache));
}

/// Nor is this allowed; the volume that has the descriptor numbers of another one must not be taken for it, wherever the two have come and gone.
#[test]
fn volumes_that_come_and_go_while_a_reactor_is_misplaced_are_right_when_it_is_at_home_again() {
    let _alone = alone();
    for attach_at_home in [true, false] {
        let mut strayed = Set::new(1, Cache::Buffered);
        let [first, second] = [3, 4].map(|owner| volume_file(owner, 64));
        let volume = open(first.path());
        let numbers = volume.unlocked_files();
        let (owner, ring) = strayed.attached;
        strayed.dispatcher.attach_volume(ring, 1, &volume);
        strayed.dispatcher.check(&mut strayed.guest, Part::new(1, 0, 64), 3);
        let other = std::thread::spawn(move || {
            let mut resident = Set::new(2, Cache::Buffered);
            resident.check();
            strayed.dispatcher.detach_volume(owner, 1);
            close(volume);
            resident.check();
            let next = open(second.path());
            assert_eq!(next.unlocked_files(), numbers, "the test is worth nothing with other numbers");
            if !attach_at_home {
                strayed.dispatcher.attach_volume(ring, 2, &next);
            }
            turn_misplaced(&mut strayed, false);
            resident.check();
            (strayed, next)
        });
        let (mut strayed, next) = other.join().unwrap();
        drop(open(first.path()));
        if attach_at_home {
            strayed.dispatcher.attach_volume(ring, 2, &next);
        }
        strayed.dispatcher.check(&mut strayed.guest, Part::new(2, 0, 64), 4);
        strayed.check();
        strayed.dispatcher.detach(strayed.attached);
        close(next);
    }
}

/// Whether so many reactors can be there at once: their memory is locked, and the user may have little of that.
fn can_be(count: usize, test: &str) -> bool {
    let made: Result<Vec<_>, _> = (0..count).map(|_| Builder::default().build()).collect();
    if let Err(error) = &made {
        println!("{test}: not run, for it needs {count} reactors at once: {error}");
    }
    made.is_ok()
}

#[test]
fn a_reactor_that_is_dropped_on_another_thread_gives_its_volume_back_and_does_nothing_to_others() {
    let _alone = alone();
    // The io_urings of those that are dropped elsewhere stay until this thread ends.
    if !can_be(36, "a_reactor_that_is_dropped_on_another_thread_gives_its_volume_back_and_does_nothing_to_others") {
        return;
    }
    let mut neighbour = Set::new(99, Cache::Buffered);
    // More often than a thread can have io_urings registered.
    for owner in 0..30 {
        let mut set = Set::new(owner, Cache::Buffered);
        set.check();
        neighbour.check();
        let other = std::thread::spawn(move || {
            let mut resident = Set::new(98, Cache::Buffered);
            resident.check();
            drop(set.dispatcher);
            let volume = open(set.file.path());
            resident.check();
            // It goes on with another reactor, under the descriptor numbers that it has now.
            let mut guest = Guest::new();
            let attached = resident.dispatcher.attach(&guest);
            resident.dispatcher.attach_volume(attached.1, 0, &volume);
            resident.dispatcher.check(&mut guest, Part::new(0, 0, 64), owner);
            resident.check();
            resident.dispatcher.detach(attached);
            close(volume);
            resident.check();
            set.file
        });
        let file = other.join().unwrap();
        // And with a new one on the thread that turned the one that was dropped.
        neighbour.check();
        let volume = open(file.path());
        let (mut dispatcher, mut guest) = (Dispatcher::turned(), Guest::new());
        let attached = dispatcher.attach(&guest);
        dispatcher.attach_volume(attached.1, 0, &volume);
        dispatcher.check(&mut guest, Part::new(0, 0, 64), owner);
        neighbour.check();
    }
    // One whose own thread has ended.
    let orphan = std::thread::spawn(|| {
        let mut set = Set::new(97, Cache::Buffered);
        set.check();
        set
    });
    let orphan = orphan.join().unwrap();
    drop(orphan.dispatcher);
    drop(open(orphan.file.path()));
    neighbour.check();
}

/// A thread can have sixteen io_urings registered. The others work all the same.
#[test]
fn one_thread_turns_more_reactors_than_it_can_have_registered() {
    let _alone = alone();
    if !can_be(24, "one_thread_turns_more_reactors_than_it_can_have_registered") {
        return;
    }
    let new = |owner| {
        let (reactor, _) = Builder::default().engine_slots(8).build().unwrap();
        Set::of(Dispatcher::Turned(Box::new(reactor)), owner, Cache::Buffered)
    };
    let mut sets: Vec<Set> = (0..20).map(new).collect();
    for round in 0..4 {
        sets.iter_mut().for_each(Set::check);
        // Some go, in no order, and others come.
        for place in [17, 0, 9] {
            let Set { dispatcher, file, .. } = sets.swap_remove(place);
            drop(dispatcher);
            drop(open(file.path()));
            sets.iter_mut().for_each(Set::check);
        }
        sets.extend((0..3).map(|more| new(100 + round * 10 + more)));
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// More files than are registered

/// The soft limit of open files, which is put back in the end.
struct OpenFiles(Rlimit);

impl OpenFiles {
    fn set(soft: u64) -> Self {
        let before = getrlimit(Resource::Nofile);
        setrlimit(Resource::Nofile, Rlimit { current: Some(soft), maximum: before.maximum }).unwrap();
        Self(before)
    }
}

impl Drop for OpenFiles {
    fn drop(&mut self) {
        setrlimit(Resource::Nofile, self.0).unwrap();
    }
}

fn small_volume(place: &Path, owner: u16) -> Arc<Volume> {
    let path = place.join(owner.to_string());
    if !path.exists() {
        std::fs::write(&path, content(owner.into(), 0, 2)).unwrap();
    }
    open(&path)
}

#[test]
fn more_volumes_than_can_be_registered_are_all_read_rightly() {
    const WANTED: u16 = 1100;
    // Room for all else that this process has open.
    const OTHERS: u64 = 100;
    let _alone = alone();
    let limit = getrlimit(Resource::Nofile);
    let hard = limit.maximum.unwrap_or(u64::MAX);
    // Two for each volume.
    let wanted = u64::from(WANTED) * 2 + OTHERS;
    let volumes = u16::try_from((hard.min(wanted) - OTHERS) / 2).unwrap();
    if volumes < WANTED {
        let test = "more_volumes_than_can_be_registered_are_all_read_rightly";
        println!("{test}: {volumes} volumes instead of {WANTED}, the hard limit of open files (RLIMIT_NOFILE) is {hard}");
    }
    let _limit = OpenFiles::set(hard.min(wanted).max(limit.current.unwrap_or(u64::MAX)));
    let place = tempfile::tempdir().unwrap();
    for way in WAYS {
        let mut dispatcher = Dispatcher::new(way);
        let mut guest = Guest::new();
        let (owner, ring) = dispatcher.attach(&guest);
        let check = |dispatcher: &mut Dispatcher, guest: &mut Guest, number: u16, volume: u16| {
            dispatcher.check(guest, Part::new(number, 0, 2), volume.into());
        };
        for number in 0..volumes {
            dispatcher.attach_volume(ring, number, &small_volume(place.path(), number));
        }
        let (middle, several) = (volumes / 2, volumes / 11);
        let some = [0, 1, 63, middle, 509, 511, 1022, 1023, 1024, 1025, volumes - 2, volumes - 1];
        let some: Vec<u16> = some.into_iter().filter(|&number| number < volumes).collect();
        for &number in &some {
            check(&mut dispatcher, &mut guest, number, number);
            dispatcher.write(&mut guest, Part::new(number, 1, 1), &content(number.into(), 1, 1));
        }
        // Some in the middle go, and others come under their subchannel and descriptor numbers, but not in their order.
        for number in middle..middle + several {
            dispatcher.detach_volume(owner, number);
        }
        for number in (middle..middle + several).rev() {
            dispatcher.attach_volume(ring, number, &small_volume(place.path(), 5000 + number));
        }
        for number in middle..middle + several {
            check(&mut dispatcher, &mut guest, number, 5000 + number);
        }
        // One at the beginning and one at the end, and then all that are there.
        for number in [0, volumes - 1] {
            dispatcher.detach_volume(owner, number);
            dispatcher.attach_volume(ring, number, &small_volume(place.path(), 5000 + number));
        }
        for number in 0..volumes {
            let came = number == 0 || number == volumes - 1 || (middle..middle + several).contains(&number);
            check(&mut dispatcher, &mut guest, number, if came { 5000 + number } else { number });
        }
        dispatcher.detach((owner, ring));
        // All locks have gone, and the dispatcher is still there.
        for number in 0..volumes {
            drop(small_volume(place.path(), number));
        }
        assert_eq!(dispatcher.accounts().2, 0);
    }
}

/// The kernel registers no more files than the process may have open.
#[test]
fn a_process_that_may_have_few_files_open_has_volumes_all_the_same() {
    let _alone = alone();
    let used = std::fs::read_dir("/proc/self/fd").unwrap().count() as u64;
    let _limit = OpenFiles::set(used + 100);
    let place = tempfile::tempdir().unwrap();
    for way in WAYS {
        let mut dispatcher = Dispatcher::new(way);
        let mut guest = Guest::new();
        for round in 0..3 {
            let (owner, ring) = dispatcher.attach(&guest);
            for number in 0..20 {
                dispatcher.attach_volume(ring, number, &small_volume(place.path(), (number + round) % 20));
            }
            for number in 0..20 {
                dispatcher.check(&mut guest, Part::new(number, 0, 2), ((number + round) % 20).into());
            }
            dispatcher.detach((owner, ring));
        }
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// A process that is killed

/// Names the volume of the process that is to be killed, and says whether it goes past the page cache.
const VOLUME: &str = "FCTL_TEST_VOLUME_TO_READ";
const PAST_THE_CACHE: &str = "FCTL_TEST_VOLUME_IS_DIRECT";
const LARGE: u16 = 4096;

/// The process that is to be killed. Run as a test of the whole file it does nothing.
#[test]
fn the_reading_process() {
    let Some(path) = std::env::var_os(VOLUME) else { return };
    let cache = if std::env::var_os(PAST_THE_CACHE).is_some() { Cache::Direct } else { Cache::Buffered };
    let mut dispatcher = Dispatcher::new(Way::OwnThread);
    let mut traffic = Traffic::new();
    let (_, ring) = dispatcher.attach(&traffic.guest);
    let volume = open_with(Path::new(&path), cache);
    (0..8).for_each(|number| dispatcher.attach_volume(ring, number, &volume));
    let mut next = 0;
    (0..8).for_each(|number| traffic.start(Part::new(number, 0, 64)));
    loop {
        let parts = dispatcher.until("reads end", || Some(traffic.look(7, false)).filter(|parts| !parts.is_empty()));
        for part in parts {
            next = (next + 64) % u32::from(LARGE);
            traffic.start(Part { first: next, ..part });
        }
        // Ends this process, too, when the one that should kill it has gone.
        println!("\nreads: {}", traffic.finals);
    }
}

#[test]
fn a_process_that_was_killed_while_it_read_leaves_its_volume_free() {
    let _alone = alone();
    let caches = caches("a_process_that_was_killed_while_it_read_leaves_its_volume_free");
    let file = volume_file(7, LARGE);
    for round in 0..24 {
        let cache = caches[round % caches.len()];
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "the_reading_process", "--nocapture", "--test-threads=1"]);
        command.env(VOLUME, file.path()).stdin(Stdio::null()).stdout(Stdio::piped());
        if cache == Cache::Direct {
            command.env(PAST_THE_CACHE, "1");
        }
        let mut process = command.spawn().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines().map(Result::unwrap);
        let mut reads = lines.filter(|line| line.starts_with("reads: "));
        // Earlier or later.
        assert!(reads.nth(round * 3).is_some(), "it does not read: {:?}", process.wait());
        let held = Volume::open(file.path(), options(cache)).err();
        assert!(matches!(held, Some(VolumeError::InUse { .. })), "it has its volume: {held:?}");
        // SIGKILL.
        process.kill().unwrap();
        let ended = process.wait().unwrap();
        // At once: whoever starts the next dispatcher waits for nothing but the end of the process. Direct operations may outlive that, and the lock must, too.
        let mut volume = Volume::open(file.path(), options(cache));
        assert_eq!(ended.signal(), Some(libc::SIGKILL), "it did not end by itself");
        let deadline = Instant::now() + PATIENCE;
        while cache == Cache::Direct && matches!(volume, Err(VolumeError::InUse { .. })) && Instant::now() < deadline {
            std::thread::yield_now();
            volume = Volume::open(file.path(), options(cache));
        }
        volume.unwrap_or_else(|error| panic!("{cache:?}, round {round}: {error}"));
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// A path that becomes another file's

#[test]
fn a_volume_is_its_file_and_not_its_path() {
    let _alone = alone();
    for cache in caches("a_volume_is_its_file_and_not_its_path") {
        for way in WAYS {
            let place = tempfile::tempdir().unwrap();
            let [path, other] = ["volume", "other"].map(|name| place.path().join(name));
            std::fs::write(&path, content(1, 0, 64)).unwrap();
            std::fs::write(&other, content(2, 0, 64)).unwrap();
            let old = File::open(&path).unwrap();
            let mut dispatcher = Dispatcher::new(way);
            let mut guest = Guest::new();
            let attached = dispatcher.attach(&guest);
            let volume = open_with(&path, cache);
            dispatcher.attach_volume(attached.1, 0, &volume);
            dispatcher.check(&mut guest, Part::new(0, 0, 32), 1);
            std::fs::rename(&other, &path).unwrap();
            // Also what was not read before, aligned and not.
            dispatcher.check(&mut guest, Part::new(0, 0, 64), 1);
            dispatcher.check(&mut guest, Part { shift: 3, ..Part::new(0, 33, 5) }, 1);
            dispatcher.write(&mut guest, Part::new(0, 40, 8), &content(3, 40, 8));
            dispatcher.check(&mut guest, Part::new(0, 40, 8), 3);
            let mut there = vec![0; 64 * BLOCK];
            old.read_exact_at(&mut there, 0).unwrap();
            assert_bytes(&there, &[content(1, 0, 40), content(3, 40, 8), content(1, 48, 16)].concat(), "the file without a name");
            assert_bytes(&std::fs::read(&path).unwrap(), &content(2, 0, 64), "the file that has the path now");
            // Whoever opens the path gets the new file, which nobody has locked.
            let new = open_with(&path, cache);
            dispatcher.attach_volume(attached.1, 1, &new);
            dispatcher.check(&mut guest, Part::new(1, 0, 64), 2);
            dispatcher.check(&mut guest, Part::new(0, 0, 40), 1);
            dispatcher.detach(attached);
            close(volume);
            close(new);
        }
    }
}
