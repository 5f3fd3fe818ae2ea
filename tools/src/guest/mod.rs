// SPDX-License-Identifier: MIT OR Apache-2.0
//! The guest of the demo: a process that has the mapped memory and two eventfds, and nothing else. It knows the ring ABI; of the
//! dispatcher it uses nothing.

mod ledger;
pub mod model;
pub mod program;
mod subchannel;
mod work;

use crate::shared::{map, Board, Cell, Fault, Layout, Phase, Words};
use fctl_ringabi::GuestPort;
use model::Model;
use rustix::fs::SealFlags;
use rustix::process::{set_parent_process_death_signal, Signal};
use rustix::thread::{sched_getaffinity, sched_setaffinity, CpuSet};
use std::fs::File;
use std::os::fd::{FromRawFd as _, OwnedFd, RawFd};
use std::process::ExitCode;
use subchannel::Subchannel;
use work::{Bells, Work};

/// The number under which the guest inherits the memory file.
pub const MEMORY_FD: RawFd = 3;
/// The number under which it inherits the doorbell.
pub const DOORBELL_FD: RawFd = 4;
/// The number under which it inherits the notification.
pub const NOTIFICATION_FD: RawFd = 5;

/// The guest's process. Whatever it has to say stands on the board.
pub fn main() -> ExitCode {
    // The parent may die in any way: then there is nobody to work for.
    let _ = set_parent_process_death_signal(Some(Signal::KILL));
    // SAFETY: the three numbers are the ones under which the parent passes them; nothing in this process has used them before.
    let inherited = unsafe {
        let fd = |number| std::os::fd::BorrowedFd::borrow_raw(number);
        [fd(MEMORY_FD), fd(DOORBELL_FD), fd(NOTIFICATION_FD)]
    };
    // Nothing is mapped that is not the memory file of a demo: sealed, as no other file is.
    let sealed = rustix::fs::fcntl_get_seals(inherited[0]).is_ok_and(|seals| seals.contains(SealFlags::SHRINK | SealFlags::GROW));
    if !sealed || inherited.into_iter().any(|fd| rustix::io::fcntl_getfd(fd).is_err()) {
        eprintln!("fctl guest: started by fctl demo alone, from which it inherits the memory file and two eventfds");
        return ExitCode::from(2);
    }
    // SAFETY: they are open (just looked at), and this is their only owner.
    let (memory, doorbell, notification) =
        unsafe { (File::from_raw_fd(MEMORY_FD), OwnedFd::from_raw_fd(DOORBELL_FD), OwnedFd::from_raw_fd(NOTIFICATION_FD)) };
    let Ok(board) = Board::map(&memory) else { return ExitCode::from(2) };
    let witness = board.clone();
    std::panic::set_hook(Box::new(move |panic| witness.fault(Fault::GuestBroken, || format!("the guest panicked: {panic}"))));
    match set_up(memory, Bells { doorbell, notification }, &board) {
        Ok(mut work) => {
            work.run();
            board.set(Cell::Phase, Phase::Done as u64);
            ExitCode::SUCCESS
        }
        Err(error) => {
            board.fault(Fault::GuestBroken, || format!("the guest cannot begin: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// Maps what the board tells of, and gives up the file itself.
fn set_up(memory: File, bells: Bells, board: &Board) -> Result<Work, Box<dyn std::error::Error>> {
    let layout =
        Layout { subchannels: u32::try_from(board.get(Cell::Subchannels))?, owned: u32::try_from(board.get(Cell::Owned))? };
    let model = Model::new(map(&memory, layout.model())?);
    let ring = GuestPort::open(map(&memory, layout.rings()?)?)?.split();
    let words: Words = map(&memory, layout.memory()?)?;
    drop(memory);
    look_around(board)?;
    let subchannels = (0..layout.subchannels).map(|number| {
        let first = number * layout.owned;
        Ok(Subchannel::new(u16::try_from(number)?, first..first + layout.owned, &words))
    });
    let subchannels = subchannels.collect::<Result<Vec<_>, std::num::TryFromIntError>>()?;
    let alone = keep_off(usize::try_from(board.get(Cell::DispatcherCpu))?);
    Ok(Work::new(board.clone(), model, ring, bells, subchannels, alone))
}

/// Leaves the dispatcher's CPU to the dispatcher. True if there is no other.
fn keep_off(dispatcher: usize) -> bool {
    let Ok(mut set) = sched_getaffinity(None) else { return true };
    if dispatcher < CpuSet::MAX_CPU {
        set.unset(dispatcher);
    }
    set.count() == 0 || sched_setaffinity(None, &set).is_err()
}

/// Looks at what this process has open: two eventfds, and /dev/null three times.
fn look_around(board: &Board) -> std::io::Result<()> {
    let mut others = 0;
    for entry in std::fs::read_dir("/proc/self/fd")? {
        let path = entry?.path();
        let Ok(target) = std::fs::read_link(&path) else { continue };
        let target = target.to_string_lossy();
        // The last is the directory that is being read.
        if target == "/dev/null" || target.ends_with("/fd") {
            continue;
        }
        others += 1;
        if !target.contains("[eventfd]") {
            board.fault(Fault::GuestNotAlone, || format!("the guest has {target} open: two eventfds are all it may have"));
        }
    }
    board.set(Cell::OpenFiles, others);
    if others != 2 {
        board.fault(Fault::GuestNotAlone, || format!("the guest has {others} files open: two eventfds are all it may have"));
    }
    Ok(())
}
