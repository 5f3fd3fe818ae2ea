// SPDX-License-Identifier: MIT OR Apache-2.0
//! A small hypervisor under KVM, with a bare-metal guest that posts its channel I/O into a ring in its own memory.
//!
//! `cargo run --release -p fctl-kvm-example`
//!
//! * The guest (`guest/`, C, no library) uses the project's header `fctl_guest.h` as any guest driver would.
//! * The hypervisor (`src/vmm/`) gives it memory, one processor and an interrupt controller, and attaches the same memory, with the ring in it, to a
//!   dispatcher. The doorbell is an ioeventfd, the notification an irqfd.
//! * The guest reads a volume by FBA channel programs and compares every byte, polling and asleep; writes blocks that the host compares; has starts
//!   overtaken by HALT and CLEAR; and starts through the ring and by one exit each, for comparison.
//!
//! Where there is no `/dev/kvm` it says so.

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod vmm;

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
fn main() -> std::process::ExitCode {
    vmm::main()
}

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
fn main() {
    println!("not run: the guest is a program for x86-64 under KVM");
}
