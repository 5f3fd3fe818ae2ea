// SPDX-License-Identifier: MIT OR Apache-2.0
//! The FBA control unit: which command may come when, and what it does (reference: §6.2).

use super::extent::{Access, Extent, Located, Rejected};
use super::{identity, TooManyBlocks};
use crate::device::emulated::{
    Action, ControlUnit, Direction, Fault, Transfer, UnitBytes, ENDED_WELL, ENDED_WITH_CHECK, MOST_UNIT_BYTES,
};
use crate::device::Sense;
use crate::volume::{Volume, BLOCK_BYTES};
use fctl_ringabi::arch::DeviceStatus;
use std::sync::Arc;

/// Command codes.
mod command {
    pub const READ_IPL: u8 = 0x02;
    pub const NO_OPERATION: u8 = 0x03;
    pub const SENSE: u8 = 0x04;
    pub const UNCONDITIONAL_RESERVE: u8 = 0x14;
    pub const WRITE: u8 = 0x41;
    pub const READ: u8 = 0x42;
    pub const LOCATE: u8 = 0x43;
    pub const DEFINE_EXTENT: u8 = 0x63;
    pub const READ_CHARACTERISTICS: u8 = 0x64;
    pub const RELEASE: u8 = 0x94;
    pub const READ_AND_RESET_LOG: u8 = 0xA4;
    pub const RESERVE: u8 = 0xB4;
    pub const SENSE_ID: u8 = 0xE4;
}

/// Sense byte 0.
const COMMAND_REJECT: u8 = 0x80;
const EQUIPMENT_CHECK: u8 = 0x10;
const OVERRUN: u8 = 0x04;
/// Sense byte 1.
const WRITE_INHIBITED: u8 = 0x02;

/// The sense bytes that this device has.
const SENSE_BYTES: usize = 24;

/// What belongs to one chain of commands.
#[derive(Clone, Copy, Debug, Default)]
struct Chain {
    /// The command before this one.
    previous: Option<u8>,
    extent: Option<Extent>,
    located: Option<Located>,
}

/// The FBA control unit with its device, for one subchannel.
#[derive(Debug)]
pub struct FbaUnit {
    volume: Arc<Volume>,
    blocks: u32,
    initiator: u32,
    chain: Chain,
    sense: Option<Sense>,
}

impl FbaUnit {
    pub(super) fn new(volume: Arc<Volume>, initiator: u32) -> Result<Self, TooManyBlocks> {
        let blocks = u32::try_from(volume.blocks())
            .map_err(|_| TooManyBlocks { name: volume.name().to_owned(), blocks: volume.blocks() })?;
        volume.join(initiator);
        Ok(Self { volume, blocks, initiator, chain: Chain::default(), sense: None })
    }

    /// The volume behind the device.
    pub fn shared_volume(&self) -> &Arc<Volume> {
        &self.volume
    }

    #[cold]
    fn sense(&mut self, byte0: u8, byte1: u8) {
        let mut sense = [0; SENSE_BYTES];
        (sense[0], sense[1]) = (byte0, byte1);
        self.sense = Some(Sense::new(&sense));
    }

    #[inline(always)]
    fn reject(&mut self) -> Action {
        self.sense(COMMAND_REJECT, 0);
        Action::Check
    }

    #[inline(always)]
    fn send_sense(&mut self, bytes: &mut UnitBytes) -> Action {
        let sense = self.sense.take().unwrap_or(Sense::new(&[0; SENSE_BYTES]));
        send(bytes, sense.bytes())
    }

    /// READ: the blocks that LOCATE, or READ IPL, which must have come just before, has prepared for it.
    #[inline(always)]
    fn read(&mut self, previous: Option<u8>) -> Action {
        match (self.chain.located.take(), previous) {
            (Some(Located { access: Access::Read, block, count }), Some(command::LOCATE | command::READ_IPL)) => {
                Action::Move(transfer(Direction::Read, block, count))
            }
            _ => self.reject(),
        }
    }

    /// WRITE: the blocks that LOCATE, which must have come just before, has prepared for it.
    #[inline(always)]
    fn write(&mut self, previous: Option<u8>) -> Action {
        match (self.chain.located.take(), previous) {
            (Some(Located { access: Access::Write, block, count }), Some(command::LOCATE)) => {
                if self.volume.options().read_only {
                    self.sense(COMMAND_REJECT, WRITE_INHIBITED);
                    return Action::Check;
                }
                Action::Move(transfer(Direction::Write, block, count))
            }
            _ => self.reject(),
        }
    }

    /// READ IPL: block 0, by one CCW (data chaining is an overrun), and a READ behind it gets the block after (reference: unverified).
    #[inline(always)]
    fn read_ipl(&mut self, previous: Option<u8>) -> Action {
        if !matches!(previous, None | Some(command::READ_IPL)) {
            return self.reject();
        }
        self.chain.extent = Some(Extent::whole(self.blocks));
        self.chain.located = (self.blocks > 1).then_some(Located { access: Access::Read, block: 1, count: 1 });
        Action::Move(Transfer { chains_data: false, ..transfer(Direction::Read, 0, 1) })
    }

    #[inline(always)]
    fn reserve_or_release(&mut self, command: u8, previous: Option<u8>, bytes: &mut UnitBytes) -> Action {
        let allowed = match command {
            command::UNCONDITIONAL_RESERVE => previous.is_none(),
            _ => self.chain.extent.is_none(),
        };
        if !allowed {
            return self.reject();
        }
        match command {
            command::UNCONDITIONAL_RESERVE => self.volume.reserve_unconditionally(self.initiator),
            command::RELEASE => self.volume.release(self.initiator),
            _ if !self.volume.reserve(self.initiator) => return Action::Busy,
            _ => {}
        }
        self.send_sense(bytes)
    }

    #[inline]
    fn define_extent(&mut self, bytes: &[u8]) -> Result<(), Rejected> {
        let bytes = bytes.try_into().map_err(|_| Rejected)?;
        self.chain.extent = Some(Extent::decode(bytes, self.blocks)?);
        Ok(())
    }

    #[inline]
    fn locate(&mut self, bytes: &[u8]) -> Result<(), Rejected> {
        let bytes = bytes.try_into().map_err(|_| Rejected)?;
        self.chain.located = Some(self.chain.extent.ok_or(Rejected)?.locate(bytes)?);
        Ok(())
    }
}

/// Whether sense stays when this command comes.
fn keeps_sense(command: u8) -> bool {
    matches!(
        command,
        command::NO_OPERATION | command::SENSE | command::RESERVE | command::UNCONDITIONAL_RESERVE | command::RELEASE
    )
}

/// Sends these bytes.
#[inline(always)]
fn send(bytes: &mut UnitBytes, source: &[u8]) -> Action {
    Action::Send { length: put(bytes, source) }
}

/// Puts them where the interpreter takes them from. Gives how many there are.
#[inline(never)]
fn put(bytes: &mut UnitBytes, source: &[u8]) -> usize {
    let length = source.len().min(MOST_UNIT_BYTES);
    bytes[..length].copy_from_slice(&source[..length]);
    length
}

#[inline]
fn transfer(direction: Direction, first: u32, count: u16) -> Transfer {
    Transfer {
        direction,
        offset: u64::from(first) * BLOCK_BYTES,
        length: u64::from(count) * BLOCK_BYTES,
        block: 512,
        chains_data: true,
    }
}

impl ControlUnit for FbaUnit {
    #[inline]
    fn begin(&mut self) {
        self.chain = Chain::default();
    }

    #[inline(always)]
    fn command(&mut self, command: u8, bytes: &mut UnitBytes) -> Action {
        let previous = self.chain.previous.replace(command);
        // Sense is kept until it is read or another command comes; reservations send it, too.
        if self.sense.is_some() && !keeps_sense(command) {
            self.sense = None;
        }
        // What only looks at the device, or takes it away, works against a reservation.
        let reserved = self.volume.is_reserved_against(self.initiator);
        if reserved && !matches!(command, command::SENSE | command::SENSE_ID | command::UNCONDITIONAL_RESERVE) {
            return Action::Busy;
        }
        match command {
            command::NO_OPERATION => Action::Immediate(ENDED_WELL),
            command::SENSE => self.send_sense(bytes),
            command::SENSE_ID => send(bytes, identity::SENSE_ID.as_bytes()),
            command::READ_CHARACTERISTICS => send(bytes, &identity::characteristics(self.blocks)),
            command::READ_AND_RESET_LOG => send(bytes, &[0; SENSE_BYTES]),
            command::DEFINE_EXTENT if self.chain.extent.is_none() => Action::Receive { length: 16 },
            command::LOCATE if self.chain.extent.is_some() => Action::Receive { length: 8 },
            command::READ => self.read(previous),
            command::WRITE => self.write(previous),
            command::READ_IPL => self.read_ipl(previous),
            command::RESERVE | command::UNCONDITIONAL_RESERVE | command::RELEASE => {
                self.reserve_or_release(command, previous, bytes)
            }
            _ => self.reject(),
        }
    }

    #[inline]
    fn received(&mut self, command: u8, bytes: &[u8]) -> DeviceStatus {
        let judged = match command {
            command::DEFINE_EXTENT => self.define_extent(bytes),
            _ => self.locate(bytes),
        };
        match judged {
            Ok(()) => ENDED_WELL,
            Err(Rejected) => {
                self.sense(COMMAND_REJECT, 0);
                ENDED_WITH_CHECK
            }
        }
    }

    fn failed(&mut self, fault: Fault) {
        let byte0 = match fault {
            Fault::Overrun => OVERRUN,
            Fault::EndOfFile | Fault::Host(_) => EQUIPMENT_CHECK,
        };
        self.sense(byte0, 0);
    }

    #[inline]
    fn volume(&self) -> Option<&Volume> {
        Some(&self.volume)
    }

    fn take_sense(&mut self) -> Option<Sense> {
        self.sense.take()
    }

    fn reset(&mut self) {
        self.chain = Chain::default();
        self.sense = None;
    }

    fn system_reset(&mut self) {
        self.reset();
        self.volume.release(self.initiator);
    }
}

impl Drop for FbaUnit {
    /// An initiator that has no subchannel any more could never give up what it has reserved.
    fn drop(&mut self) {
        self.volume.leave(self.initiator);
    }
}
