// SPDX-License-Identifier: MIT OR Apache-2.0
//! The subchannel against the independent model, in lockstep: every state that can be reached, every instruction, every legal
//! asynchronous step in every order that the implementation can show it.

mod conformance;
mod exhaustive;
mod golden;
mod lockstep;
mod or_word;
mod situations;
mod tables;
