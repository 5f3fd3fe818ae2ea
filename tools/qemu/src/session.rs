// SPDX-License-Identifier: MIT OR Apache-2.0
//! A device that QEMU listens to: a ring of its own, and what became of the instructions posted to it.
//!
//! QEMU's own eventfd is the ring's notification, so nobody has to wait in a thread. It is armed only while no status waits and a function is
//! outstanding; whatever QEMU does then takes the notification back first, or reads it if it was too late for that. So QEMU is called exactly once for
//! each status: a call too many would make it forget the status that the guest has not looked at yet.

use crate::hooks::Answer;
use crate::regions::Command;
use fctl_dispatcher::host::{HostError, HostRing};
use fctl_ringabi::arch::{Irb, Orb, Scsw, SubsystemId};
use fctl_ringabi::{Completion, CompletionFlags, CompletionKind, Descriptor, Disposition, Extension, Operation};
use std::collections::VecDeque;
use std::os::fd::AsRawFd as _;
use std::time::{Duration, Instant};

/// The path of every subchannel here.
const PATH: u8 = 0x80;

/// How long a reset, or a start that takes the place of another one, waits for I/O to end.
const PATIENCE: Duration = Duration::from_secs(40);

/// How QEMU gets to know what comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    /// Nothing is to come.
    None,
    /// By the ring's notification.
    Armed,
    /// Its eventfd was written for what waits.
    Made,
}

/// One device between `SET_IRQS` with an eventfd and the end of that.
pub struct Session {
    host: HostRing,
    subchannel: SubsystemId,
    /// Tags count up from 1.
    last_tag: u64,
    /// The last clear that was accepted: status of functions before it is not wanted.
    cleared: u64,
    /// Tags of functions that were accepted and have no final yet.
    outstanding: Vec<u64>,
    /// Status that QEMU has not read yet.
    waiting: VecDeque<Irb>,
    call: Call,
}

/// Whether the reactor had to be woken for an instruction.
pub type Woken = bool;

impl Session {
    /// Takes the host's end of a ring, whose notification is QEMU's eventfd.
    pub fn new(host: HostRing, subchannel: SubsystemId) -> Self {
        Self { host, subchannel, last_tag: 0, cleared: 0, outstanding: Vec::new(), waiting: VecDeque::new(), call: Call::None }
    }

    /// SSCH. A start that is still outstanding was cancelled without a word (QEMU executes XSCH by itself): it is cleared first.
    pub fn start(&mut self, orb: &Orb) -> Answer<Woken> {
        self.begin();
        let forgotten = if self.outstanding.is_empty() { Ok(()) } else { self.clear_all() };
        self.waiting.clear();
        let answer = forgotten.and_then(|()| self.execute(|subchannel, tag| Descriptor::start(subchannel, orb, tag)));
        self.end();
        answer
    }

    /// HSCH or CSCH.
    pub fn command(&mut self, command: Command) -> Answer<Woken> {
        self.begin();
        let answer = match command {
            // Status that the guest has not seen stands in the way of a halt, as in hardware.
            Command::Halt if !self.waiting.is_empty() => Err(libc::EBUSY),
            Command::Halt => self.execute(|subchannel, tag| Descriptor::new(Operation::Halt, subchannel, tag)),
            Command::Clear => self.execute(|subchannel, tag| Descriptor::new(Operation::Clear, subchannel, tag)),
        };
        self.end();
        answer
    }

    /// Ends all I/O, and forgets all status. QEMU is not called for any of it.
    pub fn reset(&mut self) -> Answer<()> {
        self.begin();
        let answer = if self.outstanding.is_empty() { Ok(()) } else { self.clear_all() };
        self.waiting.clear();
        self.end();
        answer
    }

    /// The status that QEMU was called for.
    pub fn take_status(&mut self) -> Irb {
        // QEMU has read its eventfd.
        self.call = Call::None;
        self.take_all();
        let irb = self.waiting.pop_front();
        self.end();
        // It is never called for nothing; if it asks all the same, there is no status.
        irb.unwrap_or_else(|| Irb::new(Scsw::default(), PATH))
    }

    /// Takes the notification back, and what is there.
    fn begin(&mut self) {
        if self.call == Call::Armed {
            if !self.host.disarm() {
                self.read_eventfd(Duration::from_secs(1));
            }
            self.call = Call::None;
        }
        self.take_all();
    }

    /// Sees to it that QEMU is called for what waits, or for what is to come.
    fn end(&mut self) {
        loop {
            match (self.waiting.is_empty(), self.call) {
                (false, Call::Made) => return,
                (false, _) => {
                    // Fails only when the counter is full, and then QEMU is called anyway.
                    let _ = self.host.notification().write(1);
                    self.call = Call::Made;
                    return;
                }
                (true, Call::Made) => {
                    self.read_eventfd(Duration::ZERO);
                    self.call = Call::None;
                }
                (true, _) if self.outstanding.is_empty() => return,
                (true, _) => match self.host.arm() {
                    Ok(true) => {
                        self.call = Call::Armed;
                        return;
                    }
                    Ok(false) => self.take_all(),
                    // Nothing will ever come.
                    Err(_) => return,
                },
            }
        }
    }

    /// Waits until everything has ended, as after a clear.
    fn clear_all(&mut self) -> Answer<()> {
        self.execute(|subchannel, tag| Descriptor::new(Operation::Clear, subchannel, tag))?;
        let deadline = Instant::now() + PATIENCE;
        while !self.outstanding.is_empty() {
            match self.host.arm() {
                Ok(true) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if !self.read_eventfd(left) && self.host.disarm() {
                        eprintln!("fctl: I/O of a device that is reset has not ended within {PATIENCE:?}");
                        return Err(libc::EBUSY);
                    }
                }
                Ok(false) => {}
                Err(error) => return Err(errno(&error)),
            }
            self.take_all();
        }
        Ok(())
    }

    /// Posts an instruction and waits for its condition code.
    fn execute(&mut self, make: impl FnOnce(SubsystemId, u64) -> Descriptor) -> Answer<Woken> {
        self.last_tag += 1;
        let descriptor = make(self.subchannel, self.last_tag);
        let operation = Operation::from_code(descriptor.operation).ok_or(libc::EINVAL)?;
        let executed = self.host.execute(&descriptor).map_err(|error| {
            eprintln!("fctl: {} was not executed: {error}", operation.mnemonic());
            errno(&error)
        })?;
        condition(&executed.accepted)?;
        if operation == Operation::Clear {
            // What was pending before the clear is not pending any more.
            self.waiting.clear();
            self.cleared = descriptor.tag;
        }
        self.outstanding.push(descriptor.tag);
        self.take_all();
        Ok(executed.woken)
    }

    /// Takes all completions that are there.
    fn take_all(&mut self) {
        while let Ok(Some((completion, extension))) = self.host.take() {
            self.took(&completion, extension);
        }
    }

    fn took(&mut self, completion: &Completion, extension: Option<Extension>) {
        if completion.kind() == Some(CompletionKind::Final) {
            self.outstanding.retain(|&tag| tag != completion.tag);
        }
        if completion.flags.contains(CompletionFlags::STATUS) && completion.tag >= self.cleared {
            let mut irb = Irb::new(completion.scsw, PATH);
            if let Some(Extension::Irb { esw, ecw }) = extension {
                (irb.esw, irb.ecw) = (esw, ecw);
            }
            self.waiting.push_back(irb);
        }
    }

    /// Waits for QEMU's eventfd and reads it. QEMU does not: its big lock is held by whoever called us.
    fn read_eventfd(&self, most: Duration) -> bool {
        let eventfd = self.host.notification();
        let mut poll = libc::pollfd { fd: eventfd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        let milliseconds = i32::try_from(most.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: one `pollfd` that is ours.
        let readable = unsafe { libc::poll(&mut poll, 1, milliseconds) } == 1;
        readable && eventfd.read().is_ok()
    }
}

/// The error number by which QEMU makes the condition code.
fn condition(accepted: &Completion) -> Answer<()> {
    match (accepted.disposition(), accepted.cc) {
        (Some(Disposition::Executed), 0) => Ok(()),
        (Some(Disposition::Executed), 1 | 2) => Err(libc::EBUSY),
        (Some(Disposition::Executed), _) => Err(libc::ENODEV),
        // A program interruption: QEMU has looked at the operand before, so this is not the guest's doing.
        _ => Err(libc::EIO),
    }
}

/// For QEMU a dispatcher that does not answer is a path that is not operational.
fn errno(error: &HostError) -> i32 {
    match error {
        HostError::Stopped | HostError::Late(_) => libc::ENODEV,
        _ => libc::EIO,
    }
}
