// SPDX-License-Identifier: MIT OR Apache-2.0
//! Disturbance: how often others took the CPU away from this process's threads while it measured.

/// Involuntary context switches of all threads of this process so far, those that have ended included.
pub fn preemptions() -> u64 {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: `usage` is a valid place for the answer; all zeros is a value of it, should the call fail.
    let usage = unsafe {
        libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr());
        usage.assume_init()
    };
    u64::try_from(usage.ru_nivcsw).unwrap_or(0)
}

/// More preemptions a second than this mean that the machine was busy with something else.
pub const MOST_A_SECOND: f64 = 20.0;
