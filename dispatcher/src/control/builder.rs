// SPDX-License-Identifier: MIT OR Apache-2.0
//! The builder: settings, checked, become a reactor and its handle.

use super::{Handle, Mailbox};
use crate::affinity::{self, PinError};
use crate::engine::{UringError, WorkerBounds};
use crate::reactor::{Reactor, WaitPolicy};
use std::io;
use std::sync::{mpsc, Arc};
use std::time::Duration;

/// Why a dispatcher could not be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The engine.
    #[error("the engine cannot be set up: {0}")]
    Engine(#[from] UringError),
    /// The placement.
    #[error("the reactor's thread cannot be placed: {0}")]
    Pin(#[from] PinError),
    /// An eventfd or a thread.
    #[error("{what} cannot be made: {source}")]
    Resource {
        /// What.
        what: &'static str,
        /// The system's answer.
        source: io::Error,
    },
}

/// Settings of a dispatcher.
#[derive(Clone, Debug)]
#[must_use]
pub struct Builder {
    pub(crate) engine_slots: u16,
    pub(crate) wait: WaitPolicy,
    cpu: Option<usize>,
    pub(crate) stuck_after: Duration,
    pub(crate) latencies: bool,
    pub(crate) workers: WorkerBounds,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            engine_slots: 256,
            wait: WaitPolicy::default(),
            cpu: None,
            stuck_after: Duration::from_secs(30),
            latencies: true,
            workers: WorkerBounds::default(),
        }
    }
}

impl Builder {
    /// How many channel programs can use the engine at once: 1 to 4096, 256 if not said. Starts beyond that wait in their subchannels.
    pub fn engine_slots(mut self, slots: u16) -> Self {
        self.engine_slots = slots;
        self
    }

    /// How to wait when there is nothing to do.
    pub fn wait(mut self, policy: WaitPolicy) -> Self {
        self.wait = policy;
        self
    }

    /// Pins the thread that [`spawn`](Self::spawn) makes to a CPU. [`build`](Self::build) makes none and looks at this no further: its caller's thread
    /// is the caller's to place ([`affinity::pin`]).
    pub fn cpu(mut self, cpu: usize) -> Self {
        self.cpu = Some(cpu);
        self
    }

    /// How long an operation may be in the kernel before what it stores on is declared stuck: new starts on it get condition code 3 until the operation
    /// ends, and [`Handle::stuck`] tells. 30 seconds if not said; noticed at most a quarter later.
    pub fn stuck_after(mut self, limit: Duration) -> Self {
        self.stuck_after = limit;
        self
    }

    /// How many threads of the kernel's own may wait in the place of the reactor's thread, 1 to 4096 each: `bounded` for operations on files and block
    /// devices, 64 if not said; `unbounded` for all else, which is notifications by eventfds that block, 256 if not said. There are as many as operations
    /// wait at one moment; what finds none waits for one, and a halt or clear reaches it there. So with `bounded` operations that a volume never
    /// ends (a dead FUSE server, say), durable writes to other volumes of this reactor wait too: with as many workers as
    /// [`engine_slots`](Self::engine_slots) they never do. A guest can make its eventfd block, so `unbounded` should be no less than there are rings.
    ///
    /// The kernel keeps workers for each thread, not for each io_uring: the bounds hold for whatever else the threads that build and run the reactor do with
    /// io_uring.
    pub fn io_workers(mut self, bounded: u32, unbounded: u32) -> Self {
        self.workers = WorkerBounds { bounded, unbounded };
        self
    }

    /// Whether latencies are recorded: yes, if not said. For measuring what they cost; without them all [histograms](crate::metrics::Latencies) are
    /// empty. Counters go on, and completions tell the times of their stages as ever.
    pub fn latencies(mut self, recorded: bool) -> Self {
        self.latencies = recorded;
        self
    }

    /// A reactor to be run by the caller: [`Reactor::run_here`], or [`Reactor::turn`] from a loop of the caller's own. The thread that
    /// runs the first turn must run all of them, and drop the reactor: the kernel tells no other thread when an operation has ended, so what operations in
    /// flight use would have to be leaked there. It stays where its owner has placed it, whatever [`cpu`](Self::cpu) says.
    ///
    /// # Errors
    /// The kernel refuses something.
    pub fn build(self) -> Result<(Reactor, Handle), BuildError> {
        let mailbox = Self::mailbox()?;
        let reactor = Reactor::new(&self, Arc::clone(&mailbox))?;
        Ok((reactor, Handle::new(mailbox, None)))
    }

    /// A reactor on a thread of its own, pinned if asked for. The kernel's workers for it run where it does; but if it is pinned
    /// and never sleeps, on the other CPUs that the calling thread may use, if there are any.
    ///
    /// # Errors
    /// The kernel refuses something, or the thread cannot be pinned as asked.
    pub fn spawn(self) -> Result<Handle, BuildError> {
        let mailbox = Self::mailbox()?;
        let (report, ready) = mpsc::sync_channel(1);
        let theirs = Arc::clone(&mailbox);
        let thread = std::thread::Builder::new().name("fctl-reactor".into()).spawn(move || {
            let allowed = affinity::allowed_cpus();
            let built = self.cpu.map_or(Ok(()), affinity::pin).map_err(BuildError::from);
            match built.and_then(|()| Ok(Reactor::new(&self, theirs)?)) {
                Ok(mut reactor) => {
                    if let Some(cpus) = self.workers_elsewhere(allowed) {
                        reactor.place_workers(&cpus);
                    }
                    if report.send(Ok(())).is_ok() {
                        reactor.run_here();
                    }
                }
                // The one who waits may have gone; then nobody wants to know.
                Err(error) => drop(report.send(Err(error))),
            }
        });
        let thread = thread.map_err(|source| BuildError::Resource { what: "the reactor's thread", source })?;
        let gone = |_| BuildError::Resource { what: "the reactor's thread", source: io::Error::other("it ended at once") };
        ready.recv().map_err(gone)??;
        Ok(Handle::new(mailbox, Some(thread)))
    }

    /// Where the workers are to run, if not where the reactor's thread does, which is what the kernel does by itself: on the other CPUs that the thread
    /// might use before it was pinned, if the reactor never sleeps and so leaves them no time on its own (measured on two busy CPUs, 64 reads from the page
    /// cache at a time: ×6 in the median). One that sleeps is best near: ×2 to ×3 the other way (docs/decisions.md).
    fn workers_elsewhere(&self, mut allowed: Vec<usize>) -> Option<Vec<usize>> {
        let own = self.cpu.filter(|_| self.wait == WaitPolicy::busy())?;
        allowed.retain(|&cpu| cpu != own);
        (!allowed.is_empty()).then_some(allowed)
    }

    fn mailbox() -> Result<Arc<Mailbox>, BuildError> {
        Mailbox::new().map(Arc::new).map_err(|source| BuildError::Resource { what: "the control mailbox", source })
    }
}
