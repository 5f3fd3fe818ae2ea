// SPDX-License-Identifier: MIT OR Apache-2.0
//! Acceptance: the condition code of each instruction, and what cc 0 changes (reference: acceptance rules and state changes).

use super::*;
use fctl_ringabi::{interruption_code, CompletionFlags, CompletionKind, DescriptorFlags, Disposition, Extension};

/// An instruction with its operand, as copied out of a descriptor or of guest memory.
#[derive(Clone, Copy, Debug)]
pub enum Instruction<'a> {
    /// START SUBCHANNEL.
    Start(&'a Orb),
    /// HALT SUBCHANNEL.
    Halt,
    /// CLEAR SUBCHANNEL.
    Clear,
    /// CANCEL SUBCHANNEL.
    Cancel,
    /// RESUME SUBCHANNEL.
    Resume,
    /// MODIFY SUBCHANNEL.
    Modify(&'a Schib),
    /// STORE SUBCHANNEL.
    Store,
    /// TEST SUBCHANNEL.
    Test,
}

impl Subchannel {
    /// Decides an instruction and answers it as far as it can be answered now. Touches no device; call
    /// [`next_function`](Self::next_function) later to learn what to issue.
    #[inline]
    pub fn accept<R: Answers>(&mut self, instruction: Instruction<'_>, owed: Owed, answers: &mut R) {
        match instruction {
            Instruction::Start(orb) => self.accept_start(orb, owed, answers),
            Instruction::Halt => self.accept_halt(owed, answers),
            Instruction::Clear => self.accept_clear(owed, answers),
            Instruction::Cancel => self.accept_cancel(owed, answers),
            Instruction::Resume => self.accept_resume(owed, answers),
            Instruction::Modify(schib) => self.accept_modify(schib, owed, answers),
            Instruction::Store => self.store(owed, answers),
            Instruction::Test => self.test(owed, answers),
        }
    }

    /// The guest sees the condition code of what will end later.
    #[inline]
    fn accepted<R: Answers>(&self, owed: &Owed, answers: &mut R) {
        if owed.flags.contains(DescriptorFlags::ACCEPTED) {
            answers.post(&Answer::cc(CompletionKind::Accepted, *owed, 0, self.intparm));
        }
    }

    /// The condition code is all there is to say: the descriptor ends with it.
    #[inline]
    fn ended<R: Answers>(&self, owed: Owed, cc: u8, answers: &mut R) {
        if owed.flags.contains(DescriptorFlags::ACCEPTED) {
            answers.post(&Answer::cc(CompletionKind::Accepted, owed, cc, self.intparm));
        }
        answers.post(&Answer::cc(CompletionKind::Final, owed, cc, self.intparm));
    }

    /// The descriptor was overtaken.
    pub(super) fn absorbed<R: Answers>(&self, owed: Owed, by: Disposition, was_issued: bool, answers: &mut R) {
        let mut answer = Answer::cc(CompletionKind::Final, owed, 0, self.intparm);
        answer.disposition = by;
        if was_issued {
            answer.flags = CompletionFlags::WAS_ISSUED;
            answer.issued = self.issued_at;
        }
        answers.post(&answer);
    }

    fn accept_start<R: Answers>(&mut self, orb: &Orb, owed: Owed, answers: &mut R) {
        // Not operational, stuck, or no path: a start whose mask selects none of the available ones is refused at once (docs/decisions.md).
        let cc = if orb.lpm() & self.start_paths == 0 {
            3
        } else if self.has(X) {
            1
        } else if self.has(FCTL) {
            2
        } else {
            0
        };
        if cc != 0 {
            return self.ended(owed, cc, answers);
        }
        self.take_start(orb, owed);
        self.accepted(&owed, answers);
    }

    /// [`accept`](Self::accept) for a start that did not ask for *accepted*, if it gets condition code 0; else false, and nothing is changed.
    #[inline(always)]
    pub fn accept_silently(&mut self, orb: &Orb, owed: Owed) -> bool {
        let accepted = orb.lpm() & self.start_paths != 0 && !self.has(X | FCTL);
        if accepted {
            self.take_start(orb, owed);
        }
        accepted
    }

    /// [`accept`](Self::accept) for a start behind another one that has [run through](Self::run_through): had that one waited to be issued, it would be pending now.
    pub fn accept_behind<R: Answers>(&self, orb: &Orb, owed: Owed, answers: &mut R) {
        let cc = if orb.lpm() & self.start_paths == 0 { 3 } else { 2 };
        self.ended(owed, cc, answers);
    }

    /// The start function is pending now.
    #[inline(always)]
    fn take_start(&mut self, orb: &Orb, owed: Owed) {
        // Device active stays on while an earlier start's device end is awaited: this start waits for it.
        let echo = Scsw::from_orb(orb).control_word();
        self.word0 = echo | S | SP | (self.word0 & DEVA);
        self.ccw_address = 0;
        self.status = 0;
        self.orb = *orb;
        self.intparm = orb.intparm();
        self.pnom = 0;
        self.start_issued = false;
        self.start = Some(owed);
    }

    fn accept_halt<R: Answers>(&mut self, owed: Owed, answers: &mut R) {
        let only_intermediate = self.word0 & STCTL == I | X;
        let cc = if !self.operational {
            3
        } else if self.has(X) && !only_intermediate {
            1
        } else if self.has(H | C) {
            2
        } else {
            0
        };
        if cc != 0 {
            return self.ended(owed, cc, answers);
        }
        if only_intermediate && self.has(SCHA) {
            // The pending intermediate status is withdrawn with its interruption. That of a suspension stays, and the halt's joins it.
            self.word0 &= !(STCTL | ZERO_CONDITION);
            self.status = 0;
        }
        self.word0 |= H | HP;
        self.accepted(&owed, answers);
        if !self.start_issued {
            // Never to be issued: the start ends here, the halt goes on alone. Its bit and its ORB's echo stay visible.
            if let Some(start) = self.start.take() {
                self.absorbed(start, Disposition::AbsorbedByHalt, false, answers);
            }
        }
        self.halt = Some(owed);
    }

    fn accept_clear<R: Answers>(&mut self, owed: Owed, answers: &mut R) {
        if !self.operational {
            return self.ended(owed, 3, answers);
        }
        // Whatever was pending goes, with its interruption; only the clear function remains.
        self.word0 = C | CP;
        self.ccw_address = 0;
        self.status = 0;
        self.sense = None;
        self.accepted(&owed, answers);
        if !self.start_issued {
            if let Some(start) = self.start.take() {
                self.absorbed(start, Disposition::AbsorbedByClear, false, answers);
            }
        }
        if let Some(halt) = self.halt.take() {
            self.absorbed(halt, Disposition::AbsorbedByClear, false, answers);
        }
        if let Some(clear) = self.clear.replace(owed) {
            self.absorbed(clear, Disposition::AbsorbedByClear, false, answers);
        }
    }

    fn accept_cancel<R: Answers>(&mut self, owed: Owed, answers: &mut R) {
        let cc = if !self.operational {
            3
        } else if self.has(X) {
            1
        } else if self.word0 & FCTL != S || !self.has(SP | RP | SUSP) || self.has(SCHA) {
            2
        } else {
            0
        };
        if cc == 0 {
            let was_issued = self.start_issued;
            self.word0 &= !(S | SP | RP | SUSP);
            self.start_issued = false;
            if self.phase == Phase::Suspended {
                self.phase = Phase::Abandoned;
            }
            if let Some(start) = self.start.take() {
                self.absorbed(start, Disposition::AbsorbedByCancel, was_issued, answers);
            }
        }
        self.ended(owed, cc, answers);
    }

    fn accept_resume<R: Answers>(&mut self, owed: Owed, answers: &mut R) {
        let may_suspend = self.orb.control().contains(fctl_ringabi::arch::OrbControl::SUSPEND);
        let cc = if !self.operational {
            3
        } else if self.has(X) {
            1
        } else if self.word0 & FCTL != S || self.has(RP) || !may_suspend {
            2
        } else {
            0
        };
        if cc == 0 {
            self.word0 |= RP;
            if self.has(SUSP) {
                self.word0 &= !PATH_NOT_OPERATIONAL;
                self.pnom = 0;
            }
        }
        self.ended(owed, cc, answers);
    }

    fn accept_modify<R: Answers>(&mut self, schib: &Schib, owed: Owed, answers: &mut R) {
        if schib.check_modify().is_err() {
            return self.program_interruption(owed, interruption_code::OPERAND, answers);
        }
        let cc = if !self.schib.pmcw.is_valid() {
            0
        } else if self.has(X) {
            1
        } else if self.has(FCTL) {
            2
        } else {
            self.schib.apply_modify(schib);
            self.intparm = self.schib.pmcw.intparm();
            self.refresh_operational();
            0
        };
        self.ended(owed, cc, answers);
    }

    /// The instruction would have ended with a program interruption; nothing is changed by it.
    pub fn program_interruption<R: Answers>(&self, owed: Owed, code: u16, answers: &mut R) {
        let mut answer = Answer::cc(CompletionKind::Final, owed, 0, self.intparm);
        answer.disposition = Disposition::ProgramInterruption;
        answer.code = code;
        if owed.flags.contains(DescriptorFlags::ACCEPTED) {
            answers.post(&Answer { kind: CompletionKind::Accepted, ..answer });
        }
        answers.post(&answer);
    }

    fn store<R: Answers>(&mut self, owed: Owed, answers: &mut R) {
        self.accepted(&owed, answers);
        let mut answer = Answer::cc(CompletionKind::Final, owed, 0, self.intparm);
        answer.extension = Some(Extension::Schib(self.schib()));
        answers.post(&answer);
    }

    fn test<R: Answers>(&mut self, owed: Owed, answers: &mut R) {
        if !self.operational {
            return self.ended(owed, 3, answers);
        }
        let cc = u8::from(!self.has(X));
        if owed.flags.contains(DescriptorFlags::ACCEPTED) {
            answers.post(&Answer::cc(CompletionKind::Accepted, owed, cc, self.intparm));
        }
        let mut answer = Answer::cc(CompletionKind::Final, owed, cc, self.intparm);
        self.put_status(&mut answer);
        if cc == 0 {
            self.take_status();
            if !self.has(H) {
                // A halt of a suspended program that was not performed yet: this status was its only one.
                if let Some(halt) = self.halt.take() {
                    let was_issued = core::mem::replace(&mut self.start_issued, false);
                    if let Some(start) = self.start.take() {
                        self.absorbed(start, Disposition::AbsorbedByHalt, was_issued, answers);
                    }
                    answers.post(&Answer::cc(CompletionKind::Final, halt, 0, self.intparm));
                    self.phase = Phase::Abandoned;
                }
            }
        }
        answers.post(&answer);
    }
}
