// SPDX-License-Identifier: MIT OR Apache-2.0
//! Issue: the one function that the device should be told now. Clear before halt before start before resume.

use super::*;
use crate::device::{PlainEnd, Status};
use fctl_ringabi::arch::{DeviceStatus, SubchannelStatus};

/// What to tell the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Function {
    /// The clear function.
    Clear,
    /// The halt function.
    Halt,
    /// The halt function for a start that the device never saw: performed here, nothing to tell.
    HaltUnissued,
    /// The start function, with [`Subchannel::orb`].
    Start,
    /// The start function meets status that the device had stacked: refused here, nothing to tell.
    RefuseStart,
    /// Unsolicited status that was stacked can be presented: done here, nothing to tell.
    PresentStacked,
    /// The resume function.
    Resume,
}

impl Function {
    /// True if no device has to be told: [`Subchannel::perform_here`] does it.
    #[inline]
    pub const fn is_performed_here(self) -> bool {
        matches!(self, Self::HaltUnissued | Self::RefuseStart | Self::PresentStacked)
    }
}

impl Subchannel {
    /// The strongest pending function that can be issued now. Pending bits stay until [`issued`](Self::issued).
    #[inline]
    pub fn next_function(&self) -> Option<Function> {
        if self.has(CP) {
            return (self.phase != Phase::Clearing).then_some(Function::Clear);
        }
        if self.has(HP) {
            return match self.phase {
                Phase::Halting | Phase::Clearing => None,
                Phase::Idle | Phase::AwaitingDeviceEnd if self.has(S) && self.start.is_none() => Some(Function::HaltUnissued),
                _ => Some(Function::Halt),
            };
        }
        match self.phase {
            Phase::Abandoned => Some(Function::Clear),
            // A refused start keeps its pending bit until its status is taken.
            Phase::Idle if self.has(SP) && !self.has(X) => {
                Some(if self.stacked.is_some() { Function::RefuseStart } else { Function::Start })
            }
            // While it is disabled the device keeps it.
            Phase::Idle if self.stacked.is_some() && !self.has(FCTL | X) && self.operational => Some(Function::PresentStacked),
            // A resume that came before the suspension lets the program go on at once: the activity bits never said "suspended".
            Phase::Suspended if self.has(RP | SCHA) => Some(Function::Resume),
            _ => None,
        }
    }

    /// True if the start function is next, as nearly always when one is pending: what [`next_function`](Self::next_function) would find, by fewer questions.
    #[inline(always)]
    pub fn start_is_next(&self) -> bool {
        self.word0 & (SP | CP | HP | X) == SP && matches!(self.phase, Phase::Idle) && self.stacked.is_none()
    }

    /// A start that is accepted, issued and ended at `now`, because the device performs it where it begins: as [`accept`](Self::accept), [`issued`](Self::issued)
    /// and [`event`](Self::event) one after the other, which tell the program the SCSW that is returned. Nothing, and nothing is changed that could be seen, if the
    /// start would not be accepted, if anything is pending here, outstanding or untold, or if the device does not perform it so.
    #[inline(always)]
    pub fn run_through(&mut self, orb: &Orb, now: u64, perform: impl FnOnce(&Orb) -> Option<PlainEnd>) -> Option<[u32; 3]> {
        let idle = !self.has(FCTL | ACTL | STCTL) && matches!(self.phase, Phase::Idle) && self.stacked.is_none();
        if orb.lpm() & self.start_paths == 0 || !idle || !matches!(self.mode, StatusMode::Delivered) {
            return None;
        }
        // While nothing is pending it means nothing.
        self.orb = *orb;
        let status = perform(&self.orb)?.status();
        let echo = Scsw::from_orb(orb).control_word();
        self.word0 = echo;
        self.ccw_address = status.ccw_address;
        self.intparm = orb.intparm();
        self.pnom = 0;
        self.lpum = THE_PATH;
        self.issued_at = now;
        self.told = true;
        Some([echo | S | ENDED, status.ccw_address, status::word2(&status)])
    }

    /// The device has ended the start that it was told, with nothing but channel end and device end: as [`event`](Self::event), after which nothing is pending
    /// here, outstanding or untold. False, and nothing is changed, if that is not all there is to it.
    #[inline(always)]
    pub fn ran<R: Answers>(&mut self, status: &Status, answers: &mut R) -> bool {
        let only_running = matches!(self.phase, Phase::Running) && !self.has(CP | HP | X) && self.stacked.is_none();
        let Some(status) = self.plain_end(status).filter(|_| only_running) else { return false };
        self.start_ended(&status, None, answers);
        true
    }

    /// The status, if it is plain channel end and device end and is delivered with the end. What is known of it is said once more, so that the compiler need not
    /// ask in what follows.
    #[inline(always)]
    fn plain_end(&self, status: &Status) -> Option<Status> {
        let good = DeviceStatus::CHANNEL_END.union(DeviceStatus::DEVICE_END);
        let plain = status.device == good && status.subchannel.is_empty() && matches!(self.mode, StatusMode::Delivered);
        plain.then_some(Status { device: good, subchannel: SubchannelStatus::empty(), ..*status })
    }

    /// Says that `function` is being issued at `now`; the device's answer comes as [`event`](Self::event).
    #[inline(always)]
    pub fn issued(&mut self, function: Function, now: u64) {
        self.issued_at = now;
        match function {
            Function::Start => {
                self.word0 = (self.word0 & !SP) | ACTIVE;
                self.start_issued = true;
                self.lpum = THE_PATH;
                self.phase = Phase::Running;
            }
            Function::Resume => {
                // If the guest never saw it suspended, a resume that is pending now was accepted since then: it is for the next suspension.
                if self.has(SUSP) {
                    self.word0 &= !(RP | SUSP);
                }
                self.word0 |= ACTIVE;
                self.phase = Phase::Running;
            }
            Function::Halt => self.phase = Phase::Halting,
            Function::Clear => self.phase = Phase::Clearing,
            Function::HaltUnissued | Function::RefuseStart | Function::PresentStacked => {}
        }
    }

    /// Performs a function that no device has to be told of; does nothing for the others.
    pub fn perform_here<R: Answers>(&mut self, function: Function, answers: &mut R) {
        match function {
            Function::HaltUnissued => self.halted(&Status::default(), self.has(DEVA), answers),
            Function::RefuseStart => {
                let status = self.stacked.take().unwrap_or_default();
                self.refused(1, &status, answers);
            }
            Function::PresentStacked => {
                if let Some(status) = self.stacked.take() {
                    self.unsolicited(&status, answers);
                }
            }
            Function::Clear | Function::Halt | Function::Start | Function::Resume => {}
        }
    }
}
