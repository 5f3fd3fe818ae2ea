// SPDX-License-Identifier: MIT OR Apache-2.0
//! A lock-free, ring-based, high-throughput dispatcher for channel I/O, to be embedded in hypervisors.
//!
//! Guests post channel-I/O instructions (START, HALT, CLEAR, CANCEL, … SUBCHANNEL) into a mapped ring. The dispatcher **accepts them in order**,
//! each with the condition code it would have had if executed alone; **issues by precedence**, clear over halt over start, only what
//! still matters to the device; and **completes once**: one final completion for every descriptor taken.
//!
//! # Example: a guest with one subchannel, in the embedder's own process
//! ```
//! use fctl_dispatcher::{device::null::Null, memory::{FileRange, Memory}, region::{sealed_memory_file, Region}};
//! use fctl_dispatcher::{Builder, RingEnds, SubchannelOptions};
//! use fctl_ringabi::{arch::{Orb, SubsystemId}, Descriptor, GuestPort, Header, RingSizes};
//! use vmm_sys_util::eventfd::{EventFd, EFD_NONBLOCK};
//!
//! // Shared memory: a ring pair in the first megabyte, the guest's own memory behind it.
//! let file = sealed_memory_file("guest", 2 << 20)?;
//! let region = Region::from_memory_file(&file, 0, 1 << 20)?;
//! Header::layout(RingSizes::new(256))?.format(region.words())?;
//! let memory = Memory::from_file(&file, &[FileRange { address: 0, offset: 1 << 20, length: 1 << 20 }])?;
//! let (doorbell, notification) = (EventFd::new(EFD_NONBLOCK)?, EventFd::new(EFD_NONBLOCK)?);
//!
//! // The dispatcher, on a thread of its own.
//! let fctl = Builder::default().spawn()?;
//! let guest = fctl.attach_guest(memory)?;
//! let ends = RingEnds { region: region.clone(), doorbell: doorbell.try_clone()?, notification: notification.try_clone()? };
//! let ring = fctl.attach_ring(guest, ends)?;
//! let subchannel = SubsystemId::new(0, 1);
//! fctl.attach_subchannel(ring, subchannel, SubchannelOptions::new(0x0120), Box::new(Null))?;
//!
//! // What a guest does: post a start, take its completion.
//! let (mut poster, mut reader) = GuestPort::open(region.words().clone())?.split();
//! if poster.post(&Descriptor::start(subchannel, &Orb::new(0xCAFE, 0x1000), 42))? {
//!     doorbell.write(1)?;
//! }
//! let (completion, _) = loop {
//!     if let Some(found) = reader.take()? { break found }
//!     std::thread::yield_now();
//! };
//! assert_eq!((completion.tag, completion.cc, completion.intparm), (42, 0, 0xCAFE));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Guarantees
//! * Every descriptor taken gets exactly one final completion while its ring is attached and not fenced; after that the [`metrics::Counters`]
//!   still account for it.
//! * What an accepted instruction was told never changes.
//! * After a function's final completion neither guest memory nor the volume is changed by it.
//! * The guest is hostile: nothing it writes makes the dispatcher panic, overrun, loop without bound or starve another guest.
//!
//! # Three ways to run, and who may call what from where
//! * [`Builder::spawn`]: the reactor has a thread of its own, pinned if [`Builder::cpu`] says so.
//! * [`Builder::build`] and [`Reactor::run_here`]: the caller's thread becomes the reactor's.
//! * [`Builder::build`] and [`Reactor::turn`]: the caller's event loop makes the turns and waits on the reactor's descriptor
//!   ([`Reactor::prepare_sleep`] says how).
//!
//! A [`Handle`] may be used from any thread but the reactor's (there, [`Reactor`] has the same functions); each call is executed between two turns.
//! A [`device::SubchannelDevice`] is called by the reactor's thread only. A hypervisor that intercepts its guest's instructions posts them by a
//! [`host::HostRing`]. `docs/embedding.md` has a longer example, the system calls of each phase, and how to place threads and size rings.
//!
//! # Several reactors
//! Each [`Builder`] makes one reactor; an embedder makes as many as it wants to give CPUs to, and places them ([`Builder::cpu`]). A ring with its
//! subchannels belongs to exactly one; reactors share nothing but volumes ([`Arc<Volume>`](volume::Volume)) and a guest's
//! [`memory::Memory`], so they never wait for each other. A subchannel is operational only in the reactor that serves its home ring. A
//! ring moves by [`Handle::drain`], [`Handle::detach_ring`] and being attached elsewhere: its positions live in the ring, so its guest
//! notices nothing. Within a reactor each turn issues at most [`MOST_PER_RING_AND_TURN`] starts of a ring, so that a greedy one costs the others no turn.
//!
//! # Full, empty, dead
//! * *Full*: a start without an engine slot stays start-pending in its subchannel; a halt or clear still reaches it. A guest that owes itself
//!   more completions than its ring holds stalls only itself. Status that no descriptor paid for stays pending in its subchannel.
//! * *Empty*: the reactor polls for a while that adapts ([`WaitPolicy`]), then announces sleep and sleeps until a doorbell, a timer or a command.
//! * *Dead*: a ring that breaks the protocol is fenced, alone. A guest that died is detached by the embedder ([`Handle::detach_ring`]): what it had in
//!   flight is stopped, and its memory is kept until the kernel has given back every buffer. A reactor that is gone answers
//!   [`ControlError::Stopped`].
//!
//! # What blocks, what allocates, what is unsafe
//! The data path takes no lock, allocates nothing, and makes at most one system call per turn. Attaching allocates. Calls of a [`Handle`] block until the
//! reactor has answered; [`Handle::drain`], the detaching and resetting ones and [`Handle::replace_memory`] until the deadline at most. Dropping a [`Handle`] or a [`Reactor`] waits for the
//! kernel. Unsafe code is in `engine` (handing addresses to the kernel), `memory` and `region` (shared mappings), `volume::lock` (a structure for a
//! system call), `prefetch` (a hint to the processor), and one line of `reactor` (its descriptor, lent); `subchannel` and the devices have none.
//!
//! # Manners
//! No signal handler, no allocator, no logger, no global state, no thread and no affinity that was not asked for; it never exits the process.

pub mod affinity;
pub mod clock;
mod control;
pub mod device;
pub mod engine;
pub mod host;
pub mod memory;
pub mod metrics;
mod prefetch;
mod reactor;
pub mod region;
pub mod subchannel;
pub mod volume;

pub use control::{BuildError, Builder, ControlError, Handle, StillBusy};
pub use reactor::{
    AttachError, GuestId, Inventory, Reactor, RingEnds, RingId, RingStatus, Stuck, SubchannelOptions, WaitPolicy,
    MOST_PER_RING_AND_TURN,
};

#[cfg(doctest)]
#[doc = include_str!("../../docs/embedding.md")]
struct EmbeddingGuide;

#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
