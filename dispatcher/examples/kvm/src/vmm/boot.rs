// SPDX-License-Identifier: MIT OR Apache-2.0
//! The state in which the guest begins: 64-bit mode, privileged, flat segments, its memory mapped one to one, interrupts off.

use super::layout;
use fctl_dispatcher::memory::{Memory, OutsideMemory};
use kvm_bindings::{kvm_regs, kvm_segment, kvm_sregs};

/// The program, as `build.rs` made it.
const IMAGE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/guest.bin"));

/// Page-table entries: present, writable, for everybody; and a page of 2 MiB.
const TABLE: u64 = 0x07;
const LARGE_PAGE: u64 = 0x87;
const LARGE_PAGE_BYTES: u64 = 2 << 20;

/// Control registers: protection and paging; physical-address extension; long mode, enabled and active.
const CR0: u64 = 0x8000_0001;
const CR4: u64 = 0x20;
const EFER: u64 = 0x500;

/// Segment descriptors: code and data of the privileged level, data and code of the other.
const SEGMENTS: [u64; 5] = [0, 0x00AF_9B00_0000_FFFF, 0x00CF_9300_0000_FFFF, 0x00CF_F300_0000_FFFF, 0x00AF_FB00_0000_FFFF];

/// Puts descriptors, page tables and the program into the guest's memory.
pub fn load(memory: &Memory) -> Result<(), OutsideMemory> {
    let put = |address: u64, words: &[u64]| {
        let bytes: Vec<u8> = words.iter().copied().flat_map(u64::to_le_bytes).collect();
        memory.store(address, &bytes)
    };
    put(layout::GDT, &SEGMENTS)?;
    memory.store(layout::TASK_STATE + 4, &layout::PRIVILEGED_STACK.to_le_bytes())?;
    // A bit for each port, behind the segment proper: all zero, allowed.
    memory.store(layout::TASK_STATE + 0x66, &TASK_STATE_BYTES.to_le_bytes())?;
    let [first, second, third] = [0, 1, 2].map(|level| layout::PAGE_TABLES + level * 0x1000);
    put(first, &[second | TABLE])?;
    put(second, &[third | TABLE])?;
    let pages: Vec<u64> =
        (0..layout::MEMORY_BYTES / LARGE_PAGE_BYTES).map(|page| (page * LARGE_PAGE_BYTES) | LARGE_PAGE).collect();
    put(third, &pages)?;
    memory.store(layout::PROGRAM, IMAGE)
}

/// Length of a task-state segment proper.
const TASK_STATE_BYTES: u16 = 104;
/// What follows it: a bit for each port.
const PORT_BITS_BYTES: u16 = 0x2000;

fn segment(selector: u16, type_: u8, long: bool) -> kvm_segment {
    kvm_segment {
        selector,
        type_,
        limit: 0xFFFF_FFFF,
        present: 1,
        s: 1,
        g: 1,
        l: u8::from(long),
        db: u8::from(!long),
        ..kvm_segment::default()
    }
}

/// The system registers: what KVM gives, changed where it matters.
#[allow(clippy::cast_possible_truncation, reason = "there are five segments")]
pub fn system_registers(mut registers: kvm_sregs) -> kvm_sregs {
    let writable = segment(0x10, 3, false);
    registers.cs = segment(0x08, 11, true);
    (registers.ds, registers.es, registers.ss) = (writable, writable, writable);
    registers.tr = kvm_segment {
        base: layout::TASK_STATE,
        limit: u32::from(TASK_STATE_BYTES + PORT_BITS_BYTES),
        s: 0,
        g: 0,
        ..segment(0, 11, false)
    };
    registers.gdt.base = layout::GDT;
    registers.gdt.limit = 8 * SEGMENTS.len() as u16 - 1;
    registers.cr3 = layout::PAGE_TABLES;
    (registers.cr0, registers.cr4, registers.efer) = (CR0, CR4, EFER);
    registers
}

/// The general registers.
pub fn registers() -> kvm_regs {
    kvm_regs { rip: layout::PROGRAM, rsp: layout::STACK, rflags: 2, ..kvm_regs::default() }
}
