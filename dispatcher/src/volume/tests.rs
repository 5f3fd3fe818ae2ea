// SPDX-License-Identifier: MIT OR Apache-2.0
use super::*;
use crate::engine::Segment;
use std::io::Write as _;
use std::ptr::NonNull;

fn file(bytes: usize) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&vec![7; bytes]).unwrap();
    file
}

fn refusal(path: impl AsRef<std::path::Path>, options: VolumeOptions) -> String {
    Volume::open(path, options).expect_err("refused").to_string()
}

#[test]
fn what_is_no_volume_is_refused_with_what_would_do() {
    let options = VolumeOptions::default();
    assert!(refusal("/nowhere/at/all", options).contains("\"/nowhere/at/all\" does not exist"));
    assert!(refusal(std::env::temp_dir(), options).contains("is a directory; only a plain file or a block device"));
    assert!(refusal("/dev/null", options).contains("is a character device"));
    let odd = refusal(file(1500).path(), options);
    assert!(odd.contains("has 1500 bytes") && odd.contains("1024 or 1536 bytes would do"), "{odd}");
    assert!(refusal(file(0).path(), options).contains("is empty"));
}

#[test]
fn one_writer_or_many_readers() {
    let file = file(1024);
    let read_only = VolumeOptions::default().with_read_only(true);
    let writer = Volume::open(file.path(), VolumeOptions::default()).unwrap();
    assert_eq!((writer.blocks(), writer.bytes(), writer.name()), (2, 1024, file.path().to_str().unwrap()));
    assert!(refusal(file.path(), VolumeOptions::default()).contains("in use by another dispatcher"));
    assert!(refusal(file.path(), read_only).contains("in use by another dispatcher"));
    drop(writer);
    let readers = (Volume::open(file.path(), read_only).unwrap(), Volume::open(file.path(), read_only).unwrap());
    assert!(refusal(file.path(), VolumeOptions::default()).contains("in use"));
    drop(readers);
    Volume::open(file.path(), VolumeOptions::default()).unwrap();
}

#[test]
fn a_process_that_holds_a_lock_of_its_own_is_named() {
    let file = file(512);
    rustix::fs::fcntl_lock(file.as_file(), rustix::fs::FlockOperation::NonBlockingLockExclusive).unwrap();
    let refused = refusal(file.path(), VolumeOptions::default());
    assert!(refused.contains(&format!("(process {})", std::process::id())), "{refused}");
}

#[test]
fn io_is_not_refused_for_want_of_an_immediate_answer() {
    let file = file(512);
    let volume = Volume::open(file.path(), VolumeOptions::default()).unwrap();
    for file in [volume.cached.as_ref().unwrap_or(&volume.locked), &volume.locked] {
        assert!(!rustix::fs::fcntl_getfl(file).unwrap().contains(rustix::fs::OFlags::NONBLOCK));
    }
}

#[test]
fn direct_io_needs_alignment_and_else_goes_through_the_cache() {
    let file = file(8192);
    let options = VolumeOptions::default().with_cache(Cache::Direct);
    let volume = match Volume::open(file.path(), options) {
        Err(VolumeError::NoDirect { .. }) => return,
        opened => opened.unwrap(),
    };
    let direct = volume.direct_file().unwrap();
    let segments = |address: usize, length| {
        let mut segments = Segments::default();
        let address = NonNull::new(std::ptr::without_provenance_mut(address)).unwrap();
        assert!(segments.push(Segment { address, length }));
        segments
    };
    assert_eq!(volume.read(4096, &segments(0x10000, 4096)), Operation::Read { file: direct, offset: 4096 });
    assert_eq!(volume.read(0, &segments(0x10001, 4096)), Operation::Read { file: volume.cached_file(), offset: 0 });
    let cached = Operation::Write { file: volume.cached_file(), offset: 100, durable: true };
    assert_eq!(volume.write(100, &segments(0x10000, 4096)), cached);
}

#[test]
fn a_reservation_holds_against_others_until_released() {
    let file = file(512);
    let volume = Volume::open(file.path(), VolumeOptions::default()).unwrap();
    assert!(volume.reserve(1) && volume.reserve(1) && !volume.reserve(2));
    assert!(volume.is_reserved_against(2) && !volume.is_reserved_against(1));
    volume.release(2);
    assert!(volume.is_reserved_against(2));
    volume.reserve_unconditionally(2);
    assert!(volume.is_reserved_against(1));
    volume.release(2);
    assert!(!volume.is_reserved_against(1));
}
