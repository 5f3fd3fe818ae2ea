// SPDX-License-Identifier: MIT OR Apache-2.0
//! The guest's end of a ring pair: one poster or many, and one reader of completions.

use crate::completion::{Completion, CompletionFlags, CompletionKind, Extension};
use crate::consumer::Consumer;
use crate::descriptor::{Descriptor, DescriptorFlags, Operation};
use crate::header::{word, Header, HeaderError};
use crate::lane::Lane;
use crate::memory::WordMemory;
use crate::producer::Producer;
use crate::shared_producer::SharedProducer;
use crate::violation::Violation;
use crate::wake::{Sleeper, Waker};
use core::fmt;
use core::sync::atomic::Ordering;

/// Why a descriptor was not posted. Nothing is lost: the caller still has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PostError {
    /// The submission ring is full until the dispatcher takes something.
    SubmissionFull,
    /// The completion ring could overflow: take completions first. HSCH, CSCH and XSCH may still pass (the reserve).
    CompletionCredit,
    /// The dispatcher's words are from nowhere.
    Violation(Violation),
    /// The dispatcher has fenced the ring; the reason is the code in the header.
    Fenced(u32),
}

impl fmt::Display for PostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SubmissionFull => f.write_str("the submission ring is full: wait until the dispatcher has taken descriptors"),
            Self::CompletionCredit => f.write_str("the completion ring may overflow: take completions first"),
            Self::Violation(violation) => write!(f, "the dispatcher broke the protocol: {violation}"),
            Self::Fenced(reason) => write!(f, "the dispatcher has fenced the ring, reason {reason}"),
        }
    }
}

impl core::error::Error for PostError {}

impl From<Violation> for PostError {
    fn from(violation: Violation) -> Self {
        Self::Violation(violation)
    }
}

/// How many completion entries a descriptor can use up.
const fn charge(flags: u8) -> u64 {
    1 + (flags & DescriptorFlags::ACCEPTED.bits() != 0) as u64
}

/// The guest's duty in numbers: how many completion entries may be owed at once (SPEC, "Room").
#[derive(Clone, Copy, Debug)]
struct Credit {
    most: u64,
    reserve: u64,
    /// What the reader had given back when it was last looked at.
    released: u64,
}

impl Credit {
    fn limit(&self, operation: u8) -> u64 {
        match Operation::from_code(operation) {
            Some(operation) if operation.may_use_reserve() => self.most,
            _ => self.most - self.reserve,
        }
    }

    fn allows<M: WordMemory>(&mut self, memory: &M, charged: u64, cost: u64, limit: u64) -> bool {
        // Saturating: anybody can write these words; a count from nowhere is no credit.
        let charged = charged.saturating_add(cost);
        if charged.saturating_sub(self.released) <= limit {
            return true;
        }
        // Acquire: pairs with the Release in `CompletionReader::give_back`. Who posts on this credit has seen the head that goes with it, and so
        // will the dispatcher, who sees the post.
        self.released = memory.load(word::RELEASED, Ordering::Acquire).max(self.released);
        charged.saturating_sub(self.released) <= limit
    }
}

/// The guest's end of a ring pair, before it is decided how many post.
#[derive(Debug)]
pub struct GuestPort<M> {
    memory: M,
    header: Header,
}

impl<M: WordMemory + Clone> GuestPort<M> {
    /// Opens a formatted region.
    ///
    /// # Errors
    /// The header breaks a rule.
    pub fn open(memory: M) -> Result<Self, HeaderError> {
        let header = Header::read(&memory)?;
        Ok(Self { memory, header })
    }

    /// The header as it was checked.
    pub fn header(&self) -> &Header {
        &self.header
    }

    fn credit(&self) -> Credit {
        let sizes = self.header.sizes();
        Credit {
            most: u64::from(sizes.completion_entries),
            reserve: u64::from(sizes.reserve),
            // Acquire: as in `Credit::allows`.
            released: self.memory.load(word::RELEASED, Ordering::Acquire),
        }
    }

    fn reader(&self) -> CompletionReader<M> {
        let head = self.memory.load(word::CQ_HEAD, Ordering::Relaxed);
        CompletionReader {
            completions: Consumer::new(self.memory.clone(), self.header.completion_lane(), word::CQ_HEAD, head),
            extensions: self.header.extension_lane(),
            sleeper: Sleeper::new(self.memory.clone(), word::CQ_SLEEP),
            released: self.memory.load(word::RELEASED, Ordering::Relaxed),
        }
    }

    /// One poster, which batches, and the reader.
    pub fn split(self) -> (Poster<M>, CompletionReader<M>) {
        // Acquire: as `SEE_HEAD` in `producer.rs`, for the slots before it are written without looking at the head again.
        let head = self.memory.load(word::SQ_HEAD, Ordering::Acquire);
        let next = self.memory.load(word::SQ_TICKET, Ordering::Relaxed).max(head);
        let charged = self.memory.load(word::CHARGED, Ordering::Relaxed);
        let poster = Poster {
            submissions: Producer::new(self.memory.clone(), self.header.submission_lane(), word::SQ_HEAD, head, next),
            doorbell: Waker::new(self.memory.clone(), word::SQ_SLEEP),
            credit: self.credit(),
            charged,
            published_charge: charged,
        };
        (poster, self.reader())
    }

    /// A poster that can be cloned for each thread or virtual CPU, and the reader.
    pub fn split_shared(self) -> (SharedPoster<M>, CompletionReader<M>) {
        // Acquire: as in `split`.
        let head = self.memory.load(word::SQ_HEAD, Ordering::Acquire);
        let poster = SharedPoster {
            submissions: SharedProducer::new(
                self.memory.clone(),
                self.header.submission_lane(),
                word::SQ_HEAD,
                head,
                word::SQ_TICKET,
            ),
            doorbell: Waker::new(self.memory.clone(), word::SQ_SLEEP),
            credit: self.credit(),
        };
        (poster, self.reader())
    }
}

fn fence_reason<M: WordMemory>(memory: &M) -> Option<u32> {
    // Pairs with the Release in `DispatcherPort::fence`: who sees the ring fenced sees the last completions too.
    let reason = memory.load(word::FENCE, Ordering::Acquire);
    #[allow(clippy::cast_possible_truncation, reason = "fence reasons are 32 bits by the specification")]
    (reason != 0).then_some(reason as u32)
}

/// The single poster of a ring. Wait-free; nothing blocks, nothing allocates.
#[derive(Debug)]
pub struct Poster<M: WordMemory> {
    submissions: Producer<M, 8>,
    doorbell: Waker<M>,
    credit: Credit,
    charged: u64,
    /// The part of `charged` that is for published descriptors.
    published_charge: u64,
}

impl<M: WordMemory> Poster<M> {
    /// Writes a descriptor to the next slot; [`publish`](Self::publish) makes the whole batch visible.
    ///
    /// # Errors
    /// The ring is full in one of the two senses, fenced, or broken; nothing was written.
    #[inline(always)]
    pub fn stage(&mut self, descriptor: &Descriptor) -> Result<(), PostError> {
        let cost = charge(descriptor.flags);
        let limit = self.credit.limit(descriptor.operation);
        if !self.credit.allows(self.submissions.memory(), self.charged, cost, limit) {
            return Err(self.refused(PostError::CompletionCredit));
        }
        if self.submissions.room(1)? == 0 {
            return Err(self.refused(PostError::SubmissionFull));
        }
        if self.submissions.stage(descriptor.to_words()).is_err() {
            return Err(PostError::SubmissionFull);
        }
        self.charged = self.charged.wrapping_add(cost);
        Ok(())
    }

    #[cold]
    fn refused(&self, reason: PostError) -> PostError {
        fence_reason(self.submissions.memory()).map_or(reason, PostError::Fenced)
    }

    /// Makes all staged descriptors visible at once. True: the dispatcher sleeps, ring the doorbell now.
    #[inline]
    #[must_use = "a sleeping dispatcher takes nothing until the doorbell rings"]
    pub fn publish(&mut self) -> bool {
        self.published_charge = self.charged;
        self.submissions.publish() > 0 && self.doorbell.must_wake()
    }

    /// Stages and publishes one descriptor. True: ring the doorbell.
    ///
    /// # Errors
    /// As [`stage`](Self::stage).
    #[inline]
    pub fn post(&mut self, descriptor: &Descriptor) -> Result<bool, PostError> {
        self.stage(descriptor)?;
        Ok(self.publish())
    }

    /// The reason why the dispatcher no longer serves this ring, if so.
    pub fn fenced(&self) -> Option<u32> {
        fence_reason(self.submissions.memory())
    }

    /// Publishes what is staged and ends this poster; another one can go on. True: ring the doorbell.
    pub fn finish(mut self) -> bool {
        self.publish()
    }
}

impl<M: WordMemory> Drop for Poster<M> {
    /// Leaves the position in the header, so that another poster can go on. What was staged and not published was never posted.
    fn drop(&mut self) {
        let published = self.submissions.position().wrapping_sub(self.submissions.staged());
        let memory = self.submissions.memory();
        memory.store(word::SQ_TICKET, published, Ordering::Relaxed);
        memory.store(word::CHARGED, self.published_charge, Ordering::Relaxed);
    }
}

/// One of many posters of a ring: clone it for each thread or virtual CPU. Lock-free; nothing blocks, nothing allocates.
#[derive(Clone, Debug)]
pub struct SharedPoster<M> {
    submissions: SharedProducer<M, 8>,
    doorbell: Waker<M>,
    credit: Credit,
}

impl<M: WordMemory> SharedPoster<M> {
    /// Posts a batch of `N` descriptors, all or nothing, in neighbouring slots. True: ring the doorbell.
    ///
    /// # Errors
    /// The ring is full in one of the two senses, fenced, or broken; nothing was posted.
    pub fn post<const N: usize>(&mut self, batch: &[Descriptor; N]) -> Result<bool, PostError> {
        let cost: u64 = batch.iter().map(|descriptor| charge(descriptor.flags)).sum();
        let limit = batch.iter().map(|descriptor| self.credit.limit(descriptor.operation)).min().unwrap_or(0);
        let memory = self.submissions.memory();
        let mut charged = memory.load(word::CHARGED, Ordering::Relaxed);
        loop {
            if !self.credit.allows(memory, charged, cost, limit) {
                return Err(fence_reason(memory).map_or(PostError::CompletionCredit, PostError::Fenced));
            }
            match memory.compare_exchange(word::CHARGED, charged, charged.wrapping_add(cost)) {
                Ok(_) => break,
                Err(found) => charged = found,
            }
        }
        let posted = self.submissions.post(&batch.map(|descriptor| descriptor.to_words()));
        if !matches!(posted, Ok(true)) {
            self.uncharge(cost);
            posted?;
            let memory = self.submissions.memory();
            return Err(fence_reason(memory).map_or(PostError::SubmissionFull, PostError::Fenced));
        }
        Ok(self.doorbell.must_wake())
    }

    fn uncharge(&self, cost: u64) {
        let memory = self.submissions.memory();
        let mut charged = memory.load(word::CHARGED, Ordering::Relaxed);
        while let Err(found) = memory.compare_exchange(word::CHARGED, charged, charged.wrapping_sub(cost)) {
            charged = found;
        }
    }
}

/// The reader of a ring's completions. Wait-free; nothing blocks, nothing allocates.
#[derive(Debug)]
pub struct CompletionReader<M: WordMemory> {
    completions: Consumer<M, 8>,
    extensions: Lane,
    sleeper: Sleeper<M>,
    released: u64,
}

impl<M: WordMemory> CompletionReader<M> {
    /// Takes the next completion, and its extension if it has one.
    ///
    /// # Errors
    /// A lap from nowhere: the dispatcher is broken.
    #[inline(always)]
    pub fn take(&mut self) -> Result<Option<(Completion, Option<Extension>)>, Violation> {
        let index = self.extensions.word(self.completions.position());
        let Some(words) = self.completions.peek()? else {
            self.give_back();
            return Ok(None);
        };
        let completion = Completion::from_words(&words);
        let announced = CompletionFlags::IRB_EXTENSION.union(CompletionFlags::SCHIB_EXTENSION);
        let extension = if !completion.flags.intersects(announced) { None } else { self.extension(index, completion.flags) };
        if matches!(completion.kind(), Some(CompletionKind::Final | CompletionKind::Accepted)) {
            self.released = self.released.wrapping_add(1);
        }
        // Only now: the extension belongs to the slot.
        if self.completions.advance() {
            self.release_credit();
        }
        Ok(Some((completion, extension)))
    }

    /// Kept out of line: few completions have one, and all would pay for it.
    #[cold]
    #[inline(never)]
    fn extension(&self, index: usize, flags: CompletionFlags) -> Option<Extension> {
        let memory = self.completions.memory();
        let mut words = [memory.load(index, Ordering::Relaxed); 8];
        memory.load_body(index, &mut words);
        Extension::from_words(flags, &words)
    }

    /// Credit follows the slots: who posts on it must not meet a completion ring that is still full.
    fn release_credit(&self) {
        // Pairs with the Acquire in `Credit::allows`.
        self.completions.memory().store(word::RELEASED, self.released, Ordering::Release);
    }

    /// True if no completion is waiting.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.completions.is_empty()
    }

    /// Announces sleep: the dispatcher will notify. True: really sleep now; false: something has arrived meanwhile, or the ring is
    /// [`fenced`](Self::fenced) and nothing will ever arrive.
    #[inline]
    pub fn announce_sleep(&mut self) -> bool {
        self.give_back();
        self.sleeper.announce();
        if self.completions.is_empty() && self.fenced().is_none() {
            return true;
        }
        self.sleeper.awake();
        false
    }

    /// Says that the reader is awake: no notification is needed.
    #[inline]
    pub fn awake(&mut self) {
        self.sleeper.awake();
    }

    /// Gives all consumed completion slots, and the credit for them, back now. Taking does that by itself when it finds nothing.
    #[inline]
    pub fn give_back(&mut self) {
        if self.completions.give_back() {
            self.release_credit();
        }
    }

    /// The reason why the dispatcher no longer serves this ring, if so.
    pub fn fenced(&self) -> Option<u32> {
        fence_reason(self.completions.memory())
    }
}

impl<M: WordMemory> Drop for CompletionReader<M> {
    /// Leaves the position and the credit in the header, so that another reader can go on.
    fn drop(&mut self) {
        self.give_back();
    }
}
