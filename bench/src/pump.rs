// SPDX-License-Identifier: MIT OR Apache-2.0
//! The guest's loop, the same for every side: send batches, take what has come in between, check everything off.

use crate::disturbance::Shared;
use crate::error::{BenchError, Measured};
use crate::latency_log;
use crate::ledger::Ledger;
use crate::method::median;
use crate::placement::Placement;
use crate::thread_clock::ThreadClock;
use hdrhistogram::Histogram;
use std::time::{Duration, Instant};

/// One side as the guest's thread sees it: requests go in, answers come out.
pub trait Wire {
    /// Its name, for faults.
    const SIDE: &'static str;

    /// Sends `count` requests out of the ledger, visible to the other side at once.
    ///
    /// # Errors
    /// The side does not take what it has room for.
    fn send(&mut self, ledger: &mut Ledger, count: u64) -> Measured<()>;

    /// Takes at most `most` answers that have come, checks them, and checks them off. Gives how many.
    ///
    /// # Errors
    /// An answer is wrong.
    fn receive(&mut self, ledger: &mut Ledger, most: u64) -> Measured<u64>;

    /// The fault of an answer whose tag is not outstanding.
    fn unknown(tag: u64) -> BenchError {
        BenchError::Wrong { side: Self::SIDE, fault: format!("an answer with tag {tag:#x} that is not outstanding") }
    }
}

/// How much is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Requests published at once.
    pub batch: u16,
    /// Requests outstanding, which is also the number of places.
    pub depth: u16,
}

/// How long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// Before anything is measured.
    pub warm_up: Duration,
    /// The measurement itself.
    pub run: Duration,
}

/// What was measured.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Throughput {
    /// Round trips a second.
    pub per_second: f64,
    /// Round trips per second of CPU time of the other side's thread.
    pub per_cpu_second: f64,
    /// Round trips, warm-up included.
    pub round_trips: u64,
    /// The smaller share of the time that one of the two threads had.
    pub share: f64,
}

impl Shared for Throughput {
    fn share(&self) -> f64 {
        self.share
    }
}

/// What was measured of one request at a time.
#[derive(Clone, Debug, PartialEq)]
pub struct Latency {
    /// Median in nanoseconds.
    pub median: f64,
    /// The smaller share of the time that one of the two threads had.
    pub share: f64,
    /// Round trips, warm-up included.
    pub round_trips: u64,
    /// All samples, in nanoseconds.
    pub histogram: Histogram<u64>,
}

impl Latency {
    /// What samples in nanoseconds come to.
    ///
    /// # Errors
    /// There is no memory for a histogram.
    pub fn of(samples: &mut [f64], share: f64, round_trips: u64) -> Measured<Self> {
        let mut histogram = latency_log::histogram()?;
        for sample in samples.iter() {
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a time in nanoseconds")]
            histogram.saturating_record(sample.round() as u64);
        }
        Ok(Self { median: median(samples), share, round_trips, histogram })
    }
}

impl Shared for Latency {
    fn share(&self) -> f64 {
        self.share
    }
}

/// Looks at the clock are this many rounds apart.
const ROUNDS_BETWEEN_LOOKS: u32 = 64;

/// How long answers may be missing at the end.
const PATIENCE: Duration = Duration::from_secs(10);

/// When to stop.
#[derive(Clone, Copy, Debug)]
pub enum Until {
    /// After a warm-up and a measured time.
    Times(Times),
    /// After so many answers; all of them are measured.
    Answers(u64),
}

/// Keeps `shape.depth` requests outstanding and measures the answers. Ends only when every request has been answered.
///
/// # Errors
/// Those of the wire; answers are missing.
pub fn throughput<W: Wire>(
    wire: &mut W,
    shape: Shape,
    until: Until,
    placement: Placement,
    clock: Option<ThreadClock>,
) -> Measured<Throughput> {
    let mut ledger = Ledger::new(shape.depth);
    let batch = u64::from(shape.batch);
    let (warm_up, run, answers) = match until {
        Until::Times(times) => (times.warm_up, times.run, u64::MAX),
        Until::Answers(answers) => (Duration::ZERO, Duration::MAX, answers),
    };
    let cpu = |clock: Option<ThreadClock>| clock.map_or(Ok(0.0), ThreadClock::seconds);
    let mut pump_for = |ledger: &mut Ledger, time: Duration| -> Measured<Duration> {
        let began = Instant::now();
        loop {
            for _ in 0..ROUNDS_BETWEEN_LOOKS {
                let came = wire.receive(ledger, batch)?;
                if ledger.free() >= batch {
                    wire.send(ledger, batch)?;
                } else if came == 0 {
                    placement.relax();
                }
            }
            let passed = began.elapsed();
            if passed >= time || ledger.answered() >= answers {
                return Ok(passed);
            }
        }
    };
    if warm_up > Duration::ZERO {
        pump_for(&mut ledger, warm_up)?;
    }
    let own = ThreadClock::own()?;
    let (answered, cpu_before, own_before) = (ledger.answered(), cpu(clock)?, own.seconds()?);
    let passed = pump_for(&mut ledger, run)?;
    #[allow(clippy::cast_precision_loss, reason = "counts of one run are far below 2^52")]
    let count = (ledger.answered() - answered) as f64;
    let (cpu_used, own_used) = (cpu(clock)? - cpu_before, own.seconds()? - own_before);
    let used = if clock.is_some() { cpu_used.min(own_used) } else { own_used };
    drain(wire, &mut ledger, placement)?;
    let per_cpu_second = if cpu_used > 0.0 { count / cpu_used } else { 0.0 };
    let passed = passed.as_secs_f64();
    Ok(Throughput { per_second: count / passed, per_cpu_second, round_trips: ledger.answered(), share: used / passed })
}

/// Takes the answers that are outstanding.
fn drain<W: Wire>(wire: &mut W, ledger: &mut Ledger, placement: Placement) -> Measured<()> {
    let began = Instant::now();
    while ledger.outstanding() > 0 {
        if wire.receive(ledger, u64::MAX)? == 0 {
            placement.relax();
        }
        if began.elapsed() > PATIENCE {
            let fault = format!("{} requests were not answered within {PATIENCE:?}", ledger.outstanding());
            return Err(BenchError::Wrong { side: W::SIDE, fault });
        }
    }
    if wire.receive(ledger, 1)? != 0 {
        return Err(BenchError::Wrong { side: W::SIDE, fault: "more answers than requests".into() });
    }
    Ok(())
}

/// Round trips whose mean is one sample of a latency: reading the clock for each would cost as much as a tenth of it.
pub const TRIPS_PER_SAMPLE: u32 = 32;

/// The median latency of one request at a time over `places` places in turn, in nanoseconds: of samples that are the mean of
/// [`TRIPS_PER_SAMPLE`] round trips each.
///
/// # Errors
/// Those of the wire; an answer does not come.
pub fn latency<W: Wire>(wire: &mut W, places: u16, times: Times, clock: ThreadClock) -> Measured<Latency> {
    let clocks = [ThreadClock::own()?, clock];
    let before = [clocks[0].seconds()?, clocks[1].seconds()?];
    let mut ledger = Ledger::new(places);
    let began = Instant::now();
    let mut samples = Vec::with_capacity(1 << 20);
    loop {
        let start = Instant::now();
        for _ in 0..TRIPS_PER_SAMPLE {
            wire.send(&mut ledger, 1)?;
            let mut looks = 0u64;
            while wire.receive(&mut ledger, 1)? == 0 {
                std::hint::spin_loop();
                looks += 1;
                if looks.is_multiple_of(1 << 20) && start.elapsed() > PATIENCE {
                    return Err(BenchError::Wrong { side: W::SIDE, fault: format!("no answer within {PATIENCE:?}") });
                }
            }
        }
        let end = Instant::now();
        if end.duration_since(began) >= times.warm_up && samples.len() < samples.capacity() {
            samples.push(end.duration_since(start).as_secs_f64() * 1e9 / f64::from(TRIPS_PER_SAMPLE));
        }
        if end.duration_since(began) >= times.warm_up + times.run {
            let used = (clocks[0].seconds()? - before[0]).min(clocks[1].seconds()? - before[1]);
            let share = used / began.elapsed().as_secs_f64();
            return Latency::of(&mut samples, share, ledger.answered());
        }
    }
}
