// SPDX-License-Identifier: MIT OR Apache-2.0
//! Two threads that sleep in a read of an eventfd and wake each other: the least that a wake-up through the kernel costs.

use super::beside;
use crate::error::{Doing as _, Measured};
use crate::placement::Placement;
use crate::pump::Latency;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};
use vmm_sys_util::eventfd::{EventFd, EFD_CLOEXEC};

/// Time between two round trips, as between two wake-ups of our side: CPUs that nobody uses go to rest too.
const BETWEEN: Duration = Duration::from_millis(2);

/// Median of half a round trip in nanoseconds.
///
/// # Errors
/// The system refuses an eventfd.
pub fn half_round_trip(placement: Placement, count: usize) -> Measured<Latency> {
    let eventfd = || EventFd::new(EFD_CLOEXEC).doing("make an eventfd");
    let (there, back) = (eventfd()?, eventfd()?);
    let serve = |_: &AtomicBool, ready: &dyn Fn()| {
        ready();
        for _ in 0..count {
            there.read().doing("read an eventfd")?;
            back.write(1).doing("write an eventfd")?;
        }
        Ok(())
    };
    let mut samples = Vec::with_capacity(count);
    beside(placement, serve, |_| {
        for _ in 0..count {
            std::thread::sleep(BETWEEN);
            let began = Instant::now();
            there.write(1).doing("write an eventfd")?;
            back.read().doing("read an eventfd")?;
            samples.push(began.elapsed().as_secs_f64() * 1e9 / 2.0);
        }
        Ok(())
    })?;
    Latency::of(&mut samples, 1.0, count as u64)
}
