// SPDX-License-Identifier: MIT OR Apache-2.0
//! The frozen vectors of `SPEC.md`, "Test vectors": what the specification prints is what the Rust code makes and reads, and
//! what the C header makes and reads. Also what the specification says of sizes, offsets and codes in its tables.

#[path = "c/cc.rs"]
mod cc;

use fctl_ringabi::arch::{Ecw, Erw, Esw, Orb, Scsw, SubsystemId};
use fctl_ringabi::{
    Completion, CompletionFlags, CompletionKind, CompletionReader, Descriptor, DescriptorError, DescriptorFlags, DispatcherPort,
    Disposition, Extension, GuestPort, Header, MappedWords, Operation, RingSizes, StageTimes, WordMemory,
};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

const SPEC: &str = include_str!("../SPEC.md");

type Memory = MappedWords<Arc<[AtomicU64]>>;

/// The bytes of the block that the specification marks "```hex NAME".
fn vector(name: &str) -> Vec<u8> {
    let mark = format!("```hex {name}\n");
    let (_, rest) = SPEC.split_once(&mark).unwrap_or_else(|| panic!("SPEC.md has no block {mark:?}"));
    let (block, _) = rest.split_once("```").expect("the block ends");
    let bytes = block.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).expect("two hexadecimal digits"));
    bytes.collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Fails with the block as it would have to stand in the specification.
fn assert_vector(name: &str, made: &[u8]) {
    let lines: Vec<_> = made.chunks(16).map(|line| line.iter().map(|byte| format!("{byte:02x} ")).collect::<String>()).collect();
    assert!(vector(name) == made, "SPEC.md differs from the code; block {name} should be\n{}", lines.join("\n"));
}

fn region(bytes: u64) -> Memory {
    let words: Arc<[AtomicU64]> = (0..bytes / 8).map(|_| AtomicU64::new(0)).collect();
    let base = NonNull::new(words.as_ptr().cast_mut().cast()).unwrap();
    // SAFETY: the words are kept by the `Arc` in the region and are reached through it alone.
    unsafe { MappedWords::new(base, words.len() * 8, words) }.unwrap()
}

fn bytes_at(memory: &Memory, offset: usize, count: usize) -> Vec<u8> {
    let words = offset / 8..(offset + count) / 8;
    words.flat_map(|word| memory.load(word, Ordering::Relaxed).to_le_bytes()).collect()
}

/// The ring of the vectors: 64 descriptors at 1024, 256 completions at 5120, their extensions at 21504.
fn ring() -> Memory {
    let header = Header::layout(RingSizes::new(64)).unwrap();
    let memory = region(header.region_bytes());
    header.format(&memory).unwrap();
    memory
}

fn start() -> Descriptor {
    Descriptor::start(SubsystemId::new(0, 7), &Orb::new(0xCAFE_0001, 0x1000), 0x1122_3344_5566_7788)
        .with_flags(DescriptorFlags::ACCEPTED)
        .posted_at(0x0102_0304_0506_0708)
}

fn unit_check() -> (Completion, Extension) {
    let mut completion = Completion::new(CompletionKind::Final, SubsystemId::new(0, 7).word(), 0x1122_3344_5566_7788, 0);
    completion.flags = CompletionFlags::STATUS | CompletionFlags::IRB_EXTENSION;
    completion.intparm = 0xCAFE_0001;
    completion.scsw = Scsw::from_words([0x0082_4017, 0x0000_1008, 0x0E40_0200]);
    completion.turn = 0x0A0B_0C0D;
    completion.times =
        StageTimes { taken: 0x1112_1314_1516_1718, issued_after: 1000, completed_after: 50_000, delivered_after: 51_000 };
    let esw = Esw::format1(0x80).with_erw(Erw::concurrent_sense(3));
    (completion, Extension::Irb { esw, ecw: Ecw::from_sense(&[0x80, 0x00, 0x10]) })
}

#[test]
fn the_header_is_the_frozen_one() {
    let memory = ring();
    assert_vector("header", &bytes_at(&memory, 0, 104));
    assert!(bytes_at(&memory, 104, 1024 - 104).iter().all(|byte| *byte == 0), "the rest of a fresh header is zero");
}

#[test]
fn the_descriptor_is_the_frozen_one() {
    let memory = ring();
    let mut dispatcher = DispatcherPort::attach(memory.clone()).unwrap();
    let (mut poster, mut reader) = GuestPort::open(memory.clone()).unwrap().split();
    // Position 64 uses slot 0 in its second lap; the entry there before left nothing of itself.
    for tag in 0..64 {
        assert!(!poster.post(&Descriptor::new(Operation::Clear, SubsystemId::new(0, 7), tag)).unwrap());
        let taken = dispatcher.take().unwrap().unwrap();
        dispatcher.stage(Completion::new(CompletionKind::Final, taken.subsystem, taken.tag, 0), None).unwrap();
        dispatcher.publish();
        assert!(reader.take().unwrap().is_some());
    }
    poster.post(&start()).unwrap();
    assert_vector("descriptor", &bytes_at(&memory, 1024, 64));
    assert_eq!(dispatcher.take().unwrap(), Some(start()));
}

#[test]
fn the_completion_and_its_extension_are_the_frozen_ones() {
    let memory = ring();
    let mut dispatcher = DispatcherPort::attach(memory.clone()).unwrap();
    let mut reader: CompletionReader<_> = GuestPort::open(memory.clone()).unwrap().split().1;
    let (completion, extension) = unit_check();
    dispatcher.stage(completion, Some(&extension)).unwrap();
    dispatcher.publish();
    assert_vector("completion", &bytes_at(&memory, 5120, 64));
    assert_vector("extension", &bytes_at(&memory, 21504, 64));
    assert_eq!(reader.take().unwrap(), Some((completion, Some(extension))));
}

#[test]
fn the_vectors_hold_in_c() {
    let program = cc::build("vectors");
    let arguments = ["header", "completion", "extension"].map(|name| hex(&vector(name)));
    let output = program.command().args(&arguments).output().expect("the program runs");
    assert!(output.status.success(), "{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    let expected = format!(
        "descriptor {}\nlap 1\nkind 1\ncc 0\ndisposition 0\nflags 05\nsubsystem 00010007\nintparm cafe0001\ntag 1122334455667788\n\
         scsw 00824017000010080e400200\ncode 0000\ntaken 1112131415161718\nissued_after 1000\ncompleted_after 50000\n\
         delivered_after 51000\nturn 0a0b0c0d\nesw {}\necw {}\n",
        hex(&vector("descriptor")),
        hex(&vector("extension")[..20]),
        hex(&vector("extension")[20..52]),
    );
    assert_eq!(String::from_utf8_lossy(&output.stdout), expected);
}

/// The rows of the table that follows a heading: code and name (without back quotes) of the first two columns.
fn codes(heading: &str) -> Vec<(u64, String)> {
    let (_, rest) = SPEC.split_once(&format!(" {heading}\n")).unwrap_or_else(|| panic!("SPEC.md has no section {heading:?}"));
    let rows = rest.lines().skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|')).skip(2);
    let cells = rows.map(|row| row.split('|').map(|cell| cell.trim().trim_matches('`').to_string()).collect::<Vec<_>>());
    cells
        .map(|row| {
            let digits = row[1].trim_start_matches("0x");
            let radix = if digits.len() == row[1].len() { 10 } else { 16 };
            (u64::from_str_radix(digits, radix).unwrap_or_else(|_| panic!("{heading}: {:?} is no code", row[1])), row[2].clone())
        })
        .collect()
}

#[test]
fn the_tables_of_codes_are_those_of_the_code() {
    let named = |heading, expected: Vec<(u64, String)>| assert_eq!(codes(heading), expected, "{heading}");
    let all =
        |debug: &dyn Fn(u8) -> Option<String>| (0..=u8::MAX).filter_map(|code| Some((u64::from(code), debug(code)?))).collect();
    named("Operations", all(&|code| Operation::from_code(code).map(|known| known.mnemonic().into())));
    named("Completion kinds", all(&|code| CompletionKind::from_code(code).map(|known| format!("{known:?}"))));
    named("Dispositions", all(&|code| Disposition::from_code(code).map(|known| format!("{known:?}"))));
    named("Descriptor errors", all(&|code| DescriptorError::from_code(u16::from(code)).map(|known| format!("{known:?}"))));
    let descriptor_flags = DescriptorFlags::all().iter_names().map(|(name, flag)| (u64::from(flag.bits()), name.into()));
    named("Descriptor flags", descriptor_flags.collect());
    let completion_flags = CompletionFlags::all().iter_names().map(|(name, flag)| (u64::from(flag.bits()), name.into()));
    named("Completion flags", completion_flags.collect());
}

#[test]
fn the_shared_words_lie_where_the_table_says() {
    use fctl_ringabi::header::word;
    for (name, index) in [
        ("SQ_HEAD", word::SQ_HEAD),
        ("CQ_TAIL", word::CQ_TAIL),
        ("SQ_SLEEP", word::SQ_SLEEP),
        ("FENCE", word::FENCE),
        ("CQ_HEAD", word::CQ_HEAD),
        ("CQ_SLEEP", word::CQ_SLEEP),
        ("SQ_TICKET", word::SQ_TICKET),
        ("CHARGED", word::CHARGED),
        ("RELEASED", word::RELEASED),
    ] {
        let row = format!("| {index} | {} | `WORD_{name}` |", 8 * index);
        assert!(SPEC.contains(&row), "SPEC.md has no row {row:?}");
    }
}
