// SPDX-License-Identifier: MIT OR Apache-2.0
//! The architected blocks of channel I/O, as z/Architecture Principles of Operation (SA22-7832) lays them out: what a
//! guest hands to START SUBCHANNEL and its siblings, and what it gets back.
//!
//! * Blocks in storage ([`Orb`], [`Scsw`], [`Irb`], [`Pmcw`], [`Schib`], …) are big-endian, have alignment 1 and accept
//!   every bit pattern; `from_bytes` copies, and only the copy is looked at. Accessors give native integers.
//! * Bit *n* of a field counts from the most significant bit, as in the Principles of Operation. Masks are for the field
//!   read as a big-endian integer.
//! * Unknown bits survive a round trip: flag types keep them, and `check` methods are what refuses them.
//! * What makes an instruction end with an operand exception is decided here ([`OperandException`]); what makes a channel
//!   program end with a program check is decided by whoever interprets it.
//!
//! Nothing here panics on guest bytes, allocates, or does I/O.

mod ccw;
mod crw;
mod idaw;
mod interruption;
mod irb;
mod operand;
mod orb;
mod pmcw;
mod schib;
mod scsw;
mod sense_id;
mod status;
mod subsystem;

pub use ccw::{Ccw, CcwFlags, CcwFormat, CommandClass};
pub use crw::{Crw, CrwFlags, ErrorRecovery, ReportingSource};
pub use idaw::{Idaw1, Idaw2, IdawFormat, Midaw, MidawFlags};
pub use interruption::InterruptionCode;
pub use irb::{Ecw, Erw, ErwFlags, Esw, Irb};
pub use operand::OperandException;
pub use orb::{Orb, OrbControl, OrbExtension};
pub use pmcw::{Pmcw, PmcwCharacteristics, PmcwFlags};
pub use schib::Schib;
pub use scsw::{Scsw, ScswControl};
pub use sense_id::{Ciw, SenseId};
pub use status::{ActivityControl, DeviceStatus, FunctionControl, StatusControl, SubchannelStatus};
pub use subsystem::SubsystemId;
