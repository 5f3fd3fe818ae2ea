// SPDX-License-Identifier: MIT OR Apache-2.0
//! `qemu-storage-daemon`, exporting the volume by vhost-user-blk from the dispatcher's CPU: what a hypervisor takes today that wants its block
//! devices outside.

use crate::error::{BenchError, Doing as _, Measured};
use crate::placement::Placement;
use crate::volume_file::VolumeFile;
use fctl_dispatcher::affinity::pin;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const PROGRAM: &str = "qemu-storage-daemon";

/// How long it may take to begin.
const PATIENCE: Duration = Duration::from_secs(10);

/// Whether its thread polls before it sleeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Polling {
    /// For up to 50 µs, as our own side does unless told otherwise.
    Yes,
    /// Never.
    No,
}

/// A daemon that runs; it ends with this value.
pub struct StorageDaemon {
    child: Child,
    socket: PathBuf,
    _directory: TempDir,
}

/// The first line of what it says of its version; none if there is no such program.
pub fn version() -> Option<String> {
    let output = Command::new(PROGRAM).arg("--version").output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().next()?.split(" version ").nth(1).map(str::to_owned)
}

impl StorageDaemon {
    /// Starts one for `volume`.
    ///
    /// # Errors
    /// There is none, or it does not begin: [`BenchError::NotRun`].
    pub fn start(placement: Placement, volume: &VolumeFile, polling: Polling) -> Measured<Self> {
        let directory = TempDir::new().doing("make a folder for a socket")?;
        let socket = directory.path().join("vhost");
        let poll = if polling == Polling::Yes { 50_000 } else { 0 };
        let mut command = Command::new(PROGRAM);
        command
            .arg("--blockdev")
            .arg(format!("driver=file,node-name=volume,read-only=on,aio=io_uring,filename={}", volume.path().display()))
            .args(["--object", &format!("iothread,id=io,poll-max-ns={poll}")])
            .arg("--export")
            .arg(format!(
                "type=vhost-user-blk,id=export,node-name=volume,iothread=io,num-queues=1,addr.type=unix,addr.path={}",
                socket.display()
            ))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        // A process runs where the thread that starts it may run.
        let spawned = std::thread::scope(|scope| {
            let starting = scope.spawn(|| {
                pin(placement.dispatcher).doing("pin the daemon")?;
                command.spawn().map_err(|error| BenchError::NotRun(format!("{PROGRAM}: {error}")))
            });
            starting.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        let mut daemon = Self { child: spawned?, socket, _directory: directory };
        let began = Instant::now();
        while !daemon.socket.exists() {
            let ended = daemon.child.try_wait().doing("look after the daemon")?;
            if ended.is_some() || began.elapsed() > PATIENCE {
                return Err(BenchError::NotRun(format!("{PROGRAM}: {}", daemon.complaint())));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(daemon)
    }

    /// Where it listens.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// What it said before it ended.
    fn complaint(&mut self) -> String {
        // Ends it if it has not ended, so that reading comes to an end too.
        let _ = self.child.kill();
        let mut text = String::new();
        if let Some(stderr) = &mut self.child.stderr {
            // What cannot be read is not told.
            let _ = stderr.read_to_string(&mut text);
        }
        text.lines().next().unwrap_or("it does not begin").to_owned()
    }
}

impl Drop for StorageDaemon {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
