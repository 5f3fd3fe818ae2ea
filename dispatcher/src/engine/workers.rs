// SPDX-License-Identifier: MIT OR Apache-2.0
//! The kernel's worker threads: how many there may be, and on which CPUs.
//!
//! The kernel takes what would make the submitting thread wait to threads of its own: operations on volumes that [wait](crate::volume::Volume::waits),
//! durable writes, syncs, notifications by eventfds that block. They belong to the thread that submits, and to every io_uring that it uses.

use super::UringError;
use io_uring::IoUring;

/// The most that is accepted.
const MOST: u32 = 4096;

/// How many worker threads a reactor's thread may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WorkerBounds {
    /// For plain files and block devices.
    pub(crate) bounded: u32,
    /// For all else.
    pub(crate) unbounded: u32,
}

impl Default for WorkerBounds {
    /// The kernel's own are 4 for each CPU, and as many as the user may have processes.
    fn default() -> Self {
        Self { bounded: 64, unbounded: 256 }
    }
}

/// Sets the bounds of a ring's workers.
pub(super) fn bound(ring: &IoUring, WorkerBounds { bounded, unbounded }: WorkerBounds) -> Result<(), UringError> {
    for (name, value) in [("bounded", bounded), ("unbounded", unbounded)] {
        if value == 0 || value > MOST {
            return Err(UringError::Workers { name, value });
        }
    }
    let entries = ring.params().sq_entries();
    let setup = |source| UringError::Setup { entries, source };
    ring.submitter().register_iowq_max_workers(&mut [bounded, unbounded]).map_err(setup)
}

/// Has the workers of the calling thread, which made the ring, run on these CPUs and on no others.
pub(super) fn place(ring: &IoUring, cpus: &[usize]) -> std::io::Result<()> {
    // SAFETY: a set of CPUs is plain bits, and all zeros is the empty one.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    for &cpu in cpus.iter().filter(|&&cpu| cpu < 8 * size_of::<libc::cpu_set_t>()) {
        // SAFETY: the set is ours, and the CPU's number is below the number of its bits.
        unsafe { libc::CPU_SET(cpu, &mut set) };
    }
    ring.submitter().register_iowq_aff(&set)
}
