// SPDX-License-Identifier: MIT OR Apache-2.0
//! The dispatcher's side of the demo: sets everything up, watches the guest, and compares the books.

use super::proxy::{Proxy, Tampering};
use super::report::{found, FoundFault, Report, Setting};
use super::sabotage::Saboteur;
use super::volume::DemoVolume;
use super::{child, latency, round_trip, DemoError};
use crate::cli::{DemoOptions, Sabotage};
use crate::guest::model::Model;
use crate::shared::{delay, is_delayed, map, Board, Cell, Fault, Layout, Phase, RING_SIZES};
use fctl_dispatcher::affinity::{allowed_cpus, ranges};
use fctl_dispatcher::device::delay::Delay;
use fctl_dispatcher::device::fba::Fba;
use fctl_dispatcher::device::SubchannelDevice;
use fctl_dispatcher::memory::{FileRange, Memory};
use fctl_dispatcher::metrics::Counters;
use fctl_dispatcher::region::{sealed_memory_file, Region};
use fctl_dispatcher::{Builder, GuestId, Handle, RingEnds, RingId, SubchannelOptions};
use fctl_ringabi::arch::SubsystemId;
use fctl_ringabi::Header;
use indicatif::{ProgressBar, ProgressStyle};
use std::fs::File;
use std::io::IsTerminal as _;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, ExitStatus};
use std::sync::Arc;
use std::time::{Duration, Instant};
use vmm_sys_util::eventfd::{EventFd, EFD_CLOEXEC, EFD_NONBLOCK};

/// How long the guest may take beyond its working time before it is stopped: longer than its own patience.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long the ring may take to come off.
const DETACHING: Duration = Duration::from_secs(35);
/// How often the guest is looked at while it works, and when it is about to end.
const LOOK: [Duration; 2] = [Duration::from_millis(100), Duration::from_millis(5)];

fn memory_error(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> DemoError {
    DemoError::Memory(error.into())
}

/// The shared memory and the eventfds.
struct Shared {
    file: File,
    board: Board,
    model: Model,
    doorbell: EventFd,
    notification: EventFd,
}

impl Shared {
    fn new(layout: &Layout, options: &DemoOptions, cpu: usize) -> Result<Self, DemoError> {
        let file = sealed_memory_file("fctl-demo", layout.file_bytes().map_err(memory_error)?).map_err(memory_error)?;
        let board = Board::map(&file).map_err(memory_error)?;
        for (cell, value) in [
            (Cell::Subchannels, u64::from(layout.subchannels)),
            (Cell::Owned, u64::from(layout.owned)),
            (Cell::Seed, options.seed),
            (Cell::Milliseconds, options.seconds * 1000),
            (Cell::DispatcherCpu, cpu as u64),
        ] {
            board.set(cell, value);
        }
        let model = Model::new(map(&file, layout.model()).map_err(memory_error)?);
        let eventfd = || EventFd::new(EFD_CLOEXEC | EFD_NONBLOCK).map_err(memory_error);
        Ok(Self { board, model, doorbell: eventfd()?, notification: eventfd()?, file })
    }

    /// Formats the rings; gives the ends that the dispatcher is to have: these, or those behind a tampered relay.
    fn ends(&self, layout: &Layout, sabotage: Option<Sabotage>) -> Result<(RingEnds, Option<Proxy>), DemoError> {
        let part = layout.rings().map_err(memory_error)?;
        let region = Region::from_memory_file(&self.file, part.offset, part.bytes).map_err(memory_error)?;
        Header::layout(RING_SIZES).and_then(|header| header.format(region.words())).map_err(memory_error)?;
        let tampering = match sabotage {
            Some(Sabotage::Lose) => Some(Tampering::Lose),
            Some(Sabotage::Double) => Some(Tampering::Double),
            _ => None,
        };
        let copy = |eventfd: &EventFd| eventfd.try_clone().map_err(memory_error);
        let Some(tampering) = tampering else {
            let ends = RingEnds { region, doorbell: copy(&self.doorbell)?, notification: copy(&self.notification)? };
            return Ok((ends, None));
        };
        let proxy = Proxy::start(region.words(), copy(&self.notification)?, tampering);
        let proxy = proxy.map_err(|error| DemoError::Memory(error.to_string().into()))?;
        let ends =
            RingEnds { region: proxy.region.clone(), doorbell: copy(&proxy.doorbell)?, notification: copy(&proxy.notification)? };
        Ok((ends, Some(proxy)))
    }
}

/// Channel programs in the kernel at once: twice the usual number of subchannels.
const ENGINE_SLOTS: u16 = 256;

/// Attaches the guest's memory, its ring and all subchannels.
fn attach(
    handle: &Handle,
    shared: &Shared,
    ends: RingEnds,
    volume: &DemoVolume,
    sabotage: Option<Sabotage>,
) -> Result<(GuestId, RingId), DemoError> {
    let part = volume.layout.memory().map_err(memory_error)?;
    let length = usize::try_from(part.bytes).map_err(memory_error)?;
    let memory = Memory::from_file(&shared.file, &[FileRange { address: 0, offset: part.offset, length }]);
    let guest = handle.attach_guest(memory.map_err(memory_error)?)?;
    let ring = handle.attach_ring(guest, ends)?;
    for number in 0..volume.layout.subchannels {
        let disk = Fba::new(Arc::clone(&volume.volume))?;
        let device: Box<dyn SubchannelDevice> = match (is_delayed(number), sabotage) {
            (false, None) => Box::new(disk),
            (true, None) => Box::new(Delay::new(disk, delay(number))),
            (false, Some(sabotage)) => Box::new(Saboteur::new(disk, sabotage)),
            (true, Some(sabotage)) => Box::new(Saboteur::new(Delay::new(disk, delay(number)), sabotage)),
        };
        let number = u16::try_from(number).map_err(memory_error)?;
        handle.attach_subchannel(ring, SubsystemId::new(0, number), SubchannelOptions::new(number), device)?;
    }
    Ok((guest, ring))
}

/// Runs the demo; the report says how it went.
pub fn run(options: &DemoOptions) -> Result<Report, DemoError> {
    let allowed = allowed_cpus();
    let cpu = options.cpu.or(allowed.last().copied()).unwrap_or(0);
    if !allowed.contains(&cpu) {
        return Err(DemoError::Cpu { asked: cpu, allowed: ranges(&allowed) });
    }
    let guest_cpus: Vec<usize> = allowed.iter().copied().filter(|&other| other != cpu).collect();
    let round_trip_ns = guest_cpus.first().and_then(|&other| round_trip::measure(cpu, other));
    let volume = DemoVolume::prepare(options)?;
    let shared = Shared::new(&volume.layout, options, cpu)?;
    let (ends, proxy) = shared.ends(&volume.layout, options.sabotage)?;
    let handle = Builder::default().engine_slots(ENGINE_SLOTS).cpu(cpu).spawn()?;
    let (guest, ring) = attach(&handle, &shared, ends, &volume, options.sabotage)?;

    // SAFETY: both eventfds live in `shared`, longer than the call.
    let (doorbell, notification) =
        unsafe { (BorrowedFd::borrow_raw(shared.doorbell.as_raw_fd()), BorrowedFd::borrow_raw(shared.notification.as_raw_fd())) };
    let memory = std::os::fd::AsFd::as_fd(&shared.file);
    let mut process = child::spawn(memory, doorbell, notification).map_err(DemoError::Guest)?;
    let guest_process = process.id();
    let mut faults = Vec::new();
    let ended = watch(options, &shared.board, &handle, &mut process, &mut faults)?;
    faults.extend(ended.and_then(|status| how_it_died(status, &shared.board)));

    let counters = handle.counters()?;
    let engine = handle.engine_counters()?;
    let latencies = latency::rows(&handle.latencies()?);
    // The relay first: it is a party to the ring.
    let tampered = proxy.is_some();
    drop(proxy);
    take_down(&handle, guest, ring, &mut faults)?;
    for fault in Fault::ALL {
        if let Some((count, text)) = shared.board.faults(fault) {
            faults.push(found(fault.name(), count, text));
        }
    }
    let image = volume.compare(&shared.model, options.seed)?;
    if let Some(text) = image.first_fault.clone() {
        let name = if image.missing > 0 { Fault::WriteMissing.name() } else { Fault::WrongBytes.name() };
        faults.push(found(name, image.missing + image.wrong, text));
    }
    compare(&shared.board, &counters, tampered, &mut faults);
    let setting = Setting {
        seconds: options.seconds,
        subchannels: options.subchannels,
        delayed: (0..volume.layout.subchannels).filter(|&number| is_delayed(number)).count(),
        seed: options.seed,
        sabotage: options.sabotage.map(Sabotage::name),
        kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
        allowed_cpus: ranges(&allowed),
        dispatcher_cpu: cpu,
        guest_cpus: ranges(if guest_cpus.is_empty() { &allowed } else { &guest_cpus }),
        round_trip_ns,
        volume: volume.path.display().to_string(),
        temporary: volume.temporary,
        volume_bytes: volume.volume.bytes(),
        blocks_used: volume.layout.blocks(),
        cache: options.cache.name(),
        durability: options.durability.name(),
        dispatcher_process: std::process::id(),
        guest_process,
        engine_slots: ENGINE_SLOTS,
    };
    Ok(Report::new(setting, &shared.board, &counters, &engine, image, latencies, faults))
}

/// Watches the guest until it has ended; none if it had to be stopped.
fn watch(
    options: &DemoOptions,
    board: &Board,
    handle: &Handle,
    process: &mut Child,
    faults: &mut Vec<FoundFault>,
) -> Result<Option<ExitStatus>, DemoError> {
    let began = Instant::now();
    let bar = progress_bar(options);
    loop {
        if let Some(status) = process.try_wait().map_err(DemoError::Guest)? {
            bar.finish_and_clear();
            return Ok(Some(status));
        }
        let verified = board.get(Cell::BytesVerified);
        bar.set_position(u64::try_from(began.elapsed().as_millis()).unwrap_or(0).min(options.seconds * 1000));
        bar.set_message(format!("{} starts, {} MiB verified", board.get(Cell::Starts), verified >> 20));
        if board.get(Cell::Phase) == Phase::Draining as u64 {
            // When everything that was posted has its final, nothing more will come: what the guest then lacks is lost.
            let posted = board.get(Cell::Posted);
            let counters = handle.counters()?;
            if counters.taken == posted && counters.finals == posted {
                board.set(Cell::Answered, posted);
            }
        }
        if began.elapsed() > Duration::from_secs(options.seconds) + PATIENCE {
            bar.finish_and_clear();
            process.kill().and_then(|()| process.wait()).map_err(DemoError::Guest)?;
            faults.push(found(
                "guest hangs",
                1,
                format!("the guest has not ended {} seconds after its time", PATIENCE.as_secs()),
            ));
            return Ok(None);
        }
        let working = board.get(Cell::Phase) == Phase::Working as u64;
        std::thread::sleep(LOOK[usize::from(!working)]);
    }
}

/// None where it would only be in the way.
fn progress_bar(options: &DemoOptions) -> ProgressBar {
    if options.json || !std::io::stdout().is_terminal() || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(options.seconds * 1000);
    if let Ok(style) = ProgressStyle::with_template("{elapsed_precise} [{bar:40}] {msg}") {
        bar.set_style(style.progress_chars("█▉▊▋▌▍▎▏ "));
    }
    bar
}

/// The fault, if the guest's process ended in another way than by itself.
fn how_it_died(status: ExitStatus, board: &Board) -> Option<FoundFault> {
    let how = match (status.signal(), status.code()) {
        (Some(signal), _) => format!("was killed by signal {signal}"),
        (None, Some(0)) if board.get(Cell::Phase) == Phase::Done as u64 => return None,
        (None, code) => format!("ended with status {} before its ledger was closed", code.unwrap_or(-1)),
    };
    Some(found(
        "guest died",
        1,
        format!("the guest's process {how}: what it had outstanding was stopped, and its ring taken away"),
    ))
}

/// Takes everything off again: nothing may be left.
fn take_down(handle: &Handle, guest: GuestId, ring: RingId, faults: &mut Vec<FoundFault>) -> Result<(), DemoError> {
    if let Err(error) = handle.detach_ring(ring, DETACHING) {
        faults.push(found("not detached", 1, error.to_string()));
    } else {
        handle.detach_guest(guest)?;
        let inventory = handle.inventory()?;
        if inventory != fctl_dispatcher::Inventory::default() {
            faults.push(found("not detached", 1, format!("after the guest was taken away there is still {inventory:?}")));
        }
    }
    Ok(handle.stop()?)
}

/// The guest's ledger and the dispatcher's counters tell the same, item by item.
fn compare(board: &Board, counters: &Counters, tampered: bool, faults: &mut Vec<FoundFault>) {
    // A guest that is gone has told what it had posted when it last said so; and between two rings the finals differ on purpose.
    if board.get(Cell::Phase) != Phase::Done as u64 {
        return;
    }
    let mut items =
        vec![("descriptors", board.get(Cell::Posted), counters.taken), ("starts", board.get(Cell::Starts), counters.starts)];
    if !tampered {
        items.extend([
            ("finals", board.get(Cell::Finals) + board.get(Cell::Twice), counters.finals),
            ("starts that ran", board.get(Cell::Ran), counters.ran),
            ("starts merged away", board.get(Cell::MergedAway), counters.merged_away),
            ("starts stopped while active", board.get(Cell::StoppedActive), counters.stopped_active),
            ("starts cancelled", board.get(Cell::Cancelled), counters.cancelled),
            ("starts refused", board.get(Cell::Refused), counters.refused),
        ]);
    }
    let differ = |&(what, guest, dispatcher): &(_, u64, u64)| {
        (guest != dispatcher).then(|| format!("{what}: {guest} in the guest's ledger, {dispatcher} in the dispatcher's"))
    };
    let differences: Vec<String> = items.iter().filter_map(differ).collect();
    if !differences.is_empty() {
        faults.push(found("ledgers differ", differences.len() as u64, differences.join("; ")));
    }
}
