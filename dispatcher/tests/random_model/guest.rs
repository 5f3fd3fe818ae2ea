// SPDX-License-Identifier: MIT OR Apache-2.0
//! Guests: their rings, whose reader can keep completion entries back and still sees everything, and a copy of their memory.

use super::common::TestGuest;
use fctl_dispatcher::memory::Memory;
use fctl_dispatcher::region::RegionWords;
use fctl_ringabi::{header::word, CompletionReader, GuestPort, RingSizes, WordMemory};
use std::cell::Cell;
use std::rc::Rc;
use std::sync::atomic::Ordering;

/// What the reader has written and the dispatcher does not see yet.
#[derive(Clone, Default)]
struct Keep {
    hold: Rc<Cell<bool>>,
    head: Rc<Cell<u64>>,
    released: Rc<Cell<u64>>,
}

/// Ring memory in which the reader's two words are kept back while asked to.
#[derive(Clone)]
pub struct Kept {
    words: RegionWords,
    keep: Keep,
}

impl WordMemory for Kept {
    fn len(&self) -> usize {
        self.words.len()
    }

    fn load(&self, index: usize, order: Ordering) -> u64 {
        self.words.load(index, order)
    }

    fn store(&self, index: usize, value: u64, order: Ordering) {
        match index {
            word::CQ_HEAD => self.keep.head.set(value),
            word::RELEASED => self.keep.released.set(value),
            _ => {}
        }
        if !self.keep.hold.get() || !matches!(index, word::CQ_HEAD | word::RELEASED) {
            self.words.store(index, value, order);
        }
    }

    fn compare_exchange(&self, index: usize, current: u64, new: u64) -> Result<u64, u64> {
        self.words.compare_exchange(index, current, new)
    }

    fn load_body<const N: usize>(&self, index: usize, entry: &mut [u64; N]) {
        self.words.load_body(index, entry);
    }

    fn store_body<const N: usize>(&self, index: usize, entry: &[u64; N]) {
        self.words.store_body(index, entry);
    }

    fn full_fence(&self) {
        self.words.full_fence();
    }
}

/// A ring as its guest has it.
pub struct GuestRing {
    pub guest: TestGuest,
    pub reader: CompletionReader<Kept>,
    memory: Kept,
}

impl GuestRing {
    pub fn new(sizes: RingSizes) -> Self {
        let guest = TestGuest::new(sizes);
        let memory = Kept { words: guest.region.words().clone(), keep: Keep::default() };
        let (_, reader) = GuestPort::open(memory.clone()).unwrap().split();
        Self { guest, reader, memory }
    }

    /// Gives completion entries back no more (what is read is read all the same), or gives all back at once.
    pub fn hold(&mut self, hold: bool) {
        self.reader.give_back();
        let keep = &self.memory.keep;
        keep.hold.set(hold);
        if !hold {
            self.memory.words.store(word::CQ_HEAD, keep.head.get(), Ordering::Release);
            self.memory.words.store(word::RELEASED, keep.released.get(), Ordering::Release);
        }
    }

    /// The position up to which completion entries were given back.
    pub fn given_back(&self) -> u64 {
        self.memory.words.load(word::CQ_HEAD, Ordering::Relaxed)
    }
}

/// What a guest's memory must hold, byte for byte.
pub struct Mirror {
    pub bytes: Vec<u8>,
    pub memory: Memory,
}

impl Mirror {
    pub fn new(memory: Memory) -> Self {
        Self { bytes: vec![0; usize::try_from(memory.bytes()).unwrap()], memory }
    }

    /// The guest writes.
    pub fn put(&mut self, address: u32, bytes: &[u8]) {
        self.memory.store(u64::from(address), bytes).unwrap();
        self.place(address, bytes.len()).copy_from_slice(bytes);
    }

    /// What should stand there.
    pub fn place(&mut self, address: u32, length: usize) -> &mut [u8] {
        let at = usize::try_from(address).unwrap();
        &mut self.bytes[at..at + length]
    }

    /// What stands there.
    pub fn get(&self, address: u32, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.memory.fetch_into(u64::from(address), &mut bytes).unwrap();
        bytes
    }

    /// Compares all of it.
    pub fn check(&self) -> Result<(), String> {
        let actual = self.get(0, self.bytes.len());
        if actual == self.bytes {
            return Ok(());
        }
        let at = actual.iter().zip(&self.bytes).position(|(a, b)| a != b);
        Err(format!("guest memory differs from {:#x} on", at.unwrap_or(0)))
    }
}
