// SPDX-License-Identifier: MIT OR Apache-2.0
//! Two queues of the crate `crossbeam-queue` (`ArrayQueue`, for many producers and consumers) and a thread that moves entries from one into the
//! other, one by one: what somebody takes who has several posters.

use super::beside;
use crate::error::{BenchError, Measured};
use crate::ledger::Ledger;
use crate::placement::Placement;
use crate::pump::{throughput, Shape, Throughput, Times, Until, Wire};
use crossbeam_queue::ArrayQueue;
use std::sync::atomic::{AtomicBool, Ordering};

/// As many bytes as a descriptor or a completion.
type Entry = [u64; 8];

/// Entries of each queue, as in the submission ring of our side.
const ENTRIES: usize = 512;

struct Echo<'a> {
    out: &'a ArrayQueue<Entry>,
    back: &'a ArrayQueue<Entry>,
}

impl Wire for Echo<'_> {
    const SIDE: &'static str = "crossbeam-queue echo";

    #[inline]
    fn send(&mut self, ledger: &mut Ledger, count: u64) -> Measured<()> {
        for _ in 0..count {
            let request = ledger.open();
            let (tag, place) = (request.tag, u64::from(request.place));
            let entry = [place, tag, tag ^ 1, tag ^ 2, tag ^ 3, tag ^ 4, tag ^ 5, !tag];
            self.out.push(entry).map_err(|_| full())?;
        }
        Ok(())
    }

    #[inline]
    fn receive(&mut self, ledger: &mut Ledger, most: u64) -> Measured<u64> {
        let mut count = 0;
        while count < most {
            let Some([place, tag, .., last]) = self.back.pop() else { break };
            let found = ledger.close(tag).ok_or_else(|| Self::unknown(tag))?;
            if u64::from(found) != place || last != !tag {
                return Err(BenchError::Wrong { side: Self::SIDE, fault: format!("entry of tag {tag:#x} came back changed") });
            }
            count += 1;
        }
        Ok(count)
    }
}

fn full() -> BenchError {
    BenchError::Wrong { side: Echo::SIDE, fault: "a queue with room for all that is outstanding is full".into() }
}

/// Round trips a second.
///
/// # Errors
/// There is only one CPU; an entry was lost or changed.
pub fn round_trips(placement: Placement, shape: Shape, times: Times) -> Measured<Throughput> {
    placement.two_cpus()?;
    let (out, back) = (ArrayQueue::new(ENTRIES), ArrayQueue::new(ENTRIES));
    let serve = |stop: &AtomicBool, ready: &dyn Fn()| {
        ready();
        // Relaxed: the word stands for itself; joining orders the rest.
        while !stop.load(Ordering::Relaxed) {
            match out.pop() {
                Some(entry) => back.push(entry).map_err(|_| full())?,
                None => std::hint::spin_loop(),
            }
        }
        Ok(())
    };
    let mut echo = Echo { out: &out, back: &back };
    beside(placement, serve, |clock| throughput(&mut echo, shape, Until::Times(times), placement, Some(clock)))
}
