// SPDX-License-Identifier: MIT OR Apache-2.0
//! A real reactor with guests, rings, subchannels and devices, turned by hand, and beside each subchannel its model.

use super::common::id;
use super::device::{Entry, Journal, Scripted, Watched};
use super::disk::Disks;
use super::follow::{ensure, Counts, Device, Follow, Seen};
use super::guest::{GuestRing, Mirror};
use super::post::{Decision, Posted};
use super::rng::Rng;
use super::steps::{Behind, Shape, Step};
use fctl_dispatcher::device::delay::Delay;
use fctl_dispatcher::device::SubchannelDevice;
use fctl_dispatcher::subchannel::StatusMode;
use fctl_dispatcher::{Builder, Reactor, RingId, SubchannelOptions, MOST_PER_RING_AND_TURN};
use fctl_model::Instruction;
use fctl_ringabi::{Completion, CompletionKind, Operation, RingSizes};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// A ring, what was posted into it, and how far it was read.
pub struct Ring {
    pub guest: GuestRing,
    pub id: RingId,
    pub staged: Vec<Posted>,
    queue: VecDeque<Posted>,
    read: u64,
    last_accepted: u64,
    pub operands: u32,
}

pub struct World {
    // Dropped first: it waits for the kernel.
    reactor: Reactor,
    pub rings: Vec<Ring>,
    pub mirrors: Vec<Mirror>,
    pub shape: Shape,
    pub follows: Vec<Follow>,
    pub disks: Disks,
    journal: Journal,
    /// Of each tag: its ring, its subchannel if one decided it, and whether it has its final.
    pub tags: Vec<(usize, Option<usize>, bool)>,
    pub counts: Counts,
}

impl World {
    pub fn new(shape: &Shape, seed: u64) -> Self {
        let mut rng = Rng::new(!seed);
        let (mut reactor, _handle) = Builder::default().engine_slots(shape.engine_slots).build().unwrap();
        let sizes = RingSizes { completion_entries: shape.completion_entries, ..RingSizes::new(shape.submission_entries) };
        let guests: Vec<GuestRing> = (0..shape.rings()).map(|_| GuestRing::new(sizes)).collect();
        let memories: Vec<_> = (0..shape.guests).map(|guest| guests[guest * shape.rings_of_guest].guest.memory.clone()).collect();
        let ids: Vec<_> = memories.iter().map(|memory| reactor.attach_guest(memory.clone())).collect();
        let mut rings = Vec::new();
        for (at, guest) in guests.into_iter().enumerate() {
            let id = reactor.attach_ring(ids[at / shape.rings_of_guest], guest.guest.ends()).unwrap();
            rings.push(Ring { guest, id, staged: vec![], queue: VecDeque::new(), read: 0, last_accepted: 0, operands: 0 });
        }
        let journal = Journal::default();
        let disks = Disks::new(shape.places.iter().filter(|place| matches!(place.behind, Behind::Disk { .. })).count(), &mut rng);
        for (sub, place) in shape.places.iter().enumerate() {
            let inner: Box<dyn SubchannelDevice> = match place.behind {
                Behind::Scripted { engine } => Box::new(Scripted::new(sub, journal.clone(), engine)),
                Behind::Disk { delay } if delay.is_zero() => Box::new(disks.device()),
                Behind::Disk { delay } => Box::new(Delay::new(disks.device(), delay)),
            };
            let device = Box::new(Watched { sub, journal: journal.clone(), inner });
            let options = SubchannelOptions::new(place.number).with_enabled(place.enabled).with_mode(place.mode);
            reactor.attach_subchannel(rings[place.ring].id, id(place.number), options, device).unwrap();
        }
        let follows = shape.places.iter().map(|place| {
            let engine = place.behind != Behind::Scripted { engine: false };
            Follow::new(place.enabled, place.mode == StatusMode::Delivered, engine)
        });
        Self {
            reactor,
            follows: follows.collect(),
            rings,
            mirrors: memories.into_iter().map(Mirror::new).collect(),
            shape: shape.clone(),
            disks,
            journal,
            // Tag 0 belongs to nobody.
            tags: vec![(usize::MAX, None, true)],
            counts: Counts::default(),
        }
    }

    pub fn apply(&mut self, step: &Step) -> Result<(), String> {
        match *step {
            Step::Post { sub, operation, flags, pick } => self.post(sub, operation, flags, pick),
            Step::Stray { ring, kind, flags, pick } => self.stray(ring, kind, flags, pick),
            Step::Publish { ring } => self.publish(ring),
            Step::Turn { budget } => return self.turn(budget),
            Step::Answer { sub, choice } => self.journal.choose(sub, choice),
            Step::Hold { ring, hold } => self.rings[ring].guest.hold(hold),
        }
        Ok(())
    }

    fn publish(&mut self, ring: usize) {
        let ring = &mut self.rings[ring];
        ring.guest.guest.publish();
        ring.queue.extend(ring.staged.drain(..));
    }

    /// What the dispatcher has promised to descriptors, and for how many completions beyond that there is room if the guest has given
    /// back so many.
    fn room(&self, ring: usize, given_back: u64) -> (u64, i64) {
        let ring = &self.rings[ring];
        let owed = self.reactor.ring_status(ring.id).unwrap().owed;
        (owed, i64::from(self.shape.completion_entries) - i64::try_from(ring.read - given_back + owed).unwrap())
    }

    /// One turn, and everything it brought.
    pub fn turn(&mut self, budget: u32) -> Result<(), String> {
        let given_back: Vec<u64> = self.rings.iter().map(|ring| ring.guest.given_back()).collect();
        let before: Vec<_> = given_back.iter().enumerate().map(|(ring, &back)| self.room(ring, back)).collect();
        let taken_before = self.reactor.counters().taken;
        self.reactor.turn(budget);
        let mut seen: Vec<Seen> = self.follows.iter().map(|_| Seen::default()).collect();
        let mut taken: Vec<Vec<(u64, bool, Instruction)>> = vec![Vec::new(); self.follows.len()];
        let mut count = 0;
        for ring in 0..self.rings.len() {
            let (direct, charged) = self.read(ring, &mut seen)?;
            let after = self.room(ring, given_back[ring]);
            let used = after.0 + charged - before[ring].0;
            let room = (before[ring].1, after.1);
            count += self.intake(ring, budget, used, room, direct, &mut taken)?;
        }
        ensure!(self.reactor.counters().taken - taken_before == count, "{count} descriptors should have been taken");
        let mut entries: Vec<Vec<Entry>> = vec![Vec::new(); self.follows.len()];
        for entry in self.journal.take() {
            entries[entry.sub].push(entry);
        }
        for (sub, (seen, entries)) in seen.iter_mut().zip(entries).enumerate() {
            let place = self.shape.places[sub];
            let what = format!("{entries:?}");
            self.follows[sub].turn(entries, &taken[sub], seen).map_err(|error| {
                format!("subchannel {sub} ({place:?})\n  {error}\n  calls: {what}\n  taken: {:?}", taken[sub])
            })?;
            let writing = self.follows[sub].start.filter(|start| start.issued).map(|start| start.tag);
            for (tag, fate) in seen.fates.drain(..) {
                self.disks.ended(tag, fate, writing, &mut self.mirrors, &mut self.counts)?;
            }
            self.counts.add(&seen.counts);
            // As it was at the end of the turn, before anybody had read what it brought.
            let room = self.room(place.ring, given_back[place.ring]).1;
            let follow = &self.follows[sub];
            ensure!(
                !follow.must_tell() || room < 1,
                "subchannel {sub} ({place:?}): status is not told, with room for {room}: {:?}\n  calls: {what}",
                follow.model
            );
        }
        Ok(())
    }

    /// Reads all completions of a ring. Gives those that no subchannel decided, and how much room they all had been charged.
    fn read(&mut self, ring: usize, seen: &mut [Seen]) -> Result<(VecDeque<Completion>, u64), String> {
        let mut direct = VecDeque::new();
        let mut charged = 0;
        while let Some((found, extension)) = self.rings[ring].guest.reader.take().map_err(|error| format!("{error:?}"))? {
            self.rings[ring].read += 1;
            let kind = found.kind().ok_or("an unknown kind")?;
            if !matches!(kind, CompletionKind::Final | CompletionKind::Accepted) {
                let is_it = |sub: &usize| {
                    let place = &self.shape.places[*sub];
                    place.ring == ring && id(place.number).word() == found.subsystem
                };
                let sub = (0..self.follows.len()).find(is_it).ok_or_else(|| format!("nobody's: {found:?}"))?;
                seen[sub].queue.push_back((found, extension));
                continue;
            }
            charged += 1;
            let owner = usize::try_from(found.tag).ok().and_then(|tag| self.tags.get_mut(tag));
            let (home, sub, finished) = owner.ok_or_else(|| format!("never posted: {found:?}"))?;
            ensure!(*home == ring && !*finished, "not owed here: {found:?}");
            if kind == CompletionKind::Final {
                *finished = true;
            } else {
                let last = std::mem::replace(&mut self.rings[ring].last_accepted, found.tag);
                ensure!(last < found.tag, "condition codes out of order: {found:?} after {last}");
            }
            match *sub {
                Some(sub) => {
                    ensure!(found.subsystem == id(self.shape.places[sub].number).word(), "another subchannel: {found:?}");
                    seen[sub].queue.push_back((found, extension));
                }
                None => direct.push_back(found),
            }
        }
        Ok((direct, charged))
    }

    /// Finds out which descriptors a turn has taken: those whose completions make up what was promised.
    fn intake(
        &mut self,
        ring: usize,
        budget: u32,
        mut used: u64,
        room: (i64, i64),
        mut direct: VecDeque<Completion>,
        taken: &mut [Vec<(u64, bool, Instruction)>],
    ) -> Result<u64, String> {
        let used_up = used;
        let mut count = 0;
        while used > 0 {
            let posted = self.rings[ring].queue.pop_front().ok_or("more was taken than was posted")?;
            used = used.checked_sub(posted.charge()).ok_or("a descriptor used up less than its charge")?;
            count += 1;
            self.counts.descriptors += 1;
            match posted.decision {
                Decision::Model(instruction) => {
                    taken[posted.sub.ok_or("a descriptor without a subchannel")?].push((posted.tag, posted.asked, instruction));
                }
                Decision::Refused { .. } => posted.check_refused(&mut direct)?,
            }
        }
        ensure!(direct.is_empty(), "refused, but not taken: {direct:?}");
        // Of disks more are accepted than are issued; how many more is not what is compared here.
        let least = u64::from(budget.min(MOST_PER_RING_AND_TURN));
        let most = if budget < MOST_PER_RING_AND_TURN { least } else { 4 * least };
        ensure!(count <= most, "{count} were taken, {most} at most");
        if let Some(next) = self.rings[ring].queue.front().filter(|_| count < least) {
            // Only for want of room; what came unasked in this turn has used up some.
            let left = room.1.min(room.0 - i64::try_from(used_up).unwrap());
            ensure!(left < i64::try_from(next.charge()).unwrap(), "{next:?} was not taken, with room for {left}");
        }
        Ok(count)
    }

    /// True once nothing is owed by anybody.
    fn quiet(&self) -> bool {
        let owes = |follow: &Follow| follow.start.is_some() || follow.halt.is_some() || follow.clear.is_some();
        self.rings.iter().all(|ring| ring.queue.is_empty())
            && self.follows.iter().all(|follow| !owes(follow) && follow.device == Device::Idle)
    }

    /// Lets everything end, takes all status, and compares what is left at the end.
    pub fn finish(mut self) -> Result<Counts, String> {
        let deadline = Instant::now() + Duration::from_secs(20);
        for ring in 0..self.rings.len() {
            self.rings[ring].guest.hold(false);
            self.publish(ring);
        }
        let mut rounds = 0;
        while !self.quiet() {
            rounds += 1;
            ensure!(rounds < 500 || Instant::now() < deadline, "it does not become quiet: {}", self.unfinished());
            for sub in 0..self.follows.len() {
                if self.follows[sub].device != Device::Idle {
                    self.journal.choose(sub, 15);
                }
                if self.follows[sub].device == Device::Suspended && rounds % 16 == 0 {
                    self.post(sub, Operation::Clear, 0, 0);
                    self.publish(self.shape.places[sub].ring);
                }
            }
            self.turn(64)?;
        }
        for sub in 0..self.follows.len() {
            for operation in [Operation::Test, Operation::Store] {
                self.post(sub, operation, 0, 0);
            }
            self.publish(self.shape.places[sub].ring);
            self.turn(64)?;
        }
        // What found no room in the last turn, and what stood behind that.
        for _ in 0..3 {
            self.turn(64)?;
        }
        ensure!(self.quiet(), "after the last TSCH: {}", self.unfinished());
        let untold = self.follows.iter().position(|follow| follow.untold);
        ensure!(untold.is_none(), "pending status of subchannel {untold:?} was never told");
        let counters = self.reactor.counters();
        let posted = self.tags.len() as u64 - 1;
        ensure!((counters.taken, counters.finals) == (posted, posted), "{posted} posted: {counters:?}");
        ensure!((counters.unstored, counters.fenced) == (0, 0), "{counters:?}");
        ensure!(self.tags.iter().all(|tag| tag.2), "without a final: {:?}", self.tags.iter().position(|tag| !tag.2));
        for mirror in &self.mirrors {
            mirror.check()?;
            self.counts.bytes += mirror.memory.bytes();
        }
        self.disks.check()?;
        self.counts.bytes += self.disks.bytes();
        Ok(self.counts)
    }

    fn unfinished(&self) -> String {
        let busy = self.follows.iter().enumerate().filter(|(_, follow)| follow.device != Device::Idle || follow.start.is_some());
        let busy: Vec<_> = busy.map(|(sub, follow)| (sub, follow.device, follow.start, follow.halt, follow.clear)).collect();
        format!("{busy:?}, queues {:?}", self.rings.iter().map(|ring| ring.queue.len()).collect::<Vec<_>>())
    }
}
