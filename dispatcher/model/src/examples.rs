// SPDX-License-Identifier: MIT OR Apache-2.0
//! One state for each row of the matrix of §2.2, written out.

use crate::bits::{device_status as d, subchannel_status as c, Actl, Fctl, Stctl};
use crate::explore::{PLAIN, SUSPENDABLE};
use crate::image::{Fields, Pmcw, AVAILABLE_PATHS};
use crate::matrix::Row;
use crate::state::{Start, State};

const SCHA_DEVA: Actl = Actl::SUBCHANNEL_ACTIVE.with(Actl::DEVICE_ACTIVE);
const I_X: Stctl = Stctl::INTERMEDIATE.with(Stctl::PENDING);
const P_2_X: Stctl = Stctl::PRIMARY.with(Stctl::SECONDARY).with(Stctl::PENDING);

const fn enabled_with(intparm: u32) -> State {
    State { pmcw: Pmcw { fields: Fields { intparm, ..State::IDLE.pmcw.fields }, pnom: 0, lpum: 0 }, ..State::IDLE }
}

/// The device has been spoken with: the same with the path in LPUM.
#[must_use]
pub const fn used(state: State) -> State {
    State { pmcw: Pmcw { lpum: AVAILABLE_PATHS, ..state.pmcw }, ..state }
}

/// `start` is accepted and not yet issued.
#[must_use]
pub const fn start_pending(start: Start) -> State {
    State { fctl: Fctl::START, actl: Actl::START_PENDING, orb: start.orb, owner: Some(start.id), ..enabled_with(start.intparm) }
}

/// `start` is running.
#[must_use]
pub const fn active(start: Start) -> State {
    State { actl: SCHA_DEVA, initial_status_due: start.orb.initial_status, ..used(start_pending(start)) }
}

/// `start` is running and a PCI was presented.
pub const ACTIVE_INTERMEDIATE: State = State { stctl: I_X, subchannel_status: c::PCI, interruption: true, ..active(PLAIN) };

/// The primary status was taken, device end is to come.
pub const DEVICE_ACTIVE: State =
    State { actl: Actl::DEVICE_ACTIVE, device_owner: Some(PLAIN.id), ..used(enabled_with(PLAIN.intparm)) };

/// Suspended, and the interruption for it is taken.
pub const SUSPENDED: State = State { actl: Actl::SUSPENDED, ..used(start_pending(SUSPENDABLE)) };

/// Suspended, and the interruption for it is pending.
pub const SUSPENDED_PENDING: State = State { stctl: I_X, interruption: true, ..SUSPENDED };

/// Suspended, a resume is accepted.
pub const RESUME_PENDING: State = State { actl: Actl::SUSPENDED.with(Actl::RESUME_PENDING), ..SUSPENDED };

/// Suspended with the interruption pending, and a halt is accepted.
pub const SUSPENDED_HALT: State =
    State { fctl: Fctl::START.with(Fctl::HALT), actl: Actl::SUSPENDED.with(Actl::HALT_PENDING), ..SUSPENDED_PENDING };

/// A halt of a running program is accepted.
pub const HALT_PENDING: State =
    State { fctl: Fctl::START.with(Fctl::HALT), actl: SCHA_DEVA.with(Actl::HALT_PENDING), ..active(PLAIN) };

/// A clear is accepted.
pub const CLEAR_PENDING: State = State { fctl: Fctl::CLEAR, actl: Actl::CLEAR_PENDING, ..State::IDLE };

/// A program ended with channel end and device end.
pub const STATUS_PENDING: State = State {
    actl: Actl::NONE,
    stctl: P_2_X,
    device_status: d::CHANNEL_END | d::DEVICE_END,
    interruption: true,
    ..used(start_pending(PLAIN))
};

/// Device end after the primary status was taken.
pub const SECONDARY_PENDING: State = State {
    actl: Actl::NONE,
    stctl: Stctl::SECONDARY.with(Stctl::PENDING),
    device_status: d::DEVICE_END,
    interruption: true,
    ..DEVICE_ACTIVE
};

/// A halt of an idle subchannel was performed.
pub const STATUS_ALONE: State = State { fctl: Fctl::HALT, stctl: Stctl::PENDING, interruption: true, ..used(State::IDLE) };

/// An attention was presented.
pub const UNSOLICITED: State =
    State { stctl: Stctl::ALERT.with(Stctl::PENDING), device_status: d::ATTENTION, interruption: true, ..used(State::IDLE) };

/// All of them with the row they stand for.
pub const EXAMPLES: [(Row, State); 18] = [
    (Row::NotProvided, State::NOT_PROVIDED),
    (Row::NotValid, State::NOT_VALID),
    (Row::NotEnabled, State::DISABLED),
    (Row::Idle, State::IDLE),
    (Row::StartPending, start_pending(PLAIN)),
    (Row::Active, active(PLAIN)),
    (Row::ActiveIntermediate, ACTIVE_INTERMEDIATE),
    (Row::DeviceActive, DEVICE_ACTIVE),
    (Row::SuspendedPending, SUSPENDED_PENDING),
    (Row::Suspended, SUSPENDED),
    (Row::ResumePending, RESUME_PENDING),
    (Row::HaltPending, HALT_PENDING),
    (Row::ClearPending, CLEAR_PENDING),
    (Row::StatusPending, STATUS_PENDING),
    (Row::SecondaryPending, SECONDARY_PENDING),
    (Row::StatusAlone, STATUS_ALONE),
    (Row::Unsolicited, UNSOLICITED),
    (Row::SuspendedHalt, SUSPENDED_HALT),
];
