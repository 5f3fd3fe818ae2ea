// SPDX-License-Identifier: MIT OR Apache-2.0
//! The channel program itself: where it stands, and how its next CCW is fetched and checked.
//! Principles of Operation ch. 15, "Channel-Command Word" and "Chaining".

use super::area::Area;
use super::word::CcwWord;
use crate::memory::Memory;
use fctl_ringabi::arch::{Ccw, CcwFlags, CcwFormat, Orb, OrbControl};

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

/// Where a program stands, as far as its status tells.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    at: u32,
    left: u32,
}

/// A channel program at some point of its execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Program {
    orb: Orb,
    format: CcwFormat,
    /// The command in control. (A data-chained CCW's own command code means nothing.)
    pub command: u8,
    /// A PCI flag has been seen and not yet told.
    pub pci: bool,
    /// The CCW in control, and its address.
    pub ccw: CcwWord,
    pub at: u32,
    /// Where the next CCW is.
    next: u32,
    /// The one that is being judged.
    fetched: CcwWord,
    /// The bytes of the CCW in control.
    pub area: Area,
    /// How many more CCWs may be fetched without data moved, and how many may be in all.
    patience: u32,
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
        let (at, next) = (orb.cpa(), orb.cpa());
        Self {
            orb: *orb,
            format,
            command: 0,
            pci: false,
            ccw: CcwWord::NONE,
            fetched: CcwWord::NONE,
            at,
            next,
            area: Area::empty(limit),
            patience: most_idle,
            most_idle,
        }
    }

    /// A program of this CCW, which has control, at 1000.
    #[cfg(test)]
    pub fn at(ccw: Ccw, format: CcwFormat) -> Self {
        let ccw = match format {
            CcwFormat::Zero => Ccw::from_format0(&ccw.to_format0()),
            CcwFormat::One => ccw,
        };
        let mut program = Self::new(&Orb::new(7, 0x1000).with_format(format), 9);
        program.give_control(CcwWord::of(ccw), 0x1000, false);
        program
    }

    /// The CCW address to report: the CCW in control + 8.
    #[inline]
    pub fn reported(&self) -> u32 {
        report(self.at)
    }

    /// Data has moved: the program makes progress.
    #[inline(always)]
    pub fn moved(&mut self) {
        self.patience = self.most_idle;
    }

    /// Whether a non-zero count is an incorrect length for an immediate command: only in format 1, and not with ORB.L.
    pub fn minds_immediate_length(&self) -> bool {
        self.format == CcwFormat::One && !self.orb.control().contains(OrbControl::SUPPRESS_INCORRECT_LENGTH)
    }

    /// Prepares command chaining after status modifier: one CCW is skipped, whatever it is.
    pub fn skip_command(&mut self) {
        self.next = self.next.wrapping_add(8);
    }

    /// Prepares RESUME SUBCHANNEL: the suspended CCW is fetched again. The guest has taken part, so the program is not idle.
    pub fn resume(&mut self) {
        self.next = self.at;
        self.moved();
    }

    /// Where it stands.
    #[inline(always)]
    pub fn place(&self) -> Place {
        Place { at: self.at, left: self.area.left() }
    }

    /// As far as status tells, it stands where it stood. It is over: what comes next is not known any more.
    pub fn back_to(&mut self, place: Place) {
        self.at = place.at;
        self.area.set_left(place.left);
    }

    /// Fetches the next CCW of the command in control. After it there are bytes [`left`](Area::left): whoever walks the data gets on.
    #[inline(always)]
    pub fn chain_data(&mut self, memory: &Memory) -> Result<(), ProgramCheck> {
        if self.take_plain(memory, true)? {
            return Ok(());
        }
        match self.judge(memory, Chaining::Data)? {
            Fetched::InControl if self.area.left() != 0 => Ok(()),
            // Refused by the checks already: a data-chained CCW neither suspends nor has count 0.
            _ => Err(ProgramCheck { at: self.at }),
        }
    }

    /// Fetches and checks the next CCW, following at most one TIC, and gives it control.
    #[inline(always)]
    pub fn fetch(&mut self, memory: &Memory, first: bool) -> Result<Fetched, ProgramCheck> {
        if self.take_plain(memory, false)? {
            return Ok(Fetched::InControl);
        }
        self.judge(memory, if first { Chaining::Start } else { Chaining::Command })
    }

    /// Fetches the next CCW, and gives control to it if it is [plain](CcwWord::is_plain). If not (false) it is the one to be [judged](Self::judge).
    #[inline(always)]
    fn take_plain(&mut self, memory: &Memory, data_chained: bool) -> Result<bool, ProgramCheck> {
        let at = self.next;
        self.check_address(at, at)?;
        let Some(doubleword) = memory.doubleword(u64::from(at)) else {
            return self.fetch_elsewhere(memory);
        };
        let ccw = CcwWord::fetched(self.format, doubleword);
        if ccw.is_plain() {
            self.give_control(ccw, at, data_chained);
            return Ok(true);
        }
        self.fetched = ccw;
        Ok(false)
    }

    #[cold]
    fn fetch_elsewhere(&mut self, memory: &Memory) -> Result<bool, ProgramCheck> {
        let wrong = ProgramCheck { at: self.next };
        let doubleword = memory.any_doubleword(u64::from(self.next)).ok_or(wrong)?;
        self.fetched = CcwWord::fetched(self.format, doubleword);
        Ok(false)
    }

    /// Sees to it that another CCW may be fetched, and from this address if it is one of a doubleword in the memory; if not, that is reported as an error of `named_by`.
    #[inline(always)]
    fn check_address(&mut self, at: u32, named_by: u32) -> Result<(), ProgramCheck> {
        // Eight bytes that begin below the limit and at a doubleword end there, too.
        if u64::from(at) >= self.area.limit() || self.patience == 0 {
            return Err(ProgramCheck { at: named_by });
        }
        self.patience -= 1;
        Ok(())
    }

    /// Gives control to a CCW that nothing is wrong with.
    #[inline(always)]
    fn give_control(&mut self, ccw: CcwWord, at: u32, data_chained: bool) {
        if !data_chained {
            self.command = ccw.command();
        }
        self.at = at;
        self.next = at.wrapping_add(8);
        self.ccw = ccw;
        self.area.begin(ccw, self.command, &self.orb);
    }

    /// Checks the CCW that was fetched, whatever it is, and gives control to it, or to the one that a TIC shows.
    #[inline(never)]
    fn judge(&mut self, memory: &Memory, chaining: Chaining) -> Result<Fetched, ProgramCheck> {
        let (ccw, at) = (self.fetched.ccw(), self.next);
        if ccw.is_tic(self.format) {
            return self.follow(memory, ccw, at, chaining);
        }
        self.take_control(ccw, at, chaining)
    }

    /// Goes where a TIC shows, and gives the CCW there control.
    fn follow(&mut self, memory: &Memory, tic: Ccw, at: u32, chaining: Chaining) -> Result<Fetched, ProgramCheck> {
        // Neither the first CCW nor the target of another TIC; and in format 1 flags and count are zero.
        let malformed = self.format == CcwFormat::One && (!tic.flags.is_empty() || tic.count != 0);
        if chaining == Chaining::Start || malformed || tic.address == at {
            return Err(ProgramCheck { at });
        }
        // An address that is wrong is reported as the TIC's, which gave it.
        self.check_address(tic.address, at)?;
        let doubleword = memory.any_doubleword(u64::from(tic.address)).ok_or(ProgramCheck { at })?;
        let ccw = CcwWord::fetched(self.format, doubleword).ccw();
        if ccw.is_tic(self.format) {
            return Err(ProgramCheck { at: tic.address });
        }
        self.take_control(ccw, tic.address, chaining)
    }

    /// Checks a CCW that is no TIC.
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
        if !format0 && ccw.address & CcwWord::ADDRESS_BIT_0 != 0 {
            return check;
        }
        if ccw.flags.contains(CcwFlags::SUSPEND) {
            self.at = at;
            return Ok(Fetched::Suspend);
        }
        self.give_control(CcwWord::of(ccw), at, data_chained);
        Ok(Fetched::InControl)
    }

    /// Whether a CCW may suspend or have MIDAWs, if it wants to.
    fn allows(&self, ccw: &Ccw, data_chained: bool) -> bool {
        let control = self.orb.control();
        let flag = |flag| ccw.flags.contains(flag);
        let suspends = flag(CcwFlags::SUSPEND);
        let may_suspend = !ccw.chains_data() && !data_chained && control.contains(OrbControl::SUSPEND);
        let has_midaws = flag(CcwFlags::MODIFIED_INDIRECT);
        let may_have = control.contains(OrbControl::MIDAW) && !flag(CcwFlags::SKIP) && !flag(CcwFlags::INDIRECT);
        (!suspends || may_suspend) && (!has_midaws || may_have)
    }
}

/// The CCW address that names the CCW at `at`: 8 more, in 31 bits.
#[inline(always)]
pub(super) fn report(at: u32) -> u32 {
    at.wrapping_add(8) & 0x7FFF_FFFF
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The short way for a plain CCW and the rules one by one come to the same, whatever the CCW, the ORB, and the way to it.
    #[test]
    fn what_is_plain_is_judged_plain() {
        let memory = Memory::none();
        let mut plain = 0;
        for format in [CcwFormat::Zero, CcwFormat::One] {
            for control in [OrbControl::empty(), OrbControl::SUSPEND | OrbControl::MIDAW | OrbControl::FORMAT_2_IDAW] {
                let before = Program::new(&Orb::new(7, 0x1000).with_format(format).with_control(control), 9);
                for (command, flags) in (0..=u8::MAX).flat_map(|command| (0..=u8::MAX).map(move |flags| (command, flags))) {
                    for (count, address) in [(0, 0), (1, 0x7FFF_FFFF), (u16::MAX, 0x2000), (512, 0x8000_0000)] {
                        let bytes = Ccw { command, flags: CcwFlags::from_bits_retain(flags), count, address };
                        let bytes = match format {
                            CcwFormat::Zero => bytes.to_format0(),
                            CcwFormat::One => bytes.to_format1(),
                        };
                        let ccw = CcwWord::fetched(format, u64::from_ne_bytes(bytes));
                        if !ccw.is_plain() {
                            continue;
                        }
                        plain += 1;
                        for chaining in [Chaining::Start, Chaining::Command, Chaining::Data] {
                            let (mut short, mut long) = (Program { fetched: ccw, ..before }, Program { fetched: ccw, ..before });
                            short.give_control(ccw, before.next, chaining == Chaining::Data);
                            assert_eq!(long.judge(&memory, chaining), Ok(Fetched::InControl), "{ccw:?} {chaining:?}");
                            assert_eq!(short, long, "{ccw:?} {chaining:?}");
                        }
                    }
                }
            }
        }
        // 224 commands, 8 sets of flags; of the addresses format 0 cuts what format 1 refuses.
        assert_eq!(plain, 224 * 8 * 2 * (3 + 2));
    }
}
