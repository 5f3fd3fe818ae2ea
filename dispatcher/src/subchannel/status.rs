// SPDX-License-Identifier: MIT OR Apache-2.0
//! Status: what the device answers becomes status, and the descriptors that wait for it get their final.

use super::*;
use crate::device::{DeviceEvent, Status};
use fctl_ringabi::arch::{DeviceStatus, Ecw, Erw, Esw, SubchannelStatus};
use fctl_ringabi::{CompletionFlags, CompletionKind, DescriptorFlags, Disposition, Extension, Operation};

const PCI: u32 = (SubchannelStatus::PROGRAM_CONTROLLED_INTERRUPTION.bits() as u32) << 16;

/// SCSW word 2 of a status.
pub(super) const fn word2(status: &Status) -> u32 {
    (status.device.bits() as u32) << 24 | (status.subchannel.bits() as u32) << 16 | status.residual as u32
}

impl Subchannel {
    /// Takes an answer of the device. `sense` is what the device's sense was, when the status has unit check and
    /// [`wants_concurrent_sense`](Self::wants_concurrent_sense).
    #[inline(always)]
    pub fn event<R: Answers>(&mut self, event: &DeviceEvent, sense: Option<Sense>, answers: &mut R) {
        match event {
            DeviceEvent::Ended(status) => self.start_ended(status, sense, answers),
            _ => self.other_event(event, answers),
        }
    }

    fn other_event<R: Answers>(&mut self, event: &DeviceEvent, answers: &mut R) {
        match event {
            DeviceEvent::Ended(_) => {}
            DeviceEvent::Halted(status) => self.halted(status, false, answers),
            DeviceEvent::HaltedDeviceActive(status) => self.halted(status, true, answers),
            DeviceEvent::InitialStatus(status) => self.intermediate(status, ZERO_CONDITION, answers),
            DeviceEvent::Cleared => self.cleared(answers),
            DeviceEvent::Intermediate(status) => self.intermediate(status, 0, answers),
            DeviceEvent::Suspended(status) => self.suspended(status, answers),
            DeviceEvent::Secondary(status) => self.secondary(status, answers),
            DeviceEvent::Unsolicited(status) => self.unsolicited(status, answers),
            DeviceEvent::Refused { deferred_cc, status } => self.refused(*deferred_cc, status, answers),
        }
    }

    #[inline(always)]
    pub(super) fn start_ended<R: Answers>(&mut self, status: &Status, sense: Option<Sense>, answers: &mut R) {
        if self.has(CP) {
            // A clear has overtaken it: the status is not presented. If the clear was not issued yet, it finds the device idle.
            if self.phase == Phase::Running {
                self.phase = Phase::Idle;
            }
            return;
        }
        let checks = status.subchannel.difference(SubchannelStatus::PROGRAM_CONTROLLED_INTERRUPTION);
        let only_channel_end = status.device == DeviceStatus::CHANNEL_END && checks.is_empty();
        if self.has(HP) {
            // The device has its sense no more, so it goes with the status of the halt.
            self.keep_sense(sense);
            return self.halted(status, only_channel_end, answers);
        }
        let Some(&Owed { tag, posted, taken, flags, operation }) = self.start.as_ref() else {
            return;
        };
        self.start_issued = false;
        let good = DeviceStatus::CHANNEL_END.union(DeviceStatus::DEVICE_END);
        let pending_pci = self.status & PCI;
        let controls = if only_channel_end {
            self.phase = Phase::AwaitingDeviceEnd;
            self.secondary_tag = tag;
            CHANNEL_ENDED
        } else {
            self.phase = Phase::Idle;
            if status.device == good && checks.is_empty() {
                ENDED
            } else {
                ENDED_WITH_ALERT
            }
        };
        self.word0 = (self.word0 & !ACTL) | controls;
        self.ccw_address = status.ccw_address;
        self.status = word2(status) | pending_pci;
        self.keep_sense(sense);
        if self.mode == StatusMode::Held || self.has(A) {
            return self.start_ended_with_status(answers);
        }
        // Field by field: taken as a whole it goes through memory in overlapping pieces, which the fields are then read from too early (measured with a null
        // device: a tenth of the dispatcher's time was spent waiting for that).
        self.start = None;
        let owed = Owed { tag, posted, taken, flags, operation };
        let end = End { owed, intparm: self.intparm, scsw: [self.word0, self.ccw_address, self.status], issued: self.issued_at };
        self.take_status();
        self.told = true;
        answers.post_end(end);
    }

    /// The final of a start that has more to tell than its SCSW, or must wait to be asked.
    #[inline(never)]
    fn start_ended_with_status<R: Answers>(&mut self, answers: &mut R) {
        if let Some(start) = self.start.take() {
            self.final_with_status(start, answers);
        }
    }

    /// Sense that goes with the status which is being stored.
    fn keep_sense(&mut self, sense: Option<Sense>) {
        if let Some(sense) = sense {
            self.word0 |= EXTENDED;
            self.sense = Some(sense);
        }
    }

    pub(super) fn halted<R: Answers>(&mut self, status: &Status, device_active: bool, answers: &mut R) {
        if self.phase == Phase::Halting {
            // The device was signalled; a start that was never issued needs no path to be halted.
            self.lpum = THE_PATH;
        }
        self.phase = if device_active { Phase::AwaitingDeviceEnd } else { Phase::Idle };
        // If a clear has taken the halt over, its own answer follows.
        let Some(halt) = self.halt.take() else { return };
        let was_issued = core::mem::replace(&mut self.start_issued, false);
        if let Some(start) = self.start.take() {
            if device_active {
                self.secondary_tag = start.tag;
            }
            self.absorbed(start, Disposition::AbsorbedByHalt, was_issued, answers);
        }
        let mut stctl = X;
        if status.device.contains(DeviceStatus::CHANNEL_END) {
            stctl |= P;
        }
        if status.device.contains(DeviceStatus::DEVICE_END) {
            stctl |= SEC;
        }
        if status.device.intersects(DeviceStatus::UNIT_CHECK.union(DeviceStatus::UNIT_EXCEPTION)) || !status.subchannel.is_empty()
        {
            stctl |= A;
        }
        // Suspended stays on until the status is taken; so does what a suspension had told and nobody has taken yet.
        self.word0 = (self.word0 & !(ACTL & !SUSP)) | if device_active { DEVA } else { 0 } | stctl;
        self.ccw_address = status.ccw_address;
        self.status |= word2(status);
        self.final_with_status(halt, answers);
    }

    fn cleared<R: Answers>(&mut self, answers: &mut R) {
        self.phase = Phase::Idle;
        if !self.has(CP) {
            // The device only had to forget a program that was cancelled while suspended; what the guest did since then stands.
            return;
        }
        let issued = core::mem::replace(&mut self.start_issued, false);
        self.stacked = None;
        self.pnom = 0;
        self.lpum = THE_PATH;
        self.schib.pmcw.pom = 0xFF;
        if let Some(start) = self.start.take() {
            self.absorbed(start, Disposition::AbsorbedByClear, issued, answers);
        }
        self.ccw_address = 0;
        self.status = 0;
        match self.clear.take() {
            Some(clear) => {
                self.word0 = C | X;
                self.final_with_status(clear, answers);
            }
            // Nobody waits for this clear: the subchannel is being taken away.
            None => self.word0 = 0,
        }
    }

    /// Stops everything, as by a clear that nobody waits for: what was taken gets its final, the device is told to clear if it has anything.
    pub fn stop<R: Answers>(&mut self, answers: &mut R) {
        self.word0 = 0;
        self.stacked = None;
        if !self.start_issued {
            if let Some(start) = self.start.take() {
                self.absorbed(start, Disposition::AbsorbedByClear, false, answers);
            }
        }
        for owed in [self.halt.take(), self.clear.take()].into_iter().flatten() {
            self.absorbed(owed, Disposition::AbsorbedByClear, false, answers);
        }
        if self.phase != Phase::Idle {
            self.word0 = C | CP;
        }
    }

    fn intermediate<R: Answers>(&mut self, status: &Status, condition: u32, answers: &mut R) {
        if self.has(STOPPING) || !self.has(S) {
            return;
        }
        self.pend(I | condition);
        self.ccw_address = status.ccw_address;
        self.status |= word2(status);
        self.offer(answers);
    }

    fn suspended<R: Answers>(&mut self, status: &Status, answers: &mut R) {
        self.phase = Phase::Suspended;
        if self.has(STOPPING) || !self.has(S) {
            return;
        }
        if self.has(RP) {
            // The resume came first: the program goes on.
            self.word0 &= !RP;
            return;
        }
        self.word0 = (self.word0 & !ACTIVE) | SUSP;
        self.ccw_address = status.ccw_address;
        if !self.orb.control().contains(fctl_ringabi::arch::OrbControl::SUPPRESS_SUSPENDED) {
            self.pend(I);
            self.status |= word2(status);
            self.offer(answers);
        }
    }

    fn secondary<R: Answers>(&mut self, status: &Status, answers: &mut R) {
        if self.phase != Phase::AwaitingDeviceEnd {
            return;
        }
        self.phase = Phase::Idle;
        if self.has(CP) {
            return;
        }
        if self.has(HP) {
            // The halt had nothing else to wait for.
            return self.halted(status, false, answers);
        }
        self.word0 &= !DEVA;
        // A start that was waiting for just this device end is what the program wants to hear of next.
        if !self.operational || self.has(SP) {
            return;
        }
        self.pend(SEC);
        self.status |= word2(status);
        self.offer(answers);
    }

    pub(super) fn unsolicited<R: Answers>(&mut self, status: &Status, answers: &mut R) {
        if !self.operational {
            return;
        }
        if self.has(X | FCTL) || self.phase != Phase::Idle {
            self.stacked = Some(*status);
            return;
        }
        self.word0 = 0;
        self.lpum = THE_PATH;
        self.pend(A);
        self.ccw_address = 0;
        self.status = word2(status);
        self.offer(answers);
    }

    pub(super) fn refused<R: Answers>(&mut self, deferred_cc: u8, status: &Status, answers: &mut R) {
        self.phase = Phase::Idle;
        if self.has(CP) {
            return;
        }
        if self.has(HP) {
            return self.halted(&Status::default(), false, answers);
        }
        let Some(start) = self.start.take() else {
            return;
        };
        self.start_issued = false;
        self.word0 =
            (self.word0 & !((ACTL & !RP) | STCTL | DEFERRED_CC)) | SP | A | X | (u32::from(deferred_cc) << 24 & DEFERRED_CC);
        if deferred_cc == 3 {
            self.word0 |= PATH_NOT_OPERATIONAL;
            self.pnom = self.schib.pmcw.lpm;
            self.lpum = 0;
        } else {
            self.lpum = THE_PATH;
        }
        self.ccw_address = status.ccw_address;
        self.status = word2(status);
        self.final_with_status(start, answers);
    }

    /// The final of a function whose status has just been stored: with the status, or with the word that it is pending.
    fn final_with_status<R: Answers>(&mut self, owed: Owed, answers: &mut R) {
        let mut answer = Answer::cc(CompletionKind::Final, owed, 0, self.intparm);
        answer.issued = self.issued_at;
        if self.mode == StatusMode::Delivered {
            self.put_status(&mut answer);
            self.take_status();
        }
        self.told = true;
        answers.post(&answer);
    }

    /// Status that no final brings becomes pending, or joins what is.
    fn pend(&mut self, stctl: u32) {
        self.told &= self.has(X);
        self.word0 |= stctl | X;
    }

    /// Status that no descriptor has paid for: delivered if there is room, else it stays pending.
    fn offer<R: Answers>(&mut self, answers: &mut R) {
        let tag = if self.has(S) {
            self.start.map_or(0, |start| start.tag)
        } else if self.has(SEC) {
            self.secondary_tag
        } else {
            0
        };
        if !self.has_undelivered() || !answers.uncharged_room() {
            return;
        }
        let kind = match self.mode {
            StatusMode::Held => CompletionKind::InterruptionPending,
            StatusMode::Delivered if self.has(I) => CompletionKind::Intermediate,
            StatusMode::Delivered if self.has(SEC) => CompletionKind::Secondary,
            StatusMode::Delivered => CompletionKind::Unsolicited,
        };
        let mut answer = Answer::cc(kind, self.nobody(tag), 0, self.intparm);
        if self.mode == StatusMode::Delivered {
            self.put_status(&mut answer);
            self.take_status();
        }
        self.told = true;
        answers.post(&answer);
    }

    /// True if status is pending that could not be delivered for want of room, or (held mode) that the guest could not be told of. That of a
    /// suspended program which is being halted is delivered with the halt's: taken alone it would end the halt (reference: "What TSCH clears").
    #[inline]
    pub fn has_undelivered(&self) -> bool {
        self.has(X)
            && match self.mode {
                StatusMode::Delivered => !self.has(HP),
                StatusMode::Held => !self.told,
            }
    }

    /// Tries again to deliver status that is pending for want of room.
    pub fn deliver<R: Answers>(&mut self, answers: &mut R) {
        if self.has_undelivered() {
            self.offer(answers);
        }
    }

    /// An answer that belongs to no descriptor still has a place in the same form.
    const fn nobody(&self, tag: u64) -> Owed {
        Owed { tag, posted: 0, taken: 0, flags: DescriptorFlags::empty(), operation: Operation::Test }
    }

    /// Puts SCSW, and ESW and ECW where there is something in them, into an answer.
    #[inline]
    pub(super) fn put_status(&self, answer: &mut Answer) {
        answer.flags |= CompletionFlags::STATUS;
        answer.scsw = self.scsw();
        if self.has(A) {
            let (esw, ecw) = match &self.sense {
                Some(sense) if self.has(EXTENDED) => {
                    (Esw::format1(self.lpum).with_erw(Erw::concurrent_sense(sense.count())), Ecw::from_sense(sense.bytes()))
                }
                _ => (Esw::format1(self.lpum), Ecw::default()),
            };
            answer.extension = Some(Extension::Irb { esw, ecw });
        }
    }

    /// What TEST SUBCHANNEL clears (reference: "What TSCH clears").
    #[inline]
    pub(super) fn take_status(&mut self) {
        if self.word0 & STCTL == I | X {
            if self.has(SUSP) {
                self.word0 &= if self.has(H) { !(FCTL | RP | SP | HP | CP | SUSP) } else { !RP };
                self.word0 &= !PATH_NOT_OPERATIONAL;
            }
            self.word0 &= !(STCTL | ZERO_CONDITION);
            self.status = 0;
            return;
        }
        self.word0 &= !(FCTL | RP | SP | HP | CP | SUSP | STCTL | PATH_NOT_OPERATIONAL | EXTENDED | DEFERRED_CC | ZERO_CONDITION);
        self.status = 0;
        self.sense = None;
    }
}
