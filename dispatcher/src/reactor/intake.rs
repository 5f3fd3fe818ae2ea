// SPDX-License-Identifier: MIT OR Apache-2.0
//! Intake: take descriptors in posted order, and let their subchannels decide.

use super::ring::RingAnswers;
use super::{Reactor, NOWHERE};
use crate::clock;
use crate::memory::{Memory, OutsideMemory};
use crate::subchannel::{Answer, Answers, Instruction, Owed};
use fctl_ringabi::arch::{Orb, Schib, Scsw, SubsystemId};
use fctl_ringabi::{
    interruption_code, CompletionFlags, CompletionKind, Descriptor, DescriptorError, DescriptorFlags, Disposition, Operation,
    Violation,
};

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
    /// Takes at most `budget` descriptors from each ring. True if there were any.
    #[inline]
    pub(super) fn intake(&mut self, budget: u32) -> bool {
        let mut taken = false;
        for place in 0..self.rings.places() {
            if self.rings.get(place).is_some_and(|ring| ring.serving()) {
                match self.take_from(place, budget) {
                    Ok(any) => taken |= any,
                    Err(violation) => self.fence(place, violation),
                }
            }
        }
        taken
    }

    #[inline]
    fn take_from(&mut self, place: u32, budget: u32) -> Result<bool, Violation> {
        let mut count = 0;
        let end = self.take_until(place, budget, &mut count);
        // Also when the ring is to be fenced: what came before the violation was taken.
        self.counters.taken += u64::from(count);
        end.map(|()| count > 0)
    }

    #[inline]
    fn take_until(&mut self, place: u32, budget: u32, count: &mut u32) -> Result<(), Violation> {
        let Some(ring) = self.rings.get(place) else { return Ok(()) };
        // One look at the ring for the whole turn: what is posted meanwhile is the next turn's.
        let ready = ring.port.ready(u64::from(budget));
        // Most of them end within this turn.
        ring.port.expect(ready);
        while u64::from(*count) < ready {
            let Some(ring) = self.rings.get_mut(place) else { break };
            let Some(descriptor) = ring.port.peek()? else { break };
            let accepted = descriptor.flags & DescriptorFlags::ACCEPTED.bits() != 0;
            let need = 1 + u64::from(accepted);
            if ring.port.room(ring.owed + need)? < ring.owed + need {
                // The guest owes itself more completions than fit: it waits, nobody else does.
                self.counters.stalls += u64::from(!core::mem::replace(&mut ring.stalled, true));
                break;
            }
            ring.port.advance();
            ring.stalled = false;
            ring.owed += need;
            if *count == 0 {
                self.moment.now = clock::now();
            }
            *count += 1;
            self.execute(place, &descriptor);
        }
        Ok(())
    }

    /// Decides one descriptor.
    #[inline]
    fn execute(&mut self, place: u32, descriptor: &Descriptor) {
        let Some(ring) = self.rings.get_mut(place) else { return };
        let Some(guest) = self.guests.get(ring.guest) else { return };
        let mut answers = RingAnswers {
            ring,
            subsystem: descriptor.subsystem,
            moment: self.moment,
            latencies: &mut self.latencies,
            counters: &mut self.counters,
            finals_of_turn: &mut self.finals_of_turn,
        };
        let owed = Owed {
            tag: descriptor.tag,
            posted: descriptor.posted,
            taken: self.moment.now,
            flags: DescriptorFlags::from_bits_truncate(descriptor.flags),
            operation: Operation::from_code(descriptor.operation).unwrap_or(Operation::Test),
        };
        // Also one that is refused right here: its fate is counted too.
        answers.counters.starts += u64::from(owed.operation == Operation::Start);
        let id = SubsystemId::from_word(descriptor.subsystem);
        let (operation, operand) = match decode(descriptor, id, &guest.memory) {
            Ok(instruction) => instruction,
            Err(refusal) => return refuse(owed, &refusal, &mut answers),
        };
        let index = guest.find(id).unwrap_or(NOWHERE);
        let Some(entry) = self.subchannels.get_mut(index) else {
            return not_operational(owed, &mut answers);
        };
        if entry.ring != place {
            return refuse(owed, &Refusal::Descriptor(DescriptorError::WrongRing), &mut answers);
        }
        let instruction = match (operation, &operand) {
            (Operation::Start, Operand::Orb(orb)) => Instruction::Start(orb),
            (Operation::Halt, _) => Instruction::Halt,
            (Operation::Clear, _) => Instruction::Clear,
            (Operation::Cancel, _) => Instruction::Cancel,
            (Operation::Resume, _) => Instruction::Resume,
            (Operation::Modify, Operand::Schib(schib)) => Instruction::Modify(schib),
            (Operation::Store, _) => Instruction::Store,
            (Operation::Test, _) => Instruction::Test,
            _ => return refuse(owed, &Refusal::Descriptor(DescriptorError::OperandPlace), &mut answers),
        };
        entry.subchannel.accept(instruction, owed, &mut answers);
        self.queues.enqueue(index, entry);
    }
}

#[inline]
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
