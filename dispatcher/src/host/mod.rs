// SPDX-License-Identifier: MIT OR Apache-2.0
//! The host's own poster, for a hypervisor that intercepts its guest's channel-I/O instructions.
//!
//! A [`HostRing`] is a ring pair whose guest end is held by the embedder. [`HostRing::execute`] posts one instruction and waits for its condition code, as
//! the processor would; everything else that comes meanwhile is kept, in order, for [`HostRing::take`].
//!
//! ```
//! # use fctl_dispatcher::{device::null::Null, host::{HostRing, HostRingOptions}, memory::{FileRange, Memory}, region::sealed_memory_file};
//! # use fctl_dispatcher::{Builder, SubchannelOptions};
//! # use fctl_ringabi::{arch::{Orb, SubsystemId}, Descriptor};
//! # let file = sealed_memory_file("guest", 1 << 20)?;
//! # let memory = Memory::from_file(&file, &[FileRange { address: 0, offset: 0, length: 1 << 20 }])?;
//! let fctl = Builder::default().spawn()?;
//! let guest = fctl.attach_guest(memory)?;
//! let (mut host, ends) = HostRing::new(HostRingOptions::default())?;
//! let ring = fctl.attach_host_ring(guest, ends)?;
//! let subchannel = SubsystemId::new(0, 1);
//! fctl.attach_subchannel(ring, subchannel, SubchannelOptions::new(0x0120), Box::new(Null))?;
//!
//! // The guest executed START SUBCHANNEL:
//! let condition_code = host.post(&Descriptor::start(subchannel, &Orb::new(0, 0x1000), 7))?;
//! assert_eq!(condition_code, 0);
//! // The event loop waits for its end:
//! while host.arm()? {
//!     host.notification().read()?;
//! }
//! let (end, _) = host.take()?.expect("what the notification told of");
//! assert_eq!((end.tag, end.cc), (7, 0));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Who may call what
//! A [`HostRing`] is `Send`: put it behind a lock and use it from the threads of all virtual processors and of the event loop. [`HostRing::execute`] may sleep
//! for as long as the reactor needs for a turn, at most the limit of [`HostRingOptions::limit`]; the others return at once. None may be called on the
//! reactor's own thread: an instruction that waits for that thread would wait for itself.
//!
//! # Notifications
//! After [`HostRing::arm`] was true, exactly one is written, when there is something to take or when the ring has gone; none before it is armed again, and none for what
//! [`HostRing::execute`] takes itself. So the eventfd may be the one that injects the guest's interrupt. Who takes without waiting for a notification
//! that is on its way will find nothing behind it.

mod error;
mod meeting;
mod ring;
mod setup;
mod side;
mod sync;

pub use error::{HostError, HostRingError};
pub use ring::{Executed, HostRing};
pub use setup::{HostEnds, HostRingOptions};
pub(crate) use side::HostSide;
