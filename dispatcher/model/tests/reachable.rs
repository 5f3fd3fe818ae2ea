// SPDX-License-Identifier: MIT OR Apache-2.0
//! What holds in every reachable state, and on every step between two of them.

use fctl_model::{explore, Actl, Doing, Fctl, Instruction, OrbEcho, Progress, State, Stctl, ALPHABET, DISABLE};

/// A change of the model that changes this number is a change of behaviour: say which in the commit.
const REACHABLE: usize = 2001;

#[test]
fn the_count_is_known_and_the_order_is_always_the_same() {
    let once = explore(State::IDLE, &ALPHABET);
    let again = explore(State::IDLE, &ALPHABET);
    assert_eq!(once.states, again.states);
    assert_eq!(once.transitions, again.transitions);
    assert_eq!(once.states.len(), REACHABLE, "{} transitions", once.transitions);
}

#[test]
fn invariants() {
    for s in explore(State::IDLE, &ALPHABET).states {
        let pending = s.stctl.has(Stctl::PENDING);
        assert_eq!(s.interruption, pending, "interruption ⇔ X: {s:?}");
        assert!(pending || s.stctl.is_empty(), "no status without X: {s:?}");
        let starts = Actl::START_PENDING.with(Actl::RESUME_PENDING).with(Actl::SUBCHANNEL_ACTIVE).with(Actl::SUSPENDED);
        let (start, halt, clear) = (s.fctl.has(Fctl::START), s.fctl.has(Fctl::HALT), s.fctl.has(Fctl::CLEAR));
        assert!(!clear || s.fctl.is(Fctl::CLEAR), "clear stands alone: {s:?}");
        assert!(start || !s.actl.any(starts), "activity without start: {s:?}");
        assert!(halt || !s.actl.has(Actl::HALT_PENDING), "HP without H: {s:?}");
        assert_eq!(
            clear,
            s.actl.is(Actl::CLEAR_PENDING) || (clear && pending && s.actl.is_empty()),
            "clear is pending or has ended, and nothing else goes on: {s:?}"
        );
        assert!(!halt || pending || s.actl.has(Actl::HALT_PENDING), "a halt is pending or has ended: {s:?}");
        assert!(
            !s.actl.has(Actl::SUBCHANNEL_ACTIVE)
                || s.actl.has(Actl::DEVICE_ACTIVE) && !s.actl.any(Actl::START_PENDING.with(Actl::SUSPENDED)),
            "SchA only with DevA, without SP and SUSP: {s:?}"
        );
        assert!(
            !s.actl.has(Actl::SUSPENDED) || !s.actl.any(Actl::DEVICE_ACTIVE.with(Actl::START_PENDING)),
            "suspended and nothing else: {s:?}"
        );
        assert_eq!(start, s.owner.is_some(), "a start has an owner: {s:?}");
        assert!(start || s.orb == OrbEcho::ZERO, "{s:?}");
        let blank = s.device_status == 0 && s.subchannel_status == 0 && s.deferred_cc == 0 && !s.z;
        assert!(pending || blank, "status fields without X: {s:?}");
        assert!(s.deferred_cc == 0 || start && s.actl.has(Actl::START_PENDING), "a deferred code refuses a start: {s:?}");
        assert!(
            !(pending && s.actl.has(Actl::START_PENDING)) || s.deferred_cc != 0,
            "status beside SP is a deferred code: {s:?}"
        );
        assert!(
            !s.actl.has(Actl::HALT_PENDING) || !pending || s.actl.has(Actl::SUSPENDED),
            "status beside HP is a suspension's: {s:?}"
        );
        let waits = s.actl.has(Actl::DEVICE_ACTIVE) && !s.actl.has(Actl::SUBCHANNEL_ACTIVE);
        assert!(!waits || s.device_owner.is_some(), "whose device end: {s:?}");
        assert!(s.pmcw.fields.enabled || s.fctl.is_empty() && s.stctl.is_empty(), "disabled and quiet: {s:?}");
    }
}

/// Whatever goes on, the steps alone bring it to an end, and every function can end in one status.
#[test]
fn every_accepted_function_can_end() {
    for state in explore(State::IDLE, &ALPHABET).states {
        let busy = !matches!(state.doing(), Doing::Idle | Doing::Suspended);
        assert!(!busy || state.legal_progress().iter().any(|&p| p != Progress::Attention), "stuck: {state:?}");
        if !busy || state.doing() == Doing::DeviceActive {
            continue;
        }
        let ends = explore(state, &[]).states.into_iter().any(|s| s.interruption);
        assert!(ends, "never an interruption: {state:?}");
    }
}

#[test]
fn clear_gets_every_enabled_subchannel_back_to_nothing() {
    for before in explore(State::IDLE, &ALPHABET).states {
        let mut state = before;
        if !state.pmcw.fields.enabled {
            continue;
        }
        assert_eq!(state.execute(Instruction::Csch).cc, 0);
        assert_eq!(state.legal_progress().first(), Some(&Progress::Clear));
        let stored = state.progress(Progress::Clear).stored.expect("one status");
        assert!(stored.fresh);
        assert_eq!(stored.scsw.meaningful().word0(), 0x1001);
        assert_eq!(state.execute(Instruction::Tsch).cc, 0);
        let pmcw = state.pmcw;
        assert_eq!((pmcw.pnom, pmcw.fields.pom), (0, 0xFF));
        assert_eq!(state, State { pmcw, ..State::IDLE });
    }
}

/// Status is stored only where an interruption is made or joined, and progress never withdraws one.
#[test]
fn progress_stores_and_never_withdraws() {
    for before in explore(State::IDLE, &ALPHABET).states {
        for step in before.legal_progress() {
            let mut after = before;
            let events = after.progress(step);
            assert!(!before.interruption || after.interruption, "{step:?} {before:?}");
            let status = |s: State| (s.stctl, s.device_status, s.subchannel_status, s.deferred_cc, s.z, s.interruption);
            assert!(events.stored.is_some() || status(after) == status(before), "{step:?} {before:?}");
            assert!(events.stored.is_none() || after.interruption, "{step:?} {before:?}");
            if let Some(stored) = events.stored {
                assert_eq!(stored.fresh, !before.interruption);
                assert_eq!(stored.scsw, after.scsw());
                assert_eq!(stored.intparm, after.pmcw.fields.intparm);
            }
        }
    }
}

/// Delivered = held + a TEST SUBCHANNEL at the instant the status is stored.
#[test]
fn delivered_is_held_with_tsch_inserted() {
    for before in explore(State::IDLE, &ALPHABET).states {
        for step in before.legal_progress() {
            let (mut held, mut delivered) = (before, before);
            let events = held.progress(step);
            let delivery = delivered.progress_delivered(step);
            if events.stored.is_some() {
                assert_eq!(held.execute(Instruction::Tsch).cc, 0);
            }
            assert_eq!(delivery.events, events);
            assert_eq!(delivery.taken, events.stored.is_some());
            assert_eq!(delivered, held, "{step:?} {before:?}");
        }
    }
}

#[test]
fn device_end_after_disabling_is_dropped() {
    let mut state = fctl_model::examples::DEVICE_ACTIVE;
    assert_eq!(state.execute(Instruction::Msch(DISABLE)).cc, 0);
    assert!(state.progress(Progress::DeviceEnd).dropped);
    assert_eq!(state.doing(), Doing::Idle);
}

#[test]
#[should_panic(expected = "cannot happen")]
fn a_step_that_is_not_legal_is_refused() {
    let mut state = State::IDLE;
    state.progress(Progress::IssueStart);
}

#[test]
fn nothing_happens_to_a_subchannel_that_is_not_there() {
    assert!(State::NOT_PROVIDED.legal_progress().is_empty());
    assert!(State::NOT_VALID.legal_progress().is_empty());
}
