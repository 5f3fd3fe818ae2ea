// SPDX-License-Identifier: MIT OR Apache-2.0
//! The command `fctl`: a demonstration that proves itself.
//!
//! `fctl demo` runs the dispatcher's main job on an embedded default: a guest in a process of its own writes, reads back and verifies by real
//! channel programs, keeps its own ledger, and the two sides' books are compared. Exit status: 0 the check passed, 1 it failed and
//! the fault is named, 2 it could not be run (the reason is one line on standard error). `fctl qemu` starts QEMU with volumes of ours.

mod cli;
mod content;
mod demo;
mod guest;
mod qemu;
mod shared;

use clap::Parser as _;
use std::process::ExitCode;

/// The allocator of this program alone; the libraries bring none.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match cli::Cli::try_parse() {
        Ok(cli) => match cli.command {
            cli::Command::Demo(options) => demo::run(&options),
            cli::Command::Qemu(options) => qemu::run(&options),
            cli::Command::Guest => guest::main(),
        },
        Err(error) if error.use_stderr() && std::env::args_os().len() > 1 => {
            eprintln!("{}", cli::in_one_line(&error.to_string()));
            ExitCode::from(2)
        }
        Err(help) => help.exit(),
    }
}
