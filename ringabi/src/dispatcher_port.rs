// SPDX-License-Identifier: MIT OR Apache-2.0
//! The dispatcher's end of a ring pair: takes descriptors, stages and publishes completions.

use crate::completion::{Completion, Extension};
use crate::consumer::Consumer;
use crate::descriptor::{Descriptor, DescriptorWords, PlainStart};
use crate::header::{word, Header, HeaderError};
use crate::lane::{Cursor, Lane};
use crate::memory::WordMemory;
use crate::producer::Producer;
use crate::violation::Violation;
use crate::wake::{Sleeper, Waker};
use core::sync::atomic::Ordering;

/// Descriptors that were there at one look, read one by one: [`DispatcherPort::batch`].
#[derive(Clone, Copy, Debug)]
pub struct Batch {
    count: u64,
    first: u64,
    /// The position at which slots are to be given back.
    due: u64,
    starts: bool,
    next: Cursor,
}

impl Batch {
    /// How many descriptors were there.
    #[inline]
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// How many of them were stepped over.
    #[inline]
    pub const fn read(&self) -> u64 {
        self.next.position().wrapping_sub(self.first)
    }

    /// True if they all looked like [plain starts](PlainStart) without *accepted*: a hint, never to be relied on, for the guest may have changed them since.
    #[inline]
    pub const fn looks_like_starts(&self) -> bool {
        self.starts
    }
}

/// The dispatcher's end of a ring pair. One thread at a time; nothing blocks, nothing allocates.
#[derive(Debug)]
pub struct DispatcherPort<M> {
    submissions: Consumer<M, 8>,
    completions: Producer<M, 8>,
    extensions: Lane,
    doorbell: Sleeper<M>,
    notification: Waker<M>,
    header: Header,
}

impl<M: WordMemory + Clone> DispatcherPort<M> {
    /// Attaches to a formatted region. The guest's words are checked, its positions continue where they stand.
    ///
    /// # Errors
    /// The header breaks a rule, or a head word is from nowhere.
    pub fn attach(memory: M) -> Result<Self, HeaderError> {
        let header = Header::read(&memory)?;
        let fenced = memory.load(word::FENCE, Ordering::Relaxed);
        if fenced != 0 {
            return Err(HeaderError::Field {
                name: "fence reason",
                found: fenced,
                accepted: "0 (a fenced ring must be formatted again)",
            });
        }
        // Relaxed: these two are the dispatcher's own. Whoever attaches has been told that the one before has detached, outside the region.
        let taken = memory.load(word::SQ_HEAD, Ordering::Relaxed);
        let produced = memory.load(word::CQ_TAIL, Ordering::Relaxed);
        // Acquire: as `SEE_HEAD` in `producer.rs`, for the slots before it are written without looking at the head again.
        let consumed = memory.load(word::CQ_HEAD, Ordering::Acquire);
        if consumed > produced || produced - consumed > u64::from(header.sizes().completion_entries) {
            return Err(HeaderError::Field {
                name: "completion head",
                found: consumed,
                accepted: "at most the completions produced, and at most a ring behind",
            });
        }
        Ok(Self {
            submissions: Consumer::new(memory.clone(), header.submission_lane(), word::SQ_HEAD, taken),
            completions: Producer::new(memory.clone(), header.completion_lane(), word::CQ_HEAD, consumed, produced),
            extensions: header.extension_lane(),
            doorbell: Sleeper::new(memory.clone(), word::SQ_SLEEP),
            notification: Waker::new(memory, word::CQ_SLEEP),
            header,
        })
    }
}

impl<M: WordMemory> DispatcherPort<M> {
    /// The header as it was checked at attachment.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Takes the next descriptor if there is one.
    ///
    /// # Errors
    /// A lap from nowhere: fence the ring.
    #[inline]
    pub fn take(&mut self) -> Result<Option<Descriptor>, Violation> {
        Ok(self.submissions.take()?.map(|words| Descriptor::from_words(&words)))
    }

    /// The next descriptors, `most` at most, to be read one by one and taken together by [`take_batch`](Self::take_batch). One that breaks the protocol counts: reading
    /// it will tell.
    #[inline]
    pub fn batch(&self, most: u64) -> Batch {
        let (count, unlike) = self.submissions.look(most, PlainStart::FIRST);
        let next = self.submissions.head();
        let starts = unlike & PlainStart::FIRST_MASK == 0;
        Batch { count, first: next.position(), due: self.submissions.due(), starts, next }
    }

    /// Reads the next descriptor of a batch into a copy, without stepping over it: for a caller that may have no room for its completions yet.
    ///
    /// # Errors
    /// A lap from nowhere: fence the ring.
    #[inline(always)]
    pub fn peek(&self, batch: &Batch) -> Result<Option<DescriptorWords>, Violation> {
        self.submissions.peek_at(&batch.next)
    }

    /// Steps over the descriptor that [`peek`](Self::peek) has read.
    #[inline(always)]
    pub fn step(&mut self, batch: &mut Batch) {
        batch.next.step(self.submissions.lane());
        if batch.next.position() == batch.due {
            self.give_back_within(batch);
        }
    }

    /// A quarter of the ring was consumed: its slots do not wait for the rest of the batch.
    #[cold]
    #[inline(never)]
    fn give_back_within(&mut self, batch: &mut Batch) {
        self.take_batch(*batch);
        batch.due = self.submissions.due();
    }

    /// Takes the descriptors of a batch that were stepped over.
    #[inline]
    pub fn take_batch(&mut self, batch: Batch) {
        self.submissions.advance_to(batch.next);
    }

    /// Where the descriptor that is `ahead` of the next one stands, or will.
    #[inline]
    pub fn descriptor_ahead(&self, ahead: u64) -> Cursor {
        Cursor::new(self.submissions.lane(), self.submissions.head().position().wrapping_add(ahead))
    }

    /// Says that the descriptor at `place` will be looked at soon, and steps on: a hint that brings its line here, for one that is sure to be there.
    #[inline(always)]
    pub fn anticipate_descriptor(&self, place: &mut Cursor) {
        self.submissions.anticipate(place);
        place.step(self.submissions.lane());
    }

    /// The subsystem-identification word of the descriptor that is `ahead` of the next one, if that is what stands there: a hint, never to be relied on.
    #[inline]
    pub fn subsystem_hint(&self, ahead: u64) -> u32 {
        #[allow(clippy::cast_possible_truncation, reason = "the low half is what is asked for")]
        let subsystem = self.submissions.hint(ahead, 1) as u32;
        subsystem
    }

    /// True if no descriptor is waiting.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.submissions.is_empty()
    }

    /// How many completions may be staged. Reads the guest's head only when fewer than `want` are known to fit.
    ///
    /// # Errors
    /// A head from nowhere: fence the ring.
    #[inline]
    pub fn room(&mut self, want: u64) -> Result<u64, Violation> {
        self.completions.room(want)
    }

    /// Stages a completion, and its extension beside it. It becomes visible with [`publish`](Self::publish).
    ///
    /// # Errors
    /// The completion comes back when there is no [`room`](Self::room).
    #[inline(always)]
    pub fn stage(&mut self, completion: Completion, extension: Option<&Extension>) -> Result<(), Completion> {
        let slot_position = self.completions.position();
        let mut words = completion.to_words();
        if let Some(extension) = extension {
            words[0] |= u64::from(extension.flag().bits()) << 56;
            // The slot's extension is free because the slot is: the guest gives both back with one head.
            if self.completions.known_full() {
                return Err(completion);
            }
            let entry = extension.to_words();
            let index = self.extensions.word(slot_position);
            // Relaxed: PUBLISH of the completion's batch orders it.
            self.completions.memory().store(index, entry[0], Ordering::Relaxed);
            self.completions.memory().store_body(index, &entry);
        }
        self.completions.stage(words).map_err(|_| completion)
    }

    /// Where the completion that is `ahead` of the next one to be staged will stand.
    #[inline]
    pub fn completion_ahead(&self, ahead: u64) -> Cursor {
        Cursor::new(self.completions.lane(), self.completions.position().wrapping_add(ahead))
    }

    /// Says that the completion at `place` will be staged soon, and steps on: a hint that brings its line here.
    #[inline(always)]
    pub fn anticipate_completion(&self, place: &mut Cursor) {
        self.completions.anticipate(place);
        place.step(self.completions.lane());
    }

    /// Makes all staged completions visible; true if there were any.
    #[inline]
    pub fn publish(&mut self) -> bool {
        self.completions.publish() > 0
    }

    /// To be asked after [`publish`](Self::publish): true if the guest sleeps and must be notified now.
    #[inline]
    pub fn must_notify(&mut self) -> bool {
        self.notification.must_wake()
    }

    /// Announces that this side is about to sleep. A full fence and a last look at [`is_empty`](Self::is_empty) must follow, as in
    /// [`announce_then_look`](crate::announce_then_look).
    /// Gives consumed slots back first: a batch as large as the ring must not wait for a sleeper.
    #[inline]
    pub fn announce_sleep(&mut self) {
        self.submissions.give_back();
        self.doorbell.announce_unfenced();
    }

    /// Says that this side is awake again.
    #[inline]
    pub fn awake(&mut self) {
        self.doorbell.awake();
    }

    /// Gives all consumed submission slots back now.
    #[inline]
    pub fn give_back(&mut self) {
        self.submissions.give_back();
    }

    /// Publishes what is staged and leaves the positions in the header, so that the ring can be attached again. True: the guest sleeps,
    /// notify it now.
    pub fn detach(mut self) -> bool {
        let notify = self.publish() && self.must_notify();
        self.submissions.give_back();
        let produced = self.completions.position();
        // Relaxed: as in `attach`, which is told of this detachment outside the region.
        self.completions.memory().store(word::CQ_TAIL, produced, Ordering::Relaxed);
        notify
    }

    /// Tells the guest that this ring is no longer served, and why (SPEC, "Fence reasons").
    pub fn fence(&mut self, reason: u32) {
        // Pairs with the Acquire of the guest, in `fence_reason`: who sees the reason sees all that was published before.
        self.completions.memory().store(word::FENCE, u64::from(reason), Ordering::Release);
    }

    /// The memory that the rings live in.
    #[inline]
    pub fn memory(&self) -> &M {
        self.completions.memory()
    }
}
