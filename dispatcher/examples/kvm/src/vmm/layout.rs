// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where things are in the guest's machine: one list, for the hypervisor and (by `build.rs`) for the guest's compiler.

macro_rules! layout {
    ($($(#[$doc:meta])* $name:ident = $value:expr;)*) => {
        $($(#[$doc])* pub const $name: u64 = $value;)*

        /// All of them, by name.
        pub const ALL: &[(&str, u64)] = &[$((stringify!($name), $name)),*];
    };
}

layout! {
    /// The guest's memory, from address 0 on.
    MEMORY_BYTES = 16 << 20;
    /// Segment descriptors, and the three levels of page tables.
    GDT = 0x1000;
    PAGE_TABLES = 0x2000;
    /// The task-state segment, which names the stack of the privileged level and the ports that the other may use.
    TASK_STATE = 0x6000;
    /// The stacks of both levels end here.
    PRIVILEGED_STACK = 0x7_0000;
    STACK = 0x8_0000;
    /// The program is loaded, and begins, here.
    PROGRAM = 0x10_0000;
    /// What the guest is asked to do, and what it tells.
    JOB = 0x20_0000;
    /// A descriptor to be started by an exit, and its completion behind it.
    EXIT_SLOT = 0x20_1000;
    /// The ring pair, and room for it.
    RING = 0x40_0000;
    RING_BYTES = 0x40_0000;
    /// One area for each subchannel of the volume: channel program, parameters, and a page further the blocks.
    AREAS = 0x80_0000;
    AREA_BYTES = 0x1_0000;

    /// Port: a write of any size rings the dispatcher's doorbell, without leaving the kernel.
    DOORBELL_PORT = 0x600;
    /// Port: a read waits for the next job.
    JOB_PORT = 0x604;
    /// Port: a write performs the instruction in the exit slot.
    EXIT_PORT = 0x608;
    /// Vector of the interrupt that the dispatcher's notification makes.
    NOTIFICATION_VECTOR = 0x40;

    /// Subchannels of the volume: the first number, and how many.
    VOLUME = 0x00;
    VOLUMES = 4;
    /// A subchannel whose device never answers.
    SILENT = 0x10;
    /// Subchannels of null devices: the first number, and how many.
    NULLS = 0x20;
    NULL_COUNT = 32;
}
