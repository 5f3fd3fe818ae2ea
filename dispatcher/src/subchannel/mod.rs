// SPDX-License-Identifier: MIT OR Apache-2.0
//! The subchannel: accept in order, issue by precedence, complete once. Pure code: no I/O, no clock, no allocation, no unsafe.
//!
//! *Acceptance* ([`Subchannel::accept`]) decides an instruction against the bits as they stand, exactly as if instructions were executed one by
//! one: a fold, never an OR. It changes bits and touches no device. *Issue* ([`Subchannel::next_function`]) names the one function that
//! the device should now be told: clear before halt before start. *Status* ([`Subchannel::event`]) takes what the
//! device answers and ends descriptors with it.
//!
//! ```text
//!            SSCH               issue                 ended
//!   idle ───────────▶ S, SP ───────────▶ S, SchA+DevA ───────▶ status pending ──TSCH──▶ idle
//!     │                 │ XSCH ▶ idle        │                      ▲
//!     │ HSCH            │ HSCH               │ HSCH                 │ halt performed
//!     └──▶ H, HP        └──▶ S+H, SP+HP      └──▶ S+H, …+HP ────────┤
//!                                                                   │ clear performed
//!   CSCH in any state ──▶ C, CP, status and interruption withdrawn ─┘
//! ```
//! Sources: Principles of Operation, chapters 14 to 16.

mod accept;
mod answer;
mod issue;
mod reset;
mod status;

pub use accept::Instruction;
pub use answer::{Answer, Answers, End, Owed};
pub use issue::Function;

use crate::device::Sense;
use fctl_ringabi::arch::{ActivityControl, FunctionControl, Orb, Schib, Scsw, StatusControl};

/// When a guest learns its status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum StatusMode {
    /// Each status is delivered in the completion, as if TEST SUBCHANNEL had been executed at the instant it was stored.
    #[default]
    Delivered,
    /// A completion only says that an interruption is pending; a TSCH descriptor takes the status.
    Held,
}

/// What the device behind the subchannel is doing, as far as it was told and has answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing is outstanding.
    Idle,
    /// A start was issued and has not ended.
    Running,
    /// A program is suspended.
    Suspended,
    /// A suspended program was cancelled: the device must forget it before anything else.
    Abandoned,
    /// Channel end was presented, device end is still to come.
    AwaitingDeviceEnd,
    /// A halt was issued and is not yet answered.
    Halting,
    /// A clear was issued and is not yet answered.
    Clearing,
}

const S: u32 = FunctionControl::START.bits() as u32;
const H: u32 = FunctionControl::HALT.bits() as u32;
const C: u32 = FunctionControl::CLEAR.bits() as u32;
const FCTL: u32 = S | H | C;
const RP: u32 = ActivityControl::RESUME_PENDING.bits() as u32;
const SP: u32 = ActivityControl::START_PENDING.bits() as u32;
const HP: u32 = ActivityControl::HALT_PENDING.bits() as u32;
const CP: u32 = ActivityControl::CLEAR_PENDING.bits() as u32;
const SCHA: u32 = ActivityControl::SUBCHANNEL_ACTIVE.bits() as u32;
const DEVA: u32 = ActivityControl::DEVICE_ACTIVE.bits() as u32;
const SUSP: u32 = ActivityControl::SUSPENDED.bits() as u32;
const ACTL: u32 = RP | SP | HP | CP | SCHA | DEVA | SUSP;
const A: u32 = StatusControl::ALERT.bits() as u32;
const I: u32 = StatusControl::INTERMEDIATE.bits() as u32;
const P: u32 = StatusControl::PRIMARY.bits() as u32;
const SEC: u32 = StatusControl::SECONDARY.bits() as u32;
const X: u32 = StatusControl::PENDING.bits() as u32;
const STCTL: u32 = A | I | P | SEC | X;
/// A program runs.
const ACTIVE: u32 = SCHA | DEVA;
/// A halt or a clear is pending.
const STOPPING: u32 = CP | HP;
/// Activity and status control of an end: with channel end alone, with device end too, and with something wrong as well.
const CHANNEL_ENDED: u32 = DEVA | P | X;
const ENDED: u32 = P | SEC | X;
const ENDED_WITH_ALERT: u32 = A | P | SEC | X;
/// Z, E and N and the deferred condition code: what a status adds to word 0 beside the three controls.
const EXTENDED: u32 = 0x0002_0000;
const ZERO_CONDITION: u32 = 0x0004_0000;
const PATH_NOT_OPERATIONAL: u32 = 0x0001_0000;
const DEFERRED_CC: u32 = 0x0300_0000;
/// LPUM of what went over the one path that there is.
const THE_PATH: u8 = 0x80;

/// One subchannel's state. What a start needs comes first, so that it lies in few cache lines.
#[derive(Clone, Debug)]
#[repr(C)]
pub struct Subchannel {
    /// SCSW word 0: function, activity and status control, and the ORB's echo.
    word0: u32,
    phase: Phase,
    mode: StatusMode,
    operational: bool,
    /// The start in `start` was issued to the device.
    start_issued: bool,
    /// Held mode: the guest was told that the status which is pending now is pending. One interruption, whatever joins it.
    told: bool,
    /// PMCW path-not-operational mask: here, because each start resets it.
    pnom: u8,
    /// PMCW last-path-used mask: here, because each start sets it.
    lpum: u8,
    /// The paths that a start may take (PMCW.PAM); none while no start is accepted at all, so that one test of the ORB's mask answers both.
    start_paths: u8,
    /// Unsolicited status that found the subchannel busy.
    stacked: Option<crate::device::Status>,
    ccw_address: u32,
    /// SCSW word 2: device status, subchannel status, residual count.
    status: u32,
    orb: Orb,
    intparm: u32,
    issued_at: u64,
    start: Option<Owed>,
    halt: Option<Owed>,
    clear: Option<Owed>,
    /// Tag of the start whose device end is still to come.
    secondary_tag: u64,
    sense: Option<Sense>,
    /// What the device stores on does not answer: no start is accepted.
    stuck: bool,
    /// A reset has begun and not ended: not operational, whatever the guest enables.
    resetting: bool,
    schib: Schib,
}

impl Subchannel {
    /// What of it a start needs that [runs through](Self::run_through).
    pub const HOT_BYTES: usize = core::mem::offset_of!(Self, start);

    /// An idle subchannel with this device number, enabled or not.
    pub fn new(devno: u16, enabled: bool, mode: StatusMode) -> Self {
        let mut schib = Schib::initial(devno);
        if enabled {
            schib.pmcw.set_flags(schib.pmcw.flags() | fctl_ringabi::arch::PmcwFlags::ENABLED);
        }
        let mut subchannel = Self {
            word0: 0,
            phase: Phase::Idle,
            mode,
            operational: false,
            start_issued: false,
            told: false,
            pnom: 0,
            lpum: 0,
            start_paths: 0,
            ccw_address: 0,
            status: 0,
            orb: Orb::default(),
            intparm: 0,
            issued_at: 0,
            start: None,
            halt: None,
            clear: None,
            secondary_tag: 0,
            stacked: None,
            sense: None,
            stuck: false,
            resetting: false,
            schib,
        };
        subchannel.refresh_operational();
        subchannel
    }

    fn refresh_operational(&mut self) {
        self.operational = !self.resetting && self.schib.pmcw.is_valid() && self.schib.pmcw.is_enabled();
        self.refresh_start_paths();
    }

    fn refresh_start_paths(&mut self) {
        self.start_paths = if self.operational && !self.stuck { self.schib.pmcw.pam } else { 0 };
    }

    #[inline(always)]
    const fn has(&self, bits: u32) -> bool {
        self.word0 & bits != 0
    }

    /// The subchannel-status word as it stands.
    #[inline]
    pub const fn scsw(&self) -> Scsw {
        Scsw::from_words([self.word0, self.ccw_address, self.status])
    }

    /// The subchannel-information block as STORE SUBCHANNEL stores it.
    pub fn schib(&self) -> Schib {
        let mut schib = self.schib;
        schib.pmcw.set_intparm(self.intparm);
        schib.pmcw.pnom = self.pnom;
        schib.pmcw.lpum = self.lpum;
        schib.scsw = self.scsw();
        schib
    }

    /// The ORB of the start function that is pending or running.
    #[inline]
    pub const fn orb(&self) -> &Orb {
        &self.orb
    }

    /// True while the device has something to answer: its buffers may still be in use.
    #[inline]
    pub const fn device_busy(&self) -> bool {
        !matches!(self.phase, Phase::Idle)
    }

    /// True while the device has nothing to do but to keep a suspended program.
    #[inline]
    pub const fn device_suspended(&self) -> bool {
        matches!(self.phase, Phase::Suspended | Phase::Abandoned)
    }

    /// Descriptors taken that have not got their final completion: at most three (a start, its halt, their clear).
    pub const fn owed(&self) -> usize {
        self.start.is_some() as usize + self.halt.is_some() as usize + self.clear.is_some() as usize
    }

    /// Says whether what the device stores on answers. While it does not, new starts get condition code 3.
    pub fn set_stuck(&mut self, stuck: bool) {
        self.stuck = stuck;
        self.refresh_start_paths();
    }

    /// True if the program asked for sense to be put into the status (PMCW.S).
    #[inline]
    pub const fn wants_concurrent_sense(&self) -> bool {
        self.schib.pmcw.characteristics().contains(fctl_ringabi::arch::PmcwCharacteristics::CONCURRENT_SENSE)
    }
}

#[cfg(test)]
mod tests;
