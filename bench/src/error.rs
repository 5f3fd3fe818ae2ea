// SPDX-License-Identifier: MIT OR Apache-2.0
//! What can go wrong in a measurement.

use std::error::Error;

/// A measurement that did not come about, or that was wrong.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// It cannot be run on this machine; the reason goes into the table.
    #[error("not run: {0}")]
    NotRun(String),
    /// The system refused something that every run needs.
    #[error("cannot {what}: {source}")]
    Host {
        /// What was being done.
        what: &'static str,
        /// Why it failed.
        source: Box<dyn Error + Send + Sync>,
    },
    /// A side did not do its work: a completion is missing, doubled, or not what was asked for. Its figures are worth nothing.
    #[error("wrong result from {side}: {fault}")]
    Wrong {
        /// Which side.
        side: &'static str,
        /// What is wrong.
        fault: String,
    },
}

impl BenchError {
    /// The same once more, for a second row that cannot be run for the same reason.
    pub fn again(&self) -> Self {
        match self {
            Self::NotRun(reason) => Self::NotRun(reason.clone()),
            other => Self::NotRun(other.to_string()),
        }
    }
}

/// The result of everything that measures.
pub type Measured<T> = Result<T, BenchError>;

/// Says what was being done when something failed.
pub trait Doing<T> {
    /// Turns the error into [`BenchError::Host`].
    fn doing(self, what: &'static str) -> Measured<T>;
}

impl<T, E: Into<Box<dyn Error + Send + Sync>>> Doing<T> for Result<T, E> {
    fn doing(self, what: &'static str) -> Measured<T> {
        self.map_err(|error| BenchError::Host { what, source: error.into() })
    }
}
