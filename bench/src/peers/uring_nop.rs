// SPDX-License-Identifier: MIT OR Apache-2.0
//! io_uring no-operations: performed by the kernel's polling thread on the dispatcher's CPU (SQPOLL), the nearest thing that Linux has to a
//! ring without system calls; or in the guest's own thread, by one `io_uring_enter` for each batch.

use crate::error::{BenchError, Doing as _, Measured};
use crate::ledger::Ledger;
use crate::placement::Placement;
use crate::pump::{throughput, Shape, Throughput, Times, Until, Wire};
use io_uring::{opcode, IoUring};

/// Milliseconds of idleness after which the kernel's thread would sleep: never within a run.
const IDLE: u32 = 10_000;

/// How the kernel learns of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Submission {
    /// A thread of its own looks for it.
    Polled,
    /// By one system call.
    Entered,
}

struct Nops {
    ring: IoUring,
    submission: Submission,
}

impl Wire for Nops {
    const SIDE: &'static str = "io_uring no-op";

    #[inline]
    fn send(&mut self, ledger: &mut Ledger, count: u64) -> Measured<()> {
        let mut queue = self.ring.submission();
        for _ in 0..count {
            let entry = opcode::Nop::new().build().user_data(ledger.open().tag);
            // SAFETY: a no-operation points to nothing.
            unsafe { queue.push(&entry) }.doing("queue a no-operation")?;
        }
        let enter = self.submission == Submission::Entered || queue.need_wakeup();
        // Dropping the queue publishes the batch.
        drop(queue);
        if enter {
            self.ring.submit().doing("submit no-operations")?;
        }
        Ok(())
    }

    #[inline]
    fn receive(&mut self, ledger: &mut Ledger, most: u64) -> Measured<u64> {
        let mut count = 0;
        let mut queue = self.ring.completion();
        while count < most {
            let Some(entry) = queue.next() else { break };
            ledger.close(entry.user_data()).ok_or_else(|| Self::unknown(entry.user_data()))?;
            if entry.result() != 0 {
                let fault = format!("a no-operation ended with {}", entry.result());
                return Err(BenchError::Wrong { side: Self::SIDE, fault });
            }
            count += 1;
        }
        Ok(count)
    }
}

/// Round trips a second.
///
/// # Errors
/// There is only one CPU; the kernel refuses such a ring; a no-operation was lost.
pub fn round_trips(placement: Placement, shape: Shape, times: Times, submission: Submission) -> Measured<Throughput> {
    placement.two_cpus()?;
    placement.on_guest(|| {
        let cpu = u32::try_from(placement.dispatcher).doing("number a CPU")?;
        // As on the other sides, what is outstanding must not fill the queue.
        let entries = u32::from(shape.depth).next_power_of_two() * 2;
        let mut builder = IoUring::builder();
        builder.setup_single_issuer();
        if submission == Submission::Polled {
            builder.setup_sqpoll(IDLE).setup_sqpoll_cpu(cpu);
        }
        let ring = builder.build(entries).map_err(|error| BenchError::NotRun(format!("io_uring, {submission:?}: {error}")))?;
        throughput(&mut Nops { ring, submission }, shape, Until::Times(times), placement, None)
    })
}
