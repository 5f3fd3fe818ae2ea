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
    /// Print the resident memory in KiB of this process with an idle dispatcher in it: for P13.
    #[command(hide = true)]
    Resident,
}

/// The goals.
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
    /// Latency of one read at a time.
    #[value(name = "P4", alias = "p4")]
    P4,
    /// Turns until a clear takes effect while others are busy.
    #[value(name = "P5", alias = "p5")]
    P5,
    /// Cost with 65,536 subchannels.
    #[value(name = "P6", alias = "p6")]
    P6,
    /// Cost of the histograms.
    #[value(name = "P7", alias = "p7")]
    P7,
    /// Idle, and waking up.
    #[value(name = "P8", alias = "p8")]
    P8,
    /// Instructions of the dispatcher's side.
    #[value(name = "P9", alias = "p9")]
    P9,
    /// A KVM guest's ring against its exits.
    #[value(name = "P10", alias = "p10")]
    P10,
    /// Allocations and system calls of the data path.
    #[value(name = "P11", alias = "p11")]
    P11,
    /// A recovery storm, merged against one by one.
    #[value(name = "P12", alias = "p12")]
    P12,
    /// Construction and memory.
    #[value(name = "P13", alias = "p13")]
    P13,
    /// What a greedy ring costs modest ones.
    Fairness,
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
    /// Print the table as Markdown instead, when all is done.
    #[arg(long)]
    pub markdown: bool,
    /// Write the same as JSON, and the latencies of all runs as an HDR log beside it (ending .hlog).
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
        let (warm_up, run) = match self.quick {
            // Tests look at what is told, not at figures.
            _ if cfg!(test) => (1, 20),
            true => (15, 60),
            false => (40, 250),
        };
        crate::pump::Times { warm_up: Duration::from_millis(warm_up), run: Duration::from_millis(run) }
    }

    /// How long an idle dispatcher is watched.
    pub fn idle(&self) -> Duration {
        Duration::from_secs(if cfg!(test) {
            0
        } else if self.quick {
            2
        } else {
            10
        })
    }

    /// After this, disturbed runs are not made again, so that all is done within a quarter of an hour, or three minutes.
    pub fn patience(&self) -> Duration {
        Duration::from_secs(
            60 * if cfg!(test) {
                0
            } else if self.quick {
                1
            } else {
                8
            },
        )
    }

    /// How long a run takes at most. When that is over, pairs that are missing are not measured, and rows say so.
    pub fn limit(&self) -> Duration {
        Duration::from_secs(60 * if self.quick { 3 } else { 15 })
    }

    /// Size of the volume of P3 and P4, in bytes.
    pub fn volume_bytes(&self) -> u64 {
        if cfg!(test) {
            4 << 20
        } else if self.quick {
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
    /// The same to null subchannels whose starts wait for the pass.
    Later,
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
