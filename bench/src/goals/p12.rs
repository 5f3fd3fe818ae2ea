// SPDX-License-Identifier: MIT OR Apache-2.0
//! P12: a recovery storm. 256 starts on a device that takes 5 ms, with 32 engine slots; then a CLEAR to each.
//!
//! *Merged*: the clears are posted behind the starts, and the dispatcher issues what still matters. *One by one*: each subchannel's
//! instruction waits for the one before it, as where one instruction is handed to the device at a time: the clear is posted when the start has
//! ended. Same guest, same ring, same device, one thread for both ends, so that the only difference is the merge.

use super::{Comparison, Setting};
use crate::error::{BenchError, Doing as _, Measured};
use crate::guest_memory::GuestMemory;
use crate::method::Wanted;
use crate::report::Row;
use crate::subject::{id, ring};
use fctl_dispatcher::device::{Capabilities, DeviceContext, DeviceEvent, Status, SubchannelDevice};
use fctl_dispatcher::{Builder, SubchannelOptions, WaitPolicy, MOST_PER_RING_AND_TURN};
use fctl_ringabi::arch::{DeviceStatus, Orb};
use fctl_ringabi::{Descriptor, Operation};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::time::Instant;

const SUBCHANNELS: u16 = 256;
const ENGINE_SLOTS: u16 = 32;
const TAKES_NANOSECONDS: u64 = 5_000_000;

/// Takes its time for each start, and counts them.
struct Slow {
    /// Nanoseconds.
    takes: u64,
    operations: Arc<AtomicU64>,
}

impl SubchannelDevice for Slow {
    fn capabilities(&self) -> Capabilities {
        Capabilities::ENGINE
    }

    fn start(&mut self, cx: &mut DeviceContext<'_>, _orb: &Orb) {
        self.operations.fetch_add(1, Ordering::Relaxed);
        *cx.timer = Some(cx.now.saturating_add(self.takes));
    }

    fn timer(&mut self, cx: &mut DeviceContext<'_>) {
        let device = DeviceStatus::CHANNEL_END | DeviceStatus::DEVICE_END;
        cx.events.push(DeviceEvent::Ended(Status { device, ..Status::default() }));
    }

    fn halt(&mut self, cx: &mut DeviceContext<'_>) {
        *cx.timer = None;
        cx.events.push(DeviceEvent::Halted(Status::default()));
    }

    fn clear(&mut self, cx: &mut DeviceContext<'_>) {
        *cx.timer = None;
        cx.events.push(DeviceEvent::Cleared);
    }
}

/// What a storm came to.
pub(super) struct Storm {
    milliseconds: f64,
    /// Starts that the device got.
    pub(super) operations: u64,
}

/// A storm on a device that takes so many nanoseconds for each start.
pub(super) fn storm(merged: bool, takes: u64) -> Measured<Storm> {
    let memory = GuestMemory::new(1 << 20)?;
    let (mut reactor, _handle) =
        Builder::default().engine_slots(ENGINE_SLOTS).wait(WaitPolicy::busy()).build().doing("build a dispatcher")?;
    let (ends, port) = ring()?;
    let guest = reactor.attach_guest(memory.mapped()?);
    let home = reactor.attach_ring(guest, ends).doing("attach a ring")?;
    let operations = Arc::new(AtomicU64::new(0));
    for number in 0..SUBCHANNELS {
        let device = Box::new(Slow { takes, operations: Arc::clone(&operations) });
        reactor.attach_subchannel(home, id(number), SubchannelOptions::new(number), device).doing("attach a subchannel")?;
    }
    let (mut poster, mut reader) = port.split();
    let orb = Orb::new(0, 0);
    let clear = |number: u16| Descriptor::new(Operation::Clear, id(number), u64::from(number) + u64::from(SUBCHANNELS));
    let began = Instant::now();
    for number in 0..SUBCHANNELS {
        poster.stage(&Descriptor::start(id(number), &orb, u64::from(number))).doing("post a start")?;
    }
    // Nobody sleeps here.
    let _ = poster.publish();
    // The storm breaks when the device has all it can take.
    while operations.load(Ordering::Relaxed) < u64::from(ENGINE_SLOTS) {
        reactor.turn(MOST_PER_RING_AND_TURN);
    }
    if merged {
        for number in 0..SUBCHANNELS {
            poster.stage(&clear(number)).doing("post a clear")?;
        }
        let _ = poster.publish();
    }
    let mut seen = vec![0_u8; usize::from(SUBCHANNELS) * 2];
    let mut finals = 0;
    while finals < seen.len() {
        reactor.turn(MOST_PER_RING_AND_TURN);
        while let Some((completion, _)) = reader.take().doing("take a completion")? {
            finals += 1;
            let tag = usize::try_from(completion.tag).unwrap_or(usize::MAX);
            let count = seen.get_mut(tag).ok_or_else(|| wrong(format!("a final with tag {tag}")))?;
            *count += 1;
            if let (false, Ok(number)) = (merged, u16::try_from(tag)) {
                if number < SUBCHANNELS {
                    poster.stage(&clear(number)).doing("post a clear")?;
                }
            }
        }
        let _ = poster.publish();
    }
    let milliseconds = began.elapsed().as_secs_f64() * 1e3;
    if seen.iter().any(|&count| count != 1) {
        return Err(wrong("a descriptor without exactly one final".into()));
    }
    Ok(Storm { milliseconds, operations: operations.load(Ordering::Relaxed) })
}

fn wrong(fault: String) -> BenchError {
    BenchError::Wrong { side: "fctl", fault }
}

/// Measures P12: merged against one by one.
///
/// # Errors
/// A side did wrong.
pub fn measure(setting: &Setting<'_>) -> Measured<Vec<Row>> {
    let what = "256 starts of 5 ms, then 256 clears";
    let mut quiet_after = Comparison::new("P12", what, "one by one: time until quiet", "ms", "≤ 1");
    let mut operations = Comparison::new("P12", "device operations in the storm", "one by one", "", "exactly 32 of 256");
    for _ in setting.pairs() {
        let ours = storm(true, TAKES_NANOSECONDS)?;
        let peer = storm(false, TAKES_NANOSECONDS)?;
        let again = storm(true, TAKES_NANOSECONDS)?;
        #[allow(clippy::cast_precision_loss, reason = "at most 256")]
        let count = |storm: &Storm| storm.operations as f64;
        quiet_after.pair(ours.milliseconds, peer.milliseconds, Some(Wanted::AtMost(1.0)));
        quiet_after.control(ours.milliseconds, again.milliseconds);
        // What the engine had taken before the clears came, and nothing else.
        let slots = f64::from(ENGINE_SLOTS) / f64::from(SUBCHANNELS);
        operations.pair(count(&ours), count(&peer), Some(Wanted::AtMost(slots)));
        operations.control(count(&ours), count(&again));
    }
    Ok(vec![quiet_after.row(), operations.row()])
}
