// SPDX-License-Identifier: MIT OR Apache-2.0
//! The machine, as far as a figure needs to be understood by it; and the versions of what was measured.

use crate::peers::storage_daemon;
use serde::Serialize;

/// What runs here.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// Model name of the first CPU.
    pub cpu: String,
    /// CPUs that are online.
    pub online: usize,
    /// True if a hypervisor is underneath.
    pub virtual_machine: bool,
    /// Release of the kernel.
    pub kernel: String,
    /// Load averages at the beginning: what else was going on.
    pub load: String,
    /// Version of fctl.
    pub fctl: &'static str,
    /// Versions of the peers.
    pub peers: Vec<(&'static str, String)>,
}

impl Machine {
    /// Looks at this machine.
    pub fn look() -> Self {
        let file = |path| std::fs::read_to_string(path).unwrap_or_default();
        let processors = file("/proc/cpuinfo");
        let field = |name: &str| {
            let line = processors.lines().find(|line| line.split(':').next().is_some_and(|key| key.trim() == name));
            line.and_then(|line| line.split_once(':')).map_or("", |(_, value)| value.trim())
        };
        let model = field("model name");
        Self {
            cpu: if model.is_empty() { std::env::consts::ARCH.into() } else { model.into() },
            online: processors.lines().filter(|line| line.starts_with("processor")).count(),
            virtual_machine: field("flags").split(' ').any(|flag| flag == "hypervisor"),
            kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
            load: file("/proc/loadavg").split(' ').take(3).collect::<Vec<_>>().join(" "),
            fctl: env!("CARGO_PKG_VERSION"),
            peers: {
                let crates = ["rtrb", "crossbeam-queue", "io-uring", "blkio"];
                let daemon = ("qemu-storage-daemon", storage_daemon::version().unwrap_or_else(|| "(none)".into()));
                let version = |name| Some((name, locked_version(LOCK, name)?.to_owned()));
                crates.into_iter().filter_map(version).chain([daemon]).collect()
            },
        }
    }
}

/// What the program was built from.
static LOCK: &str = include_str!("../../Cargo.lock");

/// The version of a package in a lock file.
fn locked_version<'a>(lock: &'a str, name: &str) -> Option<&'a str> {
    let lines: Vec<_> = lock.lines().collect();
    let named = |line: &str| line.strip_prefix("name = \"").and_then(|rest| rest.strip_suffix('"')) == Some(name);
    // The last one: versions stand in order, and what others use is older.
    let line = lines.iter().rposition(|line| named(line))?;
    lines.get(line + 1)?.strip_prefix("version = \"")?.strip_suffix('"')
}

#[cfg(test)]
mod tests {
    use super::{locked_version, LOCK};

    #[test]
    fn versions_come_from_the_lock_file() {
        let lock = "[[package]]\nname = \"rtrb-x\"\nversion = \"9\"\n\n[[package]]\nname = \"rtrb\"\nversion = \"0.4.1\"\n";
        assert_eq!(locked_version(lock, "rtrb"), Some("0.4.1"));
        let two = format!("[[package]]\nname = \"rtrb\"\nversion = \"0.3.0\"\n\n{lock}");
        assert_eq!(locked_version(&two, "rtrb"), Some("0.4.1"));
        assert_eq!(locked_version(lock, "nothing"), None);
        assert!(locked_version(LOCK, "rtrb").is_some());
    }
}
