// SPDX-License-Identifier: MIT OR Apache-2.0
//! Control: build a dispatcher, run it, and change what is attached while it runs. A mailbox into the reactor, never a lock on
//! the data path.

mod builder;
mod handle;
mod mailbox;

pub use builder::{BuildError, Builder};
pub use handle::{ControlError, Handle, StillBusy};
pub(crate) use mailbox::Mailbox;
