// SPDX-License-Identifier: MIT OR Apache-2.0
//! All of it together, as under a translating hypervisor: instructions by a host ring, memory by a sink, resets while reads are under way.

use crate::channel_program_support::{block, locate_bytes, volume_file, CC};
use crate::common::{id, MEMORY_BYTES, PATIENCE};
use fctl_dispatcher::device::emulated::Limits;
use fctl_dispatcher::device::fba::{Fba, FbaConfig};
use fctl_dispatcher::host::{HostRing, HostRingOptions};
use fctl_dispatcher::memory::{HostRange, Memory, OutsideMemory, Sink};
use fctl_dispatcher::region::sealed_memory_file;
use fctl_dispatcher::volume::{Volume, VolumeOptions};
use fctl_dispatcher::{Builder, SubchannelOptions};
use fctl_ringabi::arch::{Ccw, CcwFlags, DeviceStatus, Orb};
use fctl_ringabi::{Descriptor, Disposition};
use memmap2::MmapOptions;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::time::Duration;

struct ByFile {
    file: File,
    stores: AtomicU64,
}

impl Sink for ByFile {
    fn store(&self, address: u64, bytes: &[u8]) -> Result<(), OutsideMemory> {
        self.file.write_all_at(bytes, address).unwrap();
        self.stores.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

const SUBCHANNELS: u16 = 4;
const BLOCKS: u16 = 120;

const fn buffer(number: u16) -> u32 {
    0x10_0000 + 0x1_0000 * number as u32
}

fn put_program(file: &File, number: u16) -> Orb {
    let at = 0x1000 * (u32::from(number) + 1);
    let put = |address: u32, bytes: &[u8]| file.write_all_at(bytes, address.into()).unwrap();
    let mut extent = vec![0x40, 0, 2, 0];
    for word in [0, 0, u32::from(BLOCKS) - 1] {
        extent.extend(word.to_be_bytes());
    }
    put(at + 0x100, &extent);
    put(at + 0x200, &locate_bytes(6, 0, BLOCKS, 0));
    let ccws = [(0x63, CC, 16, at + 0x100), (0x43, CC, 8, at + 0x200), (0x42, 0, BLOCKS * 512, buffer(number))];
    for (n, (command, flags, count, address)) in (0..).zip(ccws) {
        put(at + 8 * n, &Ccw { command, flags: CcwFlags::from_bits_retain(flags), count, address }.to_format1());
    }
    Orb::new(0, at)
}

#[test]
fn after_a_reset_nothing_is_stored_and_every_start_has_its_one_end() {
    let file = sealed_memory_file("fctl-test", MEMORY_BYTES).unwrap();
    let length = usize::try_from(MEMORY_BYTES).unwrap();
    let mapping = MmapOptions::new().len(length).map_raw_read_only(&file).unwrap();
    let range = HostRange { address: 0, host: mapping.as_mut_ptr(), length };
    let sink = Arc::new(ByFile { file: file.try_clone().unwrap(), stores: AtomicU64::new(0) });
    // SAFETY: the mapping lives in the owner, its file is sealed, and nobody has a reference into it.
    let memory = unsafe { Memory::from_host_ranges(&[range], Arc::new(mapping)) }.unwrap().through_sink(sink.clone());
    let handle = Builder::default().spawn().unwrap();
    let guest = handle.attach_guest(memory).unwrap();
    let (mut host, ends) = HostRing::new(HostRingOptions::default()).unwrap();
    let ring = handle.attach_host_ring(guest, ends).unwrap();
    let disk = volume_file(BLOCKS.into());
    let volume = Arc::new(Volume::open(disk.path(), VolumeOptions::default()).unwrap());
    let config = FbaConfig::default().with_limits(Limits::default().with_stop_grain(2048));
    let mut orbs = Vec::new();
    for number in 0..SUBCHANNELS {
        let device = Box::new(Fba::with_config(volume.clone(), config).unwrap());
        handle.attach_subchannel(ring, id(number), SubchannelOptions::new(number), device).unwrap();
        orbs.push(put_program(&file, number));
    }
    let expected: Vec<u8> = (0..usize::from(BLOCKS)).flat_map(block).collect();
    let (mut ran, mut stopped) = (0, 0);
    for round in 0..300_u64 {
        for number in 0..SUBCHANNELS {
            file.write_all_at(&vec![0xEE; expected.len()], buffer(number).into()).unwrap();
            let start = Descriptor::start(id(number), &orbs[usize::from(number)], number.into());
            assert_eq!(host.post(&start).unwrap(), 0, "a reset leaves nothing behind");
        }
        if round % 3 != 0 {
            std::thread::sleep(Duration::from_micros(10 * (round % 30)));
        }
        handle.reset_guest(guest, PATIENCE).unwrap();
        let stores = sink.stores.load(Ordering::SeqCst);
        let ends: Vec<_> = std::iter::from_fn(|| host.take().unwrap()).map(|(end, _)| end).collect();
        assert_eq!(ends.len(), usize::from(SUBCHANNELS), "all finals are there when the reset returns: {ends:?}");
        for end in ends {
            let mut bytes = vec![0; expected.len()];
            file.read_exact_at(&mut bytes, buffer(u16::try_from(end.tag).unwrap()).into()).unwrap();
            if end.disposition() == Some(Disposition::Executed) {
                assert_eq!(end.scsw.device_status(), DeviceStatus::CHANNEL_END | DeviceStatus::DEVICE_END);
                assert!(bytes == expected);
                ran += 1;
            } else {
                // Whole pieces, from the beginning on.
                let got = bytes.iter().zip(&expected).take_while(|(found, expected)| found == expected).count();
                assert!(got % 2048 == 0 && bytes[got..].iter().all(|&byte| byte == 0xEE), "{got} bytes");
                stopped += 1;
            }
        }
        std::thread::yield_now();
        assert_eq!(sink.stores.load(Ordering::SeqCst), stores, "nothing is stored after the reset");
    }
    println!("{ran} starts ran, {stopped} were stopped by a reset");
    assert!(stopped > 0, "no reset met a read");
}
