// SPDX-License-Identifier: MIT OR Apache-2.0
//! The example as a whole: a guest under KVM reads, writes and stops, through a ring in its own memory.

#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use std::fs::File;
use std::io::Read as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Far beyond anything but a guest that hangs.
const PATIENCE: Duration = Duration::from_secs(180);

#[test]
fn a_guest_under_kvm_does_its_io_through_a_ring_in_its_own_memory() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_fctl-kvm-example"))
        .arg("--quick")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + PATIENCE;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if Instant::now() >= deadline {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("the guest hangs:\n{}", output(&mut child));
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let text = output(&mut child);
    if let Err(error) = File::options().read(true).write(true).open("/dev/kvm") {
        assert!(status.success() && text.starts_with("not run: no /dev/kvm"), "{status}\n{text}");
        println!("not run: no /dev/kvm ({error})");
        return;
    }
    assert!(status.success(), "{status}\n{text}");
    for line in [
        "read      2048 blocks polling, 0 wrong bytes",
        "read      2048 blocks asleep, 0 wrong bytes",
        "written   257 blocks; on the host 2048 compared, 0 wrong bytes",
        "stops     100 rounds polling",
        "stops     100 rounds asleep",
        "through the ring, batches of 32",
        "200 starts merged away, 200 stopped while active",
    ] {
        assert!(text.contains(line), "{line:?} is not in\n{text}");
    }
    assert_eq!(text.lines().last(), Some("PASS"), "{text}");
}

fn output(child: &mut std::process::Child) -> String {
    let mut text = String::new();
    child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
    text
}
