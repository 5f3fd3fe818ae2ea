// SPDX-License-Identifier: MIT OR Apache-2.0
//! An engine that performs operations on demand, and checks what it is given.

use fctl_dispatcher::engine::{Engine, Operation, OperationResult, Segments, SlotId};
use std::collections::VecDeque;
use std::ops::Range;
use std::os::fd::BorrowedFd;

/// An engine with one slot.
pub struct MockEngine {
    segments: Segments,
    pub(super) in_flight: Option<Operation>,
    /// Every operation submitted, with its bytes.
    pub log: Vec<(Operation, usize)>,
    /// Results to give instead of performing; `None` performs.
    pub injected: VecDeque<Option<OperationResult>>,
    /// The most bytes that one read or write moves.
    pub most: usize,
    pub cancelled: usize,
    /// Segments outside guest memory are expected: skipped input, padding zeros.
    pub scratch_expected: bool,
    /// A sink stores for the guest: the kernel is not to store into its memory.
    private_reads: bool,
    guest: Vec<Range<usize>>,
}

impl MockEngine {
    /// An engine for a guest whose memory is at these addresses of this process.
    pub fn new(guest: Vec<Range<usize>>, private_reads: bool) -> Self {
        Self {
            segments: Segments::default(),
            in_flight: None,
            log: Vec::new(),
            injected: VecDeque::new(),
            most: usize::MAX,
            cancelled: 0,
            scratch_expected: false,
            private_reads,
            guest,
        }
    }

    fn check_segments(&self, operation: Operation) {
        let private = self.private_reads && matches!(operation, Operation::Read { .. });
        for vector in self.segments.vectors() {
            let (start, length) = (vector.iov_base.addr(), vector.iov_len);
            let inside = self.guest.iter().any(|range| range.contains(&start) && length <= range.end - start);
            let apart = self.guest.iter().all(|range| start + length <= range.start || start >= range.end);
            if private {
                assert!(length != 0 && apart, "segment {start:#x}+{length:#x} is guest memory, for which there is a sink");
                continue;
            }
            // In one page; after a short operation only a part of it.
            let scratch = self.scratch_expected && start % 4096 + length <= 4096 && apart;
            assert!(length != 0 && (inside || scratch), "segment {start:#x}+{length:#x} is not guest memory");
        }
    }

    /// Performs the operation in flight.
    pub(super) fn perform(&mut self) -> OperationResult {
        let operation = self.in_flight.take().expect("something in flight");
        if let Some(Some(result)) = self.injected.pop_front() {
            return result;
        }
        let mut vectors = self.segments.vectors().to_vec();
        let mut room = self.most;
        for vector in &mut vectors {
            vector.iov_len = vector.iov_len.min(room);
            room -= vector.iov_len;
        }
        let (list, count) = (vectors.as_ptr(), i32::try_from(vectors.len()).unwrap());
        let signed = |offset: u64| libc::off_t::try_from(offset).unwrap();
        let result = match operation {
            // SAFETY: the segments were checked to be guest memory or the device's scratch, both mapped while the machine lives.
            Operation::Read { file, offset } => unsafe { libc::preadv(file, list, count, signed(offset)) },
            // SAFETY: as above.
            Operation::Write { file, offset, .. } => unsafe { libc::pwritev(file, list, count, signed(offset)) },
            Operation::Zero { file, offset, length } => {
                use rustix::fs::FallocateFlags as Flags;
                // SAFETY: the volume keeps the file open.
                let file = unsafe { BorrowedFd::borrow_raw(file) };
                rustix::fs::fallocate(file, Flags::PUNCH_HOLE | Flags::KEEP_SIZE, offset, length).unwrap();
                0
            }
            _ => 0,
        };
        u32::try_from(result).map_err(|_| std::io::Error::last_os_error().raw_os_error().unwrap())
    }
}

impl Engine for MockEngine {
    fn segments(&mut self, _slot: SlotId) -> &mut Segments {
        assert!(self.in_flight.is_none(), "segments belong to the kernel while an operation is in flight");
        &mut self.segments
    }

    fn submit(&mut self, _slot: SlotId, operation: Operation) {
        assert!(self.in_flight.is_none(), "one operation in a slot");
        let moves = matches!(operation, Operation::Read { .. } | Operation::Write { .. });
        if moves {
            assert!(!self.segments.is_empty());
            self.check_segments(operation);
        }
        self.log.push((operation, if moves { self.segments.bytes() } else { 0 }));
        self.in_flight = Some(operation);
    }

    fn cancel(&mut self, _slot: SlotId) {
        assert!(self.in_flight.is_some(), "nothing to cancel");
        self.cancelled += 1;
    }

    fn in_flight(&self, _slot: SlotId) -> bool {
        self.in_flight.is_some()
    }
}
