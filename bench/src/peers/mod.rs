// SPDX-License-Identifier: MIT OR Apache-2.0
//! The peers: what else could carry the same requests. Each is a [`Wire`](crate::pump::Wire) for the same guest loop, with
//! whatever serves it on the dispatcher's CPU.

pub mod crossbeam_echo;
pub mod eventfd_pingpong;
pub mod libblkio;
pub mod picks;
pub mod rtrb_echo;
pub mod storage_daemon;
pub mod uring_file;
pub mod uring_nop;
pub mod uring_plain;
pub mod uring_reads;

use crate::error::{Doing as _, Measured};
use crate::placement::Placement;
use crate::thread_clock::ThreadClock;
use fctl_dispatcher::affinity::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;

/// Runs `serve` in a thread on the dispatcher's CPU while `act` runs in one on the guest's and gets the other one's clock. `serve` gets a word that turns true when it is to
/// end, and calls the function it is given when it is ready.
fn beside<T: Send>(
    placement: Placement,
    serve: impl FnOnce(&AtomicBool, &dyn Fn()) -> Measured<()> + Send,
    act: impl FnOnce(ThreadClock) -> Measured<T> + Send,
) -> Measured<T> {
    let stop = AtomicBool::new(false);
    let (report, ready) = mpsc::sync_channel(1);
    std::thread::scope(|scope| {
        let stop = &stop;
        let server = scope.spawn(move || {
            pin(placement.dispatcher).doing("pin the peer's thread")?;
            let clock = ThreadClock::own()?;
            // Nobody waits for a second word.
            serve(stop, &move || report.try_send(clock).unwrap_or_default())
        });
        // Without a word the server has ended, and its error is the one to tell.
        let result = ready.recv().doing("start the peer").and_then(|clock| placement.on_guest(|| act(clock)));
        // Relaxed: the word stands for itself; joining orders the rest.
        stop.store(true, Ordering::Relaxed);
        server.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        result
    })
}

#[cfg(test)]
mod tests {
    use super::{crossbeam_echo, rtrb_echo, uring_nop};
    use crate::cli::Place;
    use crate::error::{BenchError, Measured};
    use crate::placement::Placement;
    use crate::pump::{Shape, Throughput, Times};
    use std::time::Duration;

    pub const TIMES: Times = Times { warm_up: Duration::ZERO, run: Duration::from_millis(20) };

    pub fn placement() -> Placement {
        Placement::choose(&Place { cpus: Vec::new(), dir: std::env::temp_dir() }).unwrap()
    }

    /// Each answer is checked off by the pump, so a run that ends has lost and doubled nothing.
    #[test]
    fn peers_of_starts_answer_each_request_once() {
        let shape = Shape { batch: 8, depth: 32 };
        let peers: [(&str, Measured<Throughput>); 4] = [
            ("rtrb", rtrb_echo::round_trips(placement(), shape, TIMES)),
            ("crossbeam-queue", crossbeam_echo::round_trips(placement(), shape, TIMES)),
            ("no-op, SQPOLL", uring_nop::round_trips(placement(), shape, TIMES, uring_nop::Submission::Polled)),
            ("no-op", uring_nop::round_trips(placement(), shape, TIMES, uring_nop::Submission::Entered)),
        ];
        for (name, result) in peers {
            match result {
                Ok(measured) => assert!(measured.round_trips > 0, "{name}"),
                Err(BenchError::NotRun(reason)) => println!("not run: {name} ({reason})"),
                Err(error) => panic!("{name}: {error}"),
            }
        }
    }
}
