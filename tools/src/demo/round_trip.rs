// SPDX-License-Identifier: MIT OR Apache-2.0
//! How long a cache line takes from one CPU to another and back: what no ring can be faster than.

use fctl_dispatcher::affinity;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long is measured.
const TIME: Duration = Duration::from_millis(50);
/// Rounds between two looks at the clock; the best of these counts, so that other work on the two CPUs does not.
const BATCH: u32 = 16;
/// The word that ends it.
const STOP: u64 = u64::MAX;

/// A word on cache lines of its own.
#[repr(align(128))]
struct Ball(AtomicU64);

/// Nanoseconds for a word from CPU `one` to CPU `other` and back; none if a thread cannot be placed.
pub fn measure(one: usize, other: usize) -> Option<u64> {
    let (there, back) = (Ball(AtomicU64::new(0)), Ball(AtomicU64::new(0)));
    std::thread::scope(|scope| {
        let echo = scope.spawn(|| {
            if affinity::pin(other).is_err() {
                back.0.store(STOP, Ordering::Release);
                return;
            }
            let mut seen = 0;
            loop {
                let value = there.0.load(Ordering::Acquire);
                if value == STOP {
                    return;
                }
                if value != seen {
                    seen = value;
                    back.0.store(value, Ordering::Release);
                }
                std::hint::spin_loop();
            }
        });
        let server = scope.spawn(|| {
            let placed = affinity::pin(one).is_ok();
            let mut round = 0;
            let mut best = None;
            let began = Instant::now();
            while placed && began.elapsed() < TIME {
                let batch = Instant::now();
                for _ in 0..BATCH {
                    round += 1;
                    there.0.store(round, Ordering::Release);
                    loop {
                        let value = back.0.load(Ordering::Acquire);
                        if value == STOP {
                            there.0.store(STOP, Ordering::Release);
                            return None;
                        }
                        if value == round {
                            break;
                        }
                        std::hint::spin_loop();
                    }
                }
                let took = u64::try_from(batch.elapsed().as_nanos()).unwrap_or(u64::MAX) / u64::from(BATCH);
                best = Some(best.map_or(took, |best: u64| best.min(took)));
            }
            there.0.store(STOP, Ordering::Release);
            best
        });
        let measured = server.join().ok().flatten();
        echo.join().ok()?;
        measured
    })
}
