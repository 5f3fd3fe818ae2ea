// SPDX-License-Identifier: MIT OR Apache-2.0
//! The guest's memory: the guest's own mapping, and the dispatcher's, which cannot be written where there is a sink.

use super::{APART, FIRST_END};
use fctl_dispatcher::memory::{HostRange, Memory, OutsideMemory, Sink};
use fctl_dispatcher::region::sealed_memory_file;
use memmap2::{MmapOptions, MmapRaw};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::Arc;
use vm_memory::{Bytes, FileOffset, GuestAddress, GuestMemoryMmap, GuestRegionMmap, MmapRegion};

/// Whether this test is one of those that have all stores go through a sink: the same files, taken up by `tests/through_sink`.
pub fn through_sink() -> bool {
    module_path!().starts_with("through_sink::")
}

/// Guest addresses of the regions; they lie one behind the other in the file.
const REGIONS: [Range<u64>; 3] = [0..FIRST_END, FIRST_END..FIRST_END + (1 << 20), APART];

/// The embedder's writer: it alone has a mapping that can be written.
pub struct Writer {
    map: GuestMemoryMmap<()>,
    /// Bytes stored, and calls.
    pub bytes: AtomicUsize,
    pub calls: AtomicUsize,
    /// Says that there is no memory any more.
    pub refuses: AtomicBool,
}

impl Sink for Writer {
    fn store(&self, address: u64, bytes: &[u8]) -> Result<(), OutsideMemory> {
        assert!(!bytes.is_empty());
        if self.refuses.load(Ordering::Relaxed) {
            return Err(OutsideMemory { address, length: bytes.len() as u64 });
        }
        self.map.write_slice(bytes, GuestAddress(address)).expect("the range is inside the memory");
        self.bytes.fetch_add(bytes.len(), Ordering::Relaxed);
        self.calls.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

pub struct GuestMemory {
    /// What the dispatcher has.
    pub memory: Memory,
    pub writer: Arc<Writer>,
    host: Vec<Range<usize>>,
}

impl GuestMemory {
    /// With a sink the dispatcher's mapping is read-only: a store that goes past the sink ends the test, by a signal or by EFAULT.
    pub fn new(through_sink: bool) -> Self {
        let bytes = REGIONS.iter().map(|region| region.end - region.start).sum();
        let file = sealed_memory_file("fctl-test", bytes).unwrap();
        let mut offset = 0;
        let (mut own, mut theirs, mut mappings) = (Vec::new(), Vec::new(), Vec::new());
        for region in REGIONS {
            let length = usize::try_from(region.end - region.start).unwrap();
            let place = FileOffset::new(file.try_clone().unwrap(), offset);
            own.push(GuestRegionMmap::new(MmapRegion::from_file(place, length).unwrap(), GuestAddress(region.start)).unwrap());
            let mut options = MmapOptions::new();
            options.offset(offset).len(length);
            let mapping = if through_sink { options.map_raw_read_only(&file) } else { options.map_raw(&file) }.unwrap();
            theirs.push(HostRange { address: region.start, host: mapping.as_mut_ptr(), length });
            mappings.push(mapping);
            offset += region.end - region.start;
        }
        let writer = Writer {
            map: GuestMemoryMmap::from_regions(own).unwrap(),
            bytes: AtomicUsize::new(0),
            calls: AtomicUsize::new(0),
            refuses: AtomicBool::new(false),
        };
        let writer = Arc::new(writer);
        let host = theirs.iter().map(|range| range.host.addr()..range.host.addr() + range.length).collect();
        // SAFETY: the mappings live in the owner, their file is sealed, and nobody has a reference into them.
        let memory = unsafe { Memory::from_host_ranges(&theirs, Arc::new(mappings)) }.unwrap();
        let memory = if through_sink { memory.through_sink(writer.clone()) } else { memory };
        Self { memory, writer, host }
    }

    /// Where the dispatcher's mapping is.
    pub fn host_ranges(&self) -> Vec<Range<usize>> {
        self.host.clone()
    }

    pub fn put(&self, address: u64, bytes: &[u8]) {
        self.writer.map.write_slice(bytes, GuestAddress(address)).unwrap();
    }

    pub fn get(&self, address: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.writer.map.read_slice(&mut bytes, GuestAddress(address)).unwrap();
        bytes
    }
}
