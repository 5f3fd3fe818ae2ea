// SPDX-License-Identifier: MIT OR Apache-2.0
//! A whole dispatcher whose kernel cannot write the guest's memory: reads come back all the same, byte for byte.

use crate::channel_program_support::{block, locate_bytes, volume_file, CC, CD};
use crate::common::{id, TestGuest, MEMORY_BYTES, MEMORY_OFFSET};
use fctl_dispatcher::device::fba::Fba;
use fctl_dispatcher::memory::{FileRange, HostRange, Memory, OutsideMemory, Sink};
use fctl_dispatcher::volume::{Cache, Volume, VolumeOptions};
use fctl_dispatcher::{Builder, SubchannelOptions};
use fctl_ringabi::arch::{Ccw, CcwFlags, DeviceStatus, Orb};
use fctl_ringabi::{Descriptor, RingSizes};
use memmap2::MmapOptions;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;

struct ByFile(std::fs::File);

impl Sink for ByFile {
    fn store(&self, address: u64, bytes: &[u8]) -> Result<(), OutsideMemory> {
        self.0.write_all_at(bytes, MEMORY_OFFSET + address).unwrap();
        Ok(())
    }
}

const SUBCHANNELS: u16 = 8;
const BLOCKS: u16 = 40;

/// Where a subchannel has its program, and its data: at an odd address, in two parts.
fn places(subchannel: u16) -> (u32, u32) {
    (0x1000 * (1 + u32::from(subchannel)), 0x10_0001 + 0x2_0000 * u32::from(subchannel))
}

#[test]
fn the_kernel_writes_no_guest_memory_and_every_byte_arrives() {
    let mut guest = TestGuest::new(RingSizes::new(64));
    let length = usize::try_from(MEMORY_BYTES).unwrap();
    let mapping = MmapOptions::new().offset(MEMORY_OFFSET).len(length).map_raw_read_only(&guest.file).unwrap();
    let range = HostRange { address: 0, host: mapping.as_mut_ptr(), length };
    // SAFETY: the mapping lives in the owner, its file is sealed, and nobody has a reference into it.
    let memory = unsafe { Memory::from_host_ranges(&[range], Arc::new(mapping)) }.unwrap();
    guest.memory = memory.through_sink(Arc::new(ByFile(guest.file.try_clone().unwrap())));
    let handle = Builder::default().spawn().unwrap();
    let (_, ring) = guest.attach(&handle);
    let file = volume_file(SUBCHANNELS as usize * 64);
    let options = VolumeOptions::default().with_cache(Cache::Buffered);
    let volume = Arc::new(Volume::open(file.path(), options).unwrap());
    for number in 0..SUBCHANNELS {
        let device = Box::new(Fba::new(volume.clone()).unwrap());
        handle.attach_subchannel(ring, id(number), SubchannelOptions::new(0x120 + number), device).unwrap();
    }
    let shared = guest.file.try_clone().unwrap();
    let put = |address: u32, bytes: &[u8]| shared.write_all_at(bytes, MEMORY_OFFSET + u64::from(address)).unwrap();
    for round in 0..20_u16 {
        for number in 0..SUBCHANNELS {
            let (program, data) = places(number);
            let first = u32::from(number * 64 + round);
            let mut extent = vec![0x40, 0, 2, 0];
            for word in [first, 0, u32::from(BLOCKS) - 1] {
                extent.extend(word.to_be_bytes());
            }
            put(program + 0x100, &extent);
            put(program + 0x200, &locate_bytes(6, 0, BLOCKS, 0));
            let ccws = [(0x63, CC, 16, program + 0x100), (0x43, CC, 8, program + 0x200), (0x42, CD, 1024, data)];
            let rest = (0, 0, (BLOCKS - 2) * 512, data + 0x1_0000);
            for (n, (command, flags, count, address)) in (0..).zip(ccws.into_iter().chain([rest])) {
                let ccw = Ccw { command, flags: CcwFlags::from_bits_retain(flags), count, address };
                put(program + 8 * n, &ccw.to_format1());
            }
            put(data, &[0xEE; 0x1_8000]);
            guest.poster.stage(&Descriptor::start(id(number), &Orb::new(0, program), u64::from(number))).unwrap();
        }
        guest.publish();
        for _ in 0..SUBCHANNELS {
            let (completion, _) = guest.next();
            let number = u16::try_from(completion.tag).unwrap();
            assert_eq!(completion.scsw.device_status(), DeviceStatus::CHANNEL_END | DeviceStatus::DEVICE_END, "{completion:?}");
            let mut bytes = vec![0; 0x1_8000];
            guest.file.read_exact_at(&mut bytes, MEMORY_OFFSET + u64::from(places(number).1)).unwrap();
            let first = usize::from(number * 64 + round);
            let expected: Vec<u8> = (first..first + usize::from(BLOCKS)).flat_map(block).collect();
            let rest = 0x1_0000 + usize::from(BLOCKS - 2) * 512;
            assert!(bytes[..1024] == expected[..1024] && bytes[0x1_0000..rest] == expected[1024..]);
            assert!(bytes[1024..0x1_0000].iter().chain(&bytes[rest..]).all(|&byte| byte == 0xEE), "nothing beside the data");
        }
    }
    handle.detach_ring(ring, Duration::from_secs(60)).unwrap();
}

#[test]
fn a_read_only_mapping_without_a_sink_is_seen_to_be_one() {
    // That the canary works: the same mapping without a sink ends in an equipment check, because the kernel may not write it.
    let mut guest = TestGuest::new(RingSizes::new(8));
    let length = usize::try_from(MEMORY_BYTES).unwrap();
    let mapping = MmapOptions::new().offset(MEMORY_OFFSET).len(length).map_raw_read_only(&guest.file).unwrap();
    let own = Memory::from_file(&guest.file, &[FileRange { address: 0, offset: MEMORY_OFFSET, length }]).unwrap();
    let range = HostRange { address: 0, host: mapping.as_mut_ptr(), length };
    // SAFETY: as above.
    guest.memory = unsafe { Memory::from_host_ranges(&[range], Arc::new(mapping)) }.unwrap();
    let handle = Builder::default().spawn().unwrap();
    let (_, ring) = guest.attach(&handle);
    let file = volume_file(64);
    let volume = Arc::new(Volume::open(file.path(), VolumeOptions::default()).unwrap());
    handle.attach_subchannel(ring, id(0), SubchannelOptions::new(0x120), Box::new(Fba::new(volume).unwrap())).unwrap();
    let ipl = Ccw { command: 0x02, flags: CcwFlags::empty(), count: 512, address: 0x4000 };
    own.store(0x1000, &ipl.to_format1()).unwrap();
    guest.poster.stage(&Descriptor::start(id(0), &Orb::new(0, 0x1000), 0)).unwrap();
    guest.publish();
    let (completion, _) = guest.next();
    assert!(completion.scsw.device_status().contains(DeviceStatus::UNIT_CHECK), "{completion:?}");
}
