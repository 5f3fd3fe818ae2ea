// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the host does not let a dispatcher have: the error says by which setting, and what would be accepted.
//!
//! The host's refusals are made here by means that hold for root too: a seccomp filter, and the user and capabilities of one thread.

use fctl_dispatcher::engine::UringError;
use fctl_dispatcher::volume::{Volume, VolumeError, VolumeOptions};
use fctl_dispatcher::{BuildError, Builder};
use seccompiler::{apply_filter, BpfProgram, SeccompAction, SeccompFilter, TargetArch};
use std::collections::BTreeMap;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// Runs `act` on a thread of its own, for which `io_uring_setup` fails with `error`; none where threads cannot be filtered.
fn without_uring<T: Send + 'static>(error: i32, act: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let arch = TargetArch::try_from(std::env::consts::ARCH).ok()?;
    let rules = BTreeMap::from([(libc::SYS_io_uring_setup, Vec::new())]);
    let answer = SeccompAction::Errno(u32::try_from(error).unwrap());
    let filter: BpfProgram = SeccompFilter::new(rules, SeccompAction::Allow, answer, arch).unwrap().try_into().unwrap();
    std::thread::spawn(move || apply_filter(&filter).is_ok().then(act)).join().unwrap()
}

fn why_not_built() -> UringError {
    match Builder::default().build() {
        Err(BuildError::Engine(error)) => error,
        Err(other) => panic!("another error: {other}"),
        Ok(_) => panic!("built without io_uring"),
    }
}

#[test]
fn io_uring_refused_by_the_kernel_names_the_setting() {
    // EPERM is what kernel.io_uring_disabled answers, EACCES what some container policies do.
    for refusal in [libc::EPERM, libc::EACCES] {
        let Some(error) = without_uring(refusal, why_not_built) else {
            println!("io_uring_refused_by_the_kernel_names_the_setting: not run: threads cannot be filtered here");
            return;
        };
        assert!(matches!(error, UringError::Refused { .. }), "{error:?}");
        let text = error.to_string();
        let setting = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled");
        let setting = setting.map_or_else(|_| "not readable".into(), |text| text.trim().to_owned());
        for words in [&format!("kernel.io_uring_disabled is {setting}"), "0 allows it to all", "kernel.io_uring_group", "seccomp"]
        {
            assert!(text.contains(words), "{words:?} in {text:?}");
        }
    }
}

#[test]
fn a_kernel_without_io_uring_is_told_from_one_that_refuses_it() {
    let Some(error) = without_uring(libc::ENOSYS, why_not_built) else {
        println!("a_kernel_without_io_uring_is_told_from_one_that_refuses_it: not run: threads cannot be filtered here");
        return;
    };
    assert!(matches!(error, UringError::Missing(_)), "{error:?}");
    assert!(error.to_string().contains("Linux 5.15 or later"), "{error}");
}

/// Why `path` cannot be opened by somebody whom the permissions of files bind. They do not bind root, so a thread of root's takes another
/// user for the file system's purposes, which takes its power over files away too.
fn refused(path: &Path, options: VolumeOptions) -> VolumeError {
    let path = path.to_owned();
    let opened = std::thread::spawn(move || {
        if rustix::process::geteuid().is_root() {
            // SAFETY: no memory is involved; the call changes the calling thread alone, which ends here.
            unsafe { libc::syscall(libc::SYS_setfsuid, 65534) };
        }
        Volume::open(path, options).map(drop)
    });
    opened.join().unwrap().expect_err("refused")
}

#[test]
fn a_volume_that_may_not_be_written_or_read_is_refused_and_says_what_to_allow() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("volume");
    std::fs::write(&path, [7; 1024]).unwrap();
    let allow = |path: &Path, mode| std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    allow(place.path(), 0o755);
    let (writable, read_only) = (VolumeOptions::default(), VolumeOptions::default().with_read_only(true));

    allow(&path, 0o444);
    let error = refused(&path, writable);
    assert!(matches!(error, VolumeError::ReadOnly { .. }), "{error:?}");
    let text = error.to_string();
    assert!(
        text.contains("may be read but not written") && text.contains("make it writable") && text.contains("`read_only`"),
        "{text}"
    );
    Volume::open(&path, read_only).unwrap();

    // The file itself, and the directory that it stands in.
    for (file, directory) in [(0o000, 0o755), (0o666, 0o000)] {
        allow(&path, file);
        allow(place.path(), directory);
        for options in [writable, read_only] {
            let error = refused(&path, options);
            assert!(matches!(error, VolumeError::Permission { .. }), "{error:?}");
            let text = error.to_string();
            assert!(text.contains("may not be opened by this user; allow reading") && text.contains("volume"), "{text}");
        }
        allow(place.path(), 0o755);
    }
}
