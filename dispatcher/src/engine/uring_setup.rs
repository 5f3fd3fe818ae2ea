// SPDX-License-Identifier: MIT OR Apache-2.0
//! Setting an io_uring up, and saying what stands in the way.

use io_uring::IoUring;
use std::io;
use std::time::{Duration, Instant};

/// Why the engine could not be made. The text says what would help.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UringError {
    /// The kernel refuses io_uring to this process.
    #[error(
        "io_uring is refused by the kernel ({source}): sysctl kernel.io_uring_disabled is {setting}; 0 allows it to all, 1 to members of kernel.io_uring_group; a seccomp filter or container policy may forbid it too"
    )]
    Refused {
        /// What the sysctl holds.
        setting: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The kernel has no io_uring.
    #[error("io_uring is not in this kernel ({0}): Linux 5.15 or later is needed")]
    Missing(io::Error),
    /// The kernel had no memory for the ring.
    #[error("no memory for an io_uring of {entries} entries ({source}): its pages count against RLIMIT_MEMLOCK (`ulimit -l`) of this user; 64 KiB are enough for two dispatchers")]
    Memory {
        /// Entries asked for.
        entries: u32,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The number of slots is out of range.
    #[error("engine_slots is {0}: 1 to 4096 are accepted")]
    Slots(u32),
    /// A bound of the worker threads is out of range.
    #[error("io_workers: {name} is {value}: 1 to 4096 are accepted")]
    Workers {
        /// Which bound.
        name: &'static str,
        /// Its value.
        value: u32,
    },
    /// The kernel takes nothing from this ring.
    #[error("io_uring_enter fails ({source}): EEXIST means that another thread has made the first turn, and one thread must make them all")]
    Enter {
        /// The kernel's answer.
        source: io::Error,
    },
    /// Anything else.
    #[error("io_uring of {entries} entries cannot be set up: {source}")]
    Setup {
        /// Entries asked for.
        entries: u32,
        /// The kernel's answer.
        source: io::Error,
    },
}

/// The least submission queue that is worth having.
const LEAST_ENTRIES: u32 = 32;

/// How long to wait for locked memory that somebody else of this user may be giving back: rings are taken down behind their owner's back.
const PATIENCE: Duration = Duration::from_secs(1);

/// A ring for `slots` operations in flight, and whether it is one of the new kind: disabled until its thread enables it, completions only
/// when asked for.
///
/// The kernel counts the ring's memory against RLIMIT_MEMLOCK of the user (64 KiB with many distributions), so the submission queue holds one
/// turn's work and no more, and becomes smaller where memory is short: a full queue costs another system call, nothing else. More
/// completions than its queue holds are kept by the kernel (`IORING_FEAT_NODROP`, Linux 5.5).
pub(super) fn set_up(slots: u16) -> Result<(IoUring, bool), UringError> {
    let wanted = u32::from(slots).next_power_of_two().clamp(LEAST_ENTRIES, 1024);
    let began = Instant::now();
    let mut entries = wanted;
    loop {
        match build(entries) {
            Err(error) if error.raw_os_error() == Some(libc::ENOMEM) => {
                if entries > LEAST_ENTRIES {
                    entries /= 2;
                } else if began.elapsed() < PATIENCE {
                    std::thread::sleep(Duration::from_millis(10));
                    entries = wanted;
                } else {
                    return Err(explain(entries, error));
                }
            }
            Err(error) => return Err(explain(entries, error)),
            Ok(ring) => return Ok(ring),
        }
    }
}

fn build(entries: u32) -> io::Result<(IoUring, bool)> {
    // One task submits, and completions run when it asks for them: no interruption of a thread that polls anyway.
    let best = IoUring::builder()
        .setup_r_disabled()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_taskrun_flag()
        .setup_clamp()
        .build(entries);
    match best {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            // Kernels before 6.1.
            IoUring::builder().setup_clamp().build(entries).map(|ring| (ring, false))
        }
        other => other.map(|ring| (ring, true)),
    }
}

fn explain(entries: u32, source: io::Error) -> UringError {
    match source.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => {
            let setting = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled");
            let setting = setting.map_or_else(|_| "not readable".into(), |text| text.trim().to_owned());
            UringError::Refused { setting, source }
        }
        Some(libc::ENOSYS) => UringError::Missing(source),
        Some(libc::ENOMEM) => UringError::Memory { entries, source },
        _ => UringError::Setup { entries, source },
    }
}
