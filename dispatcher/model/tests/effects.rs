// SPDX-License-Identifier: MIT OR Apache-2.0
//! §2.3: what condition code 0 changes, in every reachable state. §3.4: what TEST SUBCHANNEL clears.

use fctl_model::examples as e;
use fctl_model::{explore, tsch_row, Actl, Fctl, Image, Instruction, Op, State, Stctl, TschRow, ALPHABET, PLAIN, SUSPENDABLE};

/// Every reachable state with every instruction, its response and the state after it.
fn everywhere(mut check: impl FnMut(State, Instruction, u8, State)) {
    for before in explore(State::IDLE, &ALPHABET).states {
        for instruction in ALPHABET {
            let mut after = before;
            let response = after.execute(instruction);
            assert_eq!(response.withdrawn, before.interruption && !after.interruption);
            check(before, instruction, response.cc, after);
        }
    }
}

#[test]
fn a_refused_instruction_changes_nothing() {
    everywhere(|before, instruction, cc, after| {
        if cc != 0 {
            assert_eq!(before, after, "{instruction:?}");
        }
    });
}

#[test]
fn the_three_sets_after_condition_code_0() {
    everywhere(|before, instruction, cc, after| {
        if cc != 0 {
            return;
        }
        let (f, a, s) = (before.fctl, before.actl, before.stctl);
        let (fctl, actl, stctl) = match instruction.op() {
            Op::Ssch => (Fctl::START, a.with(Actl::START_PENDING), s),
            Op::Hsch => {
                let active = a.has(Actl::SUBCHANNEL_ACTIVE.with(Actl::DEVICE_ACTIVE));
                let reset = active && before.intermediate_only();
                (f.with(Fctl::HALT), a.with(Actl::HALT_PENDING), if reset { Stctl::NONE } else { s })
            }
            Op::Csch => (Fctl::CLEAR, Actl::CLEAR_PENDING, Stctl::NONE),
            Op::Xsch => {
                (f.without(Fctl::START), a.without(Actl::START_PENDING).without(Actl::RESUME_PENDING).without(Actl::SUSPENDED), s)
            }
            Op::Rsch => (f, a.with(Actl::RESUME_PENDING), s),
            Op::Msch | Op::Stsch => (f, a, s),
            Op::Tsch => return,
        };
        assert_eq!((after.fctl, after.actl, after.stctl), (fctl, actl, stctl), "{instruction:?} in {before:?}");
    });
}

#[test]
fn what_else_changes() {
    everywhere(|before, instruction, cc, after| {
        if cc != 0 {
            return;
        }
        match instruction {
            Instruction::Ssch(start) => {
                assert_eq!(after.pmcw.fields.intparm, start.intparm);
                assert_eq!((after.pmcw.pnom, after.n, after.z), (0, false, false));
                assert_eq!((after.device_status, after.subchannel_status), (0, 0));
                assert_eq!((after.orb, after.owner), (start.orb, Some(start.id)));
            }
            Instruction::Msch(fields) => {
                assert_eq!(after.pmcw.fields, fields);
                assert_eq!(after.pmcw.pnom, before.pmcw.pnom);
            }
            Instruction::Stsch => assert_eq!(after, before),
            Instruction::Rsch if before.actl.has(Actl::SUSPENDED) => {
                assert_eq!(after.pmcw.pnom, 0);
            }
            _ => assert_eq!(after.pmcw, before.pmcw, "{instruction:?}"),
        }
        if instruction == Instruction::Xsch {
            assert!(!before.interruption && !after.interruption && after.fctl.is_empty());
        }
    });
}

#[test]
fn tsch_stores_for_0_and_1_and_stsch_for_0() {
    for state in explore(State::IDLE, &ALPHABET).states {
        let mut after = state;
        let response = after.execute(Instruction::Tsch);
        let stored = (response.cc < 2).then_some(Image::Irb(state.scsw()));
        assert_eq!(response.image, stored);
        match after.execute(Instruction::Stsch).image {
            Some(Image::Schib(schib)) => assert_eq!(schib.scsw, after.scsw()),
            other => panic!("{other:?}"),
        }
    }
}

/// §3.4 as literal cases: function control, activity control and status control before, and the first two after.
#[test]
fn what_tsch_clears() {
    let s = Fctl::START;
    let s_h = s.with(Fctl::HALT);
    let scha_deva = Actl::SUBCHANNEL_ACTIVE.with(Actl::DEVICE_ACTIVE);
    let (rp, susp) = (Actl::RESUME_PENDING, Actl::SUSPENDED);
    let all_pending = rp.with(Actl::START_PENDING).with(Actl::HALT_PENDING).with(Actl::CLEAR_PENDING).with(susp);
    let x = Stctl::PENDING;
    let i_x = x.with(Stctl::INTERMEDIATE);
    let p_x = x.with(Stctl::PRIMARY);
    let none = (Fctl::NONE, Actl::NONE);
    let cases = [
        (s, Actl::NONE, p_x, none, false),
        (s, Actl::DEVICE_ACTIVE, p_x, (Fctl::NONE, Actl::DEVICE_ACTIVE), false),
        (s_h, all_pending.with(scha_deva), x, (Fctl::NONE, scha_deva), false),
        (s, Actl::START_PENDING, x.with(Stctl::ALERT), none, false),
        (s, Actl::NONE, p_x.with(Stctl::INTERMEDIATE), none, false),
        (s, scha_deva, i_x, (s, scha_deva), true),
        (s, scha_deva.with(rp), i_x, (s, scha_deva.with(rp)), true),
        (s, susp, i_x, (s, susp), false),
        (s, susp.with(rp), i_x, (s, susp), false),
        (s_h, susp, i_x, none, false),
        (s_h, susp.with(Actl::HALT_PENDING).with(rp), i_x, none, false),
    ];
    for (fctl, actl, stctl, after, keeps_n) in cases {
        let mut state = State { fctl, actl, stctl, n: true, interruption: true, ..e::start_pending(PLAIN) };
        let response = state.execute(Instruction::Tsch);
        assert_eq!((response.cc, response.withdrawn), (0, true));
        assert_eq!((state.fctl, state.actl), after, "{fctl:?} {actl:?} {stctl:?}");
        assert_eq!(state.stctl, Stctl::NONE);
        assert_eq!(state.n, keeps_n, "{fctl:?} {actl:?} {stctl:?}");
        assert!(!state.interruption);
    }
}

#[test]
fn the_rows_of_tsch() {
    let i_x = Stctl::PENDING.with(Stctl::INTERMEDIATE);
    let row = |state: State| tsch_row(state.fctl, state.actl, state.stctl);
    assert_eq!(row(e::STATUS_PENDING), TschRow::Ending);
    assert_eq!(row(e::STATUS_ALONE), TschRow::Ending);
    assert_eq!(row(e::ACTIVE_INTERMEDIATE), TschRow::Intermediate);
    assert_eq!(row(e::SUSPENDED_PENDING), TschRow::Suspended);
    assert_eq!(row(e::SUSPENDED_HALT), TschRow::SuspendedHalt);
    assert_eq!(tsch_row(Fctl::START, Actl::SUSPENDED, i_x.with(Stctl::ALERT)), TschRow::Ending);
}

/// §1.5: images as words.
#[test]
fn word_0() {
    assert_eq!(e::CLEAR_PENDING.scsw().word0(), 0x0000_1100);
    assert_eq!(e::STATUS_ALONE.scsw().word0(), 0x0000_2001);
    assert_eq!(e::start_pending(SUSPENDABLE).scsw().word0(), 0x0820_4400);
    assert_eq!(e::active(PLAIN).scsw().word0(), 0x0080_40C0);
    assert_eq!(e::SUSPENDED_PENDING.scsw().word0(), 0x0820_4029);
    assert_eq!(e::UNSOLICITED.scsw().word0(), 0x0000_0011);
    let mut cleared = e::CLEAR_PENDING;
    cleared.progress(fctl_model::Progress::Clear);
    assert_eq!(cleared.scsw().word0(), 0x0000_1001, "§3.3: the image of a clear");
}

/// A start clears N and PNOM even where nothing in this model leaves them on.
#[test]
fn a_start_clears_the_path_not_operational_condition() {
    let mut state = State { n: true, ..State::IDLE };
    state.pmcw.pnom = 0x80;
    assert_eq!(state.execute(Instruction::Ssch(PLAIN)).cc, 0);
    assert_eq!((state.n, state.pmcw.pnom), (false, 0));
}
