// SPDX-License-Identifier: MIT OR Apache-2.0
//! Fairness: what fifteen modest rings, each with one start at a time, wait inside the dispatcher, with a greedy sixteenth ring and without.
//!
//! From taken to issued, as the completions tell it: how long a start stands in its subchannel. With null devices that is nothing, whoever else is
//! there, since what a turn takes it issues; the time is that of a turn's stamp. With FBA devices there are fewer engine slots than modest rings, and
//! the greedy one always has more starts waiting than there are slots.

use super::{Comparison, Setting};
use crate::error::{BenchError, Doing as _, Measured};
use crate::fba::{self, FbaReads, Reading};
use crate::goals::p3;
use crate::guest::{NoProgram, Program};
use crate::guest_memory::GuestMemory;
use crate::later::Later;
use crate::method::Wanted;
use crate::report::Row;
use crate::subject::{id, ring, usual, Subject};
use crate::volume_file::VolumeFile;
use fctl_dispatcher::device::SubchannelDevice;
use fctl_dispatcher::region::RegionWords;
use fctl_dispatcher::SubchannelOptions;
use fctl_ringabi::{CompletionReader, Poster};
use std::time::{Duration, Instant};
use vmm_sys_util::eventfd::EventFd;

/// Rings with one subchannel and one start at a time: subchannels `0..MODEST`.
const MODEST: u16 = 15;
/// Subchannels of the greedy ring, all of them busy.
const GREEDY: u16 = 128;
/// Engine slots: fewer than there are modest rings, so that these wait for each other too.
const SLOTS: u16 = 8;

struct End {
    poster: Poster<RegionWords>,
    reader: CompletionReader<RegionWords>,
    doorbell: EventFd,
}

/// The guests of all rings, in one thread.
struct Guests<P> {
    rings: Vec<End>,
    program: P,
    outstanding: usize,
    /// Nanoseconds from taken to issued, of the modest.
    waits: Vec<f64>,
}

impl<P: Program> Guests<P> {
    fn start(&mut self, ring: usize, place: u16) -> Measured<()> {
        let descriptor = self.program.prepare(place, place.into());
        self.outstanding += 1;
        self.rings[ring].poster.stage(&descriptor).doing("post an instruction")
    }

    fn take(&mut self, ring: usize, go_on: bool) -> Measured<()> {
        while let Some((completion, _)) = self.rings[ring].reader.take().doing("take a completion")? {
            self.outstanding -= 1;
            let place = u16::try_from(completion.tag).doing("read a tag")?;
            if completion.cc != 0 || !P::ended_well(&completion) || !self.program.done(place) {
                return Err(wrong(format!("a start did not do its work: {completion:?}")));
            }
            if ring < usize::from(MODEST) {
                self.waits.push(completion.times.issued_after.into());
            }
            if go_on {
                self.start(ring, place)?;
            }
        }
        Ok(())
    }

    fn run(&mut self, places: u16, time: Duration) -> Measured<Vec<f64>> {
        for place in 0..places {
            self.start(usize::from(place.min(MODEST)), place)?;
        }
        let began = Instant::now();
        while self.outstanding > 0 {
            for ring in 0..self.rings.len() {
                self.take(ring, began.elapsed() < time)?;
                let end = &mut self.rings[ring];
                if end.poster.publish() {
                    end.doorbell.write(1).doing("ring the doorbell")?;
                }
            }
            if began.elapsed() > time + Duration::from_secs(10) {
                return Err(wrong(format!("{} starts were not answered", self.outstanding)));
            }
        }
        Ok(std::mem::take(&mut self.waits))
    }
}

fn wrong(fault: String) -> BenchError {
    BenchError::Wrong { side: "fctl", fault }
}

/// What 99 of 100 starts of the modest do not wait longer than, in nanoseconds.
fn wait<P: Program + Send>(
    setting: &Setting<'_>,
    greedy: bool,
    memory: &GuestMemory,
    program: P,
    mut device: impl FnMut() -> Box<dyn SubchannelDevice>,
) -> Measured<f64> {
    let placement = setting.placement;
    let subject = Subject::spawn(placement, usual(placement).engine_slots(SLOTS))?;
    let handle = subject.handle();
    let guest = handle.attach_guest(memory.mapped()?).doing("attach a guest")?;
    let places = if greedy { MODEST + GREEDY } else { MODEST };
    let (mut rings, mut homes) = (Vec::new(), Vec::new());
    for place in 0..places {
        if place <= MODEST {
            let (ends, port) = ring()?;
            let doorbell = ends.doorbell.try_clone().doing("share the doorbell")?;
            homes.push(handle.attach_ring(guest, ends).doing("attach a ring")?);
            let (poster, reader) = port.split();
            rings.push(End { poster, reader, doorbell });
        }
        let home = homes[homes.len() - 1];
        handle.attach_subchannel(home, id(place), SubchannelOptions::new(place), device()).doing("attach a subchannel")?;
    }
    let time = setting.options.times().run;
    let mut waits = placement.on_guest(|| Guests { rings, program, outstanding: 0, waits: Vec::new() }.run(places, time))?;
    let (counters, _) = subject.end()?;
    if counters.taken != counters.finals || waits.is_empty() {
        return Err(wrong(format!("{} starts of the modest, {counters:?}", waits.len())));
    }
    // What was issued in the turn that took it has one stamp for both.
    Ok(super::p5::p99(&mut waits).max(1.0))
}

fn compare(setting: &Setting<'_>, what: &str, remark: &str, run: &dyn Fn(bool) -> Measured<f64>) -> Measured<Row> {
    let mut row = Comparison::new("fairness", what, "without the greedy ring", "ns", "≤ 2");
    if let Err(error) = setting.placement.two_cpus() {
        return row.not_run(error);
    }
    for _ in setting.pairs() {
        let alone = run(false)?;
        row.pair(run(true)?, alone, Some(Wanted::AtMost(2.0)));
        row.control(alone, run(false)?);
    }
    row.remark(remark.into());
    Ok(row.row())
}

/// Measures fairness, with null devices and with FBA devices that are short of engine slots.
///
/// # Errors
/// A side did wrong.
pub fn measure(setting: &Setting<'_>) -> Measured<Vec<Row>> {
    let memory = GuestMemory::new(1 << 20)?;
    let null = compare(
        setting,
        "taken → issued of 15 modest, null, p99",
        "their starts wait for the pass, which is in the turn that takes them; it is the time until the turn has taken from all rings",
        &|greedy| wait(setting, greedy, &memory, NoProgram, || Box::new(Later)),
    )?;
    let volume = VolumeFile::new(&setting.options.place.dir, setting.options.volume_bytes())?;
    let memory = fba::memory(MODEST + GREEDY)?;
    let slots = compare(
        setting,
        "taken → issued of 15 modest, FBA, p99",
        "8 engine slots; the greedy ring has 128 reads outstanding",
        &|greedy| {
            let reads = FbaReads::new(&memory, MODEST + GREEDY, volume.pieces(), Reading::Whole);
            wait(setting, greedy, &memory, reads, p3::devices(&volume)?)
        },
    )?;
    Ok(vec![null, slots])
}
