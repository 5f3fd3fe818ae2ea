// SPDX-License-Identifier: MIT OR Apache-2.0
//! The report: one structure, printed for people or as JSON.

use super::latency::{self, Row};
use super::volume::Image;
use crate::shared::{Board, Cell};
use fctl_dispatcher::engine::EngineCounters;
use fctl_dispatcher::metrics::Counters;
use serde::Serialize;
use std::fmt::{self, Display, Formatter};

/// What was run, and where.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs, reason = "the names are those of the JSON object, and say it")]
pub struct Setting {
    pub seconds: u64,
    pub subchannels: u16,
    pub delayed: usize,
    pub seed: u64,
    pub sabotage: Option<&'static str>,
    pub kernel: String,
    pub allowed_cpus: String,
    pub dispatcher_cpu: usize,
    pub guest_cpus: String,
    pub round_trip_ns: Option<u64>,
    pub volume: String,
    pub temporary: bool,
    pub volume_bytes: u64,
    pub blocks_used: u32,
    pub cache: &'static str,
    pub durability: &'static str,
    pub dispatcher_process: u32,
    pub guest_process: u32,
    pub engine_slots: u16,
}

/// A fault that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FoundFault {
    /// Its sort.
    pub name: &'static str,
    /// How often.
    pub count: u64,
    /// The first one in words.
    pub text: String,
}

/// A fault that was found.
pub fn found(name: &'static str, count: u64, text: String) -> FoundFault {
    FoundFault { name, count, text }
}

/// What the dispatcher counted.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs, reason = "the names are those of the dispatcher's counters")]
pub struct DispatcherBooks {
    pub taken: u64,
    pub finals: u64,
    pub issued: u64,
    pub stalls: u64,
    pub fenced: u64,
    pub notifications: u64,
    pub sleeps: u64,
    pub productive_turns: u64,
    pub operations: u64,
    pub cancel_requests: u64,
    pub enters: u64,
}

/// How the demo went.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs, reason = "the names are those of the JSON object, and say it")]
pub struct Report {
    pub verdict: &'static str,
    pub version: &'static str,
    pub ring_abi: String,
    pub engine: &'static str,
    #[serde(flatten)]
    pub setting: Setting,
    pub posted: u64,
    pub completed: u64,
    pub lost: u64,
    pub twice: u64,
    pub wrong_bytes: u64,
    pub starts: u64,
    pub starts_per_second: u64,
    pub ran: u64,
    pub merged_away: u64,
    pub stopped_active: u64,
    pub cancelled: u64,
    pub refused: u64,
    pub halts: u64,
    pub clears: u64,
    pub cancels: u64,
    pub bytes_read: u64,
    pub bytes_written: u64,
    pub bytes_moved: u64,
    pub bytes_verified: u64,
    pub stopped_starts_watched: u64,
    pub guest_sleeps: u64,
    pub doorbells: u64,
    pub guest_open_files: u64,
    pub image_blocks: u64,
    pub image_blocks_written: u64,
    pub image_blocks_wrong: u64,
    pub dispatcher: DispatcherBooks,
    pub latencies: Vec<Row>,
    pub faults: Vec<FoundFault>,
}

impl Report {
    /// Brings together what both sides know.
    pub fn new(
        setting: Setting,
        board: &Board,
        counters: &Counters,
        engine: &EngineCounters,
        image: Image,
        latencies: Vec<Row>,
        faults: Vec<FoundFault>,
    ) -> Self {
        let cell = |cell| board.get(cell);
        let worked = cell(Cell::Worked).max(1);
        let per_second = u128::from(cell(Cell::Starts)) * 1_000_000_000 / u128::from(worked);
        Self {
            verdict: if faults.is_empty() { "PASS" } else { "FAIL" },
            version: env!("CARGO_PKG_VERSION"),
            ring_abi: format!("{}.{}", fctl_ringabi::header::MAJOR, fctl_ringabi::header::MINOR),
            engine: "io_uring",
            setting,
            posted: cell(Cell::Posted),
            completed: cell(Cell::Finals) + cell(Cell::Twice),
            lost: cell(Cell::Lost),
            twice: cell(Cell::Twice),
            wrong_bytes: cell(Cell::WrongBytes),
            starts: cell(Cell::Starts),
            starts_per_second: if cell(Cell::Worked) == 0 { 0 } else { u64::try_from(per_second).unwrap_or(u64::MAX) },
            ran: cell(Cell::Ran),
            merged_away: cell(Cell::MergedAway),
            stopped_active: cell(Cell::StoppedActive),
            cancelled: cell(Cell::Cancelled),
            refused: cell(Cell::Refused),
            halts: cell(Cell::Halts),
            clears: cell(Cell::Clears),
            cancels: cell(Cell::Cancels),
            bytes_read: cell(Cell::BytesRead),
            bytes_written: cell(Cell::BytesWritten),
            bytes_moved: cell(Cell::BytesRead) + cell(Cell::BytesWritten),
            bytes_verified: cell(Cell::BytesVerified),
            stopped_starts_watched: cell(Cell::Watched),
            guest_sleeps: cell(Cell::Sleeps),
            doorbells: cell(Cell::Doorbells),
            guest_open_files: cell(Cell::OpenFiles),
            image_blocks: image.blocks,
            image_blocks_written: image.written,
            image_blocks_wrong: image.missing + image.wrong,
            dispatcher: DispatcherBooks {
                taken: counters.taken,
                finals: counters.finals,
                issued: counters.issued,
                stalls: counters.stalls,
                fenced: counters.fenced,
                notifications: counters.notifications,
                sleeps: counters.sleeps,
                productive_turns: counters.productive_turns,
                operations: engine.operations,
                cancel_requests: engine.cancels,
                enters: engine.enters,
            },
            latencies,
            faults,
        }
    }

    /// True if no fault was found.
    pub fn passed(&self) -> bool {
        self.faults.is_empty()
    }

    /// As one JSON object.
    pub fn to_json(&self) -> String {
        // Maps with other than string keys are what could fail; there are none.
        serde_json::to_string(self).unwrap_or_else(|error| format!("{{\"error\":\"{error}\"}}"))
    }

    fn head(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let s = &self.setting;
        writeln!(
            f,
            "fctl {} · ring ABI {} · Linux {} · {} with {} slots",
            self.version, self.ring_abi, s.kernel, self.engine, s.engine_slots
        )?;
        let round_trip = match s.round_trip_ns {
            Some(nanoseconds) => format!("{} from one to the other and back", latency::time(nanoseconds)),
            None => "no second CPU to measure a round trip with".into(),
        };
        writeln!(f, "CPUs      dispatcher on {} · guest on {} · {round_trip}", s.dispatcher_cpu, s.guest_cpus)?;
        let temporary = if s.temporary { " (temporary)" } else { "" };
        writeln!(f, "volume    {}{temporary} · {} · {} · {}", s.volume, bytes(s.volume_bytes), s.cache, s.durability)?;
        writeln!(
            f,
            "processes dispatcher {} · guest {}, which has the mapped memory and {} eventfds",
            s.dispatcher_process, s.guest_process, self.guest_open_files
        )?;
        write!(
            f,
            "work      {} s · {} subchannels, {} of them delayed by 1 to 5 ms · seed {}",
            s.seconds, s.subchannels, s.delayed, s.seed
        )?;
        match s.sabotage {
            Some(what) => writeln!(f, " · SABOTAGED: {what}"),
            None => writeln!(f),
        }
    }

    fn work(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} starts a second; {} in all, with {} halts, {} clears and {} cancels among them",
            number(self.starts_per_second),
            number(self.starts),
            number(self.halts),
            number(self.clears),
            number(self.cancels)
        )?;
        writeln!(
            f,
            "{} written, {} read, {} verified byte for byte; memory of {} stopped starts watched",
            bytes(self.bytes_written),
            bytes(self.bytes_read),
            bytes(self.bytes_verified),
            number(self.stopped_starts_watched)
        )?;
        let d = &self.dispatcher;
        writeln!(
            f,
            "asleep: dispatcher {} times, guest {} times; {} doorbells, {} notifications, {} io_uring_enter",
            number(d.sleeps),
            number(self.guest_sleeps),
            number(self.doorbells),
            number(d.notifications),
            number(d.enters)
        )
    }

    fn table(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<10}{:<20}{:>9}{:>9}{:>9}{:>9}  {}", "latency", "", "p50", "p99", "p99.9", "max", latency::scale())?;
        let mut before = "";
        for row in &self.latencies {
            let name = if row.function == before { "" } else { row.function };
            before = row.function;
            let [p50, p99, p999, max] = [row.p50_ns, row.p99_ns, row.p999_ns, row.max_ns].map(latency::time);
            writeln!(f, "{name:<10}{:<20}{p50:>9}{p99:>9}{p999:>9}{max:>9}  {}", row.stage, row.picture())?;
        }
        Ok(())
    }

    fn fates(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "fates of all starts, by the guest's own ledger")?;
        let fates = [
            ("ran", self.ran),
            ("merged away before issue", self.merged_away),
            ("stopped while active", self.stopped_active),
            ("cancelled", self.cancelled),
            ("refused (condition code 2)", self.refused),
        ];
        for (sign, (name, count)) in " ++++".chars().zip(fates) {
            writeln!(f, "  {sign} {:>14}  {name}", number(count))?;
        }
        let sum: u64 = fates.iter().map(|&(_, count)| count).sum();
        if sum == self.starts {
            writeln!(f, "  = {:>14}  starts posted", number(sum))
        } else {
            writeln!(f, "  ≠ {:>14}  starts posted", number(self.starts))
        }
    }

    fn verdict(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let sign = if self.posted == self.completed { '=' } else { '≠' };
        writeln!(
            f,
            "posted {} {sign} completed {} · lost {} · twice {} · wrong bytes {}",
            number(self.posted),
            number(self.completed),
            number(self.lost),
            number(self.twice),
            number(self.wrong_bytes)
        )?;
        writeln!(
            f,
            "final image: {} blocks compared with the guest's model, {} of them written, {} wrong",
            number(self.image_blocks),
            number(self.image_blocks_written),
            number(self.image_blocks_wrong)
        )?;
        for (word, fault) in std::iter::once("FAIL").chain(std::iter::repeat("also")).zip(&self.faults) {
            writeln!(f, "{word}  {} ({}): {}", fault.name, number(fault.count), fault.text)?;
        }
        if self.passed() {
            writeln!(f, "PASS")?;
        }
        Ok(())
    }

    fn next(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "what to try next")?;
        if !self.setting.temporary {
            writeln!(f, "  python3 tools/check_image.py {} {}", self.setting.volume, self.setting.seed)?;
        }
        let lines = [
            ("fctl demo --sabotage flip-bit", "the check fails when it ought to (lose, double, clear-early, skip-write)"),
            ("fctl demo --volume /tmp/v --size 64M", "keeps the volume, for tools/check_image.py"),
            ("fctl demo --cache direct", "past the page cache (or --durability writeback)"),
            ("taskset -c 0 fctl demo", "dispatcher and guest on one CPU"),
        ];
        let mut lines =
            lines.into_iter().filter(|(command, _)| self.setting.temporary || !command.contains("--volume")).peekable();
        while let Some((command, why)) = lines.next() {
            write!(f, "  {command:<38}{why}")?;
            if lines.peek().is_some() {
                writeln!(f)?;
            }
        }
        Ok(())
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for part in [Self::head, Self::work, Self::table, Self::fates, Self::verdict] {
            part(self, f)?;
            writeln!(f)?;
        }
        self.next(f)
    }
}

/// A number with its thousands apart.
fn number(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// An amount of bytes.
fn bytes(value: u64) -> String {
    let units = [("B", 0), ("KiB", 10), ("MiB", 20), ("GiB", 30), ("TiB", 40)];
    let (unit, shift) = units.into_iter().rev().find(|&(_, shift)| value >> shift > 0).unwrap_or(units[0]);
    let tenths = (u128::from(value) * 10) >> shift;
    if shift == 0 || tenths % 10 == 0 || tenths >= 1000 {
        format!("{} {unit}", tenths / 10)
    } else {
        format!("{}.{} {unit}", tenths / 10, tenths % 10)
    }
}

#[cfg(test)]
#[path = "report_tests.rs"]
mod tests;
