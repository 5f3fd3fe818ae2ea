// SPDX-License-Identifier: MIT OR Apache-2.0
//! A device whose starts are in the kernel until somebody ends them: each reads an eventfd that holds nothing.
//!
//! A cancel ends such a read at once. To see what comes after a piece that no cancel ends, the device can be told not to ask for one: then the read ends
//! when the guest writes to the eventfd, and the guest knows when that was.
//!
//! The device has a timer that comes in every turn, so it counts the turns of the loop, and the guest can read the count at any time.

use crate::error::{Doing as _, Measured};
use fctl_dispatcher::device::{Capabilities, DeviceContext, DeviceEvent, Status, SubchannelDevice};
use fctl_dispatcher::engine::{Operation, OperationResult};
use fctl_ringabi::arch::{Orb, SubchannelStatus};
use fctl_ringabi::Completion;
use std::os::fd::AsRawFd as _;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::Arc;
use vmm_sys_util::eventfd::{EventFd, EFD_CLOEXEC};

/// So many turns after a CLEAR was posted it is certainly with the device.
const SETTLED: u32 = 8;

/// What ends the read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ends {
    /// The cancel that the CLEAR brings.
    Cancelled,
    /// The kernel, when it is done.
    ByItself,
}

/// What the device tells the guest. Written before the completion that it belongs to is published, so the ring orders it.
#[derive(Debug, Default)]
struct Told {
    /// Turns since the first start.
    turn: AtomicU32,
    /// The turn in which the CLEAR came to the device, and the cancel went out.
    cleared: AtomicU32,
    /// The turn that took the read's end from the kernel, and its clock.
    ended: AtomicU32,
    ended_at: AtomicU64,
}

/// The guest's view of the device.
pub struct Held {
    ends: Ends,
    told: Arc<Told>,
    file: EventFd,
    /// Turn in which the CLEAR was posted.
    posted: u32,
    /// Turn of the event from which turns are counted.
    from: Option<u32>,
    /// The guest's thread was held up between looking at the turn and doing what is counted from there.
    late: bool,
    /// The CLEAR is staged and not published.
    posting: bool,
    /// Clears that do not count because of that.
    pub not_counted: u32,
}

impl Held {
    /// A device that reads 8 bytes to guest address `buffer`, and the guest's view of it.
    ///
    /// # Errors
    /// No eventfd.
    pub fn new(ends: Ends, buffer: u64) -> Measured<(Self, Box<dyn SubchannelDevice>)> {
        let file = EventFd::new(EFD_CLOEXEC).doing("make an eventfd")?;
        let read = file.try_clone().doing("share an eventfd")?;
        let told = Arc::new(Told::default());
        let device = Waits { ends, buffer, told: Arc::clone(&told), file: read, clearing: false };
        Ok((Self { ends, told, file, posted: 0, from: None, late: false, posting: false, not_counted: 0 }, Box::new(device)))
    }

    /// The CLEAR is about to be posted.
    pub fn clearing(&mut self) {
        self.posted = self.told.turn.load(Ordering::Relaxed);
        self.from = (self.ends == Ends::Cancelled).then_some(self.posted);
        self.posting = true;
        self.late = false;
    }

    /// What was staged is published now.
    pub fn published(&mut self) {
        if std::mem::take(&mut self.posting) {
            self.done(self.posted);
        }
    }

    /// What is counted from `turn` is done now. That takes a microsecond, so it can meet the end of one turn; if there were more, this thread was not run,
    /// and how many turns passed says nothing of the dispatcher.
    fn done(&mut self, turn: u32) {
        self.late |= self.told.turn.load(Ordering::Relaxed).wrapping_sub(turn) > 1;
    }

    /// Ends the read, if nothing else does, nobody has done so yet, and the CLEAR has certainly come to the device.
    ///
    /// # Errors
    /// The eventfd cannot be written.
    pub fn end(&mut self) -> Measured<()> {
        let turn = self.told.turn.load(Ordering::Relaxed);
        if self.from.is_none() && turn.wrapping_sub(self.posted) >= SETTLED {
            self.from = Some(turn);
            self.file.write(1).doing("end a read")?;
            self.late = false;
            self.done(turn);
        }
        Ok(())
    }

    /// Turns until the cancel went out, or, for a read that ends by itself, from its end in the kernel; and turns from the cancel until that had come back.
    /// None if this guest was held up meanwhile. `final_` is that of the CLEAR; wrong if it was not stored as soon as the read's end was taken from the kernel.
    pub fn turns(&mut self, final_: &Completion) -> Result<Option<(f64, f64)>, String> {
        let at = |word: &AtomicU32| word.load(Ordering::Relaxed);
        let (cleared, ended) = (at(&self.told.cleared), at(&self.told.ended));
        let since = |from: u32| {
            f64::from(match self.ends {
                Ends::Cancelled => cleared.wrapping_sub(from),
                Ends::ByItself => ended.wrapping_sub(from),
            })
        };
        let stored = final_.times.taken + u64::from(final_.times.completed_after);
        let ended_at = self.told.ended_at.load(Ordering::Relaxed);
        if stored != ended_at {
            return Err(format!("the read's end was taken at {ended_at}, the CLEAR's final is of {stored}"));
        }
        if self.late {
            self.not_counted += 1;
            return Ok(None);
        }
        Ok(self.from.map(|from| (since(from), f64::from(ended.wrapping_sub(cleared)))))
    }
}

struct Waits {
    ends: Ends,
    buffer: u64,
    told: Arc<Told>,
    file: EventFd,
    clearing: bool,
}

impl Waits {
    fn turn(&self) -> u32 {
        self.told.turn.load(Ordering::Relaxed)
    }

    fn refuse(cx: &mut DeviceContext<'_>) {
        let subchannel = SubchannelStatus::CHANNEL_DATA_CHECK;
        cx.events.push(DeviceEvent::Ended(Status { subchannel, ..Status::default() }));
    }
}

impl SubchannelDevice for Waits {
    fn capabilities(&self) -> Capabilities {
        Capabilities::ENGINE
    }

    fn start(&mut self, cx: &mut DeviceContext<'_>, _orb: &Orb) {
        *cx.timer = Some(cx.now);
        let Some(slot) = cx.slot else { return Self::refuse(cx) };
        let segments = cx.engine.segments(slot);
        segments.clear();
        if cx.memory.segments(self.buffer, 8, segments).is_err() {
            return Self::refuse(cx);
        }
        cx.engine.submit(slot, Operation::Read { file: self.file.as_raw_fd(), offset: u64::MAX });
    }

    fn timer(&mut self, cx: &mut DeviceContext<'_>) {
        *cx.timer = Some(cx.now);
        self.told.turn.store(self.turn().wrapping_add(1), Ordering::Relaxed);
    }

    fn halt(&mut self, cx: &mut DeviceContext<'_>) {
        self.clear(cx);
    }

    fn clear(&mut self, cx: &mut DeviceContext<'_>) {
        self.told.cleared.store(self.turn(), Ordering::Relaxed);
        match cx.slot {
            Some(slot) if cx.engine.in_flight(slot) => {
                self.clearing = true;
                if self.ends == Ends::Cancelled {
                    cx.engine.cancel(slot);
                }
            }
            _ => cx.events.push(DeviceEvent::Cleared),
        }
    }

    fn operation_ended(&mut self, cx: &mut DeviceContext<'_>, _result: OperationResult) {
        self.told.ended.store(self.turn(), Ordering::Relaxed);
        self.told.ended_at.store(cx.now, Ordering::Relaxed);
        if std::mem::take(&mut self.clearing) {
            cx.events.push(DeviceEvent::Cleared);
        } else {
            // It was not to end before it was cleared.
            Self::refuse(cx);
        }
    }
}
