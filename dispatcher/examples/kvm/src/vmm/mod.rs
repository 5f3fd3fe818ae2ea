// SPDX-License-Identifier: MIT OR Apache-2.0
//! The hypervisor: what is set up, and what the guest is asked for.

mod boot;
mod compare;
mod devices;
mod error;
mod exits;
mod job;
#[allow(dead_code, reason = "some of it only the guest needs, and the list of it only its compiler")]
mod layout;
mod machine;
mod pattern;

use clap::Parser;
use compare::Effort;
use error::{Doing as _, Failed};
use fctl_dispatcher::affinity::{allowed_cpus, pin};
use fctl_dispatcher::region::Region;
use fctl_dispatcher::volume::{Volume, VolumeOptions, BLOCK_BYTES};
use fctl_dispatcher::{Builder, Handle, RingEnds};
use fctl_ringabi::{Header, RingSizes};
use job::{Job, Kind};
use kvm_ioctls::Kvm;
use machine::Machine;
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tempfile::NamedTempFile;
use vmm_sys_util::eventfd::{EventFd, EFD_NONBLOCK};

/// A guest under KVM that posts channel I/O into a ring in its own memory, and what that costs against one exit each.
#[derive(Parser)]
#[command(name = "fctl-kvm-example", version)]
struct Options {
    /// Measure only briefly: the figures then mean little.
    #[arg(long)]
    quick: bool,
}

/// Which bytes the volume holds at first, and which the guest writes.
const AT_FIRST: u64 = 0;
const WRITTEN: u64 = 1 << 32;

/// Passes in which somebody must have been woken.
const MOST_PASSES: u32 = 50;

/// Runs the example.
pub fn main() -> ExitCode {
    let options = Options::parse();
    let kvm = match Kvm::new() {
        Ok(kvm) => kvm,
        Err(error) => {
            println!("not run: no /dev/kvm ({error})");
            return ExitCode::SUCCESS;
        }
    };
    match run(&kvm, &options) {
        Ok(()) => {
            println!("PASS");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("fctl-kvm-example: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(kvm: &Kvm, options: &Options) -> Result<(), Failed> {
    let blocks = if options.quick { 2048 } else { 32768 };
    let file = volume(blocks)?;
    let mut machine = Machine::new(kvm)?;
    // The dispatcher on one CPU, the guest's processor on another, where there are two.
    let cpus = allowed_cpus();
    let handle = attach(&machine, &file, cpus.get(1).copied())?;
    if let [first, _, ..] = cpus[..] {
        pin(first).doing("place the guest's processor")?;
    }
    machine.start()?;
    println!("guest     64-bit, {} MiB, its ring in its own memory", layout::MEMORY_BYTES >> 20);

    read(&mut machine, blocks)?;
    write(&mut machine, &file, blocks)?;
    for (how, sleeps) in [("polling", false), ("asleep", true)] {
        let told = machine.ask(&Job { sleeps, ..Job::new(Kind::Stops, 100) })?;
        println!(
            "stops     {} rounds {how}: starts overtaken by HALT and CLEAR, before and after issue; a program outside memory is a program check",
            told.done
        );
    }
    let effort = if options.quick { Effort { rounds: 1, starts: 500 } } else { Effort { rounds: 9, starts: 10_000 } };
    compare::compare(&mut machine, effort)?;

    let counters = handle.counters().doing("read the counters")?;
    println!(
        "ledger    {} descriptors taken = {} finals; {} starts merged away, {} stopped while active",
        counters.taken, counters.finals, counters.merged_away, counters.stopped_active
    );
    if counters.taken != counters.finals {
        return Err(Failed::new("account for every descriptor", "some have no final"));
    }
    handle.stop().doing("stop the dispatcher")
}

/// A file of blocks that both sides can make up again.
fn volume(blocks: u64) -> Result<NamedTempFile, Failed> {
    let mut file = NamedTempFile::new().doing("make a file for the volume")?;
    file.write_all(&pattern::blocks(AT_FIRST, 0, blocks)).doing("fill the volume")?;
    Ok(file)
}

/// A dispatcher with the guest's memory, its ring and its subchannels.
fn attach(machine: &Machine, file: &NamedTempFile, cpu: Option<usize>) -> Result<Handle, Failed> {
    let region = Region::from_guest_memory(machine.memory(), layout::RING, layout::RING_BYTES).doing("find the ring")?;
    let header = Header::layout(RingSizes::new(256)).doing("lay out the ring")?;
    header.format(region.words()).doing("format the ring")?;
    let eventfd = || EventFd::new(EFD_NONBLOCK).doing("make an eventfd");
    let ends = RingEnds { region, doorbell: eventfd()?, notification: eventfd()? };
    machine.connect(&ends.doorbell, &ends.notification)?;

    let builder = cpu.map_or(Builder::default(), |cpu| Builder::default().cpu(cpu));
    let handle = builder.spawn().doing("start the dispatcher")?;
    let guest = handle.attach_guest(machine.memory().clone()).doing("attach the guest")?;
    let ring = handle.attach_ring(guest, ends).doing("attach the ring")?;
    let volume = Volume::open(file.path(), VolumeOptions::default()).doing("open the volume")?;
    for (id, options, device) in devices::all(&Arc::new(volume))? {
        handle.attach_subchannel(ring, id, options, device).doing("attach a subchannel")?;
    }
    Ok(handle)
}

/// The guest reads the whole volume, polling and asleep. Whether a side really sleeps before the other has answered is a matter of chance, so it
/// reads again until both have been woken at least once.
fn read(machine: &mut Machine, blocks: u64) -> Result<(), Failed> {
    for (how, sleeps) in [("polling", false), ("asleep", true)] {
        let mut passes = 0..MOST_PASSES;
        loop {
            // Idle for so long, the dispatcher sleeps, and the first start must ring.
            std::thread::sleep(Duration::from_millis(20));
            let told = machine.ask(&Job { batch: 64, sleeps, seed: AT_FIRST, ..Job::new(Kind::Read, blocks) })?;
            println!(
                "read      {} blocks {how}, {} wrong bytes · {} doorbells, {} interrupts",
                told.done, told.wrong, told.doorbells, told.interrupts
            );
            let woken = told.doorbells > 0 && (told.interrupts > 0 || !sleeps);
            if (told.done, told.wrong) != (blocks, 0) || (!sleeps && told.interrupts > 0) || (!woken && passes.next().is_none()) {
                return Err(Failed::new("accept what was read", format!("{told:?}")));
            }
            if woken {
                break;
            }
        }
    }
    Ok(())
}

/// The guest writes a part of the volume; the host compares that and everything around it; the guest reads it back.
fn write(machine: &mut Machine, file: &NamedTempFile, blocks: u64) -> Result<(), Failed> {
    let (first, count) = (blocks / 4 + 3, blocks / 8 + 1);
    let job = Job { first, batch: 16, seed: WRITTEN, sleeps: true, ..Job::new(Kind::Write, count) };
    machine.ask(&job)?;
    let expected = [
        pattern::blocks(AT_FIRST, 0, first),
        pattern::blocks(WRITTEN, first, count),
        pattern::blocks(AT_FIRST, first + count, blocks - first - count),
    ]
    .concat();
    let mut found = vec![0; expected.len()];
    file.as_file().read_exact_at(&mut found, 0).doing("read the volume")?;
    let wrong = expected.iter().zip(&found).filter(|(expected, found)| expected != found).count();
    println!("written   {count} blocks; on the host {} compared, {wrong} wrong bytes", found.len() as u64 / BLOCK_BYTES);
    let back = machine.ask(&Job { kind: Kind::Read, ..job })?;
    if wrong != 0 || (back.done, back.wrong) != (count, 0) {
        return Err(Failed::new("accept what was written", format!("{wrong} wrong bytes in the file, {back:?} read back")));
    }
    Ok(())
}
