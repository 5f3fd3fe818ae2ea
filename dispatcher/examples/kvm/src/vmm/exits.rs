// SPDX-License-Identifier: MIT OR Apache-2.0
//! The other way to start: one exit for each instruction. The processor's thread itself performs it, by a second
//! dispatcher that it turns by hand; so both ways end at the same devices, and nothing is spent on waking another thread.

use super::error::{Doing as _, Failed};
use super::{devices, layout};
use fctl_dispatcher::memory::Memory;
use fctl_dispatcher::region::{sealed_memory_file, Region, RegionWords};
use fctl_dispatcher::{Builder, Reactor, RingEnds, MOST_PER_RING_AND_TURN};
use fctl_ringabi::{CompletionReader, Descriptor, GuestPort, Header, Poster, RingSizes};
use vmm_sys_util::eventfd::EventFd;

/// Turns until a null device's end must be there.
const MOST_TURNS: u32 = 1000;

/// A dispatcher on the thread of whom it serves, with a ring that the guest does not see.
pub struct ExitPath {
    reactor: Reactor,
    poster: Poster<RegionWords>,
    reader: CompletionReader<RegionWords>,
}

impl ExitPath {
    /// Attaches the null devices for instructions that come by exit.
    pub fn new(memory: &Memory) -> Result<Self, Failed> {
        let header = Header::layout(RingSizes::new(64)).doing("lay out the ring behind the exits")?;
        let file = sealed_memory_file("exits", header.region_bytes()).doing("make memory for the ring behind the exits")?;
        let region = Region::from_memory_file(&file, 0, header.region_bytes()).doing("map the ring behind the exits")?;
        header.format(region.words()).doing("format the ring behind the exits")?;
        let (poster, reader) = GuestPort::open(region.words().clone()).doing("open the ring behind the exits")?.split();
        let (mut reactor, _handle) = Builder::default().build().doing("build the dispatcher behind the exits")?;
        let guest = reactor.attach_guest(memory.clone());
        let eventfd = || EventFd::new(0).doing("make an eventfd");
        let ends = RingEnds { region, doorbell: eventfd()?, notification: eventfd()? };
        let ring = reactor.attach_ring(guest, ends).doing("attach the ring behind the exits")?;
        for (id, options, device) in devices::nulls() {
            reactor.attach_subchannel(ring, id, options, device).doing("attach a null device behind the exits")?;
        }
        Ok(Self { reactor, poster, reader })
    }

    /// Performs the instruction in the exit slot, and puts its final completion behind it.
    pub fn perform(&mut self, memory: &Memory) -> Result<(), Failed> {
        let bytes: [u8; 64] = memory.fetch(layout::EXIT_SLOT).doing("read the exit slot")?;
        let mut words = [0; 8];
        for (word, chunk) in words.iter_mut().zip(bytes.chunks_exact(8)) {
            *word = chunk.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte));
        }
        self.poster.post(&Descriptor::from_words(&words)).doing("post an instruction that came by exit")?;
        for _ in 0..MOST_TURNS {
            self.reactor.turn(MOST_PER_RING_AND_TURN);
            if let Some((completion, _)) = self.reader.take().doing("take the completion of an exit")? {
                let mut bytes = [0; 64];
                for (chunk, word) in bytes.chunks_exact_mut(8).zip(completion.to_words()) {
                    chunk.copy_from_slice(&word.to_le_bytes());
                }
                return memory.store(layout::EXIT_SLOT + 64, &bytes).doing("write the exit slot");
            }
        }
        Err(Failed::new("perform an instruction that came by exit", "its device does not answer"))
    }
}
