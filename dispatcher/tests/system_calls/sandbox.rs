// SPDX-License-Identifier: MIT OR Apache-2.0
//! Threads that may make only the system calls which the guide lists for their phase.

use seccompiler::{apply_filter, BpfProgram, SeccompAction, SeccompFilter, TargetArch};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{channel, Receiver};
use std::sync::Once;
use std::time::Duration;

/// The exit status of a process that made another one.
pub const CAUGHT: i32 = 66;

/// The names that stand for a phase in the guide's table, `| phase | thread | calls |`, and those of the row "any".
fn listed(phase: &str) -> Vec<String> {
    let guide = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/embedding.md")).unwrap();
    let calls_of = |phase: &str| -> Vec<String> {
        let row = guide.lines().find(|line| line.starts_with(&format!("| {phase} |")));
        let row = row.unwrap_or_else(|| panic!("docs/embedding.md has no row for {phase:?}"));
        let calls = row.split('|').nth(3).unwrap();
        calls.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    };
    let calls = calls_of(phase);
    assert!(!calls.is_empty());
    calls.into_iter().chain(calls_of("any")).collect()
}

fn number(name: &str) -> i64 {
    match name {
        "brk" => libc::SYS_brk,
        "clock_gettime" => libc::SYS_clock_gettime,
        "clock_nanosleep" => libc::SYS_clock_nanosleep,
        "close" => libc::SYS_close,
        "epoll_create1" => libc::SYS_epoll_create1,
        "epoll_ctl" => libc::SYS_epoll_ctl,
        "epoll_pwait" => libc::SYS_epoll_pwait,
        "eventfd2" => libc::SYS_eventfd2,
        "fcntl" => libc::SYS_fcntl,
        "fstat" => libc::SYS_fstat,
        "fstatfs" => libc::SYS_fstatfs,
        "ftruncate" => libc::SYS_ftruncate,
        "futex" => libc::SYS_futex,
        "getpid" => libc::SYS_getpid,
        "io_uring_enter" => libc::SYS_io_uring_enter,
        "io_uring_register" => libc::SYS_io_uring_register,
        "io_uring_setup" => libc::SYS_io_uring_setup,
        "ioctl" => libc::SYS_ioctl,
        "lseek" => libc::SYS_lseek,
        "madvise" => libc::SYS_madvise,
        "memfd_create" => libc::SYS_memfd_create,
        "mmap" => libc::SYS_mmap,
        "mprotect" => libc::SYS_mprotect,
        "mremap" => libc::SYS_mremap,
        "munmap" => libc::SYS_munmap,
        "newfstatat" => libc::SYS_newfstatat,
        // Not every machine has it; who has not uses the other.
        #[cfg(target_arch = "x86_64")]
        "open" => libc::SYS_open,
        #[cfg(not(target_arch = "x86_64"))]
        "open" => libc::SYS_openat,
        "openat" => libc::SYS_openat,
        "ppoll" => libc::SYS_ppoll,
        "prctl" => libc::SYS_prctl,
        "read" => libc::SYS_read,
        "sched_getaffinity" => libc::SYS_sched_getaffinity,
        "sched_setaffinity" => libc::SYS_sched_setaffinity,
        "sched_yield" => libc::SYS_sched_yield,
        "seccomp" => libc::SYS_seccomp,
        "statx" => libc::SYS_statx,
        "write" => libc::SYS_write,
        other => panic!("docs/embedding.md names {other:?}, whose number is not known here"),
    }
}

/// The filter of a phase, to be entered later.
pub struct Confinement {
    phase: usize,
    program: BpfProgram,
}

impl Confinement {
    /// `then` is the phase that is entered from this one: a filter can only take away, so its calls are let through from the beginning, and those that
    /// entering takes.
    pub fn new(phase: &str, then: Option<&str>) -> Self {
        let (names, later) = (listed(phase), then.map(listed).unwrap_or_default());
        let entering: &[&str] = if then.is_some() { &["prctl", "seccomp"] } else { &[] };
        let calls = names.iter().chain(&later).map(String::as_str).chain(entering.iter().copied());
        let rules: BTreeMap<i64, Vec<_>> = calls.map(|name| (number(name), Vec::new())).collect();
        let arch = TargetArch::try_from(std::env::consts::ARCH).unwrap();
        let filter = SeccompFilter::new(rules, SeccompAction::Trap, SeccompAction::Allow, arch).unwrap();
        let phase = PHASES.iter().position(|&known| known == phase).unwrap();
        Self { phase, program: filter.try_into().unwrap() }
    }

    /// From now on the calling thread may make only the calls of this phase, and none more than before.
    pub fn enter(&self) {
        PHASE.set(self.phase);
        apply_filter(&self.program).unwrap();
    }
}

/// Whether threads can be confined here at all.
pub fn available() -> Result<(), String> {
    let arch = TargetArch::try_from(std::env::consts::ARCH).map_err(|error| format!("no filters for this machine: {error}"))?;
    let tried = std::thread::spawn(move || {
        let filter = SeccompFilter::new(BTreeMap::new(), SeccompAction::Allow, SeccompAction::Trap, arch);
        apply_filter(&BpfProgram::try_from(filter.unwrap()).unwrap()).map_err(|error| format!("seccomp is refused: {error}"))
    });
    tried.join().unwrap()
}

/// What was caught: the number of the phase's name and of the call, each plus 1; 0 is nothing.
static SEEN: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static PHASE: Cell<usize> = const { Cell::new(0) };
}

const PHASES: [&str; 6] = ["prepare", "build", "run", "turn", "control", "post"];

extern "C" fn caught(_signal: libc::c_int, info: *mut libc::siginfo_t, _context: *mut libc::c_void) {
    // SAFETY: the kernel gives a valid structure; for SIGSYS the call's number stands behind the calling address, as `si_syscall` of the C library.
    let number = unsafe { info.cast::<u32>().add(6).read() };
    let phase = PHASE.get() as u64;
    SEEN.store((phase << 32) | (u64::from(number) + 1), Ordering::SeqCst);
    // Nothing may be called here that the phase may not call: another thread tells.
    loop {
        std::hint::spin_loop();
    }
}

/// Has a call that is not listed end the process.
fn watch() {
    let handler = caught as extern "C" fn(_, _, _);
    // SAFETY: a zeroed structure is a valid one, and the handler has the form that SA_SIGINFO asks for.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as usize;
        action.sa_flags = libc::SA_SIGINFO;
        assert_eq!(libc::sigaction(libc::SIGSYS, &raw const action, std::ptr::null_mut()), 0);
    }
    std::thread::spawn(|| loop {
        let seen = SEEN.load(Ordering::SeqCst);
        if let Some(number) = (seen & 0xFFFF_FFFF).checked_sub(1) {
            let phase = usize::try_from(seen >> 32).unwrap();
            eprintln!("not listed for phase {:?}: system call {number}", PHASES[phase]);
            std::process::exit(CAUGHT);
        }
        std::thread::sleep(Duration::from_millis(2));
    });
}

/// Runs something on a thread that is confined before it begins, and waits for it. The thread never ends: what ending takes is no part of a phase.
pub fn on_thread<T: Send + 'static>(phase: &'static str, act: impl FnOnce() -> T + Send + 'static) -> T {
    begin(Confinement::new(phase, None), act).recv().unwrap()
}

/// The same without waiting.
pub fn begin<T: Send + 'static>(confinement: Confinement, act: impl FnOnce() -> T + Send + 'static) -> Receiver<T> {
    static WATCHED: Once = Once::new();
    WATCHED.call_once(watch);
    let (tell, told) = channel();
    std::thread::spawn(move || {
        confinement.enter();
        let _ = tell.send(act());
        loop {
            std::thread::park();
        }
    });
    told
}
