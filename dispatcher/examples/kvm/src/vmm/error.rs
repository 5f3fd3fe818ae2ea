// SPDX-License-Identifier: MIT OR Apache-2.0
//! What went wrong, and what was being done.

use std::error::Error;

/// Something failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what}: {source}")]
pub struct Failed {
    what: &'static str,
    source: Box<dyn Error + Send + Sync>,
}

impl Failed {
    /// `what` could not be done because of `source`.
    pub fn new(what: &'static str, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { what, source: source.into() }
    }
}

/// Says what was being done.
pub trait Doing<T> {
    /// Says what was being done.
    fn doing(self, what: &'static str) -> Result<T, Failed>;
}

impl<T, E: Error + Send + Sync + 'static> Doing<T> for Result<T, E> {
    fn doing(self, what: &'static str) -> Result<T, Failed> {
        self.map_err(|source| Failed::new(what, source))
    }
}
