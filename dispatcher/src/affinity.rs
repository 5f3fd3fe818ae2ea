// SPDX-License-Identifier: MIT OR Apache-2.0
//! Placement: pins the calling thread to one CPU, and looks whether that really happened.

use core_affinity::CoreId;
use rustix::thread::{sched_getaffinity, CpuSet};

/// The thread could not be pinned as asked.
#[derive(Debug, thiserror::Error)]
#[error("cannot pin to CPU {asked}: {reason}; CPUs that may be used: {allowed}")]
#[non_exhaustive]
pub struct PinError {
    /// The CPU asked for.
    pub asked: usize,
    /// What went wrong.
    pub reason: &'static str,
    /// The CPUs of the process's mask, as ranges.
    pub allowed: String,
}

/// The CPUs that the calling thread may run on, in order.
pub fn allowed_cpus() -> Vec<usize> {
    let Ok(set) = sched_getaffinity(None) else {
        return Vec::new();
    };
    (0..CpuSet::MAX_CPU).filter(|&cpu| set.is_set(cpu)).collect()
}

/// True if this machine has, or this process may use, no more than one CPU.
pub(crate) fn online_is_one() -> bool {
    // The calling thread may be pinned; the process's first thread tells what others may use.
    let set = sched_getaffinity(rustix::process::Pid::from_raw(rustix::process::getpid().as_raw_nonzero().get()));
    set.map_or(true, |set| (0..CpuSet::MAX_CPU).filter(|&cpu| set.is_set(cpu)).count() <= 1)
}

/// CPUs as ranges, for people: `0-3,8`.
pub fn ranges(cpus: &[usize]) -> String {
    let mut text = String::new();
    let mut rest = cpus;
    while let Some((&first, _)) = rest.split_first() {
        let run = rest.iter().zip(first..).take_while(|&(&cpu, expected)| cpu == expected).count();
        let comma = if text.is_empty() { "" } else { "," };
        let range = if run == 1 { format!("{comma}{first}") } else { format!("{comma}{first}-{}", first + run - 1) };
        text.push_str(&range);
        rest = &rest[run..];
    }
    text
}

/// Pins the calling thread to `cpu` and reads the mask back.
///
/// # Errors
/// The CPU does not exist, is not in the process's mask, or the kernel did something else than asked; the error names the CPUs that may be used.
pub fn pin(cpu: usize) -> Result<(), PinError> {
    let allowed = allowed_cpus();
    let error = |reason| PinError { asked: cpu, reason, allowed: ranges(&allowed) };
    if !allowed.contains(&cpu) {
        return Err(error("it does not exist or is not in this process's affinity mask"));
    }
    if !core_affinity::set_for_current(CoreId { id: cpu }) {
        return Err(error("the kernel refused"));
    }
    if allowed_cpus() != [cpu] {
        return Err(error("the mask read back is another"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_short() {
        assert_eq!(ranges(&[0, 1, 2, 3, 8]), "0-3,8");
        assert_eq!(ranges(&[5]), "5");
        assert_eq!(ranges(&[]), "");
    }

    #[test]
    fn a_cpu_that_does_not_exist_is_an_error_that_names_those_that_do() {
        let text = pin(1023).unwrap_err().to_string();
        assert!(text.contains("CPU 1023") && text.contains(&ranges(&allowed_cpus())), "{text}");
    }

    #[test]
    fn a_pinned_thread_has_a_mask_of_one() {
        std::thread::spawn(|| {
            let cpu = *allowed_cpus().last().unwrap();
            pin(cpu).unwrap();
            assert_eq!(allowed_cpus(), [cpu]);
        })
        .join()
        .unwrap();
    }
}
