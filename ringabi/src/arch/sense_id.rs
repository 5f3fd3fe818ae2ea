// SPDX-License-Identifier: MIT OR Apache-2.0
//! Sense-ID data: what a device answers to command E4.

/// Command-information word: tells which command code a device uses for a purpose. Common I/O-Device Commands (SA22-7204).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Ciw {
    /// Purpose, 0 to 15 (only the four low bits are used).
    pub kind: u8,
    /// Command code.
    pub command: u8,
    /// How many bytes the command transfers.
    pub count: u16,
}

impl Ciw {
    /// Purpose: read configuration data.
    pub const READ_CONFIGURATION_DATA: u8 = 0;
    /// Purpose: set interface identifier.
    pub const SET_INTERFACE_IDENTIFIER: u8 = 1;
    /// Purpose: read node identifier.
    pub const READ_NODE_IDENTIFIER: u8 = 2;

    /// The four bytes: `0100tttt`, command, count.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 4] {
        let [c0, c1] = self.count.to_be_bytes();
        [0x40 | self.kind & 0x0F, self.command, c0, c1]
    }
}

/// Sense-ID data: 7 bytes, or 8 and 4 more for each command-information word, 256 at most. Common I/O-Device Commands
/// (SA22-7204).
///
/// Built once when a device is set up; answering is a copy of [`as_bytes`](Self::as_bytes).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SenseId {
    bytes: [u8; Self::MAX_SIZE],
    ciws: usize,
}

impl SenseId {
    /// The longest sense-ID data in bytes.
    pub const MAX_SIZE: usize = 256;

    /// Types and models of control unit and device, without command-information words.
    #[must_use]
    pub const fn new(cu_type: u16, cu_model: u8, device_type: u16, device_model: u8) -> Self {
        let mut bytes = [0; Self::MAX_SIZE];
        bytes[0] = 0xFF;
        [bytes[1], bytes[2]] = cu_type.to_be_bytes();
        bytes[3] = cu_model;
        [bytes[4], bytes[5]] = device_type.to_be_bytes();
        bytes[6] = device_model;
        Self { bytes, ciws: 0 }
    }

    /// Adds a command-information word.
    ///
    /// # Errors
    ///
    /// Gives the word back when 62 are there already: no more fit into 256 bytes.
    pub fn push_ciw(&mut self, ciw: Ciw) -> Result<(), Ciw> {
        match self.bytes[8..].chunks_exact_mut(4).nth(self.ciws) {
            Some(slot) => {
                slot.copy_from_slice(&ciw.to_bytes());
                self.ciws += 1;
                Ok(())
            }
            None => Err(ciw),
        }
    }

    /// The data.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match self.ciws {
            0 => &self.bytes[..7],
            ciws => &self.bytes[..8 + 4 * ciws],
        }
    }

    /// Control-unit type.
    #[must_use]
    pub const fn cu_type(&self) -> u16 {
        u16::from_be_bytes([self.bytes[1], self.bytes[2]])
    }

    /// Control-unit model.
    #[must_use]
    pub const fn cu_model(&self) -> u8 {
        self.bytes[3]
    }

    /// Device type.
    #[must_use]
    pub const fn device_type(&self) -> u16 {
        u16::from_be_bytes([self.bytes[4], self.bytes[5]])
    }

    /// Device model.
    #[must_use]
    pub const fn device_model(&self) -> u8 {
        self.bytes[6]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_short_form_has_7_bytes() {
        let id = SenseId::new(0x6310, 0x80, 0x9336, 0x10);
        assert_eq!(id.as_bytes(), [0xFF, 0x63, 0x10, 0x80, 0x93, 0x36, 0x10]);
        assert_eq!((id.cu_type(), id.cu_model(), id.device_type(), id.device_model()), (0x6310, 0x80, 0x9336, 0x10));
    }

    #[test]
    fn command_information_words_start_at_byte_8() {
        let mut id = SenseId::new(0x3990, 0xE9, 0x3390, 0x0A);
        id.push_ciw(Ciw { kind: Ciw::READ_CONFIGURATION_DATA, command: 0xFA, count: 0x0100 }).unwrap();
        id.push_ciw(Ciw { kind: Ciw::READ_NODE_IDENTIFIER, command: 0xCE, count: 0x0020 }).unwrap();
        assert_eq!(id.as_bytes(), [0xFF, 0x39, 0x90, 0xE9, 0x33, 0x90, 0x0A, 0, 0x40, 0xFA, 0x01, 0x00, 0x42, 0xCE, 0x00, 0x20]);
    }

    #[test]
    fn the_63rd_word_is_given_back() {
        let ciw = Ciw { kind: 1, command: 0x73, count: 4 };
        let mut id = SenseId::new(1, 2, 3, 4);
        for _ in 0..62 {
            id.push_ciw(ciw).unwrap();
        }
        assert_eq!(id.push_ciw(ciw), Err(ciw));
        assert_eq!(id.as_bytes().len(), 256);
    }
}
