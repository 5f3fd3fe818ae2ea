// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a control unit is to the interpreter: it judges commands and names the data; it never sees a CCW, an IDAW or guest memory.

use crate::device::Sense;
use crate::volume::Volume;
use fctl_ringabi::arch::DeviceStatus;

/// The most bytes that a command can exchange with the unit itself (not with its volume): enough for sense ID and for configuration data.
pub const MOST_UNIT_BYTES: usize = 256;

/// Where the interpreter and a unit exchange such bytes.
pub type UnitBytes = [u8; MOST_UNIT_BYTES];

/// Channel end with device end: a command that ended well.
pub const ENDED_WELL: DeviceStatus = DeviceStatus::CHANNEL_END.union(DeviceStatus::DEVICE_END);

/// Channel end, device end and unit check (0E): a command that ended with sense to read, as real control units present it.
pub const ENDED_WITH_CHECK: DeviceStatus = ENDED_WELL.union(DeviceStatus::UNIT_CHECK);

/// Which way data goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Direction {
    /// From the volume to guest memory.
    Read,
    /// From guest memory to the volume.
    Write,
}

/// Data that a command moves between guest memory and the unit's volume, without passing through the dispatcher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// Which way.
    pub direction: Direction,
    /// First byte in the volume; a multiple of `block`.
    pub offset: u64,
    /// How many bytes the unit moves; a multiple of `block`. If the program has room or data for fewer, a read stops there, and a write
    /// makes the rest of the range zeros.
    pub length: u64,
    /// Block size in bytes. Data chaining inside a block is an overrun. Operations end at block boundaries, so that a program that fails leaves
    /// each block old or new, except where one block lies in more pieces of memory than an operation takes
    /// ([`MOST_SEGMENTS`](crate::engine::MOST_SEGMENTS)).
    pub block: u32,
    /// Whether the unit goes on with a data-chained CCW, at a block boundary. If not, a CCW with CD is an overrun, and nothing is moved.
    pub chains_data: bool,
}

/// What a unit wants done for a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// The command is over at once, without data: channel end came with the initial status. Device end and perhaps status modifier
    /// go with it. (A device end that comes later is not supported.)
    Immediate(DeviceStatus),
    /// Unit check in the initial status: the command was not begun. The unit has its sense ready.
    Check,
    /// Busy: another initiator has what the command needs.
    Busy,
    /// The unit sends the first `length` bytes of the [`UnitBytes`] and ends well.
    Send {
        /// How many.
        length: usize,
    },
    /// The unit takes up to `length` bytes, then judges them by [`ControlUnit::received`].
    Receive {
        /// How many.
        length: usize,
    },
    /// Data moves between guest memory and the volume.
    Move(Transfer),
}

/// What went wrong while data moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// Data chaining inside a block.
    Overrun,
    /// The volume ended before the data: somebody made its file smaller.
    EndOfFile,
    /// The host's error number.
    Host(i32),
}

/// A control unit with its device, as the interpreter uses it. Nothing here is called while an operation is in the kernel.
///
/// A unit must refuse (unit check) every command it does not know. No unit has a read-backward command: the interpreter moves data
/// upward only.
pub trait ControlUnit: Send {
    /// A chain of commands begins: at a start, and after a suspension. What belongs to one chain only is forgotten.
    fn begin(&mut self);

    /// A command arrives. Bytes to send go into `bytes`.
    fn command(&mut self, command: u8, bytes: &mut UnitBytes) -> Action;

    /// Judges the bytes of [`Action::Receive`], fewer than asked for if the program had fewer. Gives the ending status; with unit check
    /// the sense is ready.
    fn received(&mut self, command: u8, bytes: &[u8]) -> DeviceStatus;

    /// [`Action::Move`] failed: the unit makes its sense ready. The interpreter presents [`ENDED_WITH_CHECK`].
    fn failed(&mut self, fault: Fault);

    /// The volume that [`Action::Move`] means.
    fn volume(&self) -> Option<&Volume> {
        None
    }

    /// Takes the sense bytes of the last unit check away from the unit.
    fn take_sense(&mut self) -> Option<Sense>;

    /// The clear function: chain and sense are forgotten.
    fn reset(&mut self);

    /// The device is what it was when it was attached: reservations are forgotten, too.
    fn system_reset(&mut self) {
        self.reset();
    }
}
