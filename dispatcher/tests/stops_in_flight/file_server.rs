// SPDX-License-Identifier: MIT OR Apache-2.0
//! A FUSE file system with one file, served by a process of its own: each read and write of the file waits a while before it is performed.
//!
//! The protocol is spoken directly (Linux `include/uapi/linux/fuse.h`, version 7.31), because it matters what becomes of FUSE_INTERRUPT, which is
//! how a cancel reaches the server: some are obeyed and some ignored, as storage does. The server has a process of its own because a process
//! that waits for answers of its own threads cannot be killed. It ends when nobody holds the other end of its standard output any more; the
//! mount is in its own mount namespace, so it goes with it.

use super::bytes::{pattern, written, Random, AREA, PIECE};
use super::log::{Count, Done, Log, FILE_BYTES};
use rustix::event::{poll, PollFd, PollFlags};
use rustix::io::Errno;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

/// Names the directory that the server works in.
pub const PLACE: &str = "FCTL_TEST_FILE_SERVER";
/// The test that is the server's process.
const SERVER: &str = "the_file_server";
const READY: &str = "the file server is ready";
const NOT_READY: &str = "the file server cannot: ";

/// Reads wait up to so long, in microseconds; writes, of which the kernel performs one at a time, less.
const READS_WAIT: u64 = 5000;
const WRITES_WAIT: u64 = 1500;

/// The test's end: the server while it runs.
pub struct FileServer {
    process: Child,
    _output: BufReader<ChildStdout>,
    pub log: Log,
    /// What was written, by its place in the served file.
    pub image: File,
    place: PathBuf,
}

impl FileServer {
    /// Starts a server whose directory is `place`; the error says why there can be none here.
    pub fn start(place: &Path) -> Result<Self, String> {
        if !Path::new("/dev/fuse").exists() {
            return Err("there is no /dev/fuse".into());
        }
        std::fs::create_dir(place.join("mounted")).unwrap();
        let image = File::create_new(place.join("image")).unwrap();
        image.set_len(FILE_BYTES).unwrap();
        let mut why = Vec::new();
        // As root, or as nobody in particular in a user namespace.
        for arguments in [&["-m"][..], &["-r", "-m"]] {
            match Self::spawn(place, arguments) {
                Ok((process, output, log)) => {
                    let image = OpenOptions::new().read(true).write(true).open(place.join("image")).unwrap();
                    return Ok(Self { process, _output: output, log, image, place: place.into() });
                }
                Err(error) => why.push(format!("unshare {}: {error}", arguments.join(" "))),
            }
        }
        Err(why.join("; "))
    }

    fn spawn(place: &Path, arguments: &[&str]) -> Result<(Child, BufReader<ChildStdout>, Log), String> {
        let log = Log::file();
        let mut process = Command::new("unshare")
            .args(arguments)
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", SERVER, "--nocapture", "--test-threads=1"])
            .env(PLACE, place)
            .stdin(Stdio::from(log.try_clone().unwrap()))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| error.to_string())?;
        let mut output = BufReader::new(process.stdout.take().unwrap());
        let mut line = String::new();
        while output.read_line(&mut line).is_ok_and(|bytes| bytes != 0) {
            if line.trim() == READY {
                return Ok((process, output, Log::map(&log)));
            }
            if let Some(why) = line.strip_prefix(NOT_READY) {
                process.wait().unwrap();
                return Err(why.trim().into());
            }
            line.clear();
        }
        process.wait().unwrap();
        Err("not permitted".into())
    }

    /// The served file, reached through the server's mount namespace.
    pub fn path(&self) -> PathBuf {
        let mounted = self.place.join("mounted/held");
        Path::new("/proc").join(self.process.id().to_string()).join("root").join(mounted.strip_prefix("/").unwrap())
    }
}

impl Drop for FileServer {
    fn drop(&mut self) {
        // With its process the mount is gone; the kernel then fails whatever still waits for it.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The server's process: returns when nobody reads its output any more.
pub fn serve(place: &Path) {
    let log = Log::map(&File::from(std::io::stdin().as_fd().try_clone_to_owned().unwrap()));
    let image = OpenOptions::new().read(true).write(true).open(place.join("image")).unwrap();
    let mut output = File::from(std::io::stdout().as_fd().try_clone_to_owned().unwrap());
    match mount(&place.join("mounted")) {
        Err(error) => writeln!(output, "\n{NOT_READY}{error}").unwrap(),
        Ok(device) => {
            writeln!(output, "\n{READY}").unwrap();
            Server { device, image, log, due: BinaryHeap::new(), held: HashMap::new(), random: Random::new(1) }.run(&output);
        }
    }
}

fn mount(target: &Path) -> Result<File, String> {
    let device = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open("/dev/fuse")
        .map_err(|error| format!("open /dev/fuse: {error}"))?;
    let (user, group) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    let options = format!("fd={},rootmode=40000,user_id={user},group_id={group}", device.as_raw_fd());
    let (target, options) = (CString::new(target.as_os_str().as_bytes()).unwrap(), CString::new(options).unwrap());
    let (source, kind) = (c"fctl-test".as_ptr(), c"fuse".as_ptr());
    // SAFETY: all five are strings that end with a zero byte and live until the call has returned.
    let done = unsafe { libc::mount(source, target.as_ptr(), kind, libc::MS_NOSUID | libc::MS_NODEV, options.as_ptr().cast()) };
    if done != 0 {
        return Err(format!("mount: {}", std::io::Error::last_os_error()));
    }
    Ok(device)
}

// Operation codes of the protocol.
const LOOKUP: u32 = 1;
const FORGET: u32 = 2;
const GETATTR: u32 = 3;
const OPEN: u32 = 14;
const READ: u32 = 15;
const WRITE: u32 = 16;
const RELEASE: u32 = 18;
const FLUSH: u32 = 25;
const INIT: u32 = 26;
const INTERRUPT: u32 = 36;
const BATCH_FORGET: u32 = 42;

const ROOT: u64 = 1;
const FILE: u64 = 2;
const MOST_WRITE: u32 = 1 << 16;
/// Answers about names and attributes hold for an hour: nothing changes.
const VALID: u64 = 3600;
/// Each read and write comes here, and writes do not wait for one another.
const DIRECT_IO: u32 = 1;
const PARALLEL_DIRECT_WRITES: u32 = 1 << 6;

/// A read or write that waits.
struct Held {
    offset: u64,
    length: u32,
    /// What is to be written; none for a read.
    bytes: Option<Vec<u8>>,
}

struct Server {
    device: File,
    image: File,
    log: Log,
    due: BinaryHeap<Reverse<(Instant, u64)>>,
    held: HashMap<u64, Held>,
    random: Random,
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_ne_bytes(bytes[at..at + 8].try_into().unwrap())
}

impl Server {
    fn run(&mut self, output: &File) {
        let mut buffer = vec![0; (1 << 16) + (1 << 17)];
        loop {
            while let Some(&Reverse((when, unique))) = self.due.peek() {
                if when > Instant::now() {
                    break;
                }
                self.due.pop();
                self.perform(unique);
            }
            let wait = self.due.peek().map_or(Duration::from_secs(1), |due| due.0 .0.saturating_duration_since(Instant::now()));
            let mut files = [PollFd::new(&self.device, PollFlags::IN), PollFd::new(output, PollFlags::empty())];
            match poll(&mut files, Some(&wait.try_into().unwrap())) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => panic!("poll: {error}"),
            }
            if files[1].revents().intersects(PollFlags::ERR | PollFlags::HUP) {
                return;
            }
            loop {
                match self.device.read(&mut buffer) {
                    Ok(length) => self.request(&buffer[..length]),
                    Err(error) => match error.raw_os_error() {
                        Some(libc::EAGAIN) => break,
                        // A request was taken back while it was being read.
                        Some(libc::EINTR | libc::ENOENT) => {}
                        _ => return,
                    },
                }
            }
        }
    }

    /// Answers a request. It may have been given up by the kernel meanwhile, which is nobody's concern.
    fn answer(&self, unique: u64, error: i32, payload: &[u8]) {
        let mut message = Vec::with_capacity(16 + payload.len());
        message.extend(u32::try_from(16 + payload.len()).unwrap().to_ne_bytes());
        message.extend((-error).to_ne_bytes());
        message.extend(unique.to_ne_bytes());
        message.extend(payload);
        let _ = (&self.device).write(&message);
    }

    fn request(&mut self, request: &[u8]) {
        let (operation, unique, node, body) = (u32_at(request, 4), u64_at(request, 8), u64_at(request, 16), &request[40..]);
        match operation {
            INIT => {
                let words = [7, 31, u32_at(body, 8), 0, 64 << 16 | 64, MOST_WRITE, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
                self.answer(unique, 0, &words.map(u32::to_ne_bytes).concat());
            }
            LOOKUP if node == ROOT && body == b"held\0" => {
                let mut entry: Vec<u8> = [FILE, 0, VALID, VALID, 0].into_iter().flat_map(u64::to_ne_bytes).collect();
                entry.extend(attributes(FILE));
                self.answer(unique, 0, &entry);
            }
            LOOKUP => self.answer(unique, libc::ENOENT, &[]),
            GETATTR => {
                let mut answer: Vec<u8> = [VALID, 0].into_iter().flat_map(u64::to_ne_bytes).collect();
                answer.extend(attributes(node));
                self.answer(unique, 0, &answer);
            }
            OPEN => {
                let words = [0, 0, DIRECT_IO | PARALLEL_DIRECT_WRITES, 0];
                self.answer(unique, 0, &words.map(u32::to_ne_bytes).concat());
            }
            READ | WRITE => self.hold(unique, operation == WRITE, body),
            INTERRUPT => self.interrupt(u64_at(body, 0)),
            FORGET | BATCH_FORGET => {}
            RELEASE | FLUSH => self.answer(unique, 0, &[]),
            _ => self.answer(unique, libc::ENOSYS, &[]),
        }
    }

    fn hold(&mut self, unique: u64, write: bool, body: &[u8]) {
        let (offset, length) = (u64_at(body, 8), u32_at(body, 16));
        let bytes = write.then(|| body[40..].to_vec());
        self.log.arrived(offset / PIECE);
        if write && u32_at(body, 32) & u32::try_from(libc::O_DSYNC).unwrap() != 0 {
            self.log.add(Count::Durable);
        }
        self.held.insert(unique, Held { offset, length, bytes });
        let most = if write { WRITES_WAIT } else { READS_WAIT };
        let wait = Duration::from_micros(self.random.below(most));
        self.due.push(Reverse((Instant::now() + wait, unique)));
    }

    fn perform(&mut self, unique: u64) {
        let Some(held) = self.held.remove(&unique) else { return };
        let (piece, length) = (held.offset / PIECE, u64::from(held.length));
        match held.bytes {
            None => {
                self.log.ending(piece, Done::Performed);
                self.answer(unique, 0, &pattern(held.offset, length));
            }
            Some(bytes) => {
                let right = bytes == written(held.offset, length);
                self.log.ending(piece, if right { Done::Performed } else { Done::WrongBytes });
                self.image.write_all_at(&bytes, held.offset).unwrap();
                self.answer(unique, 0, &[held.length, 0].map(u32::to_ne_bytes).concat());
            }
        }
        self.log.answered();
    }

    /// The kernel asks for a request to be ended: some are, the others go on as if nothing had been asked.
    fn interrupt(&mut self, unique: u64) {
        self.log.add(Count::Interrupts);
        if self.random.below(3) == 0 {
            if let Some(held) = self.held.remove(&unique) {
                let piece = held.offset / PIECE;
                self.log.add(Count::Obeyed);
                self.log.ending(piece, Done::Interrupted);
                self.answer(unique, libc::EINTR, &[]);
                self.log.answered();
            }
        }
    }
}

fn attributes(node: u64) -> Vec<u8> {
    let (size, mode) = if node == FILE { (FILE_BYTES, libc::S_IFREG | 0o600) } else { (0, libc::S_IFDIR | 0o700) };
    let (user, group) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    let times = [0; 3];
    let mut bytes: Vec<u8> = [node, size, size / 512, 0, 0, 0].into_iter().flat_map(u64::to_ne_bytes).collect();
    let block = u32::try_from(AREA).unwrap();
    bytes.extend(times.into_iter().chain([mode, 1, user, group, 0, block, 0]).flat_map(u32::to_ne_bytes));
    bytes
}
