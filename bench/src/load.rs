// SPDX-License-Identifier: MIT OR Apache-2.0
//! `load`: the dispatcher's side alone, for as long as is asked, and its own account of it.

use crate::allocator::calls;
use crate::cli::{Load, What};
use crate::error::{Doing as _, Measured};
use crate::fba::{self, FbaReads, Reading};
use crate::goals::{p1, p3};
use crate::guest::{Clears, NoProgram, Program, RingWire};
use crate::guest_memory::GuestMemory;
use crate::later::Later;
use crate::ledger::Ledger;
use crate::placement::Placement;
use crate::pump::{throughput, Shape, Throughput, Times, Until, Wire};
use crate::subject::{self, Subject};
use crate::thread_clock::ThreadClock;
use crate::volume_file::VolumeFile;
use fctl_dispatcher::device::null::Null;
use fctl_dispatcher::device::SubchannelDevice;
use fctl_dispatcher::engine::EngineCounters;
use fctl_dispatcher::metrics::Counters;
use fctl_dispatcher::{Reactor, MOST_PER_RING_AND_TURN};
use std::time::Duration;

/// Bytes of the volume.
const VOLUME_BYTES: u64 = if cfg!(test) { 4 << 20 } else { 256 << 20 };

/// Runs the load and prints what was done.
///
/// # Errors
/// The dispatcher did wrong, or the system refused what it needs.
pub fn run(options: &Load) -> Measured<()> {
    print(&perform(options)?);
    Ok(())
}

/// What was measured, and the dispatcher's own account.
#[derive(Clone, Copy, Debug)]
pub struct Account {
    /// What the guest saw.
    pub measured: Throughput,
    /// What the dispatcher did.
    pub counters: Counters,
    /// What its engine did.
    pub engine: EngineCounters,
    /// Calls of the allocator while the load ran; known if guest and dispatcher share one thread.
    pub allocations: Option<u64>,
}

/// Runs the load.
///
/// # Errors
/// As [`run`].
pub fn perform(options: &Load) -> Measured<Account> {
    let placement = Placement::choose(&options.place)?;
    let until = match options.starts {
        Some(starts) => Until::Answers(starts),
        None => Until::Times(Times {
            warm_up: Duration::ZERO,
            run: Duration::try_from_secs_f64(options.seconds).doing("read --seconds")?,
        }),
    };
    match options.what {
        What::Null => null(options, placement, until, || Box::new(Null), NoProgram),
        What::Later => null(options, placement, until, || Box::new(Later), NoProgram),
        What::Clear => null(options, placement, until, || Box::new(Null), Clears),
        What::Fba => reads(options, placement, until, Reading::Whole),
        What::FbaChained => reads(options, placement, until, Reading::Chained),
    }
}

fn null(
    options: &Load,
    placement: Placement,
    until: Until,
    device: fn() -> Box<dyn SubchannelDevice>,
    program: impl Program + Send,
) -> Measured<Account> {
    let memory = GuestMemory::new(1 << 20)?;
    let depth = options.depth.unwrap_or(options.batch * 8).clamp(options.batch, p1::SUBCHANNELS);
    let shape = Shape { batch: options.batch, depth };
    drive(options, placement, until, shape, &memory, p1::SUBCHANNELS.into(), device, program)
}

fn reads(options: &Load, placement: Placement, until: Until, reading: Reading) -> Measured<Account> {
    let depth = options.depth.unwrap_or(p3::SUBCHANNELS).clamp(options.batch, p1::SUBCHANNELS);
    let shape = Shape { batch: options.batch, depth };
    let volume = VolumeFile::new(&options.place.dir, VOLUME_BYTES)?;
    let memory = fba::memory(depth)?;
    let program = FbaReads::new(&memory, depth, volume.pieces(), reading);
    drive(options, placement, until, shape, &memory, depth.into(), p3::devices(&volume)?, program)
}

#[allow(clippy::too_many_arguments, reason = "they are the load")]
fn drive<P: Program + Send>(
    options: &Load,
    placement: Placement,
    until: Until,
    shape: Shape,
    memory: &GuestMemory,
    subchannels: u32,
    device: impl FnMut() -> Box<dyn SubchannelDevice> + Send,
    program: P,
) -> Measured<Account> {
    if options.one_thread {
        let (reactor, guest) = subject::here(memory, subchannels, device)?;
        let (turns_before, enters_before) = (reactor.counters().productive_turns, reactor.engine_counters().enters);
        let mut wire = InTurn { wire: guest.wire(program, !options.unstamped), reactor };
        let asked = calls();
        let measured = throughput(&mut wire, shape, until, placement, Some(ThreadClock::own()?))?;
        let allocations = Some(calls() - asked);
        let (mut counters, mut engine) = (wire.reactor.counters(), wire.reactor.engine_counters());
        subject::audit(&counters, measured.round_trips)?;
        // How many turns setting up takes depends on the moment.
        counters.productive_turns -= turns_before;
        engine.enters -= enters_before;
        return Ok(Account { measured, counters, engine, allocations });
    }
    let (subject, guest) = Subject::start(placement, memory, subchannels, device)?;
    let clock = subject.clock();
    let measured =
        placement.on_guest(|| throughput(&mut guest.wire(program, !options.unstamped), shape, until, placement, Some(clock)))?;
    let (counters, engine) = subject.stop(measured.round_trips)?;
    Ok(Account { measured, counters, engine, allocations: None })
}

/// A wire whose other side makes its turns in the same thread.
struct InTurn<P> {
    wire: RingWire<P>,
    reactor: Reactor,
}

/// A turn under a name of its own, by which `tools/count-instructions.py` has callgrind count the dispatcher's side and nothing else.
#[inline(never)]
fn counted_turn(reactor: &mut Reactor) {
    reactor.turn(MOST_PER_RING_AND_TURN);
}

impl<P: Program> Wire for InTurn<P> {
    const SIDE: &'static str = "fctl";

    fn send(&mut self, ledger: &mut Ledger, count: u64) -> Measured<()> {
        self.wire.send(ledger, count)
    }

    fn receive(&mut self, ledger: &mut Ledger, most: u64) -> Measured<u64> {
        counted_turn(&mut self.reactor);
        self.wire.receive(ledger, most)
    }
}

#[allow(clippy::cast_precision_loss, reason = "counts of one run are far below 2^52")]
fn print(Account { measured, counters, engine, allocations }: &Account) {
    let per_start = |count: u64| count as f64 / counters.starts.max(1) as f64;
    let per_turn = |count: u64| count as f64 / counters.productive_turns.max(1) as f64;
    println!("starts            {}", counters.starts);
    println!("a second          {:.0}", measured.per_second);
    println!("a CPU-second      {:.0} (of the dispatcher's thread)", measured.per_cpu_second);
    println!("productive turns  {} ({:.1} starts each)", counters.productive_turns, per_turn(counters.starts));
    println!(
        "enters            {} ({:.4} per start, {:.3} per productive turn)",
        engine.enters,
        per_start(engine.enters),
        per_turn(engine.enters)
    );
    println!("operations        {} ({:.3} per start)", engine.operations, per_start(engine.operations));
    if let Some(allocations) = allocations {
        println!("allocations       {allocations}");
    }
    println!("dispatcher        {counters:?}");
    println!("engine            {engine:?}");
}

#[cfg(test)]
mod tests {
    use super::{null, reads, Account};
    use crate::cli::{Cli, Command};
    use crate::fba::Reading;
    use crate::guest::{Clears, NoProgram};
    use crate::placement::Placement;
    use crate::pump::Until;
    use clap::Parser as _;

    /// Every completion is checked by the wire, so a load that ends has done its work.
    #[test]
    fn each_load_does_its_work_in_one_thread_and_in_two() {
        for extra in [&["--one-thread"][..], &[][..]] {
            let words = ["fctl-bench", "load"].iter().chain(extra);
            let Command::Load(options) = Cli::parse_from(words).command else { panic!("not a load") };
            let placement = Placement::choose(&options.place).unwrap();
            let until = Until::Answers(5_000);
            let Account { measured, counters, engine, .. } =
                null(&options, placement, until, || Box::new(super::Null), NoProgram).unwrap();
            assert!(measured.round_trips >= 5_000 && counters.ran == measured.round_trips);
            assert_eq!(engine.operations, 0);
            let Account { measured, counters, .. } = null(&options, placement, until, || Box::new(super::Null), Clears).unwrap();
            assert!(measured.round_trips >= 5_000 && counters.starts == 0 && counters.issued == measured.round_trips);
            for reading in [Reading::Whole, Reading::Chained] {
                let Account { measured, engine, .. } = reads(&options, placement, until, reading).unwrap();
                assert!(measured.round_trips >= 5_000);
                assert_eq!(engine.operations, measured.round_trips, "one operation for each read, however it was asked for");
            }
        }
    }
}
