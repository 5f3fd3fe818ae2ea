// SPDX-License-Identifier: MIT OR Apache-2.0
//! Placement: the guest's thread on one CPU, the dispatcher (or the peer in its stead) on another.

use crate::cli::Place;
use crate::error::{BenchError, Doing as _, Measured};
use fctl_dispatcher::affinity::{allowed_cpus, pin, ranges};

/// Where the two threads run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    /// The guest's CPU.
    pub guest: usize,
    /// The dispatcher's, and its peers', CPU.
    pub dispatcher: usize,
}

impl Placement {
    /// The CPUs asked for, or the first two that this process may use. With one CPU both are the same.
    ///
    /// # Errors
    /// A CPU that may not be used.
    pub fn choose(place: &Place) -> Measured<Self> {
        let allowed = allowed_cpus();
        let fallback = |index: usize| allowed.get(index).or(allowed.first()).copied().unwrap_or(0);
        let [guest, dispatcher] = [0, 1].map(|index| place.cpus.get(index).copied().unwrap_or_else(|| fallback(index)));
        for cpu in [guest, dispatcher] {
            if !allowed.contains(&cpu) {
                let fault = format!("CPU {cpu} may not be used; those that may: {}", ranges(&allowed));
                return Err(fault).doing("place the threads");
            }
        }
        Ok(Self { guest, dispatcher })
    }

    /// True if there is only one CPU for both.
    pub const fn one_cpu(&self) -> bool {
        self.guest == self.dispatcher
    }

    /// For goals that mean nothing on one CPU.
    ///
    /// # Errors
    /// [`BenchError::NotRun`] on one CPU.
    pub fn two_cpus(&self) -> Measured<()> {
        if self.one_cpu() {
            return Err(BenchError::NotRun("one CPU: guest and dispatcher need one each".into()));
        }
        Ok(())
    }

    /// Waits a moment for the other thread: the other CPU's, or the one that shares ours.
    #[inline(always)]
    pub fn relax(&self) {
        if self.one_cpu() {
            std::thread::yield_now();
        } else {
            std::hint::spin_loop();
        }
    }

    /// Runs `act` in a thread on the guest's CPU, and waits for it.
    ///
    /// # Errors
    /// Those of `act`; the thread cannot be pinned.
    pub fn on_guest<T: Send>(&self, act: impl FnOnce() -> Measured<T> + Send) -> Measured<T> {
        std::thread::scope(|scope| {
            let guest = scope.spawn(|| {
                pin(self.guest).doing("pin the guest's thread")?;
                act()
            });
            guest.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}
