// SPDX-License-Identifier: MIT OR Apache-2.0
//! Why a volume cannot be opened.

use super::BLOCK_BYTES;
use std::io;
use std::path::PathBuf;

/// Why a volume cannot be opened: what, with which value, and what would be accepted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VolumeError {
    /// Nothing is there.
    #[error("volume {path:?} does not exist; give the path of an existing file or block device", path = .path)]
    Missing {
        /// The path given.
        path: PathBuf,
    },
    /// It can hold no blocks.
    #[error("volume {path:?} is a {kind}; only a plain file or a block device can be a volume", path = .path)]
    WrongKind {
        /// The path given.
        path: PathBuf,
        /// What it is.
        kind: &'static str,
    },
    /// It has no blocks.
    #[error("volume {path:?} is empty; its size must be a multiple of {BLOCK_BYTES} bytes, at least {BLOCK_BYTES}", path = .path)]
    Empty {
        /// The path given.
        path: PathBuf,
    },
    /// The last block is not whole.
    #[error(
        "volume {path:?} has {bytes} bytes, not a multiple of {BLOCK_BYTES}; {} or {} bytes would do",
        .bytes - .bytes % BLOCK_BYTES, (.bytes - .bytes % BLOCK_BYTES).saturating_add(BLOCK_BYTES), path = .path
    )]
    Size {
        /// The path given.
        path: PathBuf,
        /// Its size.
        bytes: u64,
    },
    /// It may be read but not written.
    #[error("volume {path:?} may be read but not written; make it writable, or open it with `read_only`", path = .path)]
    ReadOnly {
        /// The path given.
        path: PathBuf,
    },
    /// It may not be read.
    #[error("volume {path:?} may not be opened by this user; allow reading, and writing unless it is opened with `read_only`", path = .path)]
    Permission {
        /// The path given.
        path: PathBuf,
    },
    /// Somebody else has locked it.
    #[error(
        "volume {path:?} is in use by another dispatcher{}; stop that one, or open both with `read_only`",
        .pid.map(|pid| format!(" (process {pid})")).unwrap_or_default(), path = .path
    )]
    InUse {
        /// The path given.
        path: PathBuf,
        /// Who has it, where the kernel tells: locks of open files, as the dispatcher takes them, belong to no process.
        pid: Option<i32>,
    },
    /// The file system has no `O_DIRECT`.
    #[error("volume {path:?} cannot be opened with `Cache::Direct`: its file system refuses O_DIRECT; `Cache::Buffered` works", path = .path)]
    NoDirect {
        /// The path given.
        path: PathBuf,
    },
    /// The host failed.
    #[error("volume {path:?}: cannot {what}", path = .path)]
    Host {
        /// The path given.
        path: PathBuf,
        /// What was being done.
        what: &'static str,
        /// The host's error.
        source: io::Error,
    },
}
