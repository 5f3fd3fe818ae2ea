// SPDX-License-Identifier: MIT OR Apache-2.0
//! The command line.

use crate::qemu::QemuOptions;
use clap::{Args, Parser, Subcommand, ValueEnum};
use fctl_dispatcher::volume;
use std::path::PathBuf;

/// Bytes of a block: a volume is a whole number of them.
const BLOCK: u64 = 512;

/// fctl: a lock-free, ring-based dispatcher for channel I/O.
#[derive(Debug, Parser)]
#[command(name = "fctl", version, about = "A lock-free, ring-based dispatcher for channel I/O", long_about = None)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the whole slice against itself: a guest process verifies what the dispatcher does, and both ledgers are compared
    Demo(DemoOptions),
    /// Start an unmodified QEMU whose guest has volumes of ours as DASDs
    Qemu(QemuOptions),
    /// The guest's side of the demo; started by the demo alone
    #[command(hide = true)]
    Guest,
}

/// How the demo is run.
#[derive(Clone, Debug, Args)]
pub struct DemoOptions {
    /// How long the guest works, in seconds
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub seconds: u64,
    /// How many subchannels; every fourth is delayed
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u16).range(1..=4096))]
    pub subchannels: u16,
    /// The dispatcher's CPU; the last one allowed if not given
    #[arg(long, value_name = "N")]
    pub cpu: Option<usize>,
    /// A plain file or block device to be used as the volume (ITS CONTENT IS LOST); a temporary file if not given
    #[arg(long, value_name = "PATH")]
    pub volume: Option<PathBuf>,
    /// Size of the volume that is made, such as 64M; with --volume, makes the file if it does not exist
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub size: Option<u64>,
    /// Use the volume given even if it holds something that no demo has written
    #[arg(long, requires = "volume")]
    pub overwrite: bool,
    /// Print one JSON object instead of the report
    #[arg(long)]
    pub json: bool,
    /// Make something misbehave on purpose: the check must fail and name it
    #[arg(long, value_enum, value_name = "WHAT")]
    pub sabotage: Option<Sabotage>,
    /// When a write counts as done
    #[arg(long, value_enum, default_value_t = Durability::Writethrough)]
    pub durability: Durability,
    /// Whether the host's page cache stands between guest and volume
    #[arg(long, value_enum, default_value_t = Cache::Buffered)]
    pub cache: Cache,
    /// What the content of the blocks and the order of events are derived from
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub seed: u64,
}

/// What can be made to misbehave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Sabotage {
    /// One completion vanishes on its way to the guest
    Lose,
    /// One completion reaches the guest twice
    Double,
    /// One bit of what was read is turned in the guest's memory
    FlipBit,
    /// A stopped read writes into the guest's memory after its end was reported
    ClearEarly,
    /// A write is answered as done and was not done
    SkipWrite,
}

impl Sabotage {
    /// Its name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lose => "lose",
            Self::Double => "double",
            Self::FlipBit => "flip-bit",
            Self::ClearEarly => "clear-early",
            Self::SkipWrite => "skip-write",
        }
    }
}

/// When a write counts as done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Durability {
    /// When it is on stable storage
    Writethrough,
    /// When the host's cache has it
    Writeback,
}

impl Durability {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Writethrough => "writethrough",
            Self::Writeback => "writeback",
        }
    }
}

impl From<Durability> for volume::Durability {
    fn from(durability: Durability) -> Self {
        match durability {
            Durability::Writethrough => Self::Writethrough,
            Durability::Writeback => Self::Writeback,
        }
    }
}

/// Whether the page cache is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Cache {
    /// It is
    Buffered,
    /// It is not (`O_DIRECT`), where alignment allows
    Direct,
}

impl Cache {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Buffered => "buffered",
            Self::Direct => "direct",
        }
    }
}

impl From<Cache> for volume::Cache {
    fn from(cache: Cache) -> Self {
        match cache {
            Cache::Buffered => Self::Buffered,
            Cache::Direct => Self::Direct,
        }
    }
}

/// What is wrong with the command line, without the paragraphs that explain how to ask for help.
pub fn in_one_line(text: &str) -> String {
    let first: Vec<&str> = text.lines().map(str::trim).take_while(|line| !line.is_empty()).collect();
    let text = first.join(" ");
    format!("fctl: {} (see fctl demo --help)", text.strip_prefix("error: ").unwrap_or(&text))
}

/// Reads a size: a number with an optional K, M, G or T (powers of 1024; `B` or `iB` may follow).
fn parse_size(text: &str) -> Result<u64, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let shift = match unit.to_ascii_uppercase().trim_end_matches("IB").trim_end_matches('B') {
        "" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        "T" => 40,
        _ => return Err("a number with K, M, G or T behind it is accepted, such as 64M".into()),
    };
    let number: u64 = number.parse().map_err(|_| "a number is accepted, such as 64M".to_owned())?;
    let bytes = number.checked_mul(1 << shift).ok_or("that is more than any volume can have")?;
    if bytes == 0 || bytes % BLOCK != 0 {
        let below = bytes / BLOCK * BLOCK;
        return Err(format!("{bytes} bytes are no whole number of {BLOCK}-byte blocks; {} would do", (below + BLOCK).max(BLOCK)));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_their_units() {
        for (text, bytes) in [("512", 512), ("64M", 64 << 20), ("64MiB", 64 << 20), ("1g", 1 << 30), ("2KB", 2048)] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn a_size_that_will_not_do_says_what_would() {
        assert!(parse_size("1000").unwrap_err().contains("1024 would do"));
        assert!(parse_size("0").unwrap_err().contains("512 would do"));
        assert!(parse_size("12Q").unwrap_err().contains("64M"));
        assert!(parse_size("").is_err());
        assert!(parse_size("99999999999T").is_err());
    }

    #[test]
    fn a_bad_command_line_is_one_line() {
        for arguments in [["fctl", "demo", "--size=1000"], ["fctl", "demo", "--seconds=0"], ["fctl", "demo", "--sabotage=x"]] {
            let line = in_one_line(&Cli::try_parse_from(arguments).unwrap_err().to_string());
            assert!(line.starts_with("fctl: invalid value") && !line.contains('\n'), "{line}");
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
    }
}
