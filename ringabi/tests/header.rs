// SPDX-License-Identifier: MIT OR Apache-2.0
//! The header's rules, each by the error it gives, and the frozen bytes of header, descriptor and completion.

mod region;

use fctl_ringabi::{
    arch::{Scsw, SubsystemId},
    Completion, CompletionFlags, CompletionKind, Descriptor, DescriptorFlags, DispatcherPort, GuestPort, Header, HeaderError,
    MappedWords, Operation, RingSizes, StageTimes, WordMemory,
};
use region::{formatted, zeroed, Region, LEAST};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Word indices of the header's fields.
const VERSION: usize = 1;
const REQUIRED: usize = 2;
const OPTIONAL: usize = 3;
const ENTRIES: usize = 4;
const STRIDES: usize = 5;
const EXTENSION_STRIDE: usize = 6;
const SUBMISSION_OFFSET: usize = 7;
const COMPLETION_OFFSET: usize = 8;
const EXTENSION_OFFSET: usize = 9;
const LENGTH: usize = 10;
const CLOCK: usize = 11;
const EPOCH: usize = 12;

const fn pair(low: u32, high: u32) -> u64 {
    low as u64 | (high as u64) << 32
}

/// What is said of a header of the least sizes in which these words were replaced.
fn error_with(replaced: &[(usize, u64)]) -> String {
    let memory = formatted(LEAST);
    for &(index, value) in replaced {
        memory.store(index, value, Relaxed);
    }
    let error = Header::read(&memory).expect_err("a rule is broken");
    assert_eq!(GuestPort::open(memory.clone()).unwrap_err(), error);
    assert_eq!(DispatcherPort::attach(memory).unwrap_err(), error);
    error.to_string()
}

#[test]
fn a_formatted_header_is_read_as_it_was_laid_out() {
    for sizes in [LEAST, RingSizes::new(8), RingSizes::new(1024), RingSizes { reserve: 2048, ..RingSizes::new(1024) }] {
        let header = Header::layout(sizes).unwrap();
        let read = Header::read(&formatted(sizes)).unwrap();
        assert_eq!(read, header);
        assert_eq!((read.sizes(), read.epoch()), (sizes, 1));
    }
}

#[test]
fn formatting_zeroes_what_stood_there() {
    let header = Header::layout(LEAST).unwrap();
    let memory = formatted(LEAST);
    for index in 0..memory.len() {
        memory.store(index, u64::MAX, Relaxed);
    }
    header.format(&memory).unwrap();
    let zeroes = (13..memory.len()).all(|index| memory.load(index, Relaxed) == 0);
    assert!(zeroes, "shared words and slots are zero");
    assert_eq!(Header::read(&memory), Ok(header));
}

#[test]
fn a_region_too_small_is_named_with_what_is_needed() {
    let header = Header::layout(LEAST).unwrap();
    assert_eq!(header.region_bytes(), 3584);
    let memory = zeroed(3584 / 8 - 1);
    let error = header.format(&memory).unwrap_err();
    assert_eq!(error, HeaderError::RegionTooSmall { bytes: 3576, needed: 3584 });
    assert_eq!(error.to_string(), "region of 3576 bytes is too small: the rings need 3584");
    assert_eq!(memory.load(0, Relaxed), 0, "nothing was written");
    for words in [0, 127] {
        let error = Header::read(&zeroed(words)).unwrap_err();
        assert_eq!(error, HeaderError::RegionTooSmall { bytes: words as u64 * 8, needed: 1024 });
    }
    // The same header at the start of a region that is smaller than it says.
    let whole = formatted(LEAST);
    let part = zeroed(3584 / 8 - 1);
    for index in 0..128 {
        part.store(index, whole.load(index, Relaxed), Relaxed);
    }
    assert_eq!(Header::read(&part), Err(HeaderError::RegionTooSmall { bytes: 3576, needed: 3584 }));
}

#[test]
fn a_misaligned_region_is_refused_and_its_keeper_comes_back() {
    let words = [const { AtomicU64::new(0) }; 4];
    let first = NonNull::from(&words).cast::<u8>();
    for offset in 1..8 {
        // SAFETY: 16 bytes from `offset` on lie inside the four words, which outlive the attempt; nothing else uses them.
        let refused = unsafe { MappedWords::new(first.add(offset), 16, "keeper") };
        assert_eq!(refused.unwrap_err(), "keeper");
    }
    // SAFETY: 15 bytes from the first one on lie inside the words, which outlive the region and are used atomically alone.
    let memory = unsafe { MappedWords::new(first, 15, "keeper") }.unwrap();
    assert_eq!((memory.len(), memory.is_empty(), *memory.keep()), (1, false, "keeper"), "a rest of a word is not used");
    assert_eq!(memory.base(), first);
    memory.store(0, 0x0807_0605_0403_0201, Relaxed);
    assert_eq!(words[0].load(Relaxed).to_ne_bytes(), [1, 2, 3, 4, 5, 6, 7, 8], "little-endian on every host");
}

#[test]
fn magic_version_and_features_are_named() {
    assert_eq!(
        error_with(&[(0, 0)]),
        "magic is 0x0000000000000000: 0x474e49524c544346 (\"FCTLRING\") is accepted",
        "zeroed memory is no ring"
    );
    assert_eq!(error_with(&[(VERSION, pair(2, 1024))]), "ring version is 2.0: 1.x is accepted");
    assert_eq!(error_with(&[(VERSION, pair(3 << 16, 1024))]), "ring version is 0.3: 1.x is accepted");
    assert_eq!(error_with(&[(REQUIRED, 0x11)]), "required features 0x11 are not known: 0x0 is accepted");
}

#[test]
fn every_field_out_of_range_is_named_with_its_value_and_what_is_accepted() {
    const SUBMISSIONS: &str = "a power of two from 8 to 65536 is accepted";
    const COMPLETIONS: &str = "a power of two from twice the submission entries to 524288 is accepted";
    const STRIDE: &str = "a multiple of 64 from 64 to 4096 is accepted";
    const PLACE: &str = "a multiple of 128, behind the header, with the whole area inside the region is accepted";
    const ALONE: &str = "a place where the area overlaps no other is accepted";
    /// What is found, what would be accepted, the words that were replaced.
    type Case = (&'static str, &'static str, &'static [(usize, u64)]);
    const CASES: &[Case] = &[
        ("header length is 1023", "at least 1024 and at most the region is accepted", &[(VERSION, pair(1, 1023))]),
        ("header length is 3585", "at least 1024 and at most the region is accepted", &[(VERSION, pair(1, 3585))]),
        ("clock id is 2", "0 (none) or 1 (monotonic) is accepted", &[(CLOCK, 2)]),
        ("clock id is 4294967296", "0 (none) or 1 (monotonic) is accepted", &[(CLOCK, 1 << 32)]),
        ("submission entries is 0", SUBMISSIONS, &[(ENTRIES, pair(0, 16))]),
        ("submission entries is 4", SUBMISSIONS, &[(ENTRIES, pair(4, 16))]),
        ("submission entries is 12", SUBMISSIONS, &[(ENTRIES, pair(12, 32))]),
        ("submission entries is 131072", SUBMISSIONS, &[(ENTRIES, pair(1 << 17, 1 << 18))]),
        ("completion entries is 0", COMPLETIONS, &[(ENTRIES, pair(8, 0))]),
        ("completion entries is 8", COMPLETIONS, &[(ENTRIES, pair(8, 8))]),
        ("completion entries is 24", COMPLETIONS, &[(ENTRIES, pair(8, 24))]),
        ("completion entries is 1048576", COMPLETIONS, &[(ENTRIES, pair(1 << 16, 1 << 20))]),
        ("reserve is 7", "8 to half the completion entries is accepted", &[(EXTENSION_STRIDE, pair(64, 7))]),
        ("reserve is 9", "8 to half the completion entries is accepted", &[(EXTENSION_STRIDE, pair(64, 9))]),
        ("descriptor stride is 0", STRIDE, &[(STRIDES, pair(0, 64))]),
        ("descriptor stride is 32", STRIDE, &[(STRIDES, pair(32, 64))]),
        ("descriptor stride is 96", STRIDE, &[(STRIDES, pair(96, 64))]),
        ("completion stride is 4160", STRIDE, &[(STRIDES, pair(64, 4160))]),
        ("extension stride is 65", STRIDE, &[(EXTENSION_STRIDE, pair(65, 8))]),
        ("submission ring offset is 1025", PLACE, &[(SUBMISSION_OFFSET, 1025)]),
        ("submission ring offset is 896", PLACE, &[(SUBMISSION_OFFSET, 896)]),
        ("submission ring offset is 1024", PLACE, &[(VERSION, pair(1, 1152))]),
        ("completion ring offset is 1600", PLACE, &[(COMPLETION_OFFSET, 1600)]),
        ("completion ring offset is 3584", PLACE, &[(COMPLETION_OFFSET, 3584)]),
        ("completion ring offset is 18446744073709551488", PLACE, &[(COMPLETION_OFFSET, u64::MAX - 127)]),
        ("extension offset is 2688", PLACE, &[(EXTENSION_OFFSET, 2688)]),
        ("extension offset is 2560", PLACE, &[(LENGTH, 3583)]),
        ("extension offset is 2560", PLACE, &[(EXTENSION_STRIDE, pair(128, 8))]),
        ("completion ring offset is 1408", ALONE, &[(COMPLETION_OFFSET, 1408)]),
        ("completion ring offset is 1536", ALONE, &[(STRIDES, pair(128, 64))]),
        ("extension offset is 2432", ALONE, &[(EXTENSION_OFFSET, 2432)]),
        ("extension offset is 1024", ALONE, &[(EXTENSION_OFFSET, 1024)]),
        ("extension offset is 1536", ALONE, &[(EXTENSION_OFFSET, 1536)]),
    ];
    for (found, accepted, replaced) in CASES {
        assert_eq!(error_with(replaced), format!("{found}: {accepted}"));
    }
    assert_eq!(error_with(&[(LENGTH, 3585)]), "region of 3584 bytes is too small: the rings need 3585");
}

#[test]
fn wished_sizes_are_checked_like_those_found() {
    let error = |sizes| Header::layout(sizes).unwrap_err().to_string();
    assert_eq!(error(RingSizes::new(100)), "submission entries is 100: a power of two from 8 to 65536 is accepted");
    assert_eq!(
        error(RingSizes { completion_entries: 64, ..RingSizes::new(64) }),
        "completion entries is 64: a power of two from twice the submission entries to 524288 is accepted"
    );
    assert_eq!(
        error(RingSizes { reserve: 129, ..RingSizes::new(64) }),
        "reserve is 129: 8 to half the completion entries is accepted"
    );
    assert!(Header::layout(RingSizes { completion_entries: 1 << 19, ..RingSizes::new(1 << 16) }).is_ok());
}

#[test]
fn a_newer_minor_version_with_optional_features_is_accepted() {
    let memory = formatted(LEAST);
    memory.store(VERSION, pair(1 | 7 << 16, 1024), Relaxed);
    memory.store(OPTIONAL, u64::MAX, Relaxed);
    memory.store(EPOCH, 5, Relaxed);
    assert_eq!(Header::read(&memory).map(|header| header.epoch()), Ok(5));
}

#[test]
fn other_strides_and_places_are_used_as_the_header_says() {
    // A longer header, the rings in another order and further apart, all at the end of a larger region.
    let memory = zeroed(16384 / 8);
    Header::layout(LEAST).unwrap().format(&memory).unwrap();
    for (index, value) in [
        (VERSION, pair(1, 2048)),
        (STRIDES, pair(192, 128)),
        (EXTENSION_STRIDE, pair(256, 8)),
        (EXTENSION_OFFSET, 2048),
        (COMPLETION_OFFSET, 6144),
        (SUBMISSION_OFFSET, 8192),
        (LENGTH, 9728),
    ] {
        memory.store(index, value, Relaxed);
    }
    let header = Header::read(&memory).unwrap();
    assert_eq!(header.region_bytes(), 9728);
    let words = |lane: fctl_ringabi::Lane| (lane.word(0), lane.word(1), lane.end_word());
    assert_eq!(words(header.submission_lane()), (1024, 1048, 1216));
    assert_eq!(words(header.completion_lane()), (768, 784, 1024));
    assert_eq!(words(header.extension_lane()), (256, 288, 768));
    let mut dispatcher = DispatcherPort::attach(memory.clone()).unwrap();
    let (mut poster, mut reader) = GuestPort::open(memory).unwrap().split();
    for tag in 0..40 {
        poster.post(&Descriptor::new(Operation::Test, SubsystemId::new(0, 7), tag)).unwrap();
        let descriptor = dispatcher.take().unwrap().expect("it was posted");
        assert!(dispatcher.room(1).unwrap() > 0);
        dispatcher.stage(Completion::new(CompletionKind::Final, descriptor.subsystem, descriptor.tag, 0), None).unwrap();
        dispatcher.publish();
        assert_eq!(reader.take().unwrap().map(|(completion, _)| completion.tag), Some(tag));
    }
}

/// The bytes as they stand in memory, in hex.
fn hex(memory: &Region, first_word: usize, words: usize) -> String {
    let kept = &memory.keep()[first_word..first_word + words];
    kept.iter().flat_map(|word| word.load(Relaxed).to_ne_bytes()).map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn frozen_bytes_of_a_header() {
    let memory = formatted(RingSizes { clock: fctl_ringabi::ClockId::Monotonic, ..LEAST });
    let frozen = concat!(
        "4643544c52494e47", // magic: FCTLRING
        "01000000",         // version 1.0
        "00040000",         // header length: 1024
        "0000000000000000", // required features
        "0000000000000000", // optional features
        "08000000",         // submission entries: 8
        "10000000",         // completion entries: 16
        "40000000",         // descriptor stride: 64
        "40000000",         // completion stride: 64
        "40000000",         // extension stride: 64
        "08000000",         // reserve: 8
        "0004000000000000", // submission ring offset: 1024
        "0006000000000000", // completion ring offset: 1536
        "000a000000000000", // extension offset: 2560
        "000e000000000000", // length: 3584
        "0100000000000000", // clock id: monotonic
        "0100000000000000", // epoch: 1
    );
    assert_eq!(hex(&memory, 0, 13), frozen);
    assert_eq!(hex(&memory, 13, 115), "00".repeat(920));
}

#[test]
fn frozen_bytes_of_a_descriptor() {
    let memory = formatted(LEAST);
    let (mut poster, _) = GuestPort::open(memory.clone()).unwrap().split();
    let mut descriptor = Descriptor::new(Operation::Start, SubsystemId::from_word(0x0001_0203), 0x1122_3344_5566_7788)
        .with_flags(DescriptorFlags::ACCEPTED | DescriptorFlags::NO_NOTIFICATION)
        .posted_at(0x0102_0304_0506_0708);
    (descriptor.reserved, descriptor.order) = (0xABCD, 0xCAFE_F00D);
    for (byte, value) in descriptor.operand.iter_mut().zip(0xA0..) {
        *byte = value;
    }
    poster.post(&descriptor).unwrap();
    let frozen = concat!(
        "01000000",                                                         // lap: 1
        "01",                                                               // operation: SSCH
        "03",                                                               // flags: accepted, no notification
        "cdab",                                                             // reserved
        "03020100",                                                         // subsystem-identification word
        "0df0feca",                                                         // order
        "8877665544332211",                                                 // tag
        "0807060504030201",                                                 // posted
        "a0a1a2a3a4a5a6a7a8a9aaabacadaeafb0b1b2b3b4b5b6b7b8b9babbbcbdbebf", // operand
    );
    assert_eq!(hex(&memory, 1024 / 8, 8), frozen);
}

#[test]
fn frozen_bytes_of_a_completion() {
    let memory = formatted(LEAST);
    let mut dispatcher = DispatcherPort::attach(memory.clone()).unwrap();
    let mut completion = Completion::new(CompletionKind::Secondary, 0x0001_0203, 0x1122_3344_5566_7788, 3);
    completion.disposition = 2;
    completion.flags = CompletionFlags::STATUS | CompletionFlags::WAS_ISSUED;
    completion.intparm = 0xDEAD_BEEF;
    completion.scsw = Scsw::from_words([0x0080_4007, 0x0000_1008, 0x0E40_0102]);
    completion.code = 0x1516;
    completion.turn = 0x4142_4344;
    completion.times = StageTimes {
        taken: 0x0102_0304_0506_0708,
        issued_after: 0x1112_1314,
        completed_after: 0x2122_2324,
        delivered_after: 0x3132_3334,
    };
    dispatcher.stage(completion, None).unwrap();
    dispatcher.publish();
    let frozen = concat!(
        "01000000",                 // lap: 1
        "04",                       // kind: secondary
        "03",                       // condition code
        "02",                       // disposition: absorbed by halt
        "0c",                       // flags: status, was issued
        "03020100",                 // subsystem-identification word
        "efbeadde",                 // interruption parameter
        "8877665544332211",         // tag
        "00804007000010080e400102", // SCSW, as architected: big-endian
        "1615",                     // code
        "0000",                     // reserved
        "0807060504030201",         // taken
        "14131211",                 // issued after
        "24232221",                 // completed after
        "34333231",                 // delivered after
        "44434241",                 // turn
    );
    assert_eq!(hex(&memory, 1536 / 8, 8), frozen);
}
