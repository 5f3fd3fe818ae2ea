// SPDX-License-Identifier: MIT OR Apache-2.0
#![forbid(unsafe_code)]
//! An executable model of one subchannel of the channel subsystem, one instruction at a time. It exists to judge the dispatcher
//! in tests, so it shares no code with it: it is written from the project's channel-I/O reference alone, and its section
//! numbers (§) are those of that reference. Tables of the reference stand here as tables.
//!
//! # What it guarantees
//!
//! - [`State::execute`] answers with the cell of §2.2 ([`MATRIX`]), changes what §2.3 and §3.4 say ([`EFFECTS`], [`TSCH_EFFECTS`])
//!   and nothing else; a condition code other than 0 changes nothing.
//! - [`State::legal_progress`] lists everything that can happen without an instruction, [`State::progress`] does one of it.
//!   Nothing happens by itself.
//! - A [`State`] is plain data: equal situations are equal states, so all of them can be enumerated ([`explore`]).
//! - No I/O, no clock, no thread, no dependency. Every function may be called from any thread. Nothing can be full or dead; only
//!   [`State::progress`] panics, when it is given a step that is not legal.
//!
//! Status is *held*: it stays pending until a TEST SUBCHANNEL takes it. *Delivered* status is the same with a TEST SUBCHANNEL
//! executed at the instant the status is stored: [`State::progress_delivered`].
//!
//! # Choices
//!
//! Where the reference says "unverified" or "model dependent", the model makes one choice: what Linux accepts, or what is
//! safest for a guest. Where §2.2 names another legal condition code, [`State::permitted`] has both, and
//! [`State::execute_as`] follows an implementation that chose the other one; [`legal_pair_codes`] does the same for §4.2.
//!
//! 1. MSCH with intermediate status pending: 1; 2 is permitted too (note a).
//! 2. SSCH while only DevA is on: accepted; it is issued after device end, which is then dropped and not presented (note b).
//!    Also legal: the device end refuses the start with deferred condition code 1.
//! 3. SSCH with secondary status alone pending: 1; 0, which discards that status, is permitted too (note c). A halt that ended
//!    with secondary status is not this case: its function is still there, so it is 1 only.
//! 4. RSCH before the program is suspended: RP is set and stays through the issue of the start; the next S flag takes RP away and
//!    the program goes on without suspending (note d). `r` is 2 while RP is on (§4.1). An ending takes RP away.
//! 5. Suspension is I+X without A. With A, §4.1 would refuse the HSCH that §2.2 accepts, and §3.4 would end the program at TSCH.
//! 6. HSCH on a suspended program keeps its pending I+X, and the halt's X joins it: FCTL=S+H, SUSP, I+X, one interruption, the
//!    last row of §3.4. In this state HSCH is 2 (§4.1). A TSCH that comes before the halt is performed takes HP away with
//!    that same row: then I+X with S+H was the halt's only status.
//! 7. A halt that ended an unissued start shows ACTL=0 and CC=0.
//! 8. A halt of a running program ends in one of the ways of [`HaltEnding`]. From HSCH on no intermediate status is presented
//!    and no suspension happens. A halt with nothing but device end outstanding waits for it or leaves it to come.
//! 9. Status that nobody has taken accumulates: PCI or Z, then the ending: I+P+2+X, one interruption, and TSCH treats it as primary.
//!    If Z was not presented before the program ended (or suspended), it is not presented at all.
//! 10. Deferred condition codes: STCTL=A+X, SP stays on until TSCH. Code 1 carries what refused the start: outstanding device end,
//!     else a stacked attention, else busy. Code 3 sets N and, in PNOM, the logical paths; §3.3 does not speak of N.
//! 11. Program check: device status 00. Unit check: 0E. Both with P and 2, so no device end is outstanding.
//! 12. Unsolicited status is an attention. On a disabled subchannel it is dropped. If it cannot be presented it is stacked (one
//!     is remembered), also while the program is suspended. A start meets it as deferred condition code 1, and is not issued
//!     before that. The clear function discards it, the halt function does not.
//! 13. Device end on a subchannel that was disabled in between is dropped.
//! 14. The clear function sets PNOM, POM and N when it is performed; CSCH drops the old status and its interruption at once.
//! 15. After a TSCH with condition code 0, CC, Z and the status bytes are zero, and so are the ORB bits without a start function. A
//!     program may not look at them then: compare [`Scsw::meaningful`] images.
//! 16. SSCH whose ORB.LPM selects no path of PAM: condition code 3 at once, before 1 and 2; the PMCW's own LPM and POM have no say in it (§2.1:
//!     model dependent; the other way is 0 and a deferred 3).
//! 17. LPUM is the available path once the device was told something over it or has told something: an issued start, a clear, a halt of anything
//!     but an unissued start, a refusal with status, unsolicited status. A refusal for want of a path makes it 0. §3.3 speaks of the clear only.
//!
//! # What it leaves out
//!
//! Operands and program interruptions, TPI and the order of interruptions, the channel program (CCW address, residual count, extended status,
//! L and E of the SCSW), more than one path, measurement, more than one unsolicited status, resume refused by the device.
//!
//! # Example
//!
//! ```
//! use fctl_model::{Instruction, Progress, State, HaltEnding, PLAIN};
//!
//! let mut subchannel = State::IDLE;
//! assert_eq!(subchannel.execute(Instruction::Ssch(PLAIN)).cc, 0);
//! assert_eq!(subchannel.execute(Instruction::Hsch).cc, 0);
//! assert_eq!(subchannel.execute(Instruction::Xsch).cc, 2);
//! let status = subchannel.progress(Progress::Halt(HaltEnding::Alone)).stored.unwrap();
//! assert_eq!(format!("{:?} {:?} {:?}", status.scsw.fctl, status.scsw.actl, status.scsw.stctl), "S+H 0 X");
//! assert_eq!(status.intparm, PLAIN.intparm);
//! ```

pub mod bits;
mod effects;
pub mod examples;
mod explore;
mod golden;
mod golden_table;
mod image;
mod matrix;
pub mod pairs;
mod progress;
mod state;

pub use bits::{Actl, Fctl, Stctl};
pub use effects::{tsch_row, Effect, TschEffect, TschRow, EFFECTS, HSCH_RESETS_INTERMEDIATE, TSCH_EFFECTS};
pub use explore::{
    explore, legal_pair_codes, Explored, ALPHABET, DISABLE, ENABLE, PATHLESS, PLAIN, QUIETLY_SUSPENDABLE, SUSPENDABLE,
};
pub use golden::{look, Golden, Look, Step};
pub use golden_table::GOLDEN;
pub use image::{Fields, OrbEcho, Pmcw, Schib, Scsw, AVAILABLE_PATHS};
pub use matrix::{CcSet, Cell, Line, Row, MATRIX};
pub use pairs::{fold_pair, Before, Outcome};
pub use progress::{Delivery, Doing, Ending, Events, HaltEnding, Progress, Stored};
pub use state::{Image, Instruction, Op, Response, Start, State};
