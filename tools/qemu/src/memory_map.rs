// SPDX-License-Identifier: MIT OR Apache-2.0
//! The guest's memory, as QEMU tells it by mapping it for DMA.

use crate::qemu;
use fctl_dispatcher::memory::{HostRange, HostRangeError, Memory, OutsideMemory, Sink};
use std::sync::Arc;

/// One mapping: guest addresses that are host addresses of QEMU's process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// First guest address.
    pub guest: u64,
    /// Where that lies in this process.
    pub host: u64,
    /// Length in bytes.
    pub bytes: u64,
}

impl Range {
    fn overlaps(&self, guest: u64, bytes: u64) -> bool {
        self.guest < guest.saturating_add(bytes) && guest < self.guest.saturating_add(self.bytes)
    }
}

/// All mappings, sorted by guest address.
#[derive(Clone, Debug, Default)]
pub struct MemoryMap {
    ranges: Vec<Range>,
}

impl MemoryMap {
    /// Adds a mapping. False if it is empty, wraps, or lies over another.
    pub fn add(&mut self, range: Range) -> bool {
        let wraps = range.guest.checked_add(range.bytes).is_none() || range.host.checked_add(range.bytes).is_none();
        if range.bytes == 0 || wraps || self.ranges.iter().any(|other| other.overlaps(range.guest, range.bytes)) {
            return false;
        }
        let place = self.ranges.partition_point(|other| other.guest < range.guest);
        self.ranges.insert(place, range);
        true
    }

    /// Takes away the mappings that lie inside a range; gives how many bytes they had. None, and nothing is taken away, if one lies across its border.
    pub fn remove(&mut self, guest: u64, bytes: u64) -> Option<u64> {
        let end = guest.saturating_add(bytes);
        let inside = |range: &Range| range.guest >= guest && range.guest + range.bytes <= end;
        if self.ranges.iter().any(|range| range.overlaps(guest, bytes) && !inside(range)) {
            return None;
        }
        let before: u64 = self.ranges.iter().map(|range| range.bytes).sum();
        self.ranges.retain(|range| !inside(range));
        Some(before - self.ranges.iter().map(|range| range.bytes).sum::<u64>())
    }

    /// The memory that the dispatcher uses: read where it lies, written by QEMU if QEMU exports how.
    pub fn memory(&self) -> Result<Memory, HostRangeError> {
        if self.ranges.is_empty() {
            return Ok(Memory::none());
        }
        let ranges = self.ranges.iter().map(|range| HostRange {
            address: range.guest,
            // Any that does not fit into a pointer is refused below.
            host: std::ptr::with_exposed_provenance_mut(usize::try_from(range.host).unwrap_or(0)),
            length: usize::try_from(range.bytes).unwrap_or(0),
        });
        let ranges: Vec<HostRange> = ranges.collect();
        // SAFETY: QEMU keeps what it has mapped for DMA mapped until `IOMMU_UNMAP_DMA` is answered, and that waits without a deadline until the kernel has given
        // back what it used (`Dispatcher::memory_was_removed`). If it fails, or the process ends meanwhile, nobody has said that the memory is free. QEMU's guest
        // RAM is raw memory, and no file behind it is made shorter.
        let memory = unsafe { Memory::from_host_ranges(&ranges, Arc::new(())) }?;
        Ok(if qemu::can_write() { memory.through_sink(Arc::new(ByQemu)) } else { memory })
    }
}

/// Writes by QEMU's own function: pages that hold translated code are noticed.
struct ByQemu;

impl Sink for ByQemu {
    fn store(&self, address: u64, bytes: &[u8]) -> Result<(), OutsideMemory> {
        if qemu::write(address, bytes) {
            Ok(())
        } else {
            Err(OutsideMemory { address, length: bytes.len() as u64 })
        }
    }
}
