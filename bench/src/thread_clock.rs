// SPDX-License-Identifier: MIT OR Apache-2.0
//! The CPU time and the context switches of one thread, readable by another one of the same process.

use crate::error::{Doing as _, Measured};

/// Names the CPU-time clock of a thread. Reading it after that thread has ended gives an error, never another thread's time
/// within one measurement, because the thread is joined only after the last reading.
#[derive(Clone, Copy, Debug)]
pub struct ThreadClock {
    clock: libc::clockid_t,
    thread: i32,
}

impl ThreadClock {
    /// The calling thread's clock.
    ///
    /// # Errors
    /// The system has none.
    pub fn own() -> Measured<Self> {
        let mut clock = 0;
        // SAFETY: the calling thread exists, and `clock` is a valid place for the answer.
        let error = unsafe { libc::pthread_getcpuclockid(libc::pthread_self(), &raw mut clock) };
        if error != 0 {
            return Err(std::io::Error::from_raw_os_error(error)).doing("find the CPU-time clock of a thread");
        }
        Ok(Self { clock, thread: rustix::thread::gettid().as_raw_nonzero().get() })
    }

    /// CPU time that the thread has used, in seconds.
    ///
    /// # Errors
    /// The thread has ended.
    pub fn seconds(self) -> Measured<f64> {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: `time` is a valid place for the answer; a clock that is gone is an error, not a fault.
        if unsafe { libc::clock_gettime(self.clock, &raw mut time) } != 0 {
            return Err(std::io::Error::last_os_error()).doing("read the CPU time of a thread");
        }
        #[allow(clippy::cast_precision_loss, reason = "seconds of a measurement")]
        let seconds = time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9;
        Ok(seconds)
    }

    /// How often the thread gave up its CPU or was taken off it.
    ///
    /// # Errors
    /// The thread has ended.
    pub fn context_switches(self) -> Measured<u64> {
        let path = format!("/proc/self/task/{}/status", self.thread);
        let text = std::fs::read_to_string(path).doing("read the context switches of a thread")?;
        let count = |line: &str| line.split_once("ctxt_switches:").and_then(|(_, count)| count.trim().parse::<u64>().ok());
        Ok(text.lines().filter_map(count).sum())
    }
}
