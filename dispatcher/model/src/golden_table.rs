// SPDX-License-Identifier: MIT OR Apache-2.0
//! The golden sequences: reference §8 items 12 to 52, 67 to 69, and the points of §3 and §4 that are easily got wrong.

use crate::bits::{Actl, Fctl, Stctl};
use crate::examples as e;
use crate::explore::{DISABLE, ENABLE, PATHLESS, PLAIN, QUIETLY_SUSPENDABLE, SUSPENDABLE};
use crate::golden::{look, Golden, Look, Step};
use crate::image::{Fields, Pmcw};
use crate::progress::{Ending, HaltEnding, Progress};
use crate::state::{Instruction, State};

use Instruction::{Csch, Hsch, Msch, Rsch, Ssch, Stsch, Tsch, Xsch};
use Progress::{
    Attention, Clear, DeferredCc1, DeferredCc3, DeviceEnd, Halt, InitialStatus, IssueStart, Pci, PresentStacked, Resume, Suspend,
};
use Step::{Cannot, Do, Drops, Is, Joins, Owner, Quiet, Shows, Status, Stores, Withdraws};

const NO_F: Fctl = Fctl::NONE;
const S: Fctl = Fctl::START;
const H: Fctl = Fctl::HALT;
const S_H: Fctl = S.with(H);
const C: Fctl = Fctl::CLEAR;
const NO_A: Actl = Actl::NONE;
const SP: Actl = Actl::START_PENDING;
const RP: Actl = Actl::RESUME_PENDING;
const SUSP: Actl = Actl::SUSPENDED;
const DEVA: Actl = Actl::DEVICE_ACTIVE;
const SCHA_DEVA: Actl = Actl::SUBCHANNEL_ACTIVE.with(DEVA);
const NO_X: Stctl = Stctl::NONE;
const X: Stctl = Stctl::PENDING;
const A_X: Stctl = X.with(Stctl::ALERT);
const I_X: Stctl = X.with(Stctl::INTERMEDIATE);
const P_X: Stctl = X.with(Stctl::PRIMARY);
const X_2: Stctl = X.with(Stctl::SECONDARY);
const P_2_X: Stctl = P_X.with(Stctl::SECONDARY);
const A_P_2_X: Stctl = P_2_X.with(Stctl::ALERT);

const ALONE: Progress = Halt(HaltEnding::Alone);
const ENDS: Progress = end(Ending::ChannelEndDeviceEnd, false);
const SB: Instruction = Ssch(SUSPENDABLE);
const SA: Instruction = Ssch(PLAIN);
const NO_PATH: Instruction = Ssch(PATHLESS);
/// Nothing left of a start but its interruption parameter; and a clear that overtook it.
const AFTER_SA: State = State {
    pmcw: Pmcw { fields: Fields { intparm: PLAIN.intparm, ..State::IDLE.pmcw.fields }, ..State::IDLE.pmcw },
    ..State::IDLE
};
const CLEAR_OF_SA: State = State { fctl: C, actl: Actl::CLEAR_PENDING, ..AFTER_SA };

const NORMAL: Look = look(S, NO_A, P_2_X).bytes(0x0C, 0);
const CLEARED: Look = look(C, NO_A, X);
const HALTED: Look = look(H, NO_A, X);
const HALTED_START: Look = look(S_H, NO_A, X);
const SUSPENDED: Look = look(S, SUSP, I_X);
const NOTHING: Look = look(NO_F, NO_A, NO_X);

const fn end(ending: Ending, pci: bool) -> Progress {
    Progress::End { ending, pci }
}

#[rustfmt::skip]
const fn g(name: &'static str, source: &'static str, before: State, steps: &'static [Step]) -> Golden {
    Golden { name, source, before, steps }
}

/// All sequences.
#[rustfmt::skip]
pub const GOLDEN: &[Golden] = &[
    // Enablement
    g("enable", "§8.12", State::DISABLED, &[
        Do(SA, 3), Do(Msch(ENABLE), 0), Stores(Stsch, 0, NOTHING.intparm(0xE)), Do(SA, 0)]),
    g("disabled answers 3", "§8.13", State::DISABLED, &[
        Do(SA, 3), Do(Hsch, 3), Do(Csch, 3), Do(Xsch, 3), Do(Rsch, 3), Do(Tsch, 3), Do(Stsch, 0), Do(Msch(DISABLE), 0)]),
    g("not valid ignores MSCH", "§8.14", State::NOT_VALID, &[Do(Msch(ENABLE), 0), Is(State::NOT_VALID), Do(SA, 3)]),
    g("MSCH while a start is in progress", "§8.15", e::start_pending(PLAIN), &[Do(Msch(DISABLE), 2), Is(e::start_pending(PLAIN))]),
    g("MSCH while status is pending", "§8.15", e::STATUS_PENDING, &[Do(Msch(DISABLE), 1), Is(e::STATUS_PENDING)]),
    g("MSCH of what is there changes nothing", "§8.16", State::IDLE, &[Do(Msch(State::IDLE.pmcw.fields), 0), Is(State::IDLE)]),
    g("not provided stores nothing", "§8.3", State::NOT_PROVIDED, &[Do(Stsch, 3), Do(Tsch, 3), Do(Msch(ENABLE), 3)]),
    // Start
    g("one start, one interruption", "§8.17", State::IDLE, &[
        Do(SA, 0), Quiet(IssueStart), Status(ENDS, NORMAL.intparm(0x11)), Stores(Tsch, 0, NORMAL), Shows(NOTHING)]),
    g("second start while the first runs", "§8.19", State::IDLE, &[Do(SA, 0), Do(SB, 2), Owner(Some(1)), Shows(look(S, SP, NO_X).intparm(0x11))]),
    g("second start after the first ended", "§8.19", State::IDLE, &[Do(SA, 0), Quiet(IssueStart), Status(ENDS, NORMAL), Do(SB, 1), Owner(Some(1))]),
    g("start while status is pending", "§8.20", e::STATUS_PENDING, &[Do(SB, 1), Withdraws(Tsch, 0), Do(SB, 0), Owner(Some(2))]),
    g("STSCH after SSCH", "§8.21", State::IDLE, &[Do(SB, 0), Stores(Stsch, 0, look(S, SP, NO_X).intparm(0x22))]),
    g("no path at issue", "§8.22", State::IDLE, &[
        Do(SA, 0), Status(DeferredCc3, look(S, SP, A_X).deferred(3, true)), Do(SB, 1), Withdraws(Tsch, 0), Shows(NOTHING), Do(SB, 0)]),
    g("TSCH before completion", "§8.23", e::start_pending(PLAIN), &[Stores(Tsch, 1, look(S, SP, NO_X)), Is(e::start_pending(PLAIN))]),
    g("TSCH twice after completion", "§8.24", e::STATUS_PENDING, &[Stores(Tsch, 0, NORMAL), Stores(Tsch, 1, NOTHING)]),
    g("STSCH does not clear", "§8.25", e::STATUS_PENDING, &[Stores(Stsch, 0, NORMAL), Stores(Stsch, 0, NORMAL), Stores(Tsch, 0, NORMAL)]),
    g("channel end first", "§3.3", e::active(PLAIN), &[
        Status(end(Ending::ChannelEnd, false), look(S, DEVA, P_X).bytes(0x08, 0)), Withdraws(Tsch, 0), Shows(look(NO_F, DEVA, NO_X)),
        Status(DeviceEnd, look(NO_F, NO_A, X_2).bytes(0x04, 0)), Withdraws(Tsch, 0), Is(State { pmcw: e::active(PLAIN).pmcw, ..State::IDLE })]),
    g("device end joins primary status", "§3.3", e::active(PLAIN), &[
        Status(end(Ending::ChannelEnd, false), look(S, DEVA, P_X).bytes(0x08, 0)), Joins(DeviceEnd, NORMAL), Withdraws(Tsch, 0), Do(Tsch, 1)]),
    g("unit check", "§3.3", e::active(PLAIN), &[Status(end(Ending::UnitCheck, false), look(S, NO_A, A_P_2_X).bytes(0x0E, 0))]),
    g("program check", "§3.3", e::active(PLAIN), &[Status(end(Ending::ProgramCheck, false), look(S, NO_A, A_P_2_X).bytes(0, 0x20))]),
    g("start waits for device end", "§2.2 (b)", e::DEVICE_ACTIVE, &[
        Do(SB, 0), Shows(look(S, SP.with(DEVA), NO_X)), Cannot(IssueStart), Drops(DeviceEnd), Shows(look(S, SP, NO_X)), Quiet(IssueStart), Owner(Some(2))]),
    g("device end refuses the start that waits for it", "§3.5", e::DEVICE_ACTIVE, &[
        Do(SB, 0), Status(DeferredCc1, look(S, SP, A_X).deferred(1, false).bytes(0x04, 0)), Withdraws(Tsch, 0), Shows(NOTHING), Do(SB, 0), Quiet(IssueStart)]),
    g("PCI of a long program", "§8.67", e::active(PLAIN), &[
        Status(Pci, look(S, SCHA_DEVA, I_X).bytes(0, 0x80)), Do(SB, 1), Do(Xsch, 1), Withdraws(Tsch, 0), Is(e::active(PLAIN)), Status(ENDS, NORMAL)]),
    g("PCI of a program that ends at once", "§8.68", e::active(PLAIN), &[
        Status(end(Ending::ChannelEndDeviceEnd, true), NORMAL.bytes(0x0C, 0x80)), Withdraws(Tsch, 0), Do(Tsch, 1)]),
    g("initial status", "§5.9", e::start_pending(SUSPENDABLE), &[
        Quiet(IssueStart), Status(InitialStatus, look(S, SCHA_DEVA, I_X).z()), Cannot(InitialStatus), Withdraws(Tsch, 0), Status(ENDS, NORMAL)]),
    g("initial status joins the ending status", "§5.9", e::active(SUSPENDABLE), &[
        Status(InitialStatus, look(S, SCHA_DEVA, I_X).z()),
        Joins(ENDS, look(S, NO_A, P_2_X.with(Stctl::INTERMEDIATE)).bytes(0x0C, 0).z()), Do(Hsch, 1), Withdraws(Tsch, 0), Shows(NOTHING)]),
    // Paths
    g("a start that selects no path", "§2.1, §8.22", State::IDLE, &[Do(NO_PATH, 3), Is(State::IDLE), Do(SA, 0), Owner(Some(1))]),
    g("no path comes before status pending", "§2.1", e::STATUS_PENDING, &[Do(NO_PATH, 3), Do(SA, 1), Is(e::STATUS_PENDING)]),
    g("no path comes before a function in progress", "§2.1", e::HALT_PENDING, &[Do(NO_PATH, 3), Do(SA, 2), Is(e::HALT_PENDING)]),
    g("the path last used", "§3.3", State::IDLE, &[
        Do(SA, 0), Is(e::start_pending(PLAIN)), Quiet(IssueStart), Is(e::active(PLAIN)), Do(Csch, 0), Is(e::used(CLEAR_OF_SA)), Status(Clear, CLEARED)]),
    g("a start that was halted before it was issued used no path", "§3.3", e::start_pending(PLAIN), &[
        Do(Hsch, 0), Status(ALONE, HALTED_START), Withdraws(Tsch, 0), Is(AFTER_SA)]),
    g("a start that no path led to used none", "§3.3", e::start_pending(PLAIN), &[
        Status(DeferredCc3, look(S, SP, A_X).deferred(3, true)), Withdraws(Tsch, 0), Is(State { pmcw: Pmcw { pnom: 0x80, ..AFTER_SA.pmcw }, ..AFTER_SA })]),
    // Halt, clear, cancel, resume
    g("halt of an idle subchannel", "§8.26", State::IDLE, &[Do(Hsch, 0), Status(ALONE, HALTED), Withdraws(Tsch, 0), Is(e::used(State::IDLE))]),
    g("halt before the start is issued", "§8.27", e::start_pending(PLAIN), &[
        Do(Hsch, 0), Status(ALONE, HALTED_START.intparm(0x11)), Withdraws(Tsch, 0), Shows(NOTHING)]),
    g("halt of a running program", "§8.28", e::active(PLAIN), &[Do(Hsch, 0), Status(ALONE, HALTED_START), Withdraws(Tsch, 0), Shows(NOTHING)]),
    g("halt, device end afterwards", "§8.28", e::active(PLAIN), &[
        Do(Hsch, 0), Status(Halt(HaltEnding::DeviceStillActive), look(S_H, DEVA, X)), Withdraws(Tsch, 0), Shows(look(NO_F, DEVA, NO_X)),
        Status(DeviceEnd, look(NO_F, NO_A, X_2).bytes(4, 0))]),
    g("halt between channel end and device end", "§3.2", e::DEVICE_ACTIVE, &[
        Do(Hsch, 0), Cannot(ALONE), Status(Halt(HaltEnding::DeviceEnd), look(H, NO_A, X_2).bytes(4, 0)), Do(SA, 1), Withdraws(Tsch, 0), Shows(NOTHING)]),
    g("device ignores halt", "§3.2", e::active(PLAIN), &[
        Do(Hsch, 0), Status(Halt(HaltEnding::ChannelEndDeviceEnd), look(S_H, NO_A, P_2_X).bytes(0x0C, 0)), Do(Hsch, 1)]),
    g("halt in progress", "§8.29", e::HALT_PENDING, &[Do(Hsch, 2), Do(SB, 2), Do(Csch, 0), Status(Clear, CLEARED)]),
    g("halt while status is pending", "§8.30", e::STATUS_PENDING, &[Do(Hsch, 1), Is(e::STATUS_PENDING)]),
    g("halt withdraws a PCI", "§8.31", e::ACTIVE_INTERMEDIATE, &[
        Withdraws(Hsch, 0), Do(Tsch, 1), Status(ALONE, HALTED_START), Withdraws(Tsch, 0), Shows(NOTHING)]),
    g("clear of a running program", "§8.32", e::active(PLAIN), &[Do(Csch, 0), Status(Clear, CLEARED), Stores(Tsch, 0, CLEARED), Do(Tsch, 1)]),
    g("clear discards pending status", "§8.33", e::STATUS_PENDING, &[Withdraws(Csch, 0), Do(Tsch, 1), Status(Clear, CLEARED)]),
    g("clear, clear", "§8.34", State::IDLE, &[Do(Csch, 0), Do(Csch, 0), Status(Clear, CLEARED), Withdraws(Tsch, 0), Is(e::used(State::IDLE))]),
    g("clear after a clear was performed", "§4.2", State::IDLE, &[Do(Csch, 0), Status(Clear, CLEARED), Withdraws(Csch, 0), Status(Clear, CLEARED)]),
    g("clear, start without TSCH", "§8.35", State::IDLE, &[Do(Csch, 0), Do(SA, 2), Status(Clear, CLEARED), Do(SA, 1), Withdraws(Tsch, 0), Do(SA, 0)]),
    g("masks after clear", "§8.36", State::IDLE, &[
        Do(Msch(ENABLE), 0), Do(SA, 0), Status(DeferredCc3, look(S, SP, A_X).deferred(3, true)), Withdraws(Csch, 0), Status(Clear, CLEARED), Withdraws(Tsch, 0),
        Is(State { pmcw: Pmcw { fields: Fields { intparm: 0x11, pom: 0xFF, ..ENABLE }, pnom: 0, lpum: 0x80 }, ..State::IDLE })]),
    g("cancel of an idle subchannel", "§8.37", State::IDLE, &[Do(Xsch, 2), Is(State::IDLE)]),
    g("cancel while status is pending", "§8.37", e::STATUS_PENDING, &[Do(Xsch, 1), Is(e::STATUS_PENDING)]),
    g("cancel before the start is issued", "§8.37", e::start_pending(PLAIN), &[Do(Xsch, 0), Shows(NOTHING), Do(Tsch, 1), Do(SB, 0), Owner(Some(2))]),
    g("cancel of a running program", "§8.37", e::active(PLAIN), &[Do(Xsch, 2), Is(e::active(PLAIN))]),
    g("cancel of a suspended program", "§8.38", e::SUSPENDED, &[Do(Xsch, 0), Shows(NOTHING)]),
    g("resume without S", "§8.39", e::active(PLAIN), &[Do(Rsch, 2), Is(e::active(PLAIN))]),
    g("resume of an idle subchannel", "§8.39", State::IDLE, &[Do(Rsch, 2)]),
    g("resume while status is pending", "§8.39", e::STATUS_PENDING, &[Do(Rsch, 1)]),
    g("resume", "§8.40", e::SUSPENDED, &[
        Do(Rsch, 0), Do(Rsch, 2), Shows(look(S, SUSP.with(RP), NO_X)), Quiet(Resume), Shows(look(S, SCHA_DEVA, NO_X)), Status(ENDS, NORMAL)]),
    g("resume comes before the S flag", "§2.2 (d)", e::active(SUSPENDABLE), &[
        Do(Rsch, 0), Do(Rsch, 2), Quiet(Suspend), Shows(look(S, SCHA_DEVA, NO_X)), Status(Suspend, SUSPENDED)]),
    g("suspend with an interruption", "§8.41", e::active(SUSPENDABLE), &[
        Status(Suspend, SUSPENDED), Do(Rsch, 1), Do(Xsch, 1), Withdraws(Tsch, 0), Is(e::SUSPENDED)]),
    g("suspend without an interruption", "§8.41", e::active(QUIETLY_SUSPENDABLE), &[Quiet(Suspend), Shows(look(S, SUSP, NO_X)), Do(Tsch, 1), Do(Rsch, 0)]),
    g("halt of a suspended program", "§8.42", e::SUSPENDED, &[Do(Hsch, 0), Status(ALONE, look(S_H, SUSP, X)), Withdraws(Tsch, 0), Shows(NOTHING)]),
    g("halt joins the suspension's status", "§3.4", e::SUSPENDED_PENDING, &[
        Do(Hsch, 0), Joins(ALONE, look(S_H, SUSP, I_X)), Do(Hsch, 2), Do(Xsch, 1), Withdraws(Tsch, 0), Shows(NOTHING)]),
    g("TSCH before the halt of a suspended program is performed", "§3.4", e::SUSPENDED_PENDING, &[
        Do(Hsch, 0), Stores(Tsch, 0, look(S_H, SUSP.with(Actl::HALT_PENDING), I_X)), Shows(NOTHING), Do(Tsch, 1)]),
    g("clear of a suspended program", "§3.2", e::SUSPENDED_PENDING, &[Withdraws(Csch, 0), Status(Clear, CLEARED)]),
    // Batches
    g("start, halt", "§8.43", State::IDLE, &[Do(SA, 0), Do(Hsch, 0), Status(ALONE, HALTED_START.intparm(0x11)), Withdraws(Tsch, 0), Do(Tsch, 1)]),
    g("start, clear", "§8.44", State::IDLE, &[Do(SA, 0), Do(Csch, 0), Status(Clear, CLEARED.intparm(0x11)), Withdraws(Tsch, 0), Do(Tsch, 1)]),
    g("clear, start", "§8.45", State::IDLE, &[Do(Csch, 0), Do(SA, 2), Status(Clear, CLEARED.intparm(0)), Owner(None)]),
    g("halt, clear", "§8.46", State::IDLE, &[Do(Hsch, 0), Do(Csch, 0), Status(Clear, CLEARED), Withdraws(Tsch, 0), Do(Tsch, 1)]),
    g("start, cancel", "§8.47", State::IDLE, &[Do(SA, 0), Do(Xsch, 0), Shows(NOTHING.intparm(0x11)), Do(Tsch, 1)]),
    g("start, issued, cancel", "§8.47", State::IDLE, &[Do(SA, 0), Quiet(IssueStart), Do(Xsch, 2)]),
    g("cancel, start", "§8.48", e::start_pending(PLAIN), &[Do(Xsch, 0), Do(SB, 0), Owner(Some(2)), Quiet(IssueStart), Status(ENDS, NORMAL.intparm(0x22))]),
    g("TSCH, start", "§8.49", e::STATUS_PENDING, &[Withdraws(Tsch, 0), Do(SB, 0)]),
    g("start, TSCH", "§8.49", e::STATUS_PENDING, &[Do(SB, 1), Withdraws(Tsch, 0)]),
    g("start, MSCH", "§8.50", State::IDLE, &[Do(SA, 0), Do(Msch(DISABLE), 2)]),
    g("MSCH that disables, start", "§8.50", State::IDLE, &[Do(Msch(DISABLE), 0), Do(SA, 3)]),
    g("five in one batch", "§8.51", State::IDLE, &[
        Do(SA, 0), Do(SB, 2), Do(Csch, 0), Do(Ssch(QUIETLY_SUSPENDABLE), 2), Do(Csch, 0), Status(Clear, CLEARED.intparm(0x11)), Withdraws(Tsch, 0), Do(Tsch, 1)]),
    g("the condition code comes before the status", "§8.52", State::IDLE, &[
        Do(SA, 0), Shows(look(S, SP, NO_X)), Do(Hsch, 0), Shows(look(S_H, SP.with(Actl::HALT_PENDING), NO_X)), Status(ALONE, HALTED_START)]),
    // Unsolicited status
    g("attention", "§8.69", State::IDLE, &[Status(Attention, look(NO_F, NO_A, A_X).bytes(0x80, 0)), Do(SA, 1), Withdraws(Tsch, 0), Is(e::used(State::IDLE))]),
    g("attention while disabled", "§8.69", State::DISABLED, &[Drops(Attention), Is(State::DISABLED)]),
    g("attention while status is pending", "§3.5", e::STATUS_PENDING, &[
        Quiet(Attention), Shows(NORMAL), Withdraws(Tsch, 0), Status(PresentStacked, look(NO_F, NO_A, A_X).bytes(0x80, 0))]),
    g("attention meets a start", "§3.5", e::start_pending(PLAIN), &[
        Quiet(Attention), Cannot(IssueStart), Status(DeferredCc1, look(S, SP, A_X).deferred(1, false).bytes(0x80, 0)), Withdraws(Tsch, 0), Shows(NOTHING)]),
    g("clear discards a stacked attention", "§4.3.7", e::STATUS_PENDING, &[
        Quiet(Attention), Withdraws(Csch, 0), Status(Clear, CLEARED), Withdraws(Tsch, 0), Shows(NOTHING), Status(Attention, look(NO_F, NO_A, A_X).bytes(0x80, 0))]),
];
