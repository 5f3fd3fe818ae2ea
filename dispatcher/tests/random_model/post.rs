// SPDX-License-Identifier: MIT OR Apache-2.0
//! What guests post: descriptors with their operands, and what must become of each.

use super::common::id;
use super::follow::ensure;
use super::image;
use super::rng::Rng;
use super::steps::Behind;
use super::world::World;
use fctl_model::{Instruction, Start};
use fctl_ringabi::arch::{Orb, PmcwFlags, Schib};
use fctl_ringabi::{
    interruption_code, Completion, CompletionKind, Descriptor, DescriptorError, DescriptorFlags, Disposition, Operation,
};
use std::collections::VecDeque;

/// Who decides a descriptor.
#[derive(Clone, Copy, Debug)]
pub enum Decision {
    Model(Instruction),
    /// No subchannel: it ends so.
    Refused {
        disposition: Disposition,
        code: u16,
        cc: u8,
    },
}

#[derive(Clone, Copy, Debug)]
pub struct Posted {
    pub tag: u64,
    pub sub: Option<usize>,
    pub asked: bool,
    pub decision: Decision,
}

impl Posted {
    /// Completion entries that it uses up.
    pub fn charge(&self) -> u64 {
        1 + u64::from(self.asked)
    }

    /// What no subchannel decides is answered when it is taken.
    pub fn check_refused(&self, direct: &mut VecDeque<Completion>) -> Result<(), String> {
        let Decision::Refused { disposition, code, cc } = self.decision else { return Ok(()) };
        let kinds: &[CompletionKind] =
            if self.asked { &[CompletionKind::Accepted, CompletionKind::Final] } else { &[CompletionKind::Final] };
        for kind in kinds {
            let found = direct.pop_front().ok_or_else(|| format!("{self:?}: no {kind:?}"))?;
            let told = (found.kind(), found.tag, found.disposition(), found.code, found.cc);
            ensure!(told == (Some(*kind), self.tag, Some(disposition), code, cc), "{self:?} got {found:?}");
        }
        Ok(())
    }
}

/// Operands that go by address have places of their own, more than a ring has descriptors.
const OPERANDS: u32 = 0x8000;
const OPERANDS_OF_RING: u32 = 64;

impl World {
    fn operand(&mut self, ring: usize, bytes: &[u8]) -> u64 {
        let at = self.rings[ring].operands;
        let slot = u32::try_from(ring % self.shape.rings_of_guest).unwrap() * OPERANDS_OF_RING + at;
        let address = OPERANDS + slot * 64;
        self.mirrors[ring / self.shape.rings_of_guest].put(address, bytes);
        address.into()
    }

    /// Stages a descriptor. A full ring gives it back; then nothing is owed.
    fn stage(&mut self, ring: usize, descriptor: &Descriptor, sub: Option<usize>, decision: Decision) -> bool {
        let tag = self.tags.len() as u64;
        let staged = self.rings[ring].guest.guest.poster.stage(&Descriptor { tag, ..*descriptor }).is_ok();
        if staged {
            let asked = descriptor.flags & DescriptorFlags::ACCEPTED.bits() != 0;
            self.rings[ring].staged.push(Posted { tag, sub, asked, decision });
            self.tags.push((ring, sub, false));
            // Only now: what could not be staged leaves its place to the next one.
            self.rings[ring].operands = (self.rings[ring].operands + 1) % OPERANDS_OF_RING;
        }
        staged
    }

    /// An instruction for a subchannel, with whatever operand `pick` says.
    pub fn post(&mut self, sub: usize, operation: Operation, flags: u8, pick: u64) {
        let place = self.shape.places[sub];
        let (ring, subsystem) = (place.ring, id(place.number));
        let mut rng = Rng::new(pick);
        let tag = self.tags.len() as u64;
        let (descriptor, instruction) = match operation {
            Operation::Start => {
                let disk = matches!(place.behind, Behind::Disk { .. });
                let mut cpa = 0x1000;
                if disk {
                    let is_disk = |one: &&super::steps::Place| matches!(one.behind, Behind::Disk { .. });
                    let number = self.shape.places[..sub].iter().filter(is_disk).count();
                    let mirror = &mut self.mirrors[place.guest];
                    let Some(found) = self.disks.program(number, place.guest, tag, mirror, &mut rng) else { return };
                    cpa = found;
                }
                let orb = image::orb(&mut rng, cpa, !disk);
                let descriptor = if rng.percent(40) {
                    Descriptor::by_address(operation, subsystem, self.operand(ring, &orb.to_bytes()), 0)
                } else {
                    Descriptor::start(subsystem, &orb, 0)
                };
                let start =
                    Start { id: u32::try_from(tag).unwrap(), intparm: orb.intparm(), orb: image::echo(&orb), lpm: orb.lpm() };
                (descriptor, Instruction::Ssch(start))
            }
            Operation::Modify => {
                let fields = image::any_fields(&mut rng);
                let address = self.operand(ring, &image::schib(&fields).to_bytes());
                (Descriptor::by_address(operation, subsystem, address, 0), Instruction::Msch(fields))
            }
            other => (
                Descriptor::new(other, subsystem, 0),
                match other {
                    Operation::Halt => Instruction::Hsch,
                    Operation::Clear => Instruction::Csch,
                    Operation::Cancel => Instruction::Xsch,
                    Operation::Resume => Instruction::Rsch,
                    Operation::Test => Instruction::Tsch,
                    _ => Instruction::Stsch,
                },
            ),
        };
        let flags = descriptor.flags | flags;
        if !self.stage(ring, &Descriptor { flags, ..descriptor }, Some(sub), Decision::Model(instruction)) {
            self.disks.forget(tag);
        }
    }

    /// A descriptor that no subchannel may be changed by.
    pub fn stray(&mut self, ring: usize, kind: u8, flags: u8, pick: u64) {
        let mut rng = Rng::new(pick);
        let here: Vec<u16> = self.shape.places.iter().filter(|place| place.ring == ring).map(|place| place.number).collect();
        let elsewhere = |place: &&super::steps::Place| place.guest == ring / self.shape.rings_of_guest && place.ring != ring;
        let elsewhere: Vec<u16> = self.shape.places.iter().filter(elsewhere).map(|place| place.number).collect();
        let subsystem = id(rng.one_of(&here));
        let plain = rng.one_of(&[Operation::Halt, Operation::Clear, Operation::Cancel, Operation::Test, Operation::Store]);
        let interruption = |code| (Disposition::ProgramInterruption, code, 0);
        let good = Orb::new(7, 0x1000);
        let (descriptor, (disposition, code, cc)) = match kind % 8 {
            0 if !elsewhere.is_empty() => {
                let descriptor = Descriptor::new(plain, id(rng.one_of(&elsewhere)), 0);
                (descriptor, (Disposition::DescriptorError, DescriptorError::WrongRing as u16, 0))
            }
            1 => {
                let bad = Orb::from_words([1, 0x80_8002, 0x1000]);
                (Descriptor::start(subsystem, &bad, 0), interruption(interruption_code::OPERAND))
            }
            2 => {
                let address = self.operand(ring, &good.to_bytes()) + 2;
                let descriptor = Descriptor::by_address(Operation::Start, subsystem, address, 0);
                (descriptor, interruption(interruption_code::SPECIFICATION))
            }
            3 => {
                let operation = rng.one_of(&[Operation::Start, Operation::Modify]);
                let address = self.mirrors[0].memory.bytes() - 8;
                let descriptor = Descriptor::by_address(operation, subsystem, address, 0);
                (descriptor, interruption(interruption_code::ADDRESSING))
            }
            4 => {
                let mut bad = Schib::initial(0);
                bad.pmcw.set_flags(PmcwFlags::from_bits_retain(0x0100));
                let address = self.operand(ring, &bad.to_bytes());
                let descriptor = Descriptor::by_address(Operation::Modify, subsystem, address, 0);
                (descriptor, interruption(interruption_code::OPERAND))
            }
            5 => {
                let descriptor = Descriptor { operation: 9, ..Descriptor::new(plain, subsystem, 0) };
                (descriptor, (Disposition::DescriptorError, DescriptorError::UnknownOperation as u16, 0))
            }
            6 => {
                let descriptor = Descriptor { subsystem: u32::from(here[0]), ..Descriptor::new(plain, subsystem, 0) };
                (descriptor, interruption(interruption_code::OPERAND))
            }
            _ => (Descriptor::new(plain, id(0x4000), 0), (Disposition::Executed, 0, 3)),
        };
        let flags = descriptor.flags | flags;
        self.stage(ring, &Descriptor { flags, ..descriptor }, None, Decision::Refused { disposition, code, cc });
    }
}
