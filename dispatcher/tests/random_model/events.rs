// SPDX-License-Identifier: MIT OR Apache-2.0
//! What devices bring about: functions issued to them and what they answer, done to the model as asynchronous steps.

use super::device::{Call, Entry};
use super::follow::{ensure, Device, Expect, Follow, Next, Owed, Seen};
use super::image::CONCURRENT_SENSE;
use fctl_dispatcher::device::{DeviceEvent, Status};
use fctl_model::{Actl, Ending, Events, Fctl, HaltEnding, Instruction, Progress, Stctl};
use fctl_ringabi::arch::{DeviceStatus, SubchannelStatus};
use fctl_ringabi::{CompletionKind, Disposition};

const CE: DeviceStatus = DeviceStatus::CHANNEL_END;
const DE: DeviceStatus = DeviceStatus::DEVICE_END;
const UC: DeviceStatus = DeviceStatus::UNIT_CHECK;

impl Follow {
    /// A step of the model, if the model allows it here.
    fn progress(&mut self, step: Progress) -> Result<Events, String> {
        ensure!(
            self.model.legal_progress().contains(&step),
            "{step:?} happened, which the model does not allow in {:?}",
            self.model
        );
        Ok(self.model.progress(step))
    }

    /// A function was issued to the device.
    pub fn issue(&mut self, call: Call, seen: &mut Seen) -> Result<(), String> {
        seen.counts.issued += 1;
        match call {
            Call::Start => {
                ensure!(self.device == Device::Idle, "a start while the device is {:?}", self.device);
                self.progress(Progress::IssueStart)?;
                self.start.as_mut().ok_or("a start that nobody asked for")?.issued = true;
                self.device = Device::Running;
            }
            Call::Resume => {
                // A resume that came before the suspension is over already: the program was never seen suspended.
                if self.model.actl.has(Actl::SUSPENDED) {
                    self.progress(Progress::Resume)?;
                }
                self.device = Device::Running;
            }
            Call::Halt => (self.device, self.abandoned) = (Device::Halting, false),
            Call::Clear => (self.device, self.abandoned) = (Device::Clearing, false),
            Call::Timer | Call::OperationEnded => unreachable!("no functions"),
        }
        Ok(())
    }

    /// What the device is not told of.
    pub fn perform_here(&mut self, next: Next, seen: &mut Seen) -> Result<(), String> {
        match next {
            Next::HaltUnissued => {
                let active = self.model.actl.has(Actl::DEVICE_ACTIVE);
                let ending = if active { HaltEnding::DeviceStillActive } else { HaltEnding::Alone };
                self.halted(ending, seen)
            }
            Next::RefuseStart => {
                self.stack_late_attention();
                let stored = self.progress(Progress::DeferredCc1)?;
                let start = self.start.take();
                self.stored(stored, vec![], start, seen)
            }
            Next::PresentStacked => {
                let late = std::mem::take(&mut self.late_attention);
                let step = if late { Progress::Attention } else { Progress::PresentStacked };
                let stored = self.progress(step)?;
                self.stored(stored, vec![], None, seen)
            }
            Next::Call(_) => unreachable!("the device is told"),
        }
    }

    /// What the device answered in one call.
    pub fn answered(&mut self, entry: &Entry, seen: &mut Seen) -> Result<(), String> {
        for event in &entry.events {
            seen.counts.events += 1;
            self.event(event, entry, seen).map_err(|error| format!("{event:?}: {error}"))?;
        }
        Ok(())
    }

    fn event(&mut self, event: &DeviceEvent, entry: &Entry, seen: &mut Seen) -> Result<(), String> {
        let clearing = self.model.actl.has(Actl::CLEAR_PENDING);
        let halting = self.model.actl.has(Actl::HALT_PENDING);
        let running = !clearing && !halting;
        match *event {
            DeviceEvent::Ended(_) | DeviceEvent::Intermediate(_) if clearing => Ok(()),
            DeviceEvent::Intermediate(_) | DeviceEvent::InitialStatus(_) if halting => Ok(()),
            DeviceEvent::Ended(status) => self.ended(status, entry, seen),
            DeviceEvent::Intermediate(_) => {
                let stored = self.progress(Progress::Pci)?;
                self.stored(stored, vec![], None, seen)
            }
            DeviceEvent::InitialStatus(_) => {
                let stored = self.progress(Progress::InitialStatus)?;
                self.stored(stored, vec![], None, seen)
            }
            DeviceEvent::Suspended(_) if running => {
                self.device = Device::Suspended;
                let stored = self.progress(Progress::Suspend)?;
                self.stored(stored, vec![], None, seen)
            }
            DeviceEvent::Secondary(_) if running => {
                self.device = Device::Idle;
                let stored = self.progress(Progress::DeviceEnd)?;
                self.stored(stored, vec![], None, seen)
            }
            DeviceEvent::Secondary(_) if halting => {
                self.device = Device::Idle;
                self.halted(HaltEnding::DeviceEnd, seen)
            }
            DeviceEvent::Unsolicited(_) => self.attention(seen),
            DeviceEvent::Refused { deferred_cc, .. } if running => {
                // It was never initiated, whatever was seen of it meanwhile.
                self.device = Device::Idle;
                self.model.actl =
                    self.model.actl.without(Actl::SUBCHANNEL_ACTIVE.with(Actl::DEVICE_ACTIVE)).with(Actl::START_PENDING);
                self.model.initial_status_due = false;
                let step = if deferred_cc == 1 { Progress::DeferredCc1 } else { Progress::DeferredCc3 };
                let stored = self.progress(step)?;
                let start = self.start.take();
                self.stored(stored, vec![], start, seen)
            }
            DeviceEvent::Halted(status) => {
                self.device = Device::Idle;
                // The guest has taken the suspension's status as the halt's, or a clear took over.
                if halting {
                    self.halted(halt_ending(&status), seen)
                } else {
                    self.abandoned = false;
                    Ok(())
                }
            }
            DeviceEvent::HaltedDeviceActive(_) => {
                self.device = Device::Finishing;
                self.halted(HaltEnding::DeviceStillActive, seen)
            }
            DeviceEvent::Cleared => {
                self.device = Device::Idle;
                if !clearing {
                    return Ok(());
                }
                let stored = self.progress(Progress::Clear)?;
                self.late_attention = false;
                let start = self.start.take();
                let absorbed = start.map(|start| Expect::absorbed(start, Disposition::AbsorbedByClear)).into_iter().collect();
                let clear = self.clear.take();
                self.stored(stored, absorbed, clear, seen)
            }
            _ => Err(format!("a device that is {:?} may not say that", self.device)),
        }
    }

    fn ended(&mut self, status: Status, entry: &Entry, seen: &mut Seen) -> Result<(), String> {
        let wanted = self.model.pmcw.fields.other & CONCURRENT_SENSE != 0 && status.device.contains(UC);
        ensure!(entry.sense.is_some() == wanted, "sense was taken: {:?}, was wanted: {wanted}", entry.sense);
        self.sense = entry.sense;
        if self.model.actl.has(Actl::HALT_PENDING) {
            self.device = Device::Idle;
            return self.halted(halt_ending(&status), seen);
        }
        let checks = status.subchannel - SubchannelStatus::PROGRAM_CONTROLLED_INTERRUPTION;
        let ending = match (status.device, checks) {
            (device, checks) if device == CE | DE && checks.is_empty() => Ending::ChannelEndDeviceEnd,
            (device, checks) if device == CE && checks.is_empty() => Ending::ChannelEnd,
            (device, checks) if device == CE | DE | UC && checks.is_empty() => Ending::UnitCheck,
            (device, SubchannelStatus::PROGRAM_CHECK) if device.is_empty() => Ending::ProgramCheck,
            other => return Err(format!("an ending that nobody scripted: {other:?}")),
        };
        let pci = status.subchannel.contains(SubchannelStatus::PROGRAM_CONTROLLED_INTERRUPTION);
        self.device = if ending == Ending::ChannelEnd { Device::Finishing } else { Device::Idle };
        self.ending = Some(status);
        let stored = self.progress(Progress::End { ending, pci })?;
        let start = self.start.take();
        self.stored(stored, vec![], start, seen)
    }

    fn halted(&mut self, ending: HaltEnding, seen: &mut Seen) -> Result<(), String> {
        let stored = self.progress(Progress::Halt(ending))?;
        let start = self.start.take();
        let absorbed = start.map(|start| Expect::absorbed(start, Disposition::AbsorbedByHalt)).into_iter().collect();
        let halt = self.halt.take();
        self.stored(stored, absorbed, halt, seen)
    }

    /// The model remembers one attention. A second one joins it, unless it can be presented at once: then the first is still to come.
    fn attention(&mut self, seen: &mut Seen) -> Result<(), String> {
        let first = self.model.stacked || self.late_attention;
        let enabled = self.model.pmcw.fields.enabled;
        if enabled && self.is_empty() && self.device == Device::Idle {
            self.model.stacked = false;
            let stored = self.progress(Progress::Attention)?;
            self.model.stacked = first;
            return self.stored(stored, vec![], None, seen);
        }
        if first {
            return Ok(());
        }
        if self.is_empty() && enabled {
            self.late_attention = true;
            return Ok(());
        }
        let stored = self.progress(Progress::Attention)?;
        self.stored(stored, vec![], None, seen)
    }

    /// No function, no activity, no status.
    fn is_empty(&self) -> bool {
        self.model.fctl.is_empty() && self.model.actl.is_empty() && self.model.stctl.is_empty()
    }

    /// An attention that the guest could not be shown is stacked as soon as the guest has begun something.
    pub fn stack_late_attention(&mut self) {
        if self.late_attention && !self.is_empty() && self.model.pmcw.fields.enabled {
            self.late_attention = false;
            self.model.progress(Progress::Attention);
        }
    }

    /// Status was stored (or not): it must have been told, by the final of what it ends or by a completion of its own.
    fn stored(&mut self, events: Events, mut absorbed: Vec<Expect>, ended: Option<Owed>, seen: &mut Seen) -> Result<(), String> {
        let Some(stored) = events.stored else {
            ensure!(ended.is_none() && absorbed.is_empty(), "{ended:?} has ended without a status");
            return Ok(());
        };
        if let Some(owed) = ended {
            let status = self.delivered.then(|| stored.scsw.meaningful());
            absorbed.push(Expect { status, ..Expect::last(owed.tag, 0) });
            self.take(&absorbed, Some(owed.tag), seen)?;
            self.untold = false;
            if self.delivered {
                self.taken();
            }
            return Ok(());
        }
        self.untold |= stored.fresh || self.delivered;
        let before = self.untold;
        self.tell(seen)?;
        seen.counts.waited_for_room += u64::from(before && self.untold);
        Ok(())
    }

    /// Delivered status: a TEST SUBCHANNEL was executed at the instant it was stored.
    fn taken(&mut self) {
        let intermediate = self.model.intermediate_only();
        self.model.execute(Instruction::Tsch);
        if !intermediate {
            (self.sense, self.ending) = (None, None);
        }
    }

    /// Status waits for nothing but room. Delivered status of a suspended program that is being halted is delivered with the halt's: taken
    /// alone it would end the halt (last row of §3.4).
    pub fn must_tell(&self) -> bool {
        self.untold && !(self.delivered && self.model.actl.has(Actl::HALT_PENDING))
    }

    /// If the next completion tells of status for which no descriptor has paid, it must be the one that is pending.
    pub fn tell(&mut self, seen: &mut Seen) -> Result<(), String> {
        let Some((found, _)) = seen.queue.front() else { return Ok(()) };
        let kind = found.kind().ok_or("an unknown kind")?;
        if !self.must_tell() || matches!(kind, CompletionKind::Final | CompletionKind::Accepted) {
            return Ok(());
        }
        let stctl = self.model.stctl;
        let expected_kind = match self.delivered {
            false => CompletionKind::InterruptionPending,
            true if stctl.has(Stctl::INTERMEDIATE) => CompletionKind::Intermediate,
            true if stctl.has(Stctl::SECONDARY) => CompletionKind::Secondary,
            true => CompletionKind::Unsolicited,
        };
        let tag = if self.model.fctl.has(Fctl::START) {
            self.start.map_or(0, |start| start.tag)
        } else if stctl.has(Stctl::SECONDARY) {
            self.model.device_owner.map_or(0, u64::from)
        } else {
            0
        };
        let status = self.delivered.then(|| self.model.scsw().meaningful());
        let expect = Expect { kind: expected_kind, status, ..Expect::last(tag, 0) };
        ensure!((kind, found.tag) == (expected_kind, tag), "{expect:?} must come, {found:?} came");
        let found = seen.queue.pop_front().ok_or("nothing")?;
        self.compare(&expect, &found, seen)?;
        self.untold = false;
        if self.delivered {
            self.taken();
        }
        Ok(())
    }
}

fn halt_ending(status: &Status) -> HaltEnding {
    if status.device.contains(UC) {
        HaltEnding::UnitCheck
    } else if status.device.contains(CE) {
        HaltEnding::ChannelEndDeviceEnd
    } else if status.device.contains(DE) {
        HaltEnding::DeviceEnd
    } else {
        HaltEnding::Alone
    }
}
