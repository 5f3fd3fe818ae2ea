// SPDX-License-Identifier: MIT OR Apache-2.0
//! The channel program itself: where it stands, and how its next CCW is fetched and checked.
//! Principles of Operation ch. 15, "Channel-Command Word" and "Chaining".

use super::area::Area;
use crate::memory::Memory;
use fctl_ringabi::arch::{Ccw, CcwFlags, CcwFormat, IdawFormat, Orb, OrbControl};

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
    /// CCWs, lists and direct areas lie below this address.
    limit: u64,
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
        let format = orb.format();
        let limit = match format {
            CcwFormat::Zero => 1 << 24,
            CcwFormat::One => 1 << 31,
        };
        Self {
            format,
            limit,
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
        let at = self.next;
        let ccw = self.fetch_ccw(memory, at, at)?;
        if ccw.is_tic(self.format) {
            return self.follow(memory, ccw, at, chaining);
        }
        self.take_control(ccw, at, chaining)
    }

    /// Fetches the CCW at an address; one that is wrong is reported as that of `named_by`.
    #[inline(always)]
    fn fetch_ccw(&mut self, memory: &Memory, at: u32, named_by: u32) -> Result<Ccw, ProgramCheck> {
        self.idle = self.idle.saturating_add(1);
        // Eight bytes that begin below the limit and at a doubleword end there, too.
        let may_be = at % 8 == 0 && u64::from(at) < self.limit && self.idle <= self.most_idle;
        match memory.doubleword(u64::from(at)) {
            Some(bytes) if may_be => Ok(Ccw::decode(self.format, &bytes)),
            _ => Err(ProgramCheck { at: named_by }),
        }
    }

    /// Goes where a TIC shows, and gives the CCW there control.
    #[cold]
    fn follow(&mut self, memory: &Memory, tic: Ccw, at: u32, chaining: Chaining) -> Result<Fetched, ProgramCheck> {
        // Neither the first CCW nor the target of another TIC; and in format 1 flags and count are zero.
        let malformed = self.format == CcwFormat::One && (!tic.flags.is_empty() || tic.count != 0);
        if chaining == Chaining::Start || malformed || tic.address == at {
            return Err(ProgramCheck { at });
        }
        // An address that is wrong is reported as the TIC's, which gave it.
        let ccw = self.fetch_ccw(memory, tic.address, at)?;
        if ccw.is_tic(self.format) {
            return Err(ProgramCheck { at: tic.address });
        }
        self.take_control(ccw, tic.address, chaining)
    }

    /// Checks a CCW that is no TIC.
    #[inline(always)]
    fn take_control(&mut self, ccw: Ccw, at: u32, chaining: Chaining) -> Result<Fetched, ProgramCheck> {
        let check = Err(ProgramCheck { at });
        let data_chained = chaining == Chaining::Data;
        let format0 = self.format == CcwFormat::Zero;
        if ccw.count == 0 && (format0 || data_chained || ccw.chains_data()) {
            return check;
        }
        self.pci |= ccw.flags.contains(CcwFlags::PROGRAM_CONTROLLED_INTERRUPTION);
        if !data_chained && !ccw.is_command() {
            return check;
        }
        let unusual = CcwFlags::SUSPEND.union(CcwFlags::MODIFIED_INDIRECT);
        if ccw.flags.intersects(unusual) && !self.allows(&ccw, data_chained) {
            return check;
        }
        if !format0 && ccw.address & 0x8000_0000 != 0 {
            return check;
        }
        self.at = at;
        if ccw.flags.contains(CcwFlags::SUSPEND) {
            return Ok(Fetched::Suspend);
        }
        if !data_chained {
            self.input = ccw.is_input();
        }
        self.ccw = ccw;
        self.next = at.wrapping_add(8);
        self.area = Area::new(&ccw, self.idaws, self.limit, self.input);
        Ok(Fetched::InControl)
    }

    /// Whether a CCW may suspend or have MIDAWs, if it wants to.
    #[inline(never)]
    fn allows(&self, ccw: &Ccw, data_chained: bool) -> bool {
        let flag = |flag| ccw.flags.contains(flag);
        let suspends = flag(CcwFlags::SUSPEND);
        let may_suspend = !ccw.chains_data() && !data_chained && self.control.contains(OrbControl::SUSPEND);
        let has_midaws = flag(CcwFlags::MODIFIED_INDIRECT);
        let may_have = self.control.contains(OrbControl::MIDAW) && !flag(CcwFlags::SKIP) && !flag(CcwFlags::INDIRECT);
        (!suspends || may_suspend) && (!has_midaws || may_have)
    }
}

/// The CCW address that names the CCW at `at`: 8 more, in 31 bits.
pub(super) fn report(at: u32) -> u32 {
    at.wrapping_add(8) & 0x7FFF_FFFF
}
