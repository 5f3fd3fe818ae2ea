// SPDX-License-Identifier: MIT OR Apache-2.0
//! How long a cache line takes from one CPU to another and back: what no ring can be faster than.

use fctl_dispatcher::affinity;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long is measured.
const TIME: Duration = Duration::from_millis(50);
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
            let mut rounds = 0;
            let began = Instant::now();
            while placed && began.elapsed() < TIME {
                for _ in 0..64 {
                    rounds += 1;
                    there.0.store(rounds, Ordering::Release);
                    loop {
                        let value = back.0.load(Ordering::Acquire);
                        if value == STOP {
                            there.0.store(STOP, Ordering::Release);
                            return None;
                        }
                        if value == rounds {
                            break;
                        }
                        std::hint::spin_loop();
                    }
                }
            }
            let took = began.elapsed();
            there.0.store(STOP, Ordering::Release);
            u64::try_from(took.as_nanos()).ok()?.checked_div(rounds)
        });
        let measured = server.join().ok().flatten();
        echo.join().ok()?;
        measured
    })
}
