// SPDX-License-Identifier: MIT OR Apache-2.0
//! Guest memory that only the embedder's sink may write: all that channel programs and the FBA disk do elsewhere they do here too, and the
//! dispatcher's own mapping is read-only.
#![allow(clippy::duplicate_mod, reason = "the files are taken up as they are, each with what it brings along")]

#[path = "../channel_program_indirect.rs"]
mod channel_program_indirect;
#[path = "../channel_program_properties.rs"]
mod channel_program_properties;
#[path = "../channel_program_rules.rs"]
mod channel_program_rules;
#[path = "../channel_program_support/mod.rs"]
mod channel_program_support;
#[path = "../common/mod.rs"]
mod common;
mod end_to_end;
#[path = "../fba_commands.rs"]
mod fba_commands;
#[path = "../fba_stops.rs"]
mod fba_stops;
mod intercepted;
mod pieces;
