// SPDX-License-Identifier: MIT OR Apache-2.0
//! Opening a volume: what is looked at, in which order, and what is refused.

use super::lock::{lock, LockError, Sharing};
use super::reservation::Reservation;
use super::{Cache, Volume, VolumeError, VolumeOptions, BLOCK_BYTES};
use rustix::event::epoll;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, SeekFrom, Stat, StatxFlags};
use rustix::io::Errno;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

/// The alignment that suits all but exotic files, where the kernel does not tell (before Linux 6.1).
const USUAL_ALIGNMENT: usize = 4096;

impl Volume {
    /// Opens and locks a plain file or a block device. Reads leave its time of access alone where we may say so (`O_NOATIME`: its owner, or `CAP_FOWNER`).
    ///
    /// # Errors
    /// Every reason has its own [`VolumeError`], which says what would be accepted.
    pub fn open(path: impl AsRef<Path>, options: VolumeOptions) -> Result<Self, VolumeError> {
        let path = path.as_ref();
        // Looked at before it is opened, because opening some special files does something.
        let found = rustix::fs::stat(path).map_err(|error| not_opened(path, error))?;
        check_kind(path, found.st_mode)?;
        let access = if options.read_only { OFlags::RDONLY } else { OFlags::RDWR };
        let file = match open(path, access) {
            Err(Errno::ACCESS | Errno::PERM | Errno::ROFS) if !options.read_only && is_readable(path) => {
                return Err(VolumeError::ReadOnly { path: path.into() });
            }
            opened => opened.map_err(|error| not_opened(path, error))?,
        };
        let opened = rustix::fs::fstat(&file).map_err(|error| host(path, "look at the open file", error))?;
        check_kind(path, opened.st_mode)?;
        let local = is_local(&file);
        let (locked, cached, alignment) = match options.cache {
            Cache::Direct => {
                let (direct, alignment) = open_direct(path, &opened, access)?;
                (direct, Some(file), Some(alignment))
            }
            Cache::Buffered if local => {
                let cached = open(path, access).map_err(|error| not_opened(path, error))?;
                (file, Some(again(path, &opened, cached)?), None)
            }
            Cache::Buffered => (file, None, None),
        };
        let sharing = if options.read_only { Sharing::Shared } else { Sharing::Exclusive };
        lock(locked.as_fd(), sharing).map_err(|error| match error {
            LockError::Held(pid) => VolumeError::InUse { path: path.into(), pid },
            LockError::Host(source) => VolumeError::Host { path: path.into(), what: "lock the open file", source },
        })?;
        // The size is taken under the lock, and by seeking, which works for block devices as well.
        let bytes = rustix::fs::seek(&locked, SeekFrom::End(0)).map_err(|error| host(path, "find out the size", error))?;
        if bytes == 0 {
            return Err(VolumeError::Empty { path: path.into() });
        }
        if bytes % BLOCK_BYTES != 0 {
            return Err(VolumeError::Size { path: path.into(), bytes });
        }
        let waits = can_be_polled(locked.as_fd());
        let name = path.display().to_string();
        Ok(Self { name, bytes, options, cached, alignment, local, waits, reservation: Reservation::default(), locked })
    }
}

/// File systems of this host alone: their locks bind those who ask for them, whichever open file carries the I/O. Of others that is not known. With NFS what is
/// written by an open file without the lock goes on when the server has given the lock to somebody else, with SMB it is refused.
const LOCAL: [libc::c_long; 5] =
    [libc::EXT4_SUPER_MAGIC, libc::XFS_SUPER_MAGIC, libc::BTRFS_SUPER_MAGIC, libc::F2FS_SUPER_MAGIC, libc::TMPFS_MAGIC];

/// Whether a file is in such a file system, as far as that can be found out; of a block device that is the one that its node is in.
fn is_local(file: &OwnedFd) -> bool {
    rustix::fs::fstatfs(file).is_ok_and(|found| LOCAL.into_iter().any(|kind| i128::from(kind) == i128::from(found.f_type)))
}

/// Opens a file for direct I/O; with what its offsets, addresses and lengths must be a multiple of.
fn open_direct(path: &Path, first: &Stat, access: OFlags) -> Result<(OwnedFd, usize), VolumeError> {
    let direct = open(path, access | OFlags::DIRECT).map_err(|error| match error {
        Errno::INVAL => VolumeError::NoDirect { path: path.into() },
        error => host(path, "open the file for direct I/O", error),
    })?;
    let direct = again(path, first, direct)?;
    let told = rustix::fs::statx(&direct, c"", AtFlags::EMPTY_PATH, StatxFlags::DIOALIGN).ok();
    let alignment = match told {
        Some(told) if told.stx_mask & StatxFlags::DIOALIGN.bits() != 0 => {
            // Zero means that the kernel would not really do direct I/O on this file.
            if told.stx_dio_offset_align == 0 || told.stx_dio_mem_align == 0 {
                return Err(VolumeError::NoDirect { path: path.into() });
            }
            told.stx_dio_offset_align.max(told.stx_dio_mem_align) as usize
        }
        _ => USUAL_ALIGNMENT,
    };
    Ok((direct, alignment))
}

/// The file that was opened last, if it is the one that was opened first: the path may name another one by now.
fn again(path: &Path, first: &Stat, file: OwnedFd) -> Result<OwnedFd, VolumeError> {
    let opened = rustix::fs::fstat(&file).map_err(|error| host(path, "look at the open file", error))?;
    if (opened.st_dev, opened.st_ino) == (first.st_dev, first.st_ino) {
        Ok(file)
    } else {
        Err(host(path, "open it again: another file has taken its place", Errno::STALE))
    }
}

/// Opens a file, ready for io_uring.
fn open(path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    // Not blocking, in case that it has become a FIFO meanwhile.
    let file = rustix::fs::open(path, flags | OFlags::CLOEXEC | OFlags::NONBLOCK, Mode::empty())?;
    // With O_NONBLOCK left on, io_uring would refuse every operation that cannot be performed at once.
    let flags = rustix::fs::fcntl_getfl(&file)? - OFlags::NONBLOCK;
    set_flags(&file, flags)?;
    Ok(file)
}

/// Sets these flags, and that no times of access are written down, if we may say so of this file: to find out whether one is due costs every read (measured with
/// 4 KiB reads from the page cache of ext4, five interleaved runs: ×1.06).
fn set_flags(file: &OwnedFd, flags: OFlags) -> Result<(), Errno> {
    rustix::fs::fcntl_setfl(file, flags | OFlags::NOATIME).or_else(|_| rustix::fs::fcntl_setfl(file, flags))
}

/// Whether the file has a poll operation: of plain files and block devices only those of FUSE do.
fn can_be_polled(file: BorrowedFd<'_>) -> bool {
    let added = epoll::create(epoll::CreateFlags::CLOEXEC)
        .and_then(|watch| epoll::add(&watch, file, epoll::EventData::new_u64(0), epoll::EventFlags::IN));
    // Where that cannot be found out, "yes" only costs time.
    added != Err(Errno::PERM)
}

fn check_kind(path: &Path, mode: u32) -> Result<(), VolumeError> {
    let kind = match FileType::from_raw_mode(mode) {
        FileType::RegularFile | FileType::BlockDevice => return Ok(()),
        FileType::Directory => "directory",
        FileType::CharacterDevice => "character device",
        FileType::Fifo => "FIFO",
        FileType::Socket => "socket",
        _ => "special file",
    };
    Err(VolumeError::WrongKind { path: path.into(), kind })
}

fn is_readable(path: &Path) -> bool {
    rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK, Mode::empty()).is_ok()
}

fn not_opened(path: &Path, error: Errno) -> VolumeError {
    match error {
        Errno::NOENT | Errno::NOTDIR => VolumeError::Missing { path: path.into() },
        Errno::ISDIR => VolumeError::WrongKind { path: path.into(), kind: "directory" },
        Errno::ACCESS | Errno::PERM => VolumeError::Permission { path: path.into() },
        error => host(path, "open it", error),
    }
}

fn host(path: &Path, what: &'static str, error: Errno) -> VolumeError {
    VolumeError::Host { path: path.into(), what, source: error.into() }
}
