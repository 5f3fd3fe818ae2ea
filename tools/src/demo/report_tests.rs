// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tests of the report's text.

use super::*;
use crate::shared::Layout;
use fctl_dispatcher::region::sealed_memory_file;

fn report(faults: Vec<FoundFault>) -> Report {
    let board = Board::map(&sealed_memory_file("fctl-report", Layout::BOARD.bytes).unwrap()).unwrap();
    for (cell, value) in [
        (Cell::Posted, 1_200_000),
        (Cell::Finals, 1_200_000),
        (Cell::Starts, 1_000_000),
        (Cell::Ran, 990_000),
        (Cell::MergedAway, 4_000),
        (Cell::StoppedActive, 3_000),
        (Cell::Cancelled, 2_000),
        (Cell::Refused, 1_000),
        (Cell::Worked, 8_000_000_000),
        (Cell::BytesVerified, 3 << 30),
        (Cell::OpenFiles, 2),
    ] {
        board.set(cell, value);
    }
    let setting = Setting {
        seconds: 8,
        subchannels: 128,
        delayed: 32,
        seed: 1,
        sabotage: None,
        kernel: "6.1".into(),
        allowed_cpus: "0-1".into(),
        dispatcher_cpu: 1,
        guest_cpus: "0".into(),
        round_trip_ns: Some(210),
        volume: "/tmp/volume".into(),
        temporary: true,
        volume_bytes: 64 << 20,
        blocks_used: 131_072,
        cache: "buffered",
        durability: "writethrough",
        dispatcher_process: 10,
        guest_process: 11,
        engine_slots: 256,
    };
    Report::new(setting, &board, &Counters::default(), &EngineCounters::default(), Image::default(), Vec::new(), faults)
}

#[test]
fn the_text_has_the_sum_and_the_verdict() {
    let text = report(Vec::new()).to_string();
    for words in [
        "125,000 starts a second; 1,000,000 in all",
        "3 GiB verified",
        "  =      1,000,000  starts posted",
        "posted 1,200,000 = completed 1,200,000 · lost 0 · twice 0 · wrong bytes 0",
        "\nPASS\n",
        "/tmp/volume (temporary) · 64 MiB · buffered · writethrough",
        "210 ns from one to the other and back",
    ] {
        assert!(text.contains(words), "{words:?} in\n{text}");
    }
}

#[test]
fn a_fault_is_one_line_with_its_name() {
    let report = report(vec![found("lost completion", 1, "tag 7".into())]);
    let text = report.to_string();
    assert!(text.contains("\nFAIL  lost completion (1): tag 7\n") && !text.contains("PASS"), "{text}");
    assert!(!report.passed());
}

#[test]
fn json_is_one_object_on_one_line() {
    let json = report(Vec::new()).to_json();
    let value: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert!(!json.contains('\n'));
    assert_eq!(value["verdict"], "PASS");
    assert_eq!((value["posted"].as_u64(), value["merged_away"].as_u64()), (Some(1_200_000), Some(4_000)));
    assert_eq!(value["volume"], "/tmp/volume");
}

#[test]
fn numbers_and_amounts_can_be_read() {
    assert_eq!([0, 999, 1_000, 1_234_567].map(number), ["0", "999", "1,000", "1,234,567"]);
    assert_eq!([0, 512, 1024, 1536, 64 << 20, 200 << 30].map(bytes), ["0 B", "512 B", "1 KiB", "1.5 KiB", "64 MiB", "200 GiB"]);
}
