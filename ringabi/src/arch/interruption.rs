// SPDX-License-Identifier: MIT OR Apache-2.0
//! The I/O interruption code.

use zerocopy::byteorder::{BE, U32};

use super::SubsystemId;
use crate::wire::wire;

wire! {
    /// I/O interruption code, as an interruption or TEST PENDING INTERRUPTION stores it at real storage 184-195 (words 0
    /// and 1 alone when TEST PENDING INTERRUPTION names an operand). Principles of Operation ch. 6.
    pub struct InterruptionCode: 12 {
        0 => subsystem: U32<BE>,
        4 => intparm: U32<BE>,
        8 => identification: U32<BE>,
    }
}

impl InterruptionCode {
    const ADAPTER: u32 = 0x8000_0000;

    /// The code of a subchannel's interruption; `isc` is 0 to 7 (only the three low bits are used).
    #[inline]
    #[must_use]
    pub const fn new(subsystem: SubsystemId, intparm: u32, isc: u8) -> Self {
        Self {
            subsystem: U32::new(subsystem.word()),
            intparm: U32::new(intparm),
            identification: U32::new(((isc & 7) as u32) << 27),
        }
    }

    /// The subchannel.
    #[inline]
    #[must_use]
    pub const fn subsystem(&self) -> SubsystemId {
        SubsystemId::from_word(self.subsystem.get())
    }

    /// The interruption parameter.
    #[inline]
    #[must_use]
    pub const fn intparm(&self) -> u32 {
        self.intparm.get()
    }

    /// The interruption subclass, 0 to 7.
    #[inline]
    #[must_use]
    pub const fn isc(&self) -> u8 {
        (self.identification.get() >> 27 & 7) as u8
    }

    /// Whether an adapter interrupted, and not a subchannel.
    #[inline]
    #[must_use]
    pub const fn is_adapter(&self) -> bool {
        self.identification.get() & Self::ADAPTER != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_subclass_lies_in_bits_2_to_4_of_word_2() {
        let code = InterruptionCode::new(SubsystemId::new(0, 5), 0xCAFE_F00D, 3);
        assert_eq!(code.to_bytes(), [0, 1, 0, 5, 0xCA, 0xFE, 0xF0, 0x0D, 0x18, 0, 0, 0]);
        assert_eq!((code.subsystem(), code.intparm(), code.isc()), (SubsystemId::new(0, 5), 0xCAFE_F00D, 3));
        assert!(!code.is_adapter());
        assert!(InterruptionCode::from_bytes(&[0x80; 12]).is_adapter());
    }
}
