// SPDX-License-Identifier: MIT OR Apache-2.0
//! The channel-command word in both formats, decoded to one type.

use bitflags::bitflags;

/// Which of the two layouts the CCWs of a program have (ORB word 1 bit 8).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum CcwFormat {
    /// 24-bit data addresses: command, address, flags, unused byte, count.
    Zero,
    /// 31-bit data addresses: command, flags, count, address.
    One,
}

bitflags! {
    /// The flags of a CCW. Principles of Operation ch. 15.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub struct CcwFlags: u8 {
        /// CD: the next CCW continues this one's data.
        const CHAIN_DATA = 0x80;
        /// CC: the next CCW is a further command. Ignored while CD is one.
        const CHAIN_COMMAND = 0x40;
        /// SLI: incorrect length is not indicated. Ignored while CD is one.
        const SUPPRESS_LENGTH = 0x20;
        /// Input is not stored.
        const SKIP = 0x10;
        /// PCI: an intermediate interruption is wanted when this CCW takes control.
        const PROGRAM_CONTROLLED_INTERRUPTION = 0x08;
        /// IDA: the address designates a list of IDAWs.
        const INDIRECT = 0x04;
        /// S: the program suspends here.
        const SUSPEND = 0x02;
        /// MIDA: the address designates a list of MIDAWs.
        const MODIFIED_INDIRECT = 0x01;
    }
}

/// What the low bits of a command code say. Principles of Operation ch. 15.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum CommandClass {
    /// `xxxx0000`: not a command.
    Invalid,
    /// `mmmm0100`.
    Sense,
    /// `xxxx1000`, transfer in channel. In format 1 only 08 is one, see [`Ccw::is_tic`].
    Tic,
    /// `mmmm1100`.
    ReadBackward,
    /// `mmmmmm01`.
    Write,
    /// `mmmmmm10`.
    Read,
    /// `mmmmmm11`.
    Control,
}

impl CommandClass {
    /// The class of a command code.
    #[inline]
    #[must_use]
    pub const fn of(command: u8) -> Self {
        match (command & 3, command & 0x0C) {
            (1, _) => Self::Write,
            (2, _) => Self::Read,
            (3, _) => Self::Control,
            (_, 0x04) => Self::Sense,
            (_, 0x08) => Self::Tic,
            (_, 0x0C) => Self::ReadBackward,
            _ => Self::Invalid,
        }
    }

    /// Whether data goes from the device to storage; only then [`CcwFlags::SKIP`] has a meaning.
    #[inline]
    #[must_use]
    pub const fn is_input(self) -> bool {
        matches!(self, Self::Sense | Self::Read | Self::ReadBackward)
    }
}

/// A channel-command word, decoded. Principles of Operation ch. 15.
///
/// Nothing is checked by decoding: a format-1 address keeps its bit 0, which the interpreter has to refuse.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Ccw {
    /// Command code.
    pub command: u8,
    /// Flags.
    pub flags: CcwFlags,
    /// Byte count.
    pub count: u16,
    /// Data address, or address of the IDAW or MIDAW list, or of the next CCW for a TIC.
    pub address: u32,
}

impl Ccw {
    /// Length of a CCW in bytes.
    pub const SIZE: usize = 8;

    /// Decodes a CCW of the given format.
    #[inline]
    #[must_use]
    pub const fn decode(format: CcwFormat, bytes: &[u8; 8]) -> Self {
        match format {
            CcwFormat::Zero => Self::from_format0(bytes),
            CcwFormat::One => Self::from_format1(bytes),
        }
    }

    /// Decodes a format-0 CCW. Byte 5 is ignored, as the channel does.
    #[inline]
    #[must_use]
    pub const fn from_format0(bytes: &[u8; 8]) -> Self {
        let [command, a1, a2, a3, flags, _, c0, c1] = *bytes;
        Self {
            command,
            flags: CcwFlags::from_bits_retain(flags),
            count: u16::from_be_bytes([c0, c1]),
            address: u32::from_be_bytes([0, a1, a2, a3]),
        }
    }

    /// Decodes a format-1 CCW.
    #[inline]
    #[must_use]
    pub const fn from_format1(bytes: &[u8; 8]) -> Self {
        let [command, flags, c0, c1, a0, a1, a2, a3] = *bytes;
        Self {
            command,
            flags: CcwFlags::from_bits_retain(flags),
            count: u16::from_be_bytes([c0, c1]),
            address: u32::from_be_bytes([a0, a1, a2, a3]),
        }
    }

    /// Encodes as format 0, which has room for the low 24 bits of the address only.
    #[inline]
    #[must_use]
    pub const fn to_format0(&self) -> [u8; 8] {
        let [_, a1, a2, a3] = self.address.to_be_bytes();
        let [c0, c1] = self.count.to_be_bytes();
        [self.command, a1, a2, a3, self.flags.bits(), 0, c0, c1]
    }

    /// Encodes as format 1.
    #[inline]
    #[must_use]
    pub const fn to_format1(&self) -> [u8; 8] {
        let [a0, a1, a2, a3] = self.address.to_be_bytes();
        let [c0, c1] = self.count.to_be_bytes();
        [self.command, self.flags.bits(), c0, c1, a0, a1, a2, a3]
    }

    /// The class of the command code. [`CommandClass::Tic`] is an invalid command where [`is_tic`](Self::is_tic) denies it.
    #[inline]
    #[must_use]
    pub const fn class(&self) -> CommandClass {
        CommandClass::of(self.command)
    }

    /// Whether this is a transfer in channel: format 0 looks at the low four bits of the command only, format 1 at all.
    #[inline]
    #[must_use]
    pub const fn is_tic(&self, format: CcwFormat) -> bool {
        match format {
            CcwFormat::Zero => self.command & 0x0F == 0x08,
            CcwFormat::One => self.command == 0x08,
        }
    }

    /// Whether the next CCW continues this one's data.
    #[inline]
    #[must_use]
    pub const fn chains_data(&self) -> bool {
        self.flags.contains(CcwFlags::CHAIN_DATA)
    }

    /// Whether the next CCW is a further command: CC counts only without CD.
    #[inline]
    #[must_use]
    pub const fn chains_command(&self) -> bool {
        self.flags.contains(CcwFlags::CHAIN_COMMAND) && !self.chains_data()
    }

    /// Whether incorrect length is suppressed: SLI counts only without CD.
    #[inline]
    #[must_use]
    pub const fn suppresses_length(&self) -> bool {
        self.flags.contains(CcwFlags::SUPPRESS_LENGTH) && !self.chains_data()
    }

    /// Whether the command code is a command's: neither invalid nor that of a transfer in channel.
    #[inline]
    #[must_use]
    pub const fn is_command(&self) -> bool {
        !matches!(self.command & 0x0F, 0 | 8)
    }

    /// Whether data goes from the device to storage.
    #[inline]
    #[must_use]
    pub const fn is_input(&self) -> bool {
        // One bit for each value of the low half of a command, which decides the class.
        const INPUT: u16 = {
            let (mut bits, mut low) = (0, 0);
            while low < 16 {
                bits |= (CommandClass::of(low).is_input() as u16) << low;
                low += 1;
            }
            bits
        };
        INPUT >> (self.command & 0x0F) & 1 != 0
    }

    /// Whether input is to be counted but not stored.
    #[inline]
    #[must_use]
    pub const fn skips(&self) -> bool {
        self.flags.contains(CcwFlags::SKIP) && self.is_input()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sense ID, SLI, 256 bytes to 00345678.
    const SENSE_ID: Ccw = Ccw { command: 0xE4, flags: CcwFlags::SUPPRESS_LENGTH, count: 0x0100, address: 0x0034_5678 };

    #[test]
    fn both_formats_decode_to_the_same_command() {
        let format_0 = [0xE4, 0x34, 0x56, 0x78, 0x20, 0xFF, 0x01, 0x00];
        let format_1 = [0xE4, 0x20, 0x01, 0x00, 0x00, 0x34, 0x56, 0x78];
        assert_eq!(Ccw::decode(CcwFormat::Zero, &format_0), SENSE_ID, "byte 5 is ignored");
        assert_eq!(Ccw::decode(CcwFormat::One, &format_1), SENSE_ID);
        assert_eq!(SENSE_ID.to_format0(), [0xE4, 0x34, 0x56, 0x78, 0x20, 0, 0x01, 0x00]);
        assert_eq!(SENSE_ID.to_format1(), format_1);
    }

    #[test]
    fn format_1_keeps_the_reserved_address_bit_and_format_0_has_24_bits() {
        let ccw = Ccw::from_format1(&[0x02, 0xFF, 0, 1, 0xFF, 0, 0, 4]);
        assert_eq!((ccw.address, ccw.flags), (0xFF00_0004, CcwFlags::all()));
        assert_eq!(ccw.to_format0(), [0x02, 0, 0, 4, 0xFF, 0, 0, 1]);
    }

    #[test]
    fn the_low_bits_give_the_class() {
        for (command, class) in [
            (0x00, CommandClass::Invalid),
            (0xF0, CommandClass::Invalid),
            (0x04, CommandClass::Sense),
            (0xE4, CommandClass::Sense),
            (0x08, CommandClass::Tic),
            (0xF8, CommandClass::Tic),
            (0x0C, CommandClass::ReadBackward),
            (0x41, CommandClass::Write),
            (0x42, CommandClass::Read),
            (0x64, CommandClass::Sense),
            (0x03, CommandClass::Control),
            (0x63, CommandClass::Control),
        ] {
            assert_eq!(CommandClass::of(command), class, "{command:02X}");
            let ccw = Ccw { command, ..SENSE_ID };
            assert_eq!(ccw.is_input(), class.is_input(), "{command:02X}");
            assert_eq!(ccw.is_command(), !matches!(class, CommandClass::Invalid | CommandClass::Tic), "{command:02X}");
        }
    }

    #[test]
    fn tic_needs_a_zero_high_nibble_in_format_1_only() {
        let tic = |command| Ccw { command, ..Ccw::default() };
        assert!(tic(0x08).is_tic(CcwFormat::One) && tic(0x08).is_tic(CcwFormat::Zero));
        assert!(tic(0xF8).is_tic(CcwFormat::Zero) && !tic(0xF8).is_tic(CcwFormat::One));
        assert!(!tic(0x0C).is_tic(CcwFormat::Zero));
    }

    #[test]
    fn chain_data_overrules_chain_command_and_sli() {
        let both = Ccw { flags: CcwFlags::from_bits_retain(0xE0), ..SENSE_ID };
        assert!(both.chains_data() && !both.chains_command() && !both.suppresses_length());
        let command = Ccw { flags: CcwFlags::from_bits_retain(0x60), ..SENSE_ID };
        assert!(!command.chains_data() && command.chains_command() && command.suppresses_length());
    }

    #[test]
    fn skip_means_something_for_input_only() {
        for (command, skips) in [(0x02, true), (0x0C, true), (0xE4, true), (0x01, false), (0x03, false)] {
            assert_eq!(Ccw { command, flags: CcwFlags::SKIP, ..SENSE_ID }.skips(), skips, "{command:02X}");
        }
    }
}
