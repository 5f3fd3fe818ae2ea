// SPDX-License-Identifier: MIT OR Apache-2.0
//! P5: CLEAR of a start on a delayed volume while 255 other subchannels read as fast as they can: how many turns of the loop until its final.
//!
//! Every completion carries the number of the turn that stored it. The guest notes the newest it has seen when it posts the CLEAR, and
//! compares it with that of the CLEAR's final, which is stored no earlier than the cancel was submitted. So the figure includes what the guest
//! is behind, and the turn that was under way.
//!
//! A delayed volume only holds its answer back: nothing of it is in the kernel. So the same is measured with a start whose operation is there
//! ([`in_flight`]): turns until the cancel goes out, and turns from the kernel's end of the operation until the final.

mod in_flight;

use self::in_flight::{Ends, Held};
use super::{median_of, Comparison, Setting};
use crate::error::{BenchError, Doing as _, Measured};
use crate::fba::{self, FbaReads, Reading};
use crate::guest::Program as _;
use crate::guest_memory::GuestMemory;
use crate::method::Wanted;
use crate::report::Row;
use crate::subject::{id, ring, usual, Subject};
use crate::volume_file::VolumeFile;
use fctl_dispatcher::device::delay::Delay;
use fctl_dispatcher::device::fba::Fba;
use fctl_dispatcher::device::SubchannelDevice;
use fctl_dispatcher::region::RegionWords;
use fctl_dispatcher::volume::{Volume, VolumeOptions};
use fctl_dispatcher::SubchannelOptions;
use fctl_ringabi::{CompletionFlags, CompletionReader, Descriptor, Disposition, GuestPort, Operation, Poster};
use std::sync::Arc;
use std::time::{Duration, Instant};
use vmm_sys_util::eventfd::EventFd;

/// The busy subchannels are `0..BUSY`; the next one is delayed.
const BUSY: u16 = 255;
/// Longer than a clear can take: only the clear ends the start.
const DELAY: Duration = Duration::from_secs(5);
/// Tags of the delayed one, above those of the busy ones, which are their numbers.
const START: u64 = 1 << 32;
const CLEAR: u64 = 2 << 32;

/// Where the delayed subchannel is at home.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Home {
    /// In the ring of the busy ones.
    Same,
    /// In a ring of its own.
    Own,
}

struct End {
    poster: Poster<RegionWords>,
    reader: CompletionReader<RegionWords>,
    doorbell: EventFd,
}

impl End {
    fn new(port: GuestPort<RegionWords>, doorbell: EventFd) -> Self {
        let (poster, reader) = port.split();
        Self { poster, reader, doorbell }
    }

    fn stage(&mut self, descriptor: &Descriptor) -> Measured<()> {
        self.poster.stage(descriptor).doing("post an instruction")
    }

    fn publish(&mut self) -> Measured<()> {
        if self.poster.publish() {
            self.doorbell.write(1).doing("ring the doorbell")?;
        }
        Ok(())
    }
}

/// The load of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Load {
    /// A delayed volume.
    Delayed(Home),
    /// A device whose operation is in the kernel, in a ring of its own.
    InFlight(Ends),
}

/// What is going on with the delayed subchannel.
#[derive(Clone, Copy, Debug)]
enum Phase {
    Idle,
    /// A start was posted. It is with the device when a read that was posted after it has ended: the turns seen so far may be of before.
    Started {
        read_after: Option<u16>,
    },
    Issued,
    Clearing {
        turn: u32,
        since: Instant,
    },
}

/// The clears of a run.
struct Clears {
    turns: Vec<f64>,
    /// Microseconds from posting the CLEAR until its final was seen.
    times: Vec<f64>,
    /// Turns from the cancel until the kernel had ended the operation.
    ends: Vec<f64>,
    not_counted: u32,
}

/// The guest: keeps the busy ones busy and clears the delayed one again and again.
struct Recovery<'a> {
    rings: Vec<End>,
    reads: FbaReads<'a>,
    phase: Phase,
    newest: u32,
    outstanding: usize,
    turns: Vec<f64>,
    times: Vec<f64>,
    /// The device that is cleared, if its operation is in the kernel.
    held: Option<Held>,
    /// The last start was issued before it was cleared.
    issued: bool,
    /// Turns from the cancel until the kernel had ended the operation.
    ends: Vec<f64>,
}

impl Recovery<'_> {
    fn run(&mut self, time: Duration) -> Measured<Clears> {
        for place in 0..BUSY {
            self.read(place)?;
        }
        let began = Instant::now();
        loop {
            for ring in 0..self.rings.len() {
                self.take(ring, began.elapsed() < time)?;
            }
            match self.phase {
                Phase::Idle if began.elapsed() < time => {
                    let start = self.reads.prepare(BUSY, START);
                    self.delayed()?.stage(&start)?;
                    self.outstanding += 1;
                    self.phase = Phase::Started { read_after: None };
                }
                Phase::Idle => {}
                Phase::Started { .. } if began.elapsed() < time => {}
                Phase::Started { .. } | Phase::Issued => {
                    if let Some(held) = &mut self.held {
                        held.clearing();
                    }
                    self.delayed()?.stage(&Descriptor::new(Operation::Clear, id(BUSY), CLEAR))?;
                    self.outstanding += 1;
                    self.phase = Phase::Clearing { turn: self.newest, since: Instant::now() };
                }
                Phase::Clearing { .. } => {
                    if let Some(held) = &mut self.held {
                        held.end()?;
                    }
                }
            }
            for ring in &mut self.rings {
                ring.publish()?;
            }
            if let Some(held) = &mut self.held {
                held.published();
            }
            if self.outstanding == 0 {
                let not_counted = self.held.as_ref().map_or(0, |held| held.not_counted);
                return Ok(Clears {
                    turns: core::mem::take(&mut self.turns),
                    times: core::mem::take(&mut self.times),
                    ends: core::mem::take(&mut self.ends),
                    not_counted,
                });
            }
            if began.elapsed() > time + DELAY {
                return Err(wrong(format!("{} instructions were not answered", self.outstanding)));
            }
        }
    }

    fn delayed(&mut self) -> Measured<&mut End> {
        self.rings.last_mut().ok_or_else(|| wrong("no ring".into()))
    }

    fn read(&mut self, place: u16) -> Measured<()> {
        if let Phase::Started { read_after: after @ None } = &mut self.phase {
            *after = Some(place);
        }
        let descriptor = self.reads.prepare(place, place.into());
        self.outstanding += 1;
        self.rings[0].stage(&descriptor)
    }

    fn take(&mut self, ring: usize, go_on: bool) -> Measured<()> {
        while let Some((completion, _)) = self.rings[ring].reader.take().doing("take a completion")? {
            self.outstanding -= 1;
            // Rings are read one after the other: only what is newer counts.
            if completion.turn.wrapping_sub(self.newest) < u32::MAX / 2 {
                self.newest = completion.turn;
            }
            match (completion.tag, self.phase) {
                (START, Phase::Clearing { .. }) if completion.disposition == Disposition::AbsorbedByClear as u8 => {
                    self.issued = completion.flags.contains(CompletionFlags::WAS_ISSUED);
                    if !self.issued && go_on {
                        return Err(wrong("the start was cleared before it was issued".into()));
                    }
                }
                (CLEAR, Phase::Clearing { turn, since }) if completion.cc == 0 => {
                    let counts = self.issued && go_on;
                    if counts {
                        self.times.push(since.elapsed().as_secs_f64() * 1e6);
                    }
                    match &mut self.held {
                        None if counts => self.turns.push(f64::from(completion.turn.wrapping_sub(turn))),
                        Some(held) if counts => {
                            if let Some((turns, ends)) = held.turns(&completion).map_err(wrong)? {
                                self.turns.push(turns);
                                self.ends.push(ends);
                            }
                        }
                        _ => {}
                    }
                    self.phase = Phase::Idle;
                }
                (tag, _) if tag < u64::from(BUSY) && completion.cc == 0 => {
                    let place = u16::try_from(tag).doing("read a tag")?;
                    if !self.reads.done(place) {
                        return Err(wrong(format!("the read of subchannel {place} did not do its work")));
                    }
                    if matches!(self.phase, Phase::Started { read_after: Some(after) } if after == place) {
                        self.phase = Phase::Issued;
                    }
                    if go_on {
                        self.read(place)?;
                    }
                }
                (_, phase) => return Err(wrong(format!("a completion that nobody expects in {phase:?}: {completion:?}"))),
            }
        }
        Ok(())
    }
}

fn wrong(fault: String) -> BenchError {
    BenchError::Wrong { side: "fctl", fault }
}

/// All clears of a run.
fn run(setting: &Setting<'_>, memory: &GuestMemory, volume: &VolumeFile, load: Load) -> Measured<Clears> {
    let placement = setting.placement;
    placement.two_cpus()?;
    let subject = Subject::spawn(placement, usual(placement))?;
    let handle = subject.handle();
    let guest = handle.attach_guest(memory.mapped()?).doing("attach a guest")?;
    let (mut rings, mut homes) = (Vec::new(), Vec::new());
    for _ in 0..if load == Load::Delayed(Home::Same) { 1 } else { 2 } {
        let (ends, port) = ring()?;
        let doorbell = ends.doorbell.try_clone().doing("share the doorbell")?;
        homes.push(handle.attach_ring(guest, ends).doing("attach a ring")?);
        rings.push(End::new(port, doorbell));
    }
    let opened = Arc::new(Volume::open(volume.path(), VolumeOptions::default()).doing("open the volume")?);
    let fba = || Fba::new(Arc::clone(&opened)).doing("make an FBA device");
    for number in 0..BUSY {
        let options = SubchannelOptions::new(number);
        handle.attach_subchannel(homes[0], id(number), options, Box::new(fba()?)).doing("attach a subchannel")?;
    }
    let (held, delayed): (_, Box<dyn SubchannelDevice>) = match load {
        Load::Delayed(_) => (None, Box::new(Delay::new(fba()?, DELAY * 4))),
        Load::InFlight(ends) => {
            let (held, device) = Held::new(ends, fba::buffer(BUSY) as u64)?;
            (Some(held), device)
        }
    };
    let last = homes[homes.len() - 1];
    handle.attach_subchannel(last, id(BUSY), SubchannelOptions::new(BUSY), delayed).doing("attach a subchannel")?;
    let time = setting.options.times().run;
    let clears = placement.on_guest(|| {
        let reads = FbaReads::new(memory, BUSY + 1, volume.pieces(), Reading::Whole);
        let (phase, turns, times, ends) = (Phase::Idle, Vec::new(), Vec::new(), Vec::new());
        let mut guest = Recovery { rings, reads, phase, newest: 0, outstanding: 0, turns, times, held, issued: false, ends };
        guest.run(time)
    })?;
    let (counters, _) = subject.end()?;
    if counters.taken != counters.finals {
        return Err(wrong(format!("{} clears, {counters:?}", clears.turns.len())));
    }
    Ok(clears)
}

/// Runs until there are clears that count: a guest that is hardly ever run may have none in a short run.
fn some_clears(mut run: impl FnMut() -> Measured<Clears>) -> Measured<Clears> {
    const ATTEMPTS: u32 = 20;
    let mut not_counted = 0;
    for _ in 0..ATTEMPTS {
        let clears = run()?;
        not_counted += clears.not_counted;
        if !clears.turns.is_empty() {
            return Ok(Clears { not_counted, ..clears });
        }
    }
    Err(wrong(format!("not one clear that counts in {ATTEMPTS} runs, {not_counted} that do not")))
}

/// The value that 99 of 100 do not exceed.
pub fn p99(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get((values.len() * 99).div_ceil(100).saturating_sub(1)).copied().unwrap_or(f64::NAN)
}

/// The loads, and what is told of each.
const LOADS: [(Load, &str, &str); 4] = [
    (
        Load::Delayed(Home::Own),
        "CLEAR among 255 busy, own ring, p99",
        "posted until the final; the cancel is submitted in its turn, or before",
    ),
    (
        Load::Delayed(Home::Same),
        "CLEAR among 255 busy, same ring, p99",
        "posted until the final; the CLEAR stands behind up to 255 starts, of which a turn issues 64",
    ),
    (Load::InFlight(Ends::Cancelled), "CLEAR of a read in the kernel, p99", "posted until the cancel is submitted; own ring"),
    (
        Load::InFlight(Ends::ByItself),
        "CLEAR of a read no cancel ends, p99",
        "the read's end in the kernel until the final; own ring",
    ),
];

/// Measures P5: a delayed subchannel in a ring of its own, and in that of the others; and one whose operation is in the kernel.
///
/// # Errors
/// A side did wrong.
pub fn measure(setting: &Setting<'_>) -> Measured<Vec<Row>> {
    let volume = VolumeFile::new(&setting.options.place.dir, setting.options.volume_bytes())?;
    let memory = fba::memory(BUSY + 1)?;
    let mut rows = Vec::new();
    for (load, what, from_to) in LOADS {
        let mut row = Comparison::absolute("P5", what, "turns", "≤ 2");
        if let Err(error) = setting.placement.two_cpus() {
            rows.push(row.not_run(error)?);
            continue;
        }
        let (mut medians, mut all_times, mut all_ends, mut clears, mut missing) = (Vec::new(), Vec::new(), Vec::new(), 0, 0);
        for _ in setting.pairs() {
            let Clears { mut turns, times, ends, not_counted } = some_clears(|| run(setting, &memory, &volume, load))?;
            missing += not_counted;
            clears += turns.len();
            row.figure(p99(&mut turns), Some(Wanted::AtMost(2.0)));
            medians.push(median_of(&turns));
            all_times.extend(times);
            all_ends.extend(ends);
        }
        let (turns, microseconds) = (median_of(&medians), median_of(&all_times));
        row.remark(format!("{clears} clears; median {turns:.0}, {microseconds:.0} µs until its final was seen; {from_to}"));
        if load == Load::InFlight(Ends::Cancelled) {
            row.remark(format!("p99 from the cancel until its end and the final {:.0}", p99(&mut all_ends)));
        }
        if missing > 0 {
            row.remark(format!(
                "{missing} more do not count, because the guest was held up between looking at the turn and acting"
            ));
        }
        rows.push(row.row());
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::p99;

    #[test]
    fn the_99th_percentile_leaves_one_of_a_hundred_out() {
        let mut values: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!(p99(&mut values), 99.0);
        assert_eq!(p99(&mut [5.0]), 5.0);
        assert!(p99(&mut []).is_nan());
    }
}
