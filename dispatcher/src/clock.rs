// SPDX-License-Identifier: MIT OR Apache-2.0
//! The clock of stages: nanoseconds of `CLOCK_MONOTONIC`, which guests on the same host can read too.

use rustix::time::{clock_gettime, ClockId};

/// Now, in nanoseconds of the monotonic clock.
#[inline]
pub fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    #[allow(clippy::cast_sign_loss, reason = "the monotonic clock counts from boot")]
    let nanoseconds = (time.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(time.tv_nsec as u64);
    nanoseconds
}
