// SPDX-License-Identifier: MIT OR Apache-2.0
//! A whole life of a dispatcher, each phase on a thread that may make no other system call than `docs/embedding.md` lists for it. One more
//! ends the child process, which names it.

#[path = "../common/mod.rs"]
mod common;
mod life;
mod sandbox;

use std::process::Command;

/// Set for the child, which gives itself up to the filters.
const CHILD: &str = "FCTL_SYSTEM_CALLS_CHILD";

#[test]
fn each_phase_makes_only_the_system_calls_that_are_documented() {
    if std::env::var_os(CHILD).is_some() {
        life::live();
        println!("lived");
        return;
    }
    if let Err(reason) = sandbox::available() {
        println!("not run: each_phase_makes_only_the_system_calls_that_are_documented: {reason}");
        return;
    }
    let test = "each_phase_makes_only_the_system_calls_that_are_documented";
    let child = Command::new(std::env::current_exe().unwrap()).args(["--exact", test, "--nocapture"]).env(CHILD, "1").output();
    let child = child.unwrap();
    let told = String::from_utf8_lossy(&child.stdout).into_owned() + &String::from_utf8_lossy(&child.stderr);
    assert!(child.status.success() && told.contains("lived"), "{}:\n{told}", child.status);
}

#[test]
fn a_call_that_is_not_listed_is_noticed() {
    if std::env::var_os(CHILD).is_some() {
        sandbox::on_thread("control", || {
            // Nobody's phase needs this one.
            std::os::unix::process::parent_id()
        });
        return;
    }
    if let Err(reason) = sandbox::available() {
        println!("not run: a_call_that_is_not_listed_is_noticed: {reason}");
        return;
    }
    let test = "a_call_that_is_not_listed_is_noticed";
    let child = Command::new(std::env::current_exe().unwrap()).args(["--exact", test, "--nocapture"]).env(CHILD, "1").output();
    let child = child.unwrap();
    let told = String::from_utf8_lossy(&child.stderr).into_owned();
    assert_eq!(child.status.code(), Some(sandbox::CAUGHT), "{told}");
    assert!(told.contains(&format!("system call {}", libc::SYS_getppid)), "{told}");
}
