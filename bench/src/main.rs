// SPDX-License-Identifier: MIT OR Apache-2.0
//! Measurements of fctl against its peers, in one interleaved run.
//!
//! `fctl-bench peers` measures the goals and prints a table; `fctl-bench load` runs the dispatcher's side alone, for `perf`,
//! `strace -c` and callgrind.
//!
//! # What makes a figure honest here
//! * Every claim is a ratio of two sides that ran in turn, seconds apart ([`method`]); an absolute figure proves nothing.
//! * Both sides are driven by the same guest loop ([`pump`]) with the same batch, depth and bytes, and every completion of both is checked off
//!   against the same ledger ([`ledger`]): one that is lost, doubled or wrong ends the run with an error.
//! * Each run sets up its side anew and warms it up; nothing of the other side is alive meanwhile.

mod allocator;
mod cli;
mod disturbance;
mod error;
mod fba;
mod goals;
mod guest;
mod guest_memory;
mod latency_log;
mod later;
mod ledger;
mod load;
mod machine;
mod method;
mod peers;
mod pingpong;
mod placement;
mod pump;
mod report;
mod subject;
mod thread_clock;
mod time_limit;
mod traced;
mod volume_file;

use clap::Parser as _;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: allocator::Counting = allocator::Counting;

fn main() -> ExitCode {
    let result = match cli::Cli::parse().command {
        cli::Command::Peers(options) => goals::run(&options),
        cli::Command::Load(options) => load::run(&options),
        cli::Command::Resident => goals::p13::tell_resident(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fctl-bench: {error}");
            ExitCode::FAILURE
        }
    }
}
