// SPDX-License-Identifier: MIT OR Apache-2.0
//! The parameters of DEFINE EXTENT and LOCATE, and what they allow (reference: §6.2).

/// Why parameters are refused; it is always command reject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rejected;

/// The part of the volume that a program may reach, as DEFINE EXTENT gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extent {
    /// Bits 0-1 of the mask: which writes are allowed.
    write_control: u8,
    /// The block of the volume where the extent begins.
    start: u32,
    /// The numbers that the data set gives to its first and last block.
    first: u32,
    last: u32,
}

impl Extent {
    /// Write control: all writes but formatting.
    const NO_FORMAT: u8 = 0x00;
    /// Write control: no write.
    const NO_WRITE: u8 = 0x40;

    /// The whole volume, all writes but formatting: what READ IPL implies.
    pub fn whole(blocks: u32) -> Self {
        Self { write_control: Self::NO_FORMAT, start: 0, first: 0, last: blocks.saturating_sub(1) }
    }

    /// Checks the 16 bytes of DEFINE EXTENT against the size of the volume.
    #[inline]
    pub fn decode(bytes: &[u8; 16], blocks: u32) -> Result<Self, Rejected> {
        // Bytes 2-3 should be 0 but hold the block size from Linux and from VM.
        let [mask, reserved, _, _, s0, s1, s2, s3, f0, f1, f2, f3, l0, l1, l2, l3] = *bytes;
        let start = u32::from_be_bytes([s0, s1, s2, s3]);
        let first = u32::from_be_bytes([f0, f1, f2, f3]);
        let last = u32::from_be_bytes([l0, l1, l2, l3]);
        let inside = match (last.checked_sub(first), blocks.checked_sub(start)) {
            (Some(extra), Some(room)) => extra < room,
            _ => false,
        };
        if mask & 0x20 != 0 || reserved != 0 || !inside {
            return Err(Rejected);
        }
        Ok(Self { write_control: mask & 0xC0, start, first, last })
    }

    /// Checks the 8 bytes of LOCATE against the extent.
    #[inline]
    pub fn locate(&self, bytes: &[u8; 8]) -> Result<Located, Rejected> {
        let [operation, replication, c0, c1, b0, b1, b2, b3] = *bytes;
        let count = u16::from_be_bytes([c0, c1]);
        let block = u32::from_be_bytes([b0, b1, b2, b3]);
        let relative = block.checked_sub(self.first).ok_or(Rejected)?;
        let extra = count.checked_sub(1).ok_or(Rejected)?;
        // Bits 0-2 must be 0, bit 3 is ignored.
        if operation & 0xE0 != 0 || block.checked_add(u32::from(extra)).is_none_or(|last| last > self.last) {
            return Err(Rejected);
        }
        // Nearly all locate for this one.
        let access = if operation & 0x0F == 6 { Access::Read } else { self.access(operation & 0x0F, replication, count)? };
        // The extent is inside the volume, so this cannot overflow.
        Ok(Located { access, block: self.start.checked_add(relative).ok_or(Rejected)?, count })
    }

    /// What an operation other than read data wants to do, if it may.
    #[inline(never)]
    fn access(&self, operation: u8, replication: u8, count: u16) -> Result<Access, Rejected> {
        match operation {
            // 5 is write and verify; what is on stable storage needs no second look.
            1 | 5 if self.write_control != Self::NO_WRITE => Ok(Access::Write),
            4 if self.write_control != Self::NO_WRITE && self.write_control != Self::NO_FORMAT => Ok(Access::Format),
            // The data is there `replication` / `count` times; the first copy is as good as any.
            2 if replication != 0 && u16::from(replication) % count == 0 => Ok(Access::Read),
            _ => Err(Rejected),
        }
    }
}

/// What LOCATE prepared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    Read,
    Write,
    /// Formatting defective blocks: allowed, and followed by no command that this device has.
    Format,
}

/// The blocks that LOCATE designates, by their numbers in the volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Located {
    pub access: Access,
    pub block: u32,
    pub count: u16,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn define(mask: u8, start: u32, first: u32, last: u32) -> [u8; 16] {
        let mut bytes = [0; 16];
        (bytes[0], bytes[2]) = (mask, 2);
        bytes[4..8].copy_from_slice(&start.to_be_bytes());
        bytes[8..12].copy_from_slice(&first.to_be_bytes());
        bytes[12..].copy_from_slice(&last.to_be_bytes());
        bytes
    }

    fn locate(operation: u8, replication: u8, count: u16, block: u32) -> [u8; 8] {
        let ([c0, c1], [b0, b1, b2, b3]) = (count.to_be_bytes(), block.to_be_bytes());
        [operation, replication, c0, c1, b0, b1, b2, b3]
    }

    #[test]
    fn an_extent_must_lie_inside_the_volume() {
        assert!(Extent::decode(&define(0, 0, 0, 99), 100).is_ok());
        assert!(Extent::decode(&define(0, 99, 7, 7), 100).is_ok());
        for bad in [
            define(0, 0, 0, 100),
            define(0, 1, 0, 99),
            define(0, 100, 0, 0),
            define(0, 101, 0, 0),
            define(0, 0, 5, 4),
            define(0, 0, 0, u32::MAX),
            define(0x20, 0, 0, 1),
        ] {
            assert_eq!(Extent::decode(&bad, 100), Err(Rejected), "{bad:?}");
        }
        assert!(Extent::decode(&define(0, 0, 0, u32::MAX - 1), u32::MAX).is_ok());
    }

    #[test]
    fn a_location_must_lie_inside_the_extent_and_its_operation_be_allowed() {
        let extent = Extent::decode(&define(0, 50, 10, 19), 100).unwrap();
        let located = |access, block, count| Ok(Located { access, block, count });
        assert_eq!(extent.locate(&locate(0x16, 0, 10, 10)), located(Access::Read, 50, 10));
        assert_eq!(extent.locate(&locate(5, 0, 1, 19)), located(Access::Write, 59, 1));
        assert_eq!(extent.locate(&locate(2, 6, 3, 12)), located(Access::Read, 52, 3));
        for bad in [
            locate(6, 0, 11, 10),
            locate(6, 0, 1, 9),
            locate(6, 0, 1, 20),
            locate(6, 0, 0, 10),
            locate(6, 0, 2, u32::MAX),
            locate(0x26, 0, 1, 10),
            locate(3, 0, 1, 10),
            locate(4, 0, 1, 10),
            locate(2, 0, 1, 10),
            locate(2, 5, 2, 10),
        ] {
            assert_eq!(extent.locate(&bad), Err(Rejected), "{bad:?}");
        }
        let inhibited = Extent::decode(&define(0x40, 50, 10, 19), 100).unwrap();
        for operation in [1, 4, 5] {
            assert_eq!(inhibited.locate(&locate(operation, 0, 1, 10)), Err(Rejected));
        }
        let all = Extent::decode(&define(0xC0, 50, 10, 19), 100).unwrap();
        assert_eq!(all.locate(&locate(4, 0, 1, 10)), located(Access::Format, 50, 1));
    }
}
