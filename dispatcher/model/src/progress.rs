// SPDX-License-Identifier: MIT OR Apache-2.0
//! What happens without an instruction: the subchannel performs an accepted function, the device presents status
//! (reference §3.1 to §3.5, §5.7 to §5.9).

use crate::bits::{device_status as d, subchannel_status as c, Actl, Fctl, Stctl};
use crate::image::{Scsw, AVAILABLE_PATHS};
use crate::state::{Instruction, State};

/// How a program that was not stopped ends (§3.3).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Ending {
    /// Channel end and device end together: P+2+X.
    ChannelEndDeviceEnd,
    /// Channel end first: P+X, device end comes later.
    ChannelEnd,
    /// Unit check: A+P+2+X.
    UnitCheck,
    /// Program check: A+P+2+X.
    ProgramCheck,
}

/// With which status a halt ends (§3.2, §3.3).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum HaltEnding {
    /// X alone; the device has nothing more to say.
    Alone,
    /// X alone; device end is still to come.
    DeviceStillActive,
    /// Channel end was withheld: 2+X.
    DeviceEnd,
    /// The device ended by itself: P+2+X.
    ChannelEndDeviceEnd,
    /// The device ended by itself with unit check: A+P+2+X.
    UnitCheck,
}

/// One asynchronous step.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Progress {
    /// The start is issued to the device: SP goes, SchA and DevA come.
    IssueStart,
    /// The start is refused at issue because the device had status to present: deferred condition code 1.
    DeferredCc1,
    /// The start is refused at issue because no path leads to the device: deferred condition code 3.
    DeferredCc3,
    /// The resume is performed: SUSP and RP go, SchA and DevA come.
    Resume,
    /// The halt is performed.
    Halt(HaltEnding),
    /// The clear is performed.
    Clear,
    /// The first command was accepted with zero status, and the ORB asked to be told: I+X with Z.
    InitialStatus,
    /// A CCW with the PCI flag took control: I+X with PCI.
    Pci,
    /// A CCW with the S flag was reached.
    Suspend,
    /// The program ends; `pci` says that a PCI condition was recorded and is reported with the ending status only.
    End {
        /// How.
        ending: Ending,
        /// PCI is ORed in.
        pci: bool,
    },
    /// Device end after channel end, or after a halt that did not wait for it.
    DeviceEnd,
    /// The device has an attention to present, for which nobody asked.
    Attention,
    /// The attention that was stacked is presented.
    PresentStacked,
}

/// Status was stored, and the interruption request for it is pending.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stored {
    /// The request was not pending before. False: the status joined status that nobody had taken yet, without a second interruption.
    pub fresh: bool,
    /// Interruption parameter.
    pub intparm: u32,
    /// Interruption subclass.
    pub isc: u8,
    /// The start that this status speaks of, if any.
    pub start: Option<u32>,
    /// The status word.
    pub scsw: Scsw,
}

/// What a step brought.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Events {
    /// Status became pending, or was added to pending status.
    pub stored: Option<Stored>,
    /// The device's status was thrown away: the subchannel is disabled, or an accepted start was waiting for that device end.
    pub dropped: bool,
}

/// What a step brought where status is delivered.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Delivery {
    /// The same as for held status.
    pub events: Events,
    /// A TEST SUBCHANNEL was executed at the instant the status was stored.
    pub taken: bool,
}

/// What the subchannel and its device are doing, read from the activity bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Doing {
    /// Nothing.
    Idle,
    /// A start is accepted and not issued.
    StartNotIssued,
    /// A channel program runs.
    Running,
    /// A halt is being performed.
    Halting,
    /// A clear is being performed.
    Clearing,
    /// The program has ended, the device has not.
    DeviceActive,
    /// The program is suspended; a resume may be pending.
    Suspended,
}

impl State {
    /// What goes on, the strongest function first.
    #[must_use]
    pub fn doing(&self) -> Doing {
        if self.actl.has(Actl::CLEAR_PENDING) {
            Doing::Clearing
        } else if self.actl.has(Actl::HALT_PENDING) {
            Doing::Halting
        } else if self.actl.has(Actl::SUSPENDED) && !self.fctl.has(Fctl::HALT) {
            Doing::Suspended
        } else if self.actl.has(Actl::SUBCHANNEL_ACTIVE) {
            Doing::Running
        } else if self.actl.has(Actl::START_PENDING) && !self.stctl.has(Stctl::PENDING) {
            Doing::StartNotIssued
        } else if self.actl.has(Actl::DEVICE_ACTIVE) {
            Doing::DeviceActive
        } else {
            Doing::Idle
        }
    }

    /// The steps that may come next, in a fixed order.
    #[must_use]
    pub fn legal_progress(&self) -> Vec<Progress> {
        let mut steps = Vec::new();
        if !self.provided || !self.valid {
            return steps;
        }
        let device_active = self.actl.has(Actl::DEVICE_ACTIVE);
        match self.doing() {
            Doing::Clearing => steps.push(Progress::Clear),
            Doing::Halting => {
                steps.extend(self.halt_endings().iter().map(|&e| Progress::Halt(e)));
            }
            Doing::Suspended => {
                if self.actl.has(Actl::RESUME_PENDING) {
                    steps.push(Progress::Resume);
                }
            }
            Doing::Running => {
                if self.initial_status_due {
                    steps.push(Progress::InitialStatus);
                }
                steps.push(Progress::Pci);
                if self.orb.suspend {
                    steps.push(Progress::Suspend);
                }
                for ending in [Ending::ChannelEndDeviceEnd, Ending::ChannelEnd, Ending::UnitCheck, Ending::ProgramCheck] {
                    for pci in [false, true] {
                        steps.push(Progress::End { ending, pci });
                    }
                }
            }
            Doing::StartNotIssued => {
                if device_active {
                    steps.push(Progress::DeviceEnd);
                } else {
                    if !self.stacked {
                        steps.push(Progress::IssueStart);
                    }
                    steps.push(Progress::DeferredCc3);
                }
                steps.push(Progress::DeferredCc1);
            }
            Doing::DeviceActive => steps.push(Progress::DeviceEnd),
            Doing::Idle => {}
        }
        if !self.stacked {
            steps.push(Progress::Attention);
        } else if self.takes_unsolicited() {
            steps.push(Progress::PresentStacked);
        }
        steps
    }

    /// The ways in which the halt that is being performed may end.
    fn halt_endings(&self) -> &'static [HaltEnding] {
        if self.actl.has(Actl::SUBCHANNEL_ACTIVE) {
            &[
                HaltEnding::Alone,
                HaltEnding::DeviceStillActive,
                HaltEnding::DeviceEnd,
                HaltEnding::ChannelEndDeviceEnd,
                HaltEnding::UnitCheck,
            ]
        } else if self.actl.has(Actl::DEVICE_ACTIVE) {
            &[HaltEnding::DeviceStillActive, HaltEnding::DeviceEnd]
        } else {
            &[HaltEnding::Alone]
        }
    }

    /// Whether unsolicited status can become pending now (§3.5).
    fn takes_unsolicited(&self) -> bool {
        self.pmcw.fields.enabled && self.fctl.is_empty() && self.actl.is_empty() && self.stctl.is_empty()
    }

    /// Makes one step.
    ///
    /// # Panics
    ///
    /// If the step is not in [`State::legal_progress`].
    pub fn progress(&mut self, step: Progress) -> Events {
        assert!(
            self.legal_progress().contains(&step),
            "{step:?} cannot happen in {self:?}; what can is {:?}",
            self.legal_progress()
        );
        let events = self.step(step);
        self.settle();
        events
    }

    /// Makes one step where status is delivered: the same, with a TEST SUBCHANNEL at the instant the status is stored.
    pub fn progress_delivered(&mut self, step: Progress) -> Delivery {
        let events = self.progress(step);
        let taken = events.stored.is_some() && self.execute(Instruction::Tsch).cc == 0;
        Delivery { events, taken }
    }

    fn step(&mut self, step: Progress) -> Events {
        match step {
            Progress::IssueStart => {
                self.become_active(Actl::START_PENDING);
                self.initial_status_due = self.orb.initial_status;
                self.pmcw.lpum = AVAILABLE_PATHS;
                Events::default()
            }
            Progress::Resume => {
                self.become_active(Actl::SUSPENDED.with(Actl::RESUME_PENDING));
                Events::default()
            }
            Progress::DeferredCc1 => {
                let blocking = if self.actl.has(Actl::DEVICE_ACTIVE) {
                    d::DEVICE_END
                } else if self.stacked {
                    self.stacked = false;
                    d::ATTENTION
                } else {
                    d::BUSY
                };
                self.actl = self.actl.without(Actl::DEVICE_ACTIVE);
                self.deferred_cc = 1;
                self.pmcw.lpum = AVAILABLE_PATHS;
                self.store(Stctl::ALERT, blocking, 0)
            }
            Progress::DeferredCc3 => {
                self.deferred_cc = 3;
                self.n = true;
                self.pmcw.pnom = self.pmcw.fields.lpm;
                self.pmcw.lpum = 0;
                self.store(Stctl::ALERT, 0, 0)
            }
            Progress::Halt(ending) => self.perform_halt(ending),
            Progress::Clear => {
                self.actl = self.actl.without(Actl::CLEAR_PENDING);
                self.n = false;
                self.pmcw.pnom = 0;
                self.pmcw.lpum = AVAILABLE_PATHS;
                self.pmcw.fields.pom = 0xFF;
                self.stacked = false;
                self.store(Stctl::NONE, 0, 0)
            }
            Progress::InitialStatus => {
                self.initial_status_due = false;
                self.z = true;
                self.store(Stctl::INTERMEDIATE, 0, 0)
            }
            Progress::Pci => self.store(Stctl::INTERMEDIATE, 0, c::PCI),
            Progress::Suspend => self.suspend(),
            Progress::End { ending, pci } => self.end(ending, if pci { c::PCI } else { 0 }),
            Progress::DeviceEnd => self.device_end(),
            Progress::Attention | Progress::PresentStacked => {
                if !self.pmcw.fields.enabled {
                    return DROPPED;
                }
                self.stacked = !self.takes_unsolicited();
                if self.stacked {
                    return Events::default();
                }
                self.pmcw.lpum = AVAILABLE_PATHS;
                self.store(Stctl::ALERT, d::ATTENTION, 0)
            }
        }
    }

    fn become_active(&mut self, off: Actl) {
        self.actl = self.actl.without(off).with(Actl::SUBCHANNEL_ACTIVE).with(Actl::DEVICE_ACTIVE);
    }

    fn suspend(&mut self) -> Events {
        if self.actl.has(Actl::RESUME_PENDING) {
            // Note (d): the resume came before the S flag, so the program just goes on.
            self.actl = self.actl.without(Actl::RESUME_PENDING);
            return Events::default();
        }
        self.actl = self.actl.without(Actl::SUBCHANNEL_ACTIVE.with(Actl::DEVICE_ACTIVE)).with(Actl::SUSPENDED);
        if self.orb.suppress_suspended {
            return Events::default();
        }
        self.store(Stctl::INTERMEDIATE, 0, 0)
    }

    fn end(&mut self, ending: Ending, pci: u8) -> Events {
        let (stctl, device, subchannel) = match ending {
            Ending::ChannelEndDeviceEnd => (P_2, d::CHANNEL_END | d::DEVICE_END, 0),
            Ending::ChannelEnd => (Stctl::PRIMARY, d::CHANNEL_END, 0),
            Ending::UnitCheck => (A_P_2, d::CHANNEL_END | d::DEVICE_END | d::UNIT_CHECK, 0),
            Ending::ProgramCheck => (A_P_2, 0, c::PROGRAM_CHECK),
        };
        self.actl = self.actl.without(Actl::SUBCHANNEL_ACTIVE.with(Actl::RESUME_PENDING));
        if stctl.has(Stctl::SECONDARY) {
            self.actl = self.actl.without(Actl::DEVICE_ACTIVE);
        } else {
            self.device_owner = self.owner;
        }
        self.store(stctl, device, subchannel | pci)
    }

    fn device_end(&mut self) -> Events {
        self.actl = self.actl.without(Actl::DEVICE_ACTIVE);
        if !self.pmcw.fields.enabled || self.actl.has(Actl::START_PENDING) {
            return DROPPED;
        }
        self.store(Stctl::SECONDARY, d::DEVICE_END, 0)
    }

    fn perform_halt(&mut self, ending: HaltEnding) -> Events {
        let (stctl, device) = match ending {
            HaltEnding::Alone | HaltEnding::DeviceStillActive => (Stctl::NONE, 0),
            HaltEnding::DeviceEnd => (Stctl::SECONDARY, d::DEVICE_END),
            HaltEnding::ChannelEndDeviceEnd => (P_2, d::CHANNEL_END | d::DEVICE_END),
            HaltEnding::UnitCheck => (A_P_2, d::CHANNEL_END | d::DEVICE_END | d::UNIT_CHECK),
        };
        if ending == HaltEnding::DeviceStillActive {
            self.device_owner = self.device_owner.or(self.owner);
        } else {
            self.actl = self.actl.without(Actl::DEVICE_ACTIVE);
        }
        if !self.actl.has(Actl::START_PENDING) {
            self.pmcw.lpum = AVAILABLE_PATHS;
        }
        // SUSP stays until TEST SUBCHANNEL (§3.2).
        self.actl = self
            .actl
            .without(Actl::HALT_PENDING)
            .without(Actl::START_PENDING)
            .without(Actl::RESUME_PENDING)
            .without(Actl::SUBCHANNEL_ACTIVE);
        self.store(stctl, device, 0)
    }

    /// Adds to the pending status; a request becomes pending if none is.
    fn store(&mut self, stctl: Stctl, device: u8, subchannel: u8) -> Events {
        let fresh = !self.interruption;
        self.stctl = self.stctl.with(stctl).with(Stctl::PENDING);
        self.device_status |= device;
        self.subchannel_status |= subchannel;
        self.interruption = true;
        Events {
            stored: Some(Stored {
                fresh,
                intparm: self.pmcw.fields.intparm,
                isc: self.pmcw.fields.isc,
                start: self.owner.or(self.device_owner),
                scsw: self.scsw(),
            }),
            dropped: false,
        }
    }
}

const P_2: Stctl = Stctl::PRIMARY.with(Stctl::SECONDARY);
const A_P_2: Stctl = P_2.with(Stctl::ALERT);
const DROPPED: Events = Events { stored: None, dropped: true };
