// SPDX-License-Identifier: MIT OR Apache-2.0
//! The machine: memory, one processor, an interrupt controller in the kernel; the ring's doorbell and notification are
//! KVM's ioeventfd and irqfd, so neither leaves the kernel on the processor's side.

use super::error::{Doing as _, Failed};
use super::exits::ExitPath;
use super::job::{self, Job, Told};
use super::{boot, layout};
use fctl_dispatcher::memory::Memory;
use kvm_bindings::{
    kvm_irq_routing_entry, kvm_irq_routing_entry__bindgen_ty_1, kvm_irq_routing_msi, kvm_userspace_memory_region, KvmIrqRouting,
    KVM_IRQ_ROUTING_MSI, KVM_MAX_CPUID_ENTRIES,
};
use kvm_ioctls::{IoEventAddress, Kvm, NoDatamatch, VcpuExit, VcpuFd, VmFd};
use std::io::ErrorKind;
use std::sync::Arc;
use vm_memory::{GuestAddress, GuestMemoryBackend as _, GuestMemoryMmap};
use vmm_sys_util::eventfd::EventFd;

/// The interrupt line that the notification raises: routed as a message to the processor.
const NOTIFICATION_LINE: u32 = 24;
/// Messages to the first processor's interrupt controller are written here.
const MESSAGE_ADDRESS: u32 = 0xFEE0_0000;

/// A guest with its processor.
pub struct Machine {
    vcpu: VcpuFd,
    vm: VmFd,
    exits: ExitPath,
    // Last: the processor uses it.
    memory: Memory,
}

impl Machine {
    /// Makes the machine and loads the guest, which then waits for its first job.
    pub fn new(kvm: &Kvm) -> Result<Self, Failed> {
        let vm = kvm.create_vm().doing("create a virtual machine")?;
        let memory = memory(&vm)?;
        boot::load(&memory).doing("load the guest")?;
        vm.create_irq_chip().doing("create the interrupt controller")?;
        let vcpu = vm.create_vcpu(0).doing("create a processor")?;
        let cpuid = kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES).doing("ask for the processor's features")?;
        vcpu.set_cpuid2(&cpuid).doing("set the processor's features")?;
        let registers = vcpu.get_sregs().doing("read the system registers")?;
        vcpu.set_sregs(&boot::system_registers(registers)).doing("set the system registers")?;
        vcpu.set_regs(&boot::registers()).doing("set the registers")?;
        let exits = ExitPath::new(&memory)?;
        Ok(Self { vcpu, vm, exits, memory })
    }

    /// The guest's memory.
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Connects a ring: the guest's write of the doorbell port signals `doorbell`, a signal on `notification` interrupts the guest.
    pub fn connect(&self, doorbell: &EventFd, notification: &EventFd) -> Result<(), Failed> {
        let port = IoEventAddress::Pio(layout::DOORBELL_PORT);
        self.vm.register_ioevent(doorbell, &port, NoDatamatch).doing("register the doorbell")?;
        #[allow(clippy::cast_possible_truncation, reason = "a vector is a byte")]
        let msi = kvm_irq_routing_msi {
            address_lo: MESSAGE_ADDRESS,
            data: layout::NOTIFICATION_VECTOR as u32,
            ..kvm_irq_routing_msi::default()
        };
        let route = kvm_irq_routing_entry {
            gsi: NOTIFICATION_LINE,
            type_: KVM_IRQ_ROUTING_MSI,
            u: kvm_irq_routing_entry__bindgen_ty_1 { msi },
            ..kvm_irq_routing_entry::default()
        };
        let routing = KvmIrqRouting::from_entries(&[route]).doing("make the interrupt route")?;
        self.vm.set_gsi_routing(&routing).doing("set the interrupt route")?;
        self.vm.register_irqfd(notification, NOTIFICATION_LINE).doing("register the notification")
    }

    /// Nanoseconds of a tick of the guest's clock.
    pub fn tick(&self) -> Result<f64, Failed> {
        Ok(1e6 / f64::from(self.vcpu.get_tsc_khz().doing("ask for the clock's frequency")?))
    }

    /// Runs the guest until it waits for a job: at the beginning, its first.
    pub fn start(&mut self) -> Result<(), Failed> {
        self.run()
    }

    /// Has the guest do a job. A check that fails in the guest is an error.
    pub fn ask(&mut self, job: &Job) -> Result<Told, Failed> {
        job::ask(&self.memory, job).doing("ask the guest")?;
        self.run()?;
        let told = job::told(&self.memory).doing("read what the guest told")?;
        if told.line != 0 {
            let fault = format!("its check at line {} found {:#x}, in {job:?}, after {} done", told.line, told.found, told.done);
            return Err(Failed::new("go on: the guest gave up", fault));
        }
        Ok(told)
    }

    /// Runs the processor until the guest reads the job port.
    fn run(&mut self) -> Result<(), Failed> {
        loop {
            let exit = match self.vcpu.run() {
                // A signal, such as to stop the process for a while.
                Err(error) if std::io::Error::from(error).kind() == ErrorKind::Interrupted => continue,
                exit => exit.doing("run the processor")?,
            };
            match exit {
                VcpuExit::IoIn(port, _) if u64::from(port) == layout::JOB_PORT => return Ok(()),
                VcpuExit::IoOut(port, _) if u64::from(port) == layout::EXIT_PORT => self.exits.perform(&self.memory)?,
                other => return Err(Failed::new("run the guest", format!("it stopped with {other:?}"))),
            }
        }
    }
}

/// Memory for the guest, from address 0 on, known to KVM and to the dispatcher.
#[allow(clippy::cast_possible_truncation, reason = "the guest is a 64-bit machine's, and so is the host")]
fn memory(vm: &VmFd) -> Result<Memory, Failed> {
    let ranges = [(GuestAddress(0), layout::MEMORY_BYTES as usize)];
    let map: GuestMemoryMmap<()> = GuestMemoryMmap::from_ranges(&ranges).doing("map the guest's memory")?;
    let host = map.get_host_address(GuestAddress(0)).doing("find the guest's memory")?;
    let region = kvm_userspace_memory_region {
        memory_size: layout::MEMORY_BYTES,
        userspace_addr: host.addr() as u64,
        ..kvm_userspace_memory_region::default()
    };
    // SAFETY: the range is one mapping of that length, which `Memory` keeps for longer than the machine has its processor.
    unsafe { vm.set_user_memory_region(region) }.doing("give the guest its memory")?;
    Ok(Memory::new(Arc::new(map)))
}
