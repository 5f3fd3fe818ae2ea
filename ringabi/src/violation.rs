// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the other side of a ring can do wrong, as seen in the shared words.

use core::fmt;

/// The other side wrote something that no correct partner writes. The ring cannot be used any more: the dispatcher fences it,
/// a guest stops posting (SPEC, "Misbehaviour").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Violation {
    /// A slot carries a lap that is neither the expected one nor the one before.
    Lap {
        /// The position that was looked at.
        position: u64,
        /// The lap that the slot carries.
        found: u32,
        /// The lap that would make the slot valid; the one before it means "nothing yet".
        expected: u32,
    },
    /// A head word lies behind what was consumed before or ahead of what was produced.
    Head {
        /// The value in the head word.
        found: u64,
        /// The least value that would be legal: what was seen last.
        least: u64,
        /// The greatest value that would be legal: what was published.
        most: u64,
    },
}

impl Violation {
    /// The code of this violation in the header's fence word (SPEC, "Fence reasons").
    pub const fn fence_reason(&self) -> u32 {
        match self {
            Self::Lap { .. } => 1,
            Self::Head { .. } => 2,
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lap { position, found, expected } => write!(
                f,
                "slot at position {position} carries lap {found}: only {expected} (posted) or {} (not yet posted) may stand there",
                expected.wrapping_sub(1)
            ),
            Self::Head { found, least, most } => {
                write!(f, "head word is {found}: only {least} to {most} may stand there")
            }
        }
    }
}

impl core::error::Error for Violation {}
