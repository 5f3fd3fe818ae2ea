// SPDX-License-Identifier: MIT OR Apache-2.0
//! A guest written in C, in a process of its own, on a real reactor: what it sees of subchannels and an FBA volume through the shared
//! region and two eventfds.
//!
//! `tools/check-big-endian.sh` runs the same as an s390x program: the condition codes, status words, sense and data are then compared
//! by a machine whose own byte order is that of the architecture.

#[path = "../../../ringabi/tests/c/cc.rs"]
mod cc;
#[path = "../common/mod.rs"]
mod common;
mod sequences;

use common::{id, TestGuest, MEMORY_OFFSET};
use fctl_dispatcher::device::delay::{Delay, FOREVER};
use fctl_dispatcher::device::fba::Fba;
use fctl_dispatcher::device::null::Null;
use fctl_dispatcher::device::SubchannelDevice;
use fctl_dispatcher::subchannel::StatusMode;
use fctl_dispatcher::volume::{Volume, VolumeOptions};
use fctl_dispatcher::{Builder, Handle, RingId, SubchannelOptions, WaitPolicy};
use fctl_ringabi::RingSizes;
use std::io::Write as _;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

/// A dispatcher with one attached guest, whose two ends nobody here uses.
struct Host {
    handle: Handle,
    guest: TestGuest,
    ring: RingId,
}

impl Host {
    fn new(builder: Builder) -> Self {
        let handle = builder.wait(WaitPolicy::sleeping()).spawn().unwrap();
        let guest = TestGuest::new(RingSizes::new(64));
        let (_, ring) = guest.attach(&handle);
        Self { handle, guest, ring }
    }

    fn attach(&self, number: u16, options: SubchannelOptions, device: impl SubchannelDevice + 'static) {
        self.handle.attach_subchannel(self.ring, id(number), options, Box::new(device)).unwrap();
    }

    fn put(&self, address: u64, bytes: &[u8]) {
        self.guest.file.write_all_at(bytes, MEMORY_OFFSET + address).unwrap();
    }

    /// Runs the C program `tests/c/NAME.c` as the guest, and gives what it printed. Its descriptors are all that it has.
    fn run(&self, name: &str, input: &str) -> String {
        let program = cc::build(name);
        let descriptors = [self.guest.file.as_raw_fd(), self.guest.doorbell.as_raw_fd(), self.guest.notification.as_raw_fd()];
        let mut command = program.command();
        command.args(descriptors.map(|number| number.to_string())).arg(MEMORY_OFFSET.to_string());
        command.arg(if cfg!(target_endian = "little") { "little" } else { "big" });
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // SAFETY: between fork and exec only fcntl is called, which is async-signal-safe, on descriptors that are open in the parent.
        unsafe {
            command.pre_exec(move || {
                for number in descriptors {
                    if libc::fcntl(number, libc::F_SETFD, 0) < 0 {
                        return Err(std::io::Error::last_os_error());
                    }
                }
                Ok(())
            });
        }
        let mut process = command.spawn().expect("the guest starts");
        // A guest that has found something wrong reads no more; what it says is better than that.
        let _ = process.stdin.take().unwrap().write_all(input.as_bytes());
        let output = process.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{name} ended with {}: {text}", output.status);
        String::from_utf8(output.stdout).unwrap()
    }

    /// All that was taken was answered.
    fn assert_settled(&self) {
        let counters = self.handle.counters().unwrap();
        assert_eq!(counters.taken, counters.finals, "{counters:?}");
    }
}

fn volume(path: &Path) -> Arc<Volume> {
    Arc::new(Volume::open(path, VolumeOptions::default()).unwrap())
}

fn volume_file() -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(64 * 512).unwrap();
    file
}

#[test]
fn a_guest_in_c_does_channel_io() {
    let file = volume_file();
    let volume = volume(file.path());
    let host = Host::new(Builder::default());
    let options = |number: u16| SubchannelOptions::new(0x120 + number);
    host.attach(0, options(0), Null);
    host.attach(1, options(1), Delay::new(Null, FOREVER));
    host.attach(2, options(2), Fba::new(volume.clone()).unwrap());
    host.attach(3, options(3).with_mode(StatusMode::Held), Null);
    host.attach(4, options(4).with_enabled(false), Null);
    host.attach(5, options(5), Delay::new(Fba::new(volume).unwrap(), Duration::from_millis(200)));

    let said = host.run("channel_io", "");
    let finals: u64 = said.trim().strip_prefix("finals=").expect(&said).parse().unwrap();
    assert!(finals > 60, "{said}");
    host.assert_settled();
    assert_eq!(host.handle.counters().unwrap().finals, finals);

    // Blocks 17 to 20 are what the guest wrote, in the order of its architecture; the others were never touched.
    let mut blocks = vec![0; 64 * 512];
    file.as_file().read_exact_at(&mut blocks, 0).unwrap();
    let pattern: Vec<u8> = (1..=512u32).flat_map(|word| 0x0102_0304u32.wrapping_mul(word).to_be_bytes()).collect();
    assert!(blocks[17 * 512..21 * 512] == pattern);
    assert!(blocks[..17 * 512].iter().chain(&blocks[21 * 512..]).all(|&byte| byte == 0));
}
