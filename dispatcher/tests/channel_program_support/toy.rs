// SPDX-License-Identifier: MIT OR Apache-2.0
//! A control unit with one command of each sort.

use super::{Machine, ENDED};
use fctl_dispatcher::device::emulated::{Action, ControlUnit, Emulated, Fault, Limits, UnitBytes};
use fctl_dispatcher::device::Sense;
use fctl_ringabi::arch::DeviceStatus;

/// A unit without a volume. Commands: 03 ends at once, 07 ends at once with status modifier, 02 sends 1..=8, 01 takes 8 bytes,
/// 04 sends 64 bytes; others get a unit check.
#[derive(Default)]
pub struct Toy {
    pub commands: Vec<u8>,
    pub received: Vec<u8>,
    pub chains: usize,
}

impl ControlUnit for Toy {
    fn begin(&mut self) {
        self.chains += 1;
    }

    fn command(&mut self, command: u8, bytes: &mut UnitBytes) -> Action {
        self.commands.push(command);
        match command {
            0x03 => Action::Immediate(ENDED),
            0x07 => Action::Immediate(ENDED | DeviceStatus::STATUS_MODIFIER),
            0x02 => {
                bytes[..8].copy_from_slice(&[1, 2, 3, 4, 5, 6, 7, 8]);
                Action::Send { length: 8 }
            }
            0x04 => Action::Send { length: 64 },
            0x01 => Action::Receive { length: 8 },
            _ => Action::Check,
        }
    }

    fn received(&mut self, _command: u8, bytes: &[u8]) -> DeviceStatus {
        self.received.extend(bytes);
        ENDED
    }

    fn failed(&mut self, fault: Fault) {
        panic!("nothing moves: {fault:?}");
    }

    fn take_sense(&mut self) -> Option<Sense> {
        None
    }

    fn reset(&mut self) {}
}

pub fn toy() -> Machine<Toy> {
    Machine::new(Emulated::new(Toy::default()))
}

pub fn toy_with(limits: Limits) -> Machine<Toy> {
    Machine::new(Emulated::with_limits(Toy::default(), limits))
}
