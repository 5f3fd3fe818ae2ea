// SPDX-License-Identifier: MIT OR Apache-2.0
//! The guest of our side: a wire over the ring pair.

use crate::error::{BenchError, Doing as _, Measured};
use crate::ledger::Ledger;
use crate::pump::Wire;
use crate::subject::id;
use fctl_dispatcher::clock;
use fctl_dispatcher::region::RegionWords;
use fctl_ringabi::arch::{DeviceStatus, FunctionControl, Orb, StatusControl, SubchannelStatus};
use fctl_ringabi::{Completion, CompletionKind, CompletionReader, Descriptor, Disposition, Operation, Poster};
use vmm_sys_util::eventfd::EventFd;

/// The guest's ends of a ring pair.
pub struct RingGuest {
    poster: Poster<RegionWords>,
    reader: CompletionReader<RegionWords>,
    doorbell: EventFd,
}

impl RingGuest {
    /// A guest with these ends.
    pub fn new(poster: Poster<RegionWords>, reader: CompletionReader<RegionWords>, doorbell: EventFd) -> Self {
        Self { poster, reader, doorbell }
    }

    /// The wire that makes each request an instruction of `program`. `stamped` descriptors say when they were posted (one look at the clock for
    /// each batch).
    pub fn wire<P: Program>(self, program: P, stamped: bool) -> RingWire<P> {
        RingWire { guest: self, program, stamped }
    }
}

/// What is asked of a subchannel.
pub trait Program {
    /// Prepares the subchannel's next instruction.
    fn prepare(&mut self, place: u16, tag: u64) -> Descriptor;

    /// Looks whether a final's status is that of the instruction when all went well.
    #[inline(always)]
    fn ended_well(completion: &Completion) -> bool {
        completion.scsw.device_status() == ENDED && completion.scsw.subchannel_status() == SubchannelStatus::empty()
    }

    /// Looks whether what has ended well did its work.
    fn done(&mut self, place: u16) -> bool;
}

/// No program: for null devices, which never look at it.
#[derive(Clone, Copy, Debug)]
pub struct NoProgram;

impl Program for NoProgram {
    #[inline(always)]
    fn prepare(&mut self, place: u16, tag: u64) -> Descriptor {
        Descriptor::start(id(place), &Orb::new(u32::from(place), 0x1000), tag)
    }

    #[inline(always)]
    fn done(&mut self, _place: u16) -> bool {
        true
    }
}

/// CLEAR SUBCHANNEL, to subchannels that have nothing to do.
#[derive(Clone, Copy, Debug)]
pub struct Clears;

impl Program for Clears {
    fn prepare(&mut self, place: u16, tag: u64) -> Descriptor {
        Descriptor::new(Operation::Clear, id(place), tag)
    }

    fn ended_well(completion: &Completion) -> bool {
        completion.scsw.fctl() == FunctionControl::CLEAR && completion.scsw.stctl() == StatusControl::PENDING
    }

    fn done(&mut self, _place: u16) -> bool {
        true
    }
}

/// Instructions and their finals, as a wire.
pub struct RingWire<P> {
    guest: RingGuest,
    program: P,
    stamped: bool,
}

/// Channel end and device end, nothing else.
const ENDED: DeviceStatus = DeviceStatus::CHANNEL_END.union(DeviceStatus::DEVICE_END);

/// True for the final of an instruction that was executed.
#[inline(always)]
fn executed(completion: &Completion) -> bool {
    completion.kind == CompletionKind::Final as u8 && completion.cc == 0 && completion.disposition == Disposition::Executed as u8
}

impl<P: Program> Wire for RingWire<P> {
    const SIDE: &'static str = "fctl";

    #[inline]
    fn send(&mut self, ledger: &mut Ledger, count: u64) -> Measured<()> {
        let posted = if self.stamped { clock::now() } else { 0 };
        for _ in 0..count {
            let request = ledger.open();
            let descriptor = self.program.prepare(request.place, request.tag).posted_at(posted);
            self.guest.poster.stage(&descriptor).doing("post an instruction")?;
        }
        if self.guest.poster.publish() {
            self.guest.doorbell.write(1).doing("ring the doorbell")?;
        }
        Ok(())
    }

    #[inline]
    fn receive(&mut self, ledger: &mut Ledger, most: u64) -> Measured<u64> {
        let mut count = 0;
        while count < most {
            // Matched in place: to turn the error first would copy the completion once more.
            let (completion, extension) = match self.guest.reader.take() {
                Ok(Some(found)) => found,
                Ok(None) => break,
                Err(violation) => return Err(violation).doing("take a completion"),
            };
            let place = ledger.close(completion.tag).ok_or_else(|| Self::unknown(completion.tag))?;
            if !(executed(&completion) && P::ended_well(&completion)) {
                let fault = format!("an instruction did not end well: {completion:?}, {extension:?}");
                return Err(BenchError::Wrong { side: Self::SIDE, fault });
            }
            if !self.program.done(place) {
                let fault = format!("what subchannel {place} was asked for ended well but did not do its work");
                return Err(BenchError::Wrong { side: Self::SIDE, fault });
            }
            count += 1;
        }
        Ok(count)
    }
}
