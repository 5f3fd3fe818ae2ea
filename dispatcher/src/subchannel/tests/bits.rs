// SPDX-License-Identifier: MIT OR Apache-2.0
//! The bits themselves: none stands for two things, and TEST SUBCHANNEL clears those that it should.

use super::*;

/// That `^` in the place of `|` between these constants would be the same: see `docs/mutants.md`.
#[test]
fn the_bits_of_word_0_have_none_in_common() {
    let bits =
        [S, H, C, RP, SP, HP, CP, SCHA, DEVA, SUSP, A, I, P, SEC, X, EXTENDED, ZERO_CONDITION, PATH_NOT_OPERATIONAL, DEFERRED_CC];
    for (at, one) in bits.iter().enumerate() {
        assert_ne!(*one, 0);
        assert!(bits[..at].iter().all(|other| one & other == 0), "{one:#010x}");
    }
    let echo = Scsw::from_orb(&Orb::from_words([u32::MAX; 3])).control_word();
    assert_eq!(echo & bits.iter().sum::<u32>(), 0, "the echo of an ORB has none of them");
    let together = [0x7000, 0x0FE0, 0x001F, 0x0307_7FFF];
    assert_eq!([FCTL, ACTL, STCTL, bits.iter().sum()], together);
    assert_eq!([ACTIVE, STOPPING, CHANNEL_ENDED, ENDED, ENDED_WITH_ALERT], [0x00C0, 0x0300, 0x0045, 0x0007, 0x0017]);
}

/// The rows of the reference's table "What TSCH clears", each with every bit on that the row does not ask for otherwise. Most of these words
/// cannot come about.
#[test]
fn what_test_subchannel_clears() {
    let echo = 0xF8F8_0000;
    let all = 0x0307_7FFF;
    for (seen, left) in [
        // Anything but I+X: only subchannel active and device active stay.
        (all, 0x0000_00C0),
        (all & !I, 0x0000_00C0),
        (all & !(STCTL & !X), 0x0000_00C0),
        (all & !(A | P | I), 0x0000_00C0),
        // I+X, not suspended: the status alone, with Z.
        (all & !(A | P | SEC | SUSP), 0x0303_7FC0),
        // I+X, suspended: without a halt RP, with one all functions.
        (all & !(A | P | SEC | H), 0x0302_57E0),
        (all & !(A | P | SEC), 0x0302_00C0),
    ] {
        let mut machine = machine(HELD);
        machine.subchannel.word0 = echo | seen;
        machine.subchannel.status = 0x0C00_0001;
        machine.subchannel.take_status();
        assert_eq!((machine.subchannel.word0, machine.subchannel.status), (echo & !all | left, 0), "{seen:#010x}");
    }
}
