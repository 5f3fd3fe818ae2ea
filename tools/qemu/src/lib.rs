// SPDX-License-Identifier: MIT OR Apache-2.0
//! A library to be preloaded into an unmodified `qemu-system-s390x`, so that its vfio-ccw devices are DASD volumes of the dispatcher.
//!
//! QEMU believes that it talks to the host kernel's VFIO group, container and vfio-ccw device; the functions of the C library by which it
//! does so are `hooks` here. What is not about those few paths and descriptors goes straight on to the real functions, without a lock or an
//! allocation. A region write (SSCH, HSCH, CSCH) is posted to a ring of the device's own and waits for the condition code; the
//! end of the function raises QEMU's own eventfd, written by the dispatcher. The only thread made is the reactor's.
//!
//! Nothing here panics for the guest's sake; a panic would abort QEMU (`extern "C"`), never unwind into it. `fctl qemu` is the way to use it.
//!
//! # Guarantees
//! * QEMU is called exactly once for each status that the guest is to see. After that status, the function it ends changes neither memory nor volume.
//! * Guest memory is written by QEMU's own function, which throws stale translated code away; where QEMU does not export it, directly.
//! * In a process that is no QEMU with volumes of ours, every call goes on to the C library.
//!
//! # Who calls what from which thread
//! QEMU calls the hooks, from any of its threads; calls for one device come one at a time (its big lock), and would wait for each other if they did not. The
//! reactor's thread is known to QEMU's RCU and calls nothing of it but the function that writes guest memory; it tells what has happened by QEMU's eventfd.
//!
//! # Full, empty, dead
//! * *Full*: an instruction for which a device's ring has no room is EIO. It does not come to that: QEMU waits for each one's condition code, and a start over
//!   one that is still outstanding clears that first.
//! * *Empty*: a status region that is read when there is none gives a status of zeros. An idle dispatcher sleeps.
//! * *Dead*: a dispatcher that cannot be started keeps the guest from starting, with the reason. One that does not answer is a path that is not
//!   operational (ENODEV). A QEMU that dies takes the thread along, and the kernel takes its locks.
//!
//! # What blocks, what allocates, what is unsafe
//! A region write waits for the condition code; a reset, and a start over one that was cancelled, for the end of what is in flight. Opening a device and changing the
//! memory map allocate; a call that is none of ours does not, and takes no lock. Unsafe is what C asks for: the pointers of `hooks` and `vfio`, what runs before
//! `main` in `load`, QEMU's functions in `qemu`, the mappings of `memory_map`, and single system calls elsewhere.

mod adapter;
mod config;
mod descriptors;
mod device;
mod dispatcher;
mod faults;
mod hooks;
mod image_lock;
mod load;
mod memory_map;
mod qemu;
mod regions;
mod session;
mod statistics;
mod sysfs;
mod vfio;
