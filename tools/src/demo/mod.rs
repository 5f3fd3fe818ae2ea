// SPDX-License-Identifier: MIT OR Apache-2.0
//! `fctl demo`: the main job on an embedded default, and the proof that it was done right.

mod child;
mod latency;
mod parent;
mod proxy;
mod report;
mod round_trip;
mod sabotage;
mod volume;

use crate::cli::DemoOptions;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

/// Why the demo could not be run. (That it failed its check is no error but a verdict.)
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// There is no such volume.
    #[error("volume {0:?} does not exist: give the path of a plain file or block device, or --size as well to have a file made")]
    NoVolume(PathBuf),
    /// The volume cannot be opened.
    #[error(transparent)]
    Volume(#[from] fctl_dispatcher::volume::VolumeError),
    /// The volume cannot be an FBA device.
    #[error(transparent)]
    Fba(#[from] fctl_dispatcher::device::fba::TooManyBlocks),
    /// The volume exists with another size.
    #[error("volume {path:?} has {bytes} bytes, --size says {asked}: leave --size out, or remove the file")]
    OtherSize {
        /// The path given.
        path: PathBuf,
        /// Its size.
        bytes: u64,
        /// The size asked for.
        asked: u64,
    },
    /// The volume has too few blocks.
    #[error("volume {path:?} of {bytes} bytes is too small for {subchannels} subchannels: at least {needed} bytes, or fewer --subchannels, would do")]
    TooSmall {
        /// The path.
        path: PathBuf,
        /// Its size.
        bytes: u64,
        /// How many subchannels.
        subchannels: u32,
        /// What they need.
        needed: u64,
    },
    /// The volume holds somebody's data.
    #[error("volume {path:?} holds something that no demo has written (block {block}): the demo would write over it; --overwrite allows that")]
    ForeignBlock {
        /// The path given.
        path: PathBuf,
        /// The first such block.
        block: u32,
    },
    /// The dispatcher cannot be built.
    #[error(transparent)]
    Build(#[from] fctl_dispatcher::BuildError),
    /// The dispatcher refuses something while it runs.
    #[error(transparent)]
    Control(#[from] fctl_dispatcher::ControlError),
    /// The CPU asked for cannot be had.
    #[error("--cpu {asked}: it does not exist or is not in this process's affinity mask; CPUs that may be used: {allowed}")]
    Cpu {
        /// The CPU asked for.
        asked: usize,
        /// Those that may be used.
        allowed: String,
    },
    /// Shared memory or the rings in it.
    #[error("cannot set up the shared memory: {0}")]
    Memory(Box<dyn std::error::Error + Send + Sync>),
    /// The guest's process cannot be started.
    #[error("cannot start the guest's process: {0}")]
    Guest(io::Error),
    /// The host refuses something.
    #[error("cannot {what} {path:?}: {source}")]
    Host {
        /// What was being done.
        what: &'static str,
        /// To which file.
        path: PathBuf,
        /// The host's answer.
        source: io::Error,
    },
}

/// Runs the demo, prints the report, and gives the exit status: 0 passed, 1 failed, 2 could not be run.
pub fn run(options: &DemoOptions) -> ExitCode {
    let report = match parent::run(options) {
        Ok(report) => report,
        Err(error) => {
            eprintln!("fctl demo: {}", chain(&error));
            return ExitCode::from(2);
        }
    };
    let text = if options.json { report.to_json() } else { report.to_string() };
    // Who closed the output does not want to know.
    let _ = writeln!(io::stdout(), "{text}");
    if report.passed() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(1)
    }
}

/// An error and its causes, in one line. A cause that the text before it already tells is left out.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let words = cause.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        source = cause.source();
    }
    text.replace('\n', " ")
}
