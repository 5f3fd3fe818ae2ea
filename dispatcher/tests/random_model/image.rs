// SPDX-License-Identifier: MIT OR Apache-2.0
//! Between the dispatcher's architected blocks and the model's.

use super::rng::Rng;
use fctl_model::{Actl, Fctl, Fields, OrbEcho, Scsw, Stctl};
use fctl_ringabi::arch::{self, CcwFormat, Orb, OrbControl, PmcwCharacteristics, PmcwFlags, Schib};

/// The PMCW flags that stand in [`Fields::other`] where the PMCW has them: limit mode, measurement modes, multipath.
const OTHER_FLAGS: u16 = 0x007C;
/// In [`Fields::other`]: concurrent sense.
pub const CONCURRENT_SENSE: u32 = 1;

/// A status word in the model's form, with what a program may look at.
pub fn scsw(scsw: &arch::Scsw) -> Scsw {
    let [word0, _, word2] = scsw.to_words();
    let [device_status, subchannel_status, ..] = word2.to_be_bytes();
    let [_, _, high, low] = word0.to_be_bytes();
    let control = u16::from_be_bytes([high, low]);
    Scsw {
        orb: echo_of(scsw.key(), word0),
        deferred_cc: scsw.deferred_cc(),
        z: word0 & 0x0004_0000 != 0,
        n: word0 & 0x0001_0000 != 0,
        fctl: Fctl::from_ctrl(control),
        actl: Actl::from_ctrl(control),
        stctl: Stctl::from_ctrl(control),
        device_status,
        subchannel_status,
    }
    .meaningful()
}

fn echo_of(key: u8, word: u32) -> OrbEcho {
    OrbEcho {
        key,
        suspend: word & 0x0800_0000 != 0,
        format: word & 0x0080_0000 != 0,
        prefetch: word & 0x0040_0000 != 0,
        initial_status: word & 0x0020_0000 != 0,
        address_limit: word & 0x0010_0000 != 0,
        suppress_suspended: word & 0x0008_0000 != 0,
    }
}

/// What the status word will show of an ORB.
pub fn echo(orb: &Orb) -> OrbEcho {
    echo_of(orb.key(), orb.control_word())
}

/// An ORB with any flags: the program is at `cpa`, in format 1 or, where nobody looks at it, in either.
pub fn orb(rng: &mut Rng, cpa: u32, any_format: bool) -> Orb {
    const FLAGS: [OrbControl; 12] = [
        OrbControl::SUSPEND,
        OrbControl::SUSPEND,
        OrbControl::STREAMING,
        OrbControl::MODIFICATION,
        OrbControl::SYNCHRONIZATION,
        OrbControl::PREFETCH,
        OrbControl::INITIAL_STATUS,
        OrbControl::ADDRESS_LIMIT,
        OrbControl::SUPPRESS_SUSPENDED,
        OrbControl::SUPPRESS_INCORRECT_LENGTH,
        OrbControl::MIDAW,
        OrbControl::FORMAT_2_IDAW,
    ];
    let [a, b, ..] = rng.next().to_le_bytes();
    let intparm = u32::try_from(rng.next() >> 32).unwrap();
    // One start in twenty or so selects no path that there is.
    let lpm = if rng.percent(90) { b | 0x80 } else { b };
    let mut orb = Orb::new(intparm, cpa).with_key(a & 0xF).with_lpm(lpm);
    for flag in FLAGS {
        if rng.percent(40) {
            orb = orb.with_control(flag);
        }
    }
    if any_format && rng.percent(50) {
        orb = orb.with_format(CcwFormat::Zero);
    }
    orb
}

/// An operand of MODIFY SUBCHANNEL with these fields.
pub fn schib(fields: &Fields) -> Schib {
    let mut schib = Schib::initial(0x7777);
    let [_, _, high, low] = fields.other.to_be_bytes();
    schib.pmcw.set_flags(PmcwFlags::from_bits_retain(u16::from_be_bytes([high, low]) & OTHER_FLAGS));
    schib.pmcw.set_isc(fields.isc);
    let mut flags = schib.pmcw.flags();
    flags.set(PmcwFlags::ENABLED, fields.enabled);
    schib.pmcw.set_flags(flags);
    schib.pmcw.set_intparm(fields.intparm);
    schib.pmcw.lpm = fields.lpm;
    schib.pmcw.pom = fields.pom;
    let [mbi_high, mbi_low, ..] = fields.other.to_be_bytes();
    schib.pmcw.set_mbi(u16::from_be_bytes([mbi_high, mbi_low]));
    schib.pmcw.set_characteristics(PmcwCharacteristics::from_bits_retain(fields.other & CONCURRENT_SENSE));
    schib
}

/// The modifiable fields of a stored SCHIB.
pub fn fields(schib: &Schib) -> Fields {
    let pmcw = &schib.pmcw;
    Fields {
        intparm: pmcw.intparm(),
        isc: pmcw.isc(),
        enabled: pmcw.is_enabled(),
        lpm: pmcw.lpm,
        pom: pmcw.pom,
        other: (u32::from(pmcw.mbi()) << 16)
            | u32::from(pmcw.flags().bits() & OTHER_FLAGS)
            | (pmcw.characteristics().bits() & CONCURRENT_SENSE),
    }
}

/// Any fields; enabled for the most part.
pub fn any_fields(rng: &mut Rng) -> Fields {
    let word = rng.next().to_le_bytes();
    let limit_mode = rng.one_of(&[0u32, 0x20, 0x40]);
    let other = (u32::from(u16::from_le_bytes([word[0], word[1]])) << 16) | limit_mode | (u32::from(word[2]) & 0x1C);
    Fields {
        intparm: u32::try_from(rng.next() >> 32).unwrap(),
        isc: word[3] & 7,
        enabled: rng.percent(75),
        lpm: word[4],
        pom: word[5],
        other: other | (u32::from(rng.percent(60)) * CONCURRENT_SENSE),
    }
}
