// SPDX-License-Identifier: MIT OR Apache-2.0
//! The library as QEMU calls it, without QEMU: this program starts itself again with the library preloaded, and makes the calls that QEMU makes for
//! one vfio-ccw device. What no guest can be made to do at the right moment is done here.

use std::fs::File;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use vfio_bindings::bindings::vfio as uapi;
use vmm_sys_util::eventfd::{EventFd, EFD_NONBLOCK};

const GROUP_GET_DEVICE_FD: u64 = 0x3B6A;
const DEVICE_SET_IRQS: u64 = 0x3B6E;
const DEVICE_RESET: u64 = 0x3B6F;
const IOMMU_MAP_DMA: u64 = 0x3B71;
const IOMMU_UNMAP_DMA: u64 = 0x3B72;

const HSCH: u32 = 1;
const CSCH: u32 = 2;
const MEMORY: usize = 1 << 20;
/// Where channel programs lie.
const PROGRAM: usize = 0x1000;

/// What QEMU has of one device.
struct Device {
    device: File,
    container: File,
    interrupt: EventFd,
    memory: *mut u8,
}

fn ioctl<T>(fd: RawFd, request: u64, argument: *mut T) -> i32 {
    // SAFETY: the requests used here take what is passed.
    unsafe { libc::ioctl(fd, request, argument) }
}

fn open(path: &str) -> File {
    File::options().read(true).write(true).open(path).unwrap()
}

fn new_memory() -> *mut u8 {
    let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: a new mapping.
    unsafe { libc::mmap(std::ptr::null_mut(), MEMORY, protection, flags, -1, 0) }.cast()
}

fn unmap(container: &File, guest: u64) {
    let mut unmap = uapi::vfio_iommu_type1_dma_unmap { argsz: 24, iova: guest, size: MEMORY as u64, ..Default::default() };
    assert_eq!(ioctl(container.as_raw_fd(), IOMMU_UNMAP_DMA, &mut unmap), 0);
    assert_eq!(unmap.size, MEMORY as u64);
}

impl Device {
    fn open() -> Self {
        let (container, group) = (open("/dev/vfio/vfio"), open("/dev/vfio/990000"));
        let fd = ioctl(group.as_raw_fd(), GROUP_GET_DEVICE_FD, c"volume".as_ptr().cast_mut());
        assert!(fd >= 0, "{}", std::io::Error::last_os_error());
        // SAFETY: the descriptor was just given to us.
        let device = File::from(unsafe { OwnedFd::from_raw_fd(fd) });
        let memory = new_memory();
        let interrupt = EventFd::new(EFD_NONBLOCK).unwrap();
        let this = Self { device, container, interrupt, memory };
        this.map(0, memory);
        this.listen(this.interrupt.as_raw_fd());
        this
    }

    fn map(&self, guest: u64, memory: *mut u8) {
        let (argsz, vaddr) = (32, memory.expose_provenance() as u64);
        let mut map = uapi::vfio_iommu_type1_dma_map { argsz, flags: 3, vaddr, iova: guest, size: MEMORY as u64 };
        assert_eq!(ioctl(self.container.as_raw_fd(), IOMMU_MAP_DMA, &mut map), 0);
    }

    fn listen(&self, fd: RawFd) {
        // argsz, flags (trigger by eventfd), index, start, count, data.
        let mut set = [24, 0x24, 0, 0, 1, fd];
        assert_eq!(ioctl(self.device.as_raw_fd(), DEVICE_SET_IRQS, set.as_mut_ptr()), 0);
    }

    /// Puts bytes into the guest's memory.
    fn put(&self, address: usize, bytes: &[u8]) {
        for (place, &byte) in (address..MEMORY).zip(bytes) {
            // SAFETY: inside the mapping; the dispatcher reads it only while a start runs.
            unsafe { self.memory.add(place).write_volatile(byte) };
        }
    }

    /// SSCH of a program with one CCW.
    fn start(&self, command: u8) -> std::io::Result<usize> {
        self.put(PROGRAM, &[command, 0x20, 0, 0, 0, 0, 0, 0]);
        self.start_at(PROGRAM)
    }

    /// SSCH of a program that writes one block.
    fn start_write(&self) -> std::io::Result<usize> {
        // DEFINE EXTENT of the whole volume for writing, LOCATE the first block, WRITE.
        self.put(PROGRAM, &[0x63, 0x40, 0, 16, 0, 0, 0x20, 0, 0x43, 0x40, 0, 8, 0, 0, 0x20, 0x10, 0x41, 0, 2, 0, 0, 0, 0x30, 0]);
        self.put(0x2000, &[0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x07, 0xFF]);
        self.put(0x2010, &[0x05, 0, 0, 1, 0, 0, 0, 0]);
        self.start_at(PROGRAM)
    }

    fn start_at(&self, program: usize) -> std::io::Result<usize> {
        let mut region = [0; 124];
        region[4..6].copy_from_slice(&0x00C2_u16.to_ne_bytes());
        region[6] = 0x80;
        region[8..12].copy_from_slice(&u32::try_from(program).unwrap().to_ne_bytes());
        self.device.write_at(&region, 0)
    }

    fn command(&self, command: u32) -> std::io::Result<usize> {
        let mut region = [0; 8];
        region[..4].copy_from_slice(&command.to_ne_bytes());
        self.device.write_at(&region, 1 << 10)
    }

    /// Closes the device, then takes its memory away, as when it is unplugged.
    fn close(self) {
        drop(self.device);
        unmap(&self.container, 0);
        // SAFETY: nothing uses it any more.
        assert_eq!(unsafe { libc::munmap(self.memory.cast(), MEMORY) }, 0);
    }

    fn reset(&self) -> i32 {
        ioctl::<u8>(self.device.as_raw_fd(), DEVICE_RESET, std::ptr::null_mut())
    }

    fn wait_for_call(&self) {
        let mut poll = libc::pollfd { fd: self.interrupt.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one `pollfd` that is ours.
        assert_eq!(unsafe { libc::poll(&mut poll, 1, 20_000) }, 1, "no call within 20 s");
    }

    /// Waits until QEMU is called, and reads the control half-word of the status it is called for.
    fn called(&self) -> u16 {
        self.wait_for_call();
        assert_eq!(self.interrupt.read().unwrap(), 1, "called once");
        let mut region = [0; 124];
        assert_eq!(self.device.read_at(&mut region, 0).unwrap(), 124);
        u16::from_be_bytes([region[26], region[27]])
    }

    /// There was no call. One that is still on its way is noticed by the next [`called`](Self::called).
    fn is_not_called(&self) {
        assert!(self.interrupt.read().is_err(), "called for nothing");
    }

    /// No call is on its way: one that was would come before that of a clear, and be counted with it.
    fn is_left_alone(&self) {
        self.is_not_called();
        self.command(CSCH).unwrap();
        assert_eq!(self.called(), 0x1001);
        self.is_not_called();
    }
}

const NO_OPERATION: u8 = 0x03;

/// Runs `body` of the test `name` in a process of its own, with the library preloaded and a volume.
fn preloaded(name: &str, faults: &str, body: impl FnOnce()) {
    if std::env::var_os("FCTL_QEMU_TEST").is_some() {
        return body();
    }
    let this = std::env::current_exe().unwrap();
    let folder = this.parent().unwrap();
    let library = [folder, folder.parent().unwrap()].map(|folder| folder.join("libfctl_qemu.so"));
    let library: &PathBuf = library.iter().find(|path| path.exists()).expect("the library was built with this test");
    let volume = tempfile::NamedTempFile::new().unwrap();
    volume.as_file().set_len(1 << 20).unwrap();
    let configuration = configuration(volume.path(), faults);
    let output = Command::new(&this)
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env("FCTL_QEMU_TEST", "1")
        .env("LD_PRELOAD", library)
        .env("FCTL_QEMU", configuration)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

fn configuration(volume: &Path, faults: &str) -> String {
    let volume = format!(r#"{{"path":{volume:?},"writeback":false,"direct":false,"read_only":false}}"#);
    format!(r#"{{"volumes":[{volume}],"cpu":null,"polling":null,"statistics":null,"faults":{faults}}}"#)
}

/// No start is ever answered.
const SWALLOWED: &str = r#"{"unit_check_every":0,"swallow_every":1}"#;
/// The second start is not answered.
const SECOND_SWALLOWED: &str = r#"{"unit_check_every":0,"swallow_every":2}"#;
const NO_FAULTS: &str = r#"{"unit_check_every":0,"swallow_every":0}"#;

fn errno(result: std::io::Result<usize>) -> Option<i32> {
    result.err().and_then(|error| error.raw_os_error())
}

#[test]
fn a_start_is_answered_by_one_call() {
    preloaded("a_start_is_answered_by_one_call", NO_FAULTS, || {
        let device = Device::open();
        for _ in 0..1_000 {
            assert_eq!(device.start(NO_OPERATION).unwrap(), 124);
            assert_eq!(device.called(), 0x4007);
        }
        device.is_left_alone();
    });
}

#[test]
fn a_write_is_answered_by_one_call_when_it_is_on_stable_storage() {
    preloaded("a_write_is_answered_by_one_call_when_it_is_on_stable_storage", NO_FAULTS, || {
        let device = Device::open();
        for _ in 0..500 {
            device.start_write().unwrap();
            assert_eq!(device.called(), 0x4007);
        }
        device.is_left_alone();
    });
}

#[test]
fn a_start_over_one_that_was_cancelled_is_accepted_and_only_it_is_answered() {
    preloaded("a_start_over_one_that_was_cancelled_is_accepted_and_only_it_is_answered", SECOND_SWALLOWED, || {
        let device = Device::open();
        for _ in 0..100 {
            device.start(NO_OPERATION).unwrap();
            assert_eq!(device.called(), 0x4007);
            // The second one hangs; XSCH is not told.
            device.start(NO_OPERATION).unwrap();
            device.is_not_called();
        }
        device.is_left_alone();
    });
}

#[test]
fn a_clear_ends_what_never_ends_and_a_halt_too() {
    preloaded("a_clear_ends_what_never_ends_and_a_halt_too", SWALLOWED, || {
        let device = Device::open();
        for _ in 0..100 {
            device.start(NO_OPERATION).unwrap();
            device.command(CSCH).unwrap();
            assert_eq!(device.called(), 0x1001, "clear");
            device.start(NO_OPERATION).unwrap();
            device.command(HSCH).unwrap();
            assert_eq!(device.called() & 0x7000, 0x6000, "start and halt");
        }
        device.is_left_alone();
    });
}

#[test]
fn status_that_was_not_read_refuses_a_halt_and_is_taken_away_by_a_clear() {
    preloaded("status_that_was_not_read_refuses_a_halt_and_is_taken_away_by_a_clear", NO_FAULTS, || {
        let device = Device::open();
        for _ in 0..1_000 {
            device.start(NO_OPERATION).unwrap();
            device.wait_for_call();
            assert_eq!(errno(device.command(HSCH)), Some(libc::EBUSY));
            device.command(CSCH).unwrap();
            assert_eq!(device.called(), 0x1001);
        }
        device.is_left_alone();
    });
}

#[test]
fn a_reset_ends_everything_and_calls_nobody() {
    preloaded("a_reset_ends_everything_and_calls_nobody", SWALLOWED, || {
        let device = Device::open();
        for _ in 0..100 {
            device.start(NO_OPERATION).unwrap();
            assert_eq!(device.reset(), 0);
        }
        device.is_left_alone();
        assert_eq!(device.reset(), 0, "with nothing to end");
    });
}

#[test]
fn a_device_that_is_closed_while_it_works_is_free_and_so_is_the_memory() {
    preloaded("a_device_that_is_closed_while_it_works_is_free_and_so_is_the_memory", SWALLOWED, || {
        for _ in 0..20 {
            let device = Device::open();
            device.start(NO_OPERATION).unwrap();
            device.listen(-1);
            assert_eq!(errno(device.start(NO_OPERATION)), Some(libc::ENODEV), "nobody listens");
            device.close();
        }
    });
}

#[test]
fn a_mapping_goes_as_a_whole_and_one_that_cannot_be_is_not_kept() {
    preloaded("a_mapping_goes_as_a_whole_and_one_that_cannot_be_is_not_kept", NO_FAULTS, || {
        let device = Device::open();
        let fd = device.container.as_raw_fd();
        let unmap = |iova, size| {
            let mut unmap = uapi::vfio_iommu_type1_dma_unmap { argsz: 24, iova, size, ..Default::default() };
            let result = ioctl(fd, IOMMU_UNMAP_DMA, &mut unmap);
            if result == 0 {
                Ok(unmap.size)
            } else {
                Err(std::io::Error::last_os_error().raw_os_error())
            }
        };
        let whole = MEMORY as u64;
        for (iova, size) in [(0, whole / 2), (whole / 2, whole), (4096, 4096)] {
            assert_eq!(unmap(iova, size), Err(Some(libc::EINVAL)), "{iova:#x} {size:#x}");
        }
        assert_eq!(unmap(whole, whole), Ok(0), "nothing is there");
        device.start(NO_OPERATION).unwrap();
        assert_eq!(device.called(), 0x4007);
        // Not at the beginning of a page.
        let more = new_memory();
        let vaddr = more.expose_provenance() as u64 + 1;
        let mut map = uapi::vfio_iommu_type1_dma_map { argsz: 32, flags: 3, vaddr, iova: 1 << 30, size: whole / 2 };
        assert_eq!(ioctl(fd, IOMMU_MAP_DMA, &mut map), -1);
        // The place is still free, and other memory can still come and go.
        device.map(1 << 30, more);
        assert_eq!(unmap(1 << 30, whole), Ok(whole));
        // All of it may go for a moment, with the device still there.
        assert_eq!(unmap(0, u64::MAX), Ok(whole));
        device.map(0, device.memory);
        device.start(NO_OPERATION).unwrap();
        assert_eq!(device.called(), 0x4007);
        device.close();
    });
}

#[test]
fn memory_comes_and_goes_while_a_device_works() {
    preloaded("memory_comes_and_goes_while_a_device_works", SECOND_SWALLOWED, || {
        let device = Device::open();
        let more = new_memory();
        for _ in 0..20 {
            device.map(1 << 30, more);
            // From the new memory, into the new memory: SENSE ID at its beginning.
            let program = [0xE4, 0x20, 0, 7, 0x40, 0, 0, 8];
            // SAFETY: as long as that; no start runs.
            unsafe { more.cast::<[u8; 8]>().write_volatile(program) };
            device.start_at(1 << 30).unwrap();
            assert_eq!(device.called(), 0x4007);
            // SAFETY: inside the mapping; no start runs.
            assert_eq!(unsafe { more.add(8).cast::<[u8; 3]>().read_volatile() }, [0xFF, 0x63, 0x10]);
            // One that hangs, and is not in the way.
            device.start(NO_OPERATION).unwrap();
            unmap(&device.container, 1 << 30);
            device.command(CSCH).unwrap();
            assert_eq!(device.called(), 0x1001);
        }
        device.is_left_alone();
    });
}
