// SPDX-License-Identifier: MIT OR Apache-2.0
//! What can go wrong with a host ring: when it is made, and when it is used.

use crate::region::RegionError;
use fctl_ringabi::{Disposition, HeaderError, PostError, Violation};
use std::io;
use std::time::Duration;

/// Why a host ring could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HostRingError {
    /// A size is not accepted.
    #[error("the host ring cannot be laid out: {0}")]
    Header(#[from] HeaderError),
    /// Its memory.
    #[error("the host ring has no memory: {0}")]
    Region(#[from] RegionError),
    /// An eventfd or a memory file.
    #[error("{what} cannot be made: {source}")]
    Resource {
        /// What.
        what: &'static str,
        /// The system's answer.
        source: io::Error,
    },
}

/// Why an instruction was not executed, or nothing can be taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HostError {
    /// The dispatcher has stopped, or the ring was detached. What had ended before can still be taken.
    #[error("the dispatcher does not serve this ring any more")]
    Stopped,
    /// It was posted, but not accepted in time: the dispatcher does not run, or the ring is being drained. If it is accepted later, it is executed then;
    /// its final comes by [`HostRing::take`](super::HostRing::take), without a notification if it ends with its condition code.
    #[error("the instruction was posted and not accepted within {0:?}")]
    Late(Duration),
    /// It was not posted: too many completions wait to be taken.
    #[error("{0} completions wait to be taken: take them first")]
    Untaken(usize),
    /// It was not posted.
    #[error("the instruction cannot be posted: {0}")]
    Post(#[from] PostError),
    /// The ring's memory was changed by somebody.
    #[error("the ring is broken: {0}")]
    Violation(#[from] Violation),
    /// There was no instruction, or it would have ended with a program interruption. [`HostRing::execute`](super::HostRing::execute) gives the details.
    #[error("refused: {disposition:?}, code {code:#06x}")]
    Refused {
        /// [`Disposition::ProgramInterruption`] or [`Disposition::DescriptorError`].
        disposition: Disposition,
        /// The program-interruption code, or the [`fctl_ringabi::DescriptorError`].
        code: u16,
    },
    /// The doorbell or the notification cannot be written.
    #[error("an eventfd of the ring cannot be written: {0}")]
    EventFd(#[from] io::Error),
}
