// SPDX-License-Identifier: MIT OR Apache-2.0
//! The command line.

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;
use std::time::Duration;

/// Measurements of fctl against its peers, in one interleaved run.
#[derive(Debug, Parser)]
#[command(name = "fctl-bench", version)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Measure the goals against their peers and print the table.
    Peers(Peers),
    /// Run the dispatcher's side alone: for perf, strace -c, callgrind.
    Load(Load),
}

/// The goals that are measured so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Goal {
    /// Round trips a second to null subchannels.
    #[value(name = "P1", alias = "p1")]
    P1,
    /// Latency of one start at a time.
    #[value(name = "P2", alias = "p2")]
    P2,
    /// 4 KiB random reads of an FBA volume.
    #[value(name = "P3", alias = "p3")]
    P3,
    /// A recovery storm, merged against one by one.
    #[value(name = "P12", alias = "p12")]
    P12,
}

/// Options of `peers`.
#[derive(Clone, Debug, Args)]
pub struct Peers {
    /// Only these goals.
    #[arg(long, value_delimiter = ',', value_name = "GOAL,...")]
    pub only: Vec<Goal>,
    /// Shorter runs: five pairs of 60 ms each, a smaller volume.
    #[arg(long)]
    pub quick: bool,
    /// Write the same as JSON.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Interleaved pairs of each comparison; at least five.
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u16).range(5..=1000))]
    pub pairs: u16,
    /// Where the threads run.
    #[command(flatten)]
    pub place: Place,
}

impl Peers {
    /// How long each side warms up and is measured, in each run.
    pub fn times(&self) -> crate::pump::Times {
        let (warm_up, run) = if self.quick { (15, 60) } else { (40, 250) };
        crate::pump::Times { warm_up: Duration::from_millis(warm_up), run: Duration::from_millis(run) }
    }

    /// Size of the volume of P3, in bytes.
    pub fn volume_bytes(&self) -> u64 {
        if self.quick {
            64 << 20
        } else {
            256 << 20
        }
    }

    /// Whether a goal is to be measured.
    pub fn wants(&self, goal: Goal) -> bool {
        self.only.is_empty() || self.only.contains(&goal)
    }
}

/// Where things are.
#[derive(Clone, Debug, Args)]
pub struct Place {
    /// CPUs of the guest's thread and of the dispatcher's; the first and second that may be used if not given.
    #[arg(long, num_args = 2, value_names = ["GUEST", "DISPATCHER"], value_delimiter = ',')]
    pub cpus: Vec<usize>,
    /// Directory of the temporary volume; it should have a real file system.
    #[arg(long, value_name = "DIR", default_value_os_t = std::env::temp_dir())]
    pub dir: PathBuf,
}

/// What the load consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum What {
    /// Starts to 256 null subchannels.
    Null,
    /// 4 KiB reads by 128 FBA subchannels, one Read CCW each.
    Fba,
    /// The same as Linux sends it: eight data-chained CCWs of 512.
    FbaChained,
    /// Clears of 256 null subchannels that have nothing to do.
    Clear,
}

/// Options of `load`.
#[derive(Clone, Debug, Args)]
pub struct Load {
    /// What to run.
    #[arg(long, value_enum, default_value_t = What::Null)]
    pub what: What,
    /// How long.
    #[arg(long, default_value_t = 5.0)]
    pub seconds: f64,
    /// Descriptors that are published at once.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub batch: u16,
    /// Starts that are outstanding; 8 batches for null, 128 for FBA if not given.
    #[arg(long)]
    pub depth: Option<u16>,
    /// Do not stamp descriptors with the time they were posted.
    #[arg(long)]
    pub unstamped: bool,
    /// Guest and dispatcher in one thread, turn by turn: work without waiting.
    #[arg(long)]
    pub one_thread: bool,
    /// Run this many round trips instead of a time.
    #[arg(long)]
    pub starts: Option<u64>,
    /// Where the threads run.
    #[command(flatten)]
    pub place: Place,
}
