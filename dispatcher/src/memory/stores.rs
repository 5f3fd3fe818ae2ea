// SPDX-License-Identifier: MIT OR Apache-2.0
//! How bytes get into guest memory: directly, directly and noted, or by the embedder's own writer.

use super::OutsideMemory;
use std::fmt;
use std::sync::Arc;

/// The embedder's writer of guest memory: everything that the dispatcher has for a guest goes through it.
///
/// Needed where guest memory must not change behind the hypervisor's back: under a translator, which would go on running the instructions it has
/// translated; and for isolation, where the dispatcher's own mapping may be read-only.
pub trait Sink: Send + Sync {
    /// Stores `bytes` from guest address `address` on. The reactor's thread calls it, once for each range of guest memory and in the order of the
    /// channel program; the whole range is inside the [`Memory`](super::Memory), `bytes` is private to the dispatcher and not empty. What is stored
    /// must be visible to the guest when this returns. It must not call the dispatcher's handle, nor wait for somebody who does.
    ///
    /// # Errors
    /// The range is no memory any more: the channel program ends with a program check.
    fn store(&self, address: u64, bytes: &[u8]) -> Result<(), OutsideMemory>;
}

/// Somebody who wants to know which bytes of guest memory the dispatcher, or the kernel on its behalf, has changed: for live migration.
pub trait DirtyLog: Send + Sync {
    /// The bytes from guest address `address` on may have changed. The reactor's thread calls it after the change, and before the guest
    /// can see the completion. It may name bytes that were not changed, and the same ones more than once.
    fn mark(&self, address: u64, length: u64);
}

/// What happens at a store.
#[derive(Clone, Default)]
pub(crate) enum Stores {
    /// Kernel and dispatcher write guest pages.
    #[default]
    Direct,
    /// The same, and each change is noted.
    Logged(Arc<dyn DirtyLog>),
    /// The embedder writes.
    Sink(Arc<dyn Sink>),
}

impl fmt::Debug for Stores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Direct => "Direct",
            Self::Logged(_) => "Logged",
            Self::Sink(_) => "Sink",
        })
    }
}
