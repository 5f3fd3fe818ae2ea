// SPDX-License-Identifier: MIT OR Apache-2.0
//! The channel program itself: where it stands, and how its next CCW is fetched and checked.
//! Principles of Operation ch. 15, "Channel-Command Word" and "Chaining".

use super::area::Area;
use crate::memory::Memory;
use fctl_ringabi::arch::{Ccw, CcwFlags, CcwFormat, CommandClass, IdawFormat, Orb, OrbControl};

/// A program check, at the CCW with this address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ProgramCheck {
    pub at: u32,
}

/// How the program has come to the CCW that is fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Chaining {
    /// It is the first.
    Start,
    /// By command chaining, or by RESUME SUBCHANNEL.
    Command,
    /// By data chaining.
    Data,
}

/// What the fetched CCW wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fetched {
    /// It takes control.
    InControl,
    /// The program suspends.
    Suspend,
}

/// A channel program at some point of its execution. A copy is a point to come back to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Program {
    format: CcwFormat,
    idaws: IdawFormat,
    control: OrbControl,
    /// The CCW in control, and its address.
    pub ccw: Ccw,
    pub at: u32,
    /// Where the next CCW is.
    pub next: u32,
    /// The bytes of the CCW in control.
    pub area: Area,
    /// The command in control stores into guest memory. (A data-chained CCW's own command code means nothing.)
    input: bool,
    /// A PCI flag has been seen and not yet told.
    pub pci: bool,
    /// CCWs fetched since data last moved.
    idle: u32,
    most_idle: u32,
}

impl Program {
    /// Before the first start.
    pub fn none() -> Self {
        Self::new(&Orb::new(0, 0), 0)
    }

    /// A program of which nothing is fetched yet. More than `most_idle` CCWs without data are a program check.
    pub fn new(orb: &Orb, most_idle: u32) -> Self {
        Self {
            format: orb.format(),
            idaws: orb.idaw_format(),
            control: orb.control(),
            ccw: Ccw::default(),
            at: orb.cpa(),
            next: orb.cpa(),
            area: Area::EMPTY,
            input: false,
            pci: false,
            idle: 0,
            most_idle,
        }
    }

    /// The CCW address to report: the CCW in control + 8.
    #[inline]
    pub fn reported(&self) -> u32 {
        report(self.at)
    }

    /// Data has moved: the program makes progress.
    #[inline]
    pub fn moved(&mut self) {
        self.idle = 0;
    }

    /// Whether a non-zero count is an incorrect length for an immediate command: only in format 1, and not with ORB.L.
    pub fn minds_immediate_length(&self) -> bool {
        self.format == CcwFormat::One && !self.control.contains(OrbControl::SUPPRESS_INCORRECT_LENGTH)
    }

    /// Prepares command chaining; status modifier skips one CCW, whatever it is.
    #[inline]
    pub fn chain_command(&mut self, modified: bool) {
        self.next = self.at.wrapping_add(if modified { 16 } else { 8 });
    }

    /// Prepares RESUME SUBCHANNEL: the suspended CCW is fetched again. The guest has taken part, so the program is not idle.
    pub fn resume(&mut self) {
        self.next = self.at;
        self.idle = 0;
    }

    /// Fetches the next CCW of the command in control. After it there are bytes [`left`](Area::left): whoever walks the data gets on.
    #[inline]
    pub fn chain_data(&mut self, memory: &Memory) -> Result<(), ProgramCheck> {
        match self.fetch(memory, Chaining::Data)? {
            Fetched::InControl if self.area.left() != 0 => Ok(()),
            // Refused by the checks already: a data-chained CCW neither suspends nor has count 0.
            _ => Err(ProgramCheck { at: self.at }),
        }
    }

    /// Fetches and checks the next CCW, following at most one TIC, and gives it control.
    #[inline]
    pub fn fetch(&mut self, memory: &Memory, chaining: Chaining) -> Result<Fetched, ProgramCheck> {
        let mut at = self.next;
        // An address that is wrong is reported as the TIC's if a TIC gave it.
        let mut named_by = at;
        loop {
            self.idle = self.idle.saturating_add(1);
            let in_range = at % 8 == 0 && u64::from(at) + Ccw::SIZE as u64 <= self.limit();
            if !in_range || self.idle > self.most_idle {
                return Err(ProgramCheck { at: named_by });
            }
            let bytes = memory.fetch(u64::from(at)).map_err(|_| ProgramCheck { at: named_by })?;
            let ccw = Ccw::decode(self.format, &bytes);
            if !ccw.is_tic(self.format) {
                return self.take_control(ccw, at, chaining);
            }
            // Neither the first CCW nor the target of another TIC; and in format 1 flags and count are zero.
            let malformed = self.format == CcwFormat::One && (!ccw.flags.is_empty() || ccw.count != 0);
            if chaining == Chaining::Start || named_by != at || malformed || ccw.address == at {
                return Err(ProgramCheck { at });
            }
            named_by = at;
            at = ccw.address;
        }
    }

    /// Checks a CCW that is no TIC.
    #[inline]
    fn take_control(&mut self, ccw: Ccw, at: u32, chaining: Chaining) -> Result<Fetched, ProgramCheck> {
        let check = Err(ProgramCheck { at });
        let data_chained = chaining == Chaining::Data;
        let format0 = self.format == CcwFormat::Zero;
        let flag = |flag| ccw.flags.contains(flag);
        if ccw.count == 0 && (format0 || data_chained || ccw.chains_data()) {
            return check;
        }
        self.pci |= flag(CcwFlags::PROGRAM_CONTROLLED_INTERRUPTION);
        if !data_chained && matches!(ccw.class(), CommandClass::Invalid | CommandClass::Tic) {
            return check;
        }
        if flag(CcwFlags::SUSPEND) && (ccw.chains_data() || data_chained || !self.control.contains(OrbControl::SUSPEND)) {
            return check;
        }
        let indirect = flag(CcwFlags::INDIRECT);
        if flag(CcwFlags::MODIFIED_INDIRECT) && (!self.control.contains(OrbControl::MIDAW) || flag(CcwFlags::SKIP) || indirect) {
            return check;
        }
        if !format0 && ccw.address & 0x8000_0000 != 0 {
            return check;
        }
        self.at = at;
        if flag(CcwFlags::SUSPEND) {
            return Ok(Fetched::Suspend);
        }
        if !data_chained {
            self.input = ccw.is_input();
        }
        self.ccw = ccw;
        self.next = at.wrapping_add(8);
        self.area = Area::new(&ccw, self.idaws, self.limit(), self.input);
        Ok(Fetched::InControl)
    }

    /// CCWs, lists and direct areas lie below this address.
    #[inline]
    fn limit(&self) -> u64 {
        match self.format {
            CcwFormat::Zero => 1 << 24,
            CcwFormat::One => 1 << 31,
        }
    }
}

/// The CCW address that names the CCW at `at`: 8 more, in 31 bits.
pub(super) fn report(at: u32) -> u32 {
    at.wrapping_add(8) & 0x7FFF_FFFF
}
