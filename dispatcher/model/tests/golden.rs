// SPDX-License-Identifier: MIT OR Apache-2.0
//! The golden sequences, each by its name.

use std::collections::HashSet;

use fctl_model::GOLDEN;

#[test]
fn every_sequence() {
    let wrong: Vec<String> = GOLDEN.iter().filter_map(|golden| golden.check().err()).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn names_are_unique() {
    let names: HashSet<&str> = GOLDEN.iter().map(|golden| golden.name).collect();
    assert_eq!(names.len(), GOLDEN.len());
}

/// Every item of the checklist that the model can speak of has a sequence. 18 is about measurement.
#[test]
fn every_item_of_the_checklist() {
    for item in (12..=52).filter(|&item| item != 18).chain(67..=69) {
        let source = format!("§8.{item}");
        assert!(GOLDEN.iter().any(|golden| golden.source == source), "{source}");
    }
}
