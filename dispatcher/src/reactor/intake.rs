// SPDX-License-Identifier: MIT OR Apache-2.0
//! Intake: take descriptors in posted order, and let their subchannels decide.

use super::answers::RingAnswers;
use super::books::Books;
use super::queues::Queues;
use super::ring::Ring;
use super::table::{Entry, Guest, Slab};
use super::through::run_through;
use super::{Reactor, MOST_PER_RING_AND_TURN};
use crate::device::Capabilities;
use crate::memory::{Memory, OutsideMemory};
use crate::subchannel::{Answer, Answers, Instruction, Owed};
use fctl_ringabi::arch::{Orb, Schib, Scsw, SubsystemId};
use fctl_ringabi::{
    interruption_code, Batch, CompletionFlags, CompletionKind, Descriptor, DescriptorError, DescriptorFlags, DescriptorWords,
    Disposition, Operation, PlainStart, Violation,
};

/// So many subchannels stay in the processor's cache by themselves. Of more, those of a turn's descriptors are brought in together (measured with 65,536 at
/// random: 1.2 times the cost of 256, instead of 2.6 times).
const MOST_AT_HAND: u32 = 1024;

/// A channel program with its parameters is seldom longer: Linux' driver for FBA needs 48 bytes and up.
const PROGRAM_BYTES: usize = 128;

/// So many starts of a ring are accepted ahead of being issued, where starts take their time; those that wait for engine slots apart. To accept is cheap beside issuing,
/// and a clear must not wait for the starts before it to be issued.
const MOST_AHEAD: u32 = 256;

/// What a descriptor's operand turned out to be.
enum Operand {
    None,
    Orb(Orb),
    Schib(Schib),
}

/// Why there is no instruction: the descriptor is none, or it would have ended with a program interruption.
enum Refusal {
    Descriptor(DescriptorError),
    Interruption(u16),
}

impl Reactor {
    /// Takes at most `budget` descriptors from each ring, and more where they wait to be issued anyway. True if there were any.
    #[inline]
    pub(super) fn intake(&mut self, budget: u32) -> bool {
        let mut taken = false;
        for place in 0..self.rings.places() {
            let Some(ring) = self.rings.get_mut(place) else { continue };
            ring.may_issue = MOST_PER_RING_AND_TURN;
            let waiting = core::mem::take(&mut ring.put_off);
            if ring.serving() {
                // Not where starts are over as soon as they are taken: a look so far ahead ends at the slot that the guest writes next, and takes its line away
                // (measured with null devices in batches of 32 across two CPUs: ×0.87).
                let ahead = budget >= MOST_PER_RING_AND_TURN && ring.uses_engine;
                // Never less than a turn issues, whatever else has put starts off, so that clears still come in.
                let most = if ahead {
                    MOST_AHEAD - waiting.min(MOST_AHEAD - MOST_PER_RING_AND_TURN)
                } else {
                    budget.min(MOST_PER_RING_AND_TURN)
                };
                match self.take_from(place, most) {
                    Ok(any) => taken |= any,
                    Err(violation) => {
                        // What came before it was taken, and may have ended.
                        taken = true;
                        self.fence(place, violation);
                    }
                }
            }
        }
        taken
    }

    #[inline]
    fn take_from(&mut self, place: u32, most: u32) -> Result<bool, Violation> {
        let Self { rings, guests, subchannels, queues, books, .. } = self;
        let Some(ring) = rings.get_mut(place) else { return Ok(false) };
        // One look at the ring for the whole turn: what is posted meanwhile is the next turn's.
        let mut batch = ring.port.batch(u64::from(most));
        let ready = batch.count();
        if ready == 0 {
            ring.had_its_fill = 0;
            return Ok(false);
        }
        let fill = ready >= u64::from(most);
        let Some(guest) = guests.get(ring.guest) else { return Ok(false) };
        if subchannels.places() > MOST_AT_HAND {
            for ahead in 0..ready {
                subchannels.anticipate(guest.place(SubsystemId::from_word(ring.port.subsystem_hint(ahead))));
            }
        }
        books.look_at_clock();
        let end = take_batch(place, &mut batch, fill, ring, guest, subchannels, queues, books);
        // Also when the ring is to be fenced: what came before the violation was taken.
        books.counters.taken += batch.read();
        let more = fill || (batch.read() < ready && !ring.stalled);
        ring.had_its_fill = if more { ring.had_its_fill.saturating_add(1) } else { 0 };
        ring.port.take_batch(batch);
        ring.answer_poster();
        end.map(|()| batch.read() > 0)
    }
}

/// Decides the descriptors of a batch, one after the other.
#[inline(always)]
#[allow(
    clippy::too_many_arguments,
    reason = "apart they stay in registers: behind one reference all of them would lie in memory"
)]
fn take_batch(
    place: u32,
    batch: &mut Batch,
    fill: bool,
    ring: &mut Ring,
    guest: &Guest,
    subchannels: &mut Slab<Entry>,
    queues: &mut Queues,
    books: &mut Books,
) -> Result<(), Violation> {
    let ready = batch.count();
    // Slots of the completion ring that nobody was promised. The guest's head is looked at once for all, unless that is not enough; acceptance stores
    // nothing that was not promised.
    let mut free = ring.port.room(ring.owed + ready)?.saturating_sub(ring.owed);
    // Nothing can overtake anything here.
    if ring.may_run_through && !ring.uses_engine && batch.looks_like_starts() && !queues.any_stop() {
        run_through(place, batch, ready.min(free), ring, guest, subchannels, books)?;
        free -= batch.read();
    }
    let mut completion_line = ring.port.completion_ahead(1);
    let mut descriptor_line = ring.port.descriptor_ahead(ready);
    // What is no plain start is executed, or refused, here and now: of that a turn takes no more than it issues starts.
    let mut others = MOST_PER_RING_AND_TURN;
    while batch.read() < ready && others > 0 {
        let Some(words) = ring.port.peek(batch)? else { break };
        let need = 1 + u64::from(Descriptor::asks_accepted(&words));
        if free < need {
            free = ring.port.room(ring.owed + need)?.saturating_sub(ring.owed);
            if free < need {
                // The guest owes itself more completions than fit: it waits, nobody else does.
                books.counters.stalls += u64::from(!core::mem::replace(&mut ring.stalled, true));
                break;
            }
        }
        free -= need;
        ring.stalled = false;
        ring.port.step(batch);
        // One by one, while there is work to do meanwhile: most of these end within this turn; and if it has its fill, the next turn's descriptors lie behind
        // (measured at batch 32 across two CPUs, against all completions' lines asked for at once: ×1.05 to ×1.17).
        ring.port.anticipate_completion(&mut completion_line);
        if fill {
            ring.port.anticipate_descriptor(&mut descriptor_line);
        }
        // What nearly all descriptors are: a start with its ORB in it, against which nothing speaks.
        if let Some(start) = PlainStart::from_words(&words) {
            let index = guest.place(start.subsystem);
            if let Some(entry) = subchannels.get_mut(index).filter(|entry| entry.ring == place && need == 1) {
                if accept(&start, index, entry, &guest.memory, ring, queues, books) {
                    continue;
                }
            }
        }
        ring.owed += need;
        others -= 1;
        execute(place, guest, subchannels, queues, words, ring, books);
    }
    Ok(())
}

/// Accepts a start, if nothing speaks against that. False, and nothing is changed, if something does.
#[inline(always)]
fn accept(
    start: &PlainStart,
    index: u32,
    entry: &mut Entry,
    memory: &Memory,
    ring: &mut Ring,
    queues: &mut Queues,
    books: &mut Books,
) -> bool {
    let PlainStart { flags, tag, posted, orb, .. } = *start;
    let owed = Owed { tag, posted, taken: books.now(), flags, operation: Operation::Start };
    if entry.ran_through == books.turn_number() || !entry.subchannel.accept_silently(&orb, owed) {
        return false;
    }
    if entry.capabilities.contains(Capabilities::ENGINE) {
        // By the time the start is issued, its program and the parameters that drivers put right behind it have come from the guest's CPU
        // (measured with 4 KiB reads across two CPUs: ×1.03 to ×1.10).
        memory.anticipate(u64::from(orb.cpa()), PROGRAM_BYTES);
    }
    books.counters.starts += 1;
    ring.owed += 1;
    queues.enqueue_start(index, entry);
    true
}

/// Decides any descriptor.
#[inline(never)]
fn execute(
    place: u32,
    guest: &Guest,
    subchannels: &mut Slab<Entry>,
    queues: &mut Queues,
    words: DescriptorWords,
    ring: &mut Ring,
    books: &mut Books,
) {
    let descriptor = &Descriptor::from_words(&words);
    let answers = &mut RingAnswers { ring, books, subsystem: descriptor.subsystem };
    let owed = Owed {
        tag: descriptor.tag,
        posted: descriptor.posted,
        taken: answers.books.now(),
        flags: DescriptorFlags::from_bits_truncate(descriptor.flags),
        operation: Operation::from_code(descriptor.operation).unwrap_or(Operation::Test),
    };
    // Also one that is refused right here: its fate is counted too.
    answers.books.counters.starts += u64::from(owed.operation == Operation::Start);
    let id = SubsystemId::from_word(descriptor.subsystem);
    let (operation, operand) = match decode(descriptor, id, &guest.memory) {
        Ok(instruction) => instruction,
        Err(refusal) => return refuse(owed, &refusal, answers),
    };
    let index = guest.place(id);
    let Some(entry) = subchannels.get_mut(index) else {
        return not_operational(owed, answers);
    };
    if entry.ring != place {
        return refuse(owed, &Refusal::Descriptor(DescriptorError::WrongRing), answers);
    }
    let instruction = match (operation, &operand) {
        (Operation::Start, Operand::Orb(orb)) if entry.ran_through == answers.books.turn_number() => {
            return entry.subchannel.accept_behind(orb, owed, answers);
        }
        (Operation::Start, Operand::Orb(orb)) => Instruction::Start(orb),
        (Operation::Halt, _) => Instruction::Halt,
        (Operation::Clear, _) => Instruction::Clear,
        (Operation::Cancel, _) => Instruction::Cancel,
        (Operation::Resume, _) => Instruction::Resume,
        (Operation::Modify, Operand::Schib(schib)) => Instruction::Modify(schib),
        (Operation::Store, _) => Instruction::Store,
        (Operation::Test, _) => Instruction::Test,
        _ => return refuse(owed, &Refusal::Descriptor(DescriptorError::OperandPlace), answers),
    };
    entry.subchannel.accept(instruction, owed, answers);
    queues.enqueue(index, entry);
}

fn decode(descriptor: &Descriptor, id: SubsystemId, memory: &Memory) -> Result<(Operation, Operand), Refusal> {
    let (operation, flags) = descriptor.check().map_err(Refusal::Descriptor)?;
    let by_address = flags.contains(DescriptorFlags::OPERAND_BY_ADDRESS);
    let operand = match (operation, by_address) {
        (Operation::Start, false) => {
            // An ORB fits into the descriptor; the words behind it are for its extension.
            let Some(bytes) = descriptor.operand.first_chunk() else {
                return Err(Refusal::Descriptor(DescriptorError::OperandPlace));
            };
            Operand::Orb(Orb::from_bytes(bytes))
        }
        (Operation::Start, true) => Operand::Orb(Orb::from_bytes(&fetch(descriptor, memory)?)),
        (Operation::Modify, true) => Operand::Schib(Schib::from_bytes(&fetch(descriptor, memory)?)),
        (Operation::Modify, false) => return Err(Refusal::Descriptor(DescriptorError::OperandPlace)),
        (_, true) => return Err(Refusal::Descriptor(DescriptorError::OperandPlace)),
        (_, false) => Operand::None,
    };
    let operand_exception = |_| Refusal::Interruption(interruption_code::OPERAND);
    id.check().map_err(operand_exception)?;
    if let Operand::Orb(orb) = &operand {
        orb.check().map_err(operand_exception)?;
    }
    Ok((operation, operand))
}

/// Copies an operand out of the guest's memory: word-aligned, and wholly inside.
fn fetch<const N: usize>(descriptor: &Descriptor, memory: &Memory) -> Result<[u8; N], Refusal> {
    let address = descriptor.operand_address();
    if address % 4 != 0 {
        return Err(Refusal::Interruption(interruption_code::SPECIFICATION));
    }
    memory.fetch(address).map_err(|OutsideMemory { .. }| Refusal::Interruption(interruption_code::ADDRESSING))
}

fn plain(owed: Owed, cc: u8) -> Answer {
    Answer {
        kind: CompletionKind::Final,
        owed,
        cc,
        disposition: Disposition::Executed,
        flags: CompletionFlags::empty(),
        scsw: Scsw::from_words([0; 3]),
        intparm: 0,
        code: 0,
        issued: 0,
        extension: None,
    }
}

/// Nothing was executed. A descriptor that asked for *accepted* gets that too, so that it always uses up what it was charged for.
#[cold]
fn refuse(owed: Owed, refusal: &Refusal, answers: &mut RingAnswers<'_>) {
    let mut answer = plain(owed, 0);
    (answer.disposition, answer.code) = match refusal {
        Refusal::Descriptor(error) => (Disposition::DescriptorError, *error as u16),
        Refusal::Interruption(code) => (Disposition::ProgramInterruption, *code),
    };
    if owed.flags.contains(DescriptorFlags::ACCEPTED) {
        answers.post(&Answer { kind: CompletionKind::Accepted, ..answer });
    }
    answers.post(&answer);
}

/// The guest has no such subchannel: condition code 3.
#[cold]
fn not_operational(owed: Owed, answers: &mut RingAnswers<'_>) {
    if owed.flags.contains(DescriptorFlags::ACCEPTED) {
        answers.post(&Answer { kind: CompletionKind::Accepted, ..plain(owed, 3) });
    }
    answers.post(&plain(owed, 3));
}
