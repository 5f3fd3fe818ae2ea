// SPDX-License-Identifier: MIT OR Apache-2.0
//! The demo as a user runs it: it passes, each sabotage fails with its name, and bad input is told in one line. Nothing here depends on how
//! fast the machine is.

use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::{Mutex, PoisonError};

/// One demo at a time: each wants two CPUs.
static TURN: Mutex<()> = Mutex::new(());

fn fctl(arguments: &[&str]) -> Output {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    Command::new(env!("CARGO_BIN_EXE_fctl")).args(arguments).output().expect("the binary that was just built")
}

/// Runs the demo for a second; gives its exit status and its JSON object.
fn demo(arguments: &[&str]) -> (Option<i32>, Value) {
    let output = fctl(&[&["demo", "--seconds", "1", "--json"], arguments].concat());
    let text = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    let value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text:?}, standard error {errors:?}"));
    (output.status.code(), value)
}

fn count(report: &Value, name: &str) -> u64 {
    report[name].as_u64().unwrap_or_else(|| panic!("{name} in {report}"))
}

#[track_caller]
fn assert_passed((status, report): (Option<i32>, Value)) -> Value {
    assert_eq!((status, report["verdict"].as_str()), (Some(0), Some("PASS")), "{report}");
    report
}

#[test]
fn the_demo_passes_and_has_done_everything() {
    let report = assert_passed(demo(&[]));
    for name in ["posted", "bytes_verified", "bytes_written", "ran", "merged_away", "stopped_active", "cancelled", "refused"] {
        assert!(count(&report, name) > 0, "{name} in {report}");
    }
    for name in ["lost", "twice", "wrong_bytes", "image_blocks_wrong"] {
        assert_eq!(count(&report, name), 0, "{name} in {report}");
    }
    let fates = ["ran", "merged_away", "stopped_active", "cancelled", "refused"].map(|name| count(&report, name));
    assert_eq!(fates.iter().sum::<u64>(), count(&report, "starts"));
    assert_eq!(count(&report, "posted"), count(&report, "completed"));
    assert_eq!(count(&report, "guest_open_files"), 2);
    assert_ne!(report["dispatcher_process"], report["guest_process"]);
    let latencies = report["latencies"].as_array().unwrap();
    assert!(latencies.iter().any(|row| row["function"] == "start" && row["stage"] == "total" && count(row, "p50_ns") > 0));
}

#[test]
fn the_report_is_for_people() {
    let output = fctl(&["demo", "--seconds", "1", "--subchannels", "20"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{text}");
    for words in
        ["io_uring", "writethrough", "p99.9", "starts posted", "lost 0 · twice 0 · wrong bytes 0", "\nPASS\n", "what to try next"]
    {
        assert!(text.contains(words), "{words:?} in\n{text}");
    }
    assert!(output.stderr.is_empty(), "no progress bar where there is no terminal");
}

#[test]
fn other_caches_and_durabilities_pass() {
    assert_passed(demo(&["--durability", "writeback"]));
    assert_passed(demo(&["--cache", "direct", "--subchannels", "300"]));
}

/// Each sabotage fails, with the name of its fault first.
fn assert_found(sabotage: &str, fault: &str) {
    let (status, report) = demo(&["--sabotage", sabotage]);
    assert_eq!((status, report["verdict"].as_str()), (Some(1), Some("FAIL")), "{report}");
    assert_eq!(report["faults"][0]["name"], fault, "{report}");
    assert!(report["faults"][0]["text"].as_str().is_some_and(|text| !text.contains('\n')), "{report}");
}

#[test]
fn a_lost_completion_is_found() {
    assert_found("lose", "lost completion");
}

#[test]
fn a_doubled_completion_is_found() {
    assert_found("double", "double completion");
}

#[test]
fn a_turned_bit_is_found() {
    assert_found("flip-bit", "wrong bytes");
}

#[test]
fn a_read_that_lands_after_its_clear_is_found() {
    assert_found("clear-early", "changed after the end");
}

#[test]
fn a_write_that_was_not_done_is_found() {
    assert_found("skip-write", "write missing");
}

#[test]
fn the_report_of_a_sabotage_names_the_fault_in_a_line() {
    let output = fctl(&["demo", "--seconds", "1", "--sabotage", "flip-bit"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text.lines().any(|line| line.starts_with("FAIL  wrong bytes (")), "{text}");
    assert!(!text.contains("PASS"), "{text}");
}

#[test]
fn the_image_that_is_left_can_be_checked_from_the_seed_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("volume");
    let path = path.to_str().unwrap();
    let check = |seed: &str| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("check_image.py");
        Command::new("python3").arg(script).args([path, seed]).output().expect("python3").status.code()
    };
    assert_passed(demo(&["--volume", path, "--size", "8M", "--subchannels", "40", "--seed", "77"]));
    assert_eq!((check("77"), check("78")), (Some(0), Some(1)));
    // A volume that a demo has left may be used again, and is emptied first.
    assert_passed(demo(&["--volume", path, "--subchannels", "40", "--seed", "78"]));
    assert_eq!((check("78"), check("77")), (Some(0), Some(1)));
    let mut bytes = std::fs::read(path).unwrap();
    let written = bytes.iter().position(|&byte| byte != 0).unwrap();
    bytes[written + 300] ^= 1;
    std::fs::write(path, bytes).unwrap();
    assert_eq!(check("78"), Some(1), "one bit");
}

#[track_caller]
fn assert_refused(arguments: &[&str], words: &[&str]) {
    let output = fctl(&[&["demo"], arguments].concat());
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(output.stdout.is_empty());
    assert_eq!(text.trim_end().lines().count(), 1, "{text}");
    for word in words {
        assert!(text.contains(word), "{word:?} in {text:?}");
    }
}

#[test]
fn what_cannot_be_run_is_told_in_one_line() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let file = |name: &str, bytes: &[u8]| {
        std::fs::write(path(name), bytes).unwrap();
        path(name)
    };
    assert_refused(&["--volume", &path("missing")], &["missing", "does not exist", "--size"]);
    assert_refused(&["--volume", &path("no/such/place"), "--size", "64M"], &["cannot make volume", "no/such/place"]);
    assert_refused(&["--volume", directory.path().to_str().unwrap()], &["is a directory"]);
    assert_refused(&["--volume", &file("odd", &[0; 1000])], &["1000 bytes", "512 or 1024"]);
    assert_refused(&["--volume", &file("empty", &[])], &["is empty"]);
    assert_refused(&["--volume", &file("small", &[0; 5120])], &["too small", "524288"]);
    assert_refused(&["--volume", &file("precious", &[7; 1 << 20])], &["block 0", "--overwrite"]);
    assert_eq!(std::fs::read(path("precious")).unwrap(), [7; 1 << 20]);
    assert_refused(&["--volume", &file("other", &[0; 1 << 20]), "--size", "2M"], &["1048576", "2097152"]);
    assert_refused(&["--size", "1000"], &["1000 bytes", "1024 would do"]);
    assert_refused(&["--cpu", "1023"], &["--cpu 1023", "may be used"]);
    assert_refused(&["--seconds", "0"], &["'0'", "1..=86400"]);
    assert_refused(&["--sabotage", "politely"], &["lose", "skip-write"]);
}

#[test]
fn a_volume_in_use_is_refused() {
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(1 << 20).unwrap();
    let held = fctl_dispatcher::volume::Volume::open(file.path(), Default::default()).unwrap();
    assert_refused(&["--volume", file.path().to_str().unwrap()], &["in use by another dispatcher"]);
    drop(held);
}

#[test]
fn the_guest_alone_says_who_starts_it() {
    let output = fctl(&["guest"]);
    assert_eq!(output.status.code(), Some(2));
}
