// SPDX-License-Identifier: MIT OR Apache-2.0
//! The contract between a guest and the fctl dispatcher: two rings in shared memory, and the blocks of channel I/O.
//!
//! A guest posts [`Descriptor`]s, one channel-I/O instruction each, into a submission ring; the dispatcher answers with
//! [`Completion`]s in a second ring: exactly one *final* for every descriptor taken. The specification of every byte,
//! every ordering and every duty is `SPEC.md` beside this crate; a C header is in `include/`.
//!
//! # Who may call what from where
//! [`Poster`] and [`CompletionReader`] are the guest's two ends: each belongs to one thread at a time, the two may be different
//! threads. [`SharedPoster`] is cloned for each of many threads. [`DispatcherPort`] is the dispatcher's end, for one
//! thread. None of them trusts the other side: every shared word is read once and checked.
//!
//! # Full, empty, dead
//! * *Full*: posting gives [`PostError`] and writes nothing; the descriptor stays with the caller. The guest never owes itself more
//!   completions than the ring holds, so the dispatcher always has room for a final.
//! * *Empty*: taking gives `None`. Who wants to sleep announces it ([`CompletionReader::announce_sleep`]) and is woken.
//! * *Dead*: a word that no correct partner writes is a [`Violation`]. The dispatcher then fences the ring, the guest sees
//!   [`PostError::Fenced`]. A partner that simply stops leaves the ring as it is; that he died must be learned elsewhere.
//!
//! # What blocks, what allocates, what is unsafe
//! Nothing blocks and nothing allocates: single posters and readers are wait-free, many posters are lock-free. The crate is `no_std`.
//! The only unsafe code is [`MappedWords`], a shared mapping seen as 64-bit atomics; everything else is safe code
//! over the trait [`WordMemory`], which is also how the shipped code runs under a memory-model checker.
//!
//! # Example
//! ```
//! use fctl_ringabi::{arch, Completion, CompletionKind, Descriptor, DispatcherPort, GuestPort, Header, MappedWords, Operation, RingSizes};
//! use std::{ptr::NonNull, sync::{atomic::AtomicU64, Arc}};
//!
//! // A region: zeroed, aligned, shared. Here two ends in one process; else a sealed memory file, mapped by both.
//! let header = Header::layout(RingSizes::new(64))?;
//! let region: Arc<[AtomicU64]> = (0..header.region_bytes() / 8).map(|_| AtomicU64::new(0)).collect();
//! let base = NonNull::new(region.as_ptr().cast_mut().cast()).unwrap();
//! // SAFETY: the words are kept by the `Arc` in the region and are reached through it alone.
//! let memory = unsafe { MappedWords::new(base, region.len() * 8, region) }.unwrap();
//! header.format(&memory)?;
//!
//! let mut dispatcher = DispatcherPort::attach(memory.clone())?;
//! let (mut poster, mut reader) = GuestPort::open(memory)?.split();
//!
//! let subchannel = arch::SubsystemId::new(0, 7);
//! let must_ring = poster.post(&Descriptor::new(Operation::Clear, subchannel, 42))?;
//! assert!(!must_ring, "the dispatcher does not sleep");
//!
//! let descriptor = dispatcher.take()?.expect("one was posted");
//! dispatcher.room(1)?;
//! dispatcher.stage(Completion::new(CompletionKind::Final, descriptor.subsystem, descriptor.tag, 0), None).unwrap();
//! dispatcher.publish();
//!
//! let (completion, _) = reader.take()?.expect("the final completion");
//! assert_eq!((completion.tag, completion.cc), (42, 0));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![no_std]

mod wire;

pub mod arch;
mod c_abi;
mod completion;
mod consumer;
mod descriptor;
mod dispatcher_port;
mod guest_port;
pub mod header;
mod lane;
mod memory;
mod producer;
mod shared_producer;
mod violation;
mod wake;

pub use completion::{
    interruption_code, Completion, CompletionFlags, CompletionKind, CompletionWords, Disposition, Extension, ExtensionWords,
    StageTimes,
};
pub use consumer::Consumer;
pub use descriptor::{Descriptor, DescriptorError, DescriptorFlags, DescriptorWords, Operation, PlainStart};
pub use dispatcher_port::{Batch, DispatcherPort};
pub use guest_port::{CompletionReader, GuestPort, PostError, Poster, SharedPoster};
pub use header::{ClockId, Header, HeaderError, RingSizes};
pub use lane::{Cursor, Lane};
#[cfg(target_has_atomic = "64")]
pub use memory::MappedWords;
pub use memory::WordMemory;
pub use producer::Producer;
pub use shared_producer::SharedProducer;
pub use violation::Violation;
pub use wake::{announce_then_look, Sleeper, Waker};
