// SPDX-License-Identifier: MIT OR Apache-2.0
//! The cross-core ping-pong: two atomics on lines of their own, back and forth. The least that any message can cost at this moment.

use crate::error::{Doing as _, Measured};
use crate::placement::Placement;
use crate::pump::{Latency, TRIPS_PER_SAMPLE};
use crate::thread_clock::ThreadClock;
use fctl_dispatcher::affinity::pin;
use std::hint::spin_loop;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A counter on cache lines of its own (two: neighbours are fetched in pairs).
#[derive(Debug, Default)]
#[repr(align(128))]
struct Line(AtomicU64);

/// Ends the other thread.
const END: u64 = u64::MAX;

/// Median round trip in nanoseconds between the guest's CPU and the dispatcher's, taken the same way as latencies are: of samples that are
/// the mean of [`TRIPS_PER_SAMPLE`] round trips.
///
/// # Errors
/// There is only one CPU.
pub fn round_trip(placement: Placement, time: Duration) -> Measured<Latency> {
    placement.two_cpus()?;
    let (ping, pong) = (Line::default(), Line::default());
    std::thread::scope(|scope| {
        let other = scope.spawn(|| {
            pin(placement.dispatcher).doing("pin the ping-pong's thread")?;
            let mut expected = 1;
            loop {
                // Pairs with the Release of the store to `ping` below.
                let found = ping.0.load(Ordering::Acquire);
                if found == expected {
                    // Pairs with the Acquire of the load of `pong` below.
                    pong.0.store(found, Ordering::Release);
                    expected += 1;
                } else if found == END {
                    return Ok(());
                } else {
                    spin_loop();
                }
            }
        });
        let sampled = placement.on_guest(|| {
            let mut samples = Vec::with_capacity(1 << 16);
            let own = ThreadClock::own()?;
            let before = own.seconds()?;
            let began = Instant::now();
            let mut count = 0;
            while began.elapsed() < time && !other.is_finished() {
                let start = Instant::now();
                for _ in 0..TRIPS_PER_SAMPLE {
                    count += 1;
                    ping.0.store(count, Ordering::Release);
                    let mut looks = 0u32;
                    while pong.0.load(Ordering::Acquire) != count {
                        spin_loop();
                        looks = looks.wrapping_add(1);
                        if looks.is_multiple_of(1 << 20) && other.is_finished() {
                            break;
                        }
                    }
                }
                samples.push(start.elapsed().as_secs_f64() * 1e9 / f64::from(TRIPS_PER_SAMPLE));
            }
            let share = (own.seconds()? - before) / began.elapsed().as_secs_f64();
            Latency::of(&mut samples, share, count)
        });
        ping.0.store(END, Ordering::Release);
        other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        sampled
    })
}
