// SPDX-License-Identifier: MIT OR Apache-2.0
//! The form of the golden sequences, and how one is checked. The sequences themselves are in `golden_table.rs`.

use crate::bits::{Actl, Fctl, Stctl};
use crate::image::Scsw;
use crate::progress::{Events, Progress, Stored};
use crate::state::{Image, Instruction, Response, State};

/// One literal sequence.
#[derive(Clone, Copy, Debug)]
pub struct Golden {
    /// What it shows; unique.
    pub name: &'static str,
    /// Where the reference says so.
    pub source: &'static str,
    /// The state before.
    pub before: State,
    /// The steps with what each must bring.
    pub steps: &'static [Step],
}

/// What a status word must show. Only fields with a meaning are compared (see [`Scsw::meaningful`]).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Look {
    /// Function control.
    pub fctl: Fctl,
    /// Activity control.
    pub actl: Actl,
    /// Status control.
    pub stctl: Stctl,
    /// Deferred condition code.
    pub deferred_cc: u8,
    /// Z.
    pub z: bool,
    /// N.
    pub n: bool,
    /// Device status.
    pub device_status: u8,
    /// Subchannel status.
    pub subchannel_status: u8,
    /// The interruption parameter, where the sequence is about it.
    pub intparm: Option<u32>,
}

/// A look with these three sets and nothing else.
#[must_use]
pub const fn look(fctl: Fctl, actl: Actl, stctl: Stctl) -> Look {
    Look { fctl, actl, stctl, deferred_cc: 0, z: false, n: false, device_status: 0, subchannel_status: 0, intparm: None }
}

impl Look {
    /// With these status bytes.
    #[must_use]
    pub const fn bytes(self, device_status: u8, subchannel_status: u8) -> Self {
        Self { device_status, subchannel_status, ..self }
    }

    /// With this interruption parameter.
    #[must_use]
    pub const fn intparm(self, intparm: u32) -> Self {
        Self { intparm: Some(intparm), ..self }
    }

    /// With this deferred condition code.
    #[must_use]
    pub const fn deferred(self, deferred_cc: u8, n: bool) -> Self {
        Self { deferred_cc, n, ..self }
    }

    /// With Z.
    #[must_use]
    pub const fn z(self) -> Self {
        Self { z: true, ..self }
    }

    fn fits(&self, scsw: Scsw, intparm: u32) -> bool {
        let scsw = scsw.meaningful();
        let shown = Self {
            fctl: scsw.fctl,
            actl: scsw.actl,
            stctl: scsw.stctl,
            deferred_cc: scsw.deferred_cc,
            z: scsw.z,
            n: scsw.n,
            device_status: scsw.device_status,
            subchannel_status: scsw.subchannel_status,
            intparm: self.intparm.map(|_| intparm),
        };
        shown == *self
    }
}

/// One step and what it must bring.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// An instruction gets this condition code, and no interruption request disappears.
    Do(Instruction, u8),
    /// The same, and the pending interruption request disappears.
    Withdraws(Instruction, u8),
    /// TEST SUBCHANNEL or STORE SUBCHANNEL gets this condition code and stores this.
    Stores(Instruction, u8, Look),
    /// A step that brings no status.
    Quiet(Progress),
    /// A step that makes a new interruption pending, with this status.
    Status(Progress, Look),
    /// A step whose status joins status that nobody has taken: still one interruption.
    Joins(Progress, Look),
    /// A step whose status is thrown away.
    Drops(Progress),
    /// This step is not legal here.
    Cannot(Progress),
    /// Nothing happens; the subchannel looks like this (STORE SUBCHANNEL).
    Shows(Look),
    /// Nothing happens; this start, or none, owns the start function.
    Owner(Option<u32>),
    /// Nothing happens; the subchannel is in exactly this state.
    Is(State),
}

impl Golden {
    /// Runs the sequence on the model.
    ///
    /// # Errors
    ///
    /// Tells which step brought what instead of what it must bring.
    pub fn check(&self) -> Result<(), String> {
        let mut state = self.before;
        for (number, step) in self.steps.iter().enumerate() {
            let result = check_step(&mut state, step);
            if let Err(found) = result {
                return Err(format!("{} ({}), step {number} {step:?}: {found}", self.name, self.source));
            }
        }
        Ok(())
    }
}

fn check_step(state: &mut State, step: &Step) -> Result<(), String> {
    match *step {
        Step::Do(instruction, cc) => {
            let found = state.execute(instruction);
            ok_if(found.cc == cc && !found.withdrawn, found)
        }
        Step::Withdraws(instruction, cc) => {
            let found = state.execute(instruction);
            ok_if(found.cc == cc && found.withdrawn, found)
        }
        Step::Stores(instruction, cc, look) => {
            let intparm = state.pmcw.fields.intparm;
            let found = state.execute(instruction);
            let fits = stored_scsw(&found).is_some_and(|scsw| look.fits(scsw, intparm));
            ok_if(found.cc == cc && fits, found)
        }
        Step::Shows(look) => {
            let found = state.execute(Instruction::Stsch);
            let fits = stored_scsw(&found).is_some_and(|scsw| look.fits(scsw, state.pmcw.fields.intparm));
            ok_if(found.cc == 0 && fits, found)
        }
        Step::Quiet(progress) => {
            let found = may(state, progress)?;
            ok_if(found == Events::default(), found)
        }
        Step::Drops(progress) => {
            let found = may(state, progress)?;
            ok_if(found.dropped, found)
        }
        Step::Status(progress, look) => {
            let found = may(state, progress)?;
            ok_if(fits_stored(found.stored, look, true), found)
        }
        Step::Joins(progress, look) => {
            let found = may(state, progress)?;
            ok_if(fits_stored(found.stored, look, false), found)
        }
        Step::Cannot(progress) => ok_if(!state.legal_progress().contains(&progress), *state),
        Step::Owner(owner) => ok_if(state.owner == owner, state.owner),
        Step::Is(expected) => ok_if(*state == expected, *state),
    }
}

fn may(state: &mut State, progress: Progress) -> Result<Events, String> {
    if state.legal_progress().contains(&progress) {
        Ok(state.progress(progress))
    } else {
        Err(format!("not legal in {state:?}"))
    }
}

fn fits_stored(stored: Option<Stored>, look: Look, fresh: bool) -> bool {
    stored.is_some_and(|s| s.fresh == fresh && look.fits(s.scsw, s.intparm))
}

fn stored_scsw(response: &Response) -> Option<Scsw> {
    match response.image {
        Some(Image::Irb(scsw)) => Some(scsw),
        Some(Image::Schib(schib)) => Some(schib.scsw),
        None => None,
    }
}

fn ok_if(good: bool, found: impl core::fmt::Debug) -> Result<(), String> {
    if good {
        Ok(())
    } else {
        Err(format!("found {found:?}"))
    }
}
