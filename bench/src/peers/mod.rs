// SPDX-License-Identifier: MIT OR Apache-2.0
//! The peers: what else could carry the same requests. Each is a [`Wire`](crate::pump::Wire) for the same guest loop, with
//! whatever serves it on the dispatcher's CPU.

pub mod rtrb_echo;
pub mod uring_nop;
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
