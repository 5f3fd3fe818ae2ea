// SPDX-License-Identifier: MIT OR Apache-2.0
//! The fctl dispatcher for hypervisors written in C. The header `include/fctl.h` is generated of this; the guide is `docs/c-api.md`.
//!
//! # Guarantees
//! * A pointer that is null or misaligned, a number that names nothing, a struct of another version, a call from a callback: an error code and a message,
//!   nothing else happens. No panic crosses into C ([`FCTL_E_PANIC`]).
//! * What the library keeps of its arguments it copies: strings, tables, file descriptors. What it does not copy is guest memory, which stays the
//!   caller's until its `release` is called.
//! * Numbers of guests and rings are never used twice.
//!
//! # Who may call what from where
//! Every function may be called from any thread at any time, with two exceptions: nothing is called with an object that another thread frees, and
//! the callbacks of a guest's memory may call nothing of this library but [`fctl_last_error`] (they get [`FCTL_E_THREAD`]).
//! [`fctl_last_error`] belongs to the calling thread. A `store` and a `dirty` callback run on the dispatcher's thread, a `release` on any.
//!
//! # Full, empty, dead
//! * *Full*: a host's ring without room is [`FCTL_E_FULL`], and nothing was posted. What a guest posts by itself stalls the guest alone.
//! * *Empty*: [`fctl_host_take`] gives 0; [`fctl_host_arm`] says whether a notification will come.
//! * *Dead*: after [`fctl_stop`], or when the dispatcher's thread is gone, every call but the freeing ones is [`FCTL_E_STOPPED`]; so is a
//!   host's call for a ring that was fenced or detached. A guest that died is detached by its hypervisor ([`fctl_detach_guest`]).
//!
//! # What blocks, what allocates, what is unsafe
//! * A call for a dispatcher waits for its next turn; draining, detaching, resetting and [`fctl_replace_memory`] for their deadline at most;
//!   [`fctl_stop`] and [`fctl_free`] until the kernel has given back every buffer. [`fctl_host_execute`] waits for the condition code, at most as long as its
//!   options say; [`fctl_host_take`], [`fctl_host_arm`] and [`fctl_host_disarm`] wait for nothing but another call with the same host.
//! * Attaching, opening, asking for statistics and a failure's message allocate; the data path does not.
//! * Every function that takes a pointer is unsafe: it believes that a pointer which is neither null nor misaligned points to what its type says. Where the
//!   pointers become references is `arguments`.
//!
//! The example is in C, where it belongs: `examples/read_volume.c`, built and run by a test.
#![allow(non_camel_case_types, reason = "these are C's names")]

mod arguments;
mod dispatcher;
mod error;
mod guest;
mod host;
mod host_types;
mod reset;
mod ring;
mod statistics;
mod subchannel;
mod table;
mod volume;

pub use dispatcher::*;
pub use error::*;
pub use guest::*;
pub use host::*;
pub use host_types::*;
pub use reset::*;
pub use ring::*;
pub use statistics::*;
pub use subchannel::*;
pub use volume::*;

/// Version of this interface: major (bits 16-31), minor (bits 0-15). While major is 0, each minor is another interface.
pub const FCTL_API_VERSION: u32 = 1;

/// The version that the library has: equal to FCTL_API_VERSION of the header that fits it.
#[no_mangle]
pub extern "C" fn fctl_api_version() -> u32 {
    FCTL_API_VERSION
}
