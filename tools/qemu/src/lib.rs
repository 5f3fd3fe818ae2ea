// SPDX-License-Identifier: MIT OR Apache-2.0
//! A library to be preloaded into an unmodified `qemu-system-s390x`, so that its vfio-ccw devices are DASD volumes of the dispatcher.
//!
//! QEMU believes that it talks to the host kernel's VFIO group, container and vfio-ccw device; the functions of the C library by which it
//! does so are `hooks` here. What is not about those few paths and descriptors goes straight on to the real functions, without a lock or an
//! allocation. A region write (SSCH, HSCH, CSCH) is posted to a ring of the device's own and waits for the condition code; the
//! end of the function raises QEMU's own eventfd, written by the dispatcher. The only thread made is the reactor's.
//!
//! Nothing here panics for the guest's sake; a panic would abort QEMU (`extern "C"`), never unwind into it. `fctl qemu` is the way to use it.

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
