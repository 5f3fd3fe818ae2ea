// SPDX-License-Identifier: MIT OR Apache-2.0
//! The regions of a vfio-ccw device, byte for byte as `linux/vfio_ccw.h` and QEMU lay them out.
//!
//! QEMU writes its own structures: ORB and SCSW arrive in the host's byte order. What it reads as the hardware's, the IRB, is big-endian.

use fctl_ringabi::arch::{Irb, Orb};

/// One region; its number is its index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Region {
    /// SSCH by writing, the IRB by reading.
    Io,
    /// HSCH and CSCH.
    Command,
    /// The SCHIB, of which QEMU takes what is about paths.
    Schib,
    /// Channel reports.
    ChannelReport,
}

impl Region {
    /// All, in order.
    pub const ALL: [Self; 4] = [Self::Io, Self::Command, Self::Schib, Self::ChannelReport];
    /// A region's offset is its index, shifted.
    const SHIFT: u32 = 10;

    /// By its index.
    pub fn from_index(index: u32) -> Option<Self> {
        Self::ALL.get(usize::try_from(index).ok()?).copied()
    }

    /// By the offset of an access, which must be the region's beginning.
    pub fn at(offset: i64) -> Option<Self> {
        let offset = u32::try_from(offset).ok()?;
        Self::from_index(offset >> Self::SHIFT).filter(|region| region.offset() == u64::from(offset))
    }

    /// Where it begins.
    pub const fn offset(self) -> u64 {
        (self as u64) << Self::SHIFT
    }

    /// Its size in bytes.
    pub const fn size(self) -> usize {
        match self {
            Self::Io => IO_BYTES,
            Self::Command | Self::ChannelReport => 8,
            Self::Schib => SCHIB_BYTES,
        }
    }
}

/// ORB 12, SCSW 12, IRB 96, return code 4.
pub const IO_BYTES: usize = 124;
/// The SCHIB.
pub const SCHIB_BYTES: usize = 52;

const ORB: std::ops::Range<usize> = 0..12;
const IRB: std::ops::Range<usize> = 24..120;

/// The ORB that QEMU wrote: three words, of which the middle one is a half-word and two bytes to QEMU.
pub fn orb(region: &[u8; IO_BYTES]) -> Orb {
    let [i0, i1, i2, i3, c0, c1, lpm, c3, a0, a1, a2, a3, ..] = *region;
    let control = u32::from(u16::from_ne_bytes([c0, c1])) << 16 | u32::from(lpm) << 8 | u32::from(c3);
    Orb::from_words([u32::from_ne_bytes([i0, i1, i2, i3]), control, u32::from_ne_bytes([a0, a1, a2, a3])])
}

/// The region that gives QEMU this IRB.
pub fn with_irb(irb: &Irb) -> [u8; IO_BYTES] {
    let mut region = [0; IO_BYTES];
    region[IRB].copy_from_slice(&irb.to_bytes());
    region
}

/// The SCHIB of a subchannel whose one path works. QEMU keeps the rest of it itself.
pub fn schib() -> [u8; SCHIB_BYTES] {
    let mut schib = [0; SCHIB_BYTES];
    // PMCW: last-path-used mask, path-installed mask; path-operational mask, path-available mask.
    (schib[10], schib[11], schib[14], schib[15]) = (0x80, 0x80, 0xFF, 0x80);
    schib
}

/// What the command region is written with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// HSCH.
    Halt,
    /// CSCH.
    Clear,
}

/// The command that QEMU wrote, if there is such a one.
pub fn command(region: &[u8; 8]) -> Option<Command> {
    let [a, b, c, d, ..] = *region;
    match u32::from_ne_bytes([a, b, c, d]) {
        1 => Some(Command::Halt),
        2 => Some(Command::Clear),
        _ => None,
    }
}

const _: () = assert!(ORB.end == Orb::SIZE && IRB.end - IRB.start == Irb::SIZE && IRB.end + 4 == IO_BYTES);
