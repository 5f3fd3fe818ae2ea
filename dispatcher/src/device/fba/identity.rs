// SPDX-License-Identifier: MIT OR Apache-2.0
//! What an FBA device says about itself.

use fctl_ringabi::arch::SenseId;

/// Control unit 6310 model 1, device 9336 model 10 (hexadecimal). Linux binds its FBA driver to this pair.
pub(super) const SENSE_ID: SenseId = SenseId::new(0x6310, 0x01, 0x9336, 0x10);

/// Overrunnable transfers in bursts are 40 and 20; this is burst and *data chaining capable*, by which Linux chains blocks.
const MODES: u8 = 0x30;
/// Movable access.
const FEATURES: u8 = 0x08;
/// Class direct access, type 9336.
const CLASS_AND_TYPE: [u8; 2] = [0x21, 0x11];
/// Blocks per cyclical group and per access position of a 9336 model 20; they mean nothing to a file.
const CYCLICAL_GROUP: u32 = 111;
const ACCESS_POSITION: u32 = 777;

/// The 32 bytes of READ DEVICE CHARACTERISTICS (reference: §6.3). Bytes 14-17 are the capacity.
pub(super) fn characteristics(blocks: u32) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes[0] = MODES;
    bytes[1] = FEATURES;
    bytes[2..4].copy_from_slice(&CLASS_AND_TYPE);
    bytes[4..6].copy_from_slice(&512_u16.to_be_bytes());
    bytes[6..10].copy_from_slice(&CYCLICAL_GROUP.to_be_bytes());
    bytes[10..14].copy_from_slice(&ACCESS_POSITION.to_be_bytes());
    bytes[14..18].copy_from_slice(&blocks.to_be_bytes());
    bytes
}
