// SPDX-License-Identifier: MIT OR Apache-2.0
//! Latency histograms: each final is in exactly one series, and in each stage that it went through.

mod common;

use common::scripted::{ended, final_of, final_tags, plain, ssch, Rig};
use common::{id, TestGuest, PATIENCE};
use fctl_dispatcher::device::null::Null;
use fctl_dispatcher::device::{Capabilities, DeviceEvent, Status};
use fctl_dispatcher::metrics::{Latencies, Series, Stage};
use fctl_dispatcher::subchannel::StatusMode;
use fctl_dispatcher::{clock, Builder, SubchannelOptions};
use fctl_ringabi::{ClockId, Descriptor, Operation, RingSizes};

const NONE: Capabilities = Capabilities::empty();

fn counts(latencies: &Latencies, series: Series) -> [u64; 5] {
    Stage::ALL.map(|stage| latencies.get(series, stage).unwrap().len())
}

fn total(latencies: &Latencies, stage: Stage) -> u64 {
    Series::ALL.iter().map(|&series| latencies.get(series, stage).unwrap().len()).sum()
}

fn now(descriptor: Descriptor) -> Descriptor {
    descriptor.posted_at(clock::now())
}

#[test]
fn each_fate_is_counted_in_its_series_and_in_the_stages_it_went_through() {
    let mut rig = Rig::small();
    for number in 1..=6 {
        rig.attach(number, NONE, StatusMode::Delivered);
    }
    // Runs; runs, but nobody knows when it was posted; is halted while it runs; is cancelled, merged away, refused.
    let early = rig.batch(&[
        now(ssch(1, 0, 1)),
        ssch(2, 0, 2),
        now(ssch(3, 0, 3)),
        now(ssch(4, 0, 4)),
        now(plain(Operation::Cancel, 4, 5)),
        now(ssch(5, 0, 6)),
        now(plain(Operation::Clear, 5, 7)),
        now(plain(Operation::Store, 6, 8)),
        now(plain(Operation::Cancel, 6, 9)),
        now(Descriptor { operation: 99, ..ssch(6, 0, 10) }),
        now(plain(Operation::Halt, 77, 11)),
    ]);
    assert_eq!(final_tags(&early), [4, 5, 6, 8, 9, 10, 11]);
    rig.batch(&[now(plain(Operation::Halt, 3, 12))]);
    rig.stage.tell(1, ended(0x1008));
    rig.stage.tell(2, ended(0x1008));
    rig.stage.tell(3, DeviceEvent::Halted(Status::default()));
    rig.stage.tell(5, DeviceEvent::Cleared);
    rig.turns();
    assert_eq!(rig.completions().len(), 5);

    let latencies = rig.reactor.take_latencies();
    // Posted, taken, issued, completed, total.
    assert_eq!(counts(&latencies, Series::Start), [1, 2, 2, 2, 2]);
    // Of the three that were overtaken one had been issued.
    assert_eq!(counts(&latencies, Series::Overtaken), [3, 1, 1, 3, 3]);
    assert_eq!(counts(&latencies, Series::Halt), [1, 1, 1, 1, 1]);
    assert_eq!(counts(&latencies, Series::Clear), [1, 1, 1, 1, 1]);
    assert_eq!(counts(&latencies, Series::Immediate), [5, 0, 0, 5, 5]);
    assert_eq!(total(&latencies, Stage::Total), rig.reactor.counters().finals);

    let again = rig.reactor.take_latencies();
    assert_eq!(Series::ALL.map(|series| counts(&again, series)), [[0; 5]; 5], "taken is taken");
}

/// The reactor goes on with a spare: nothing is lost between two looks, and what was looked at can be added up.
#[test]
fn intervals_add_up_to_all_finals() {
    let handle = Builder::default().spawn().unwrap();
    let mut guest = TestGuest::new(RingSizes::new(64));
    let (_, ring) = guest.attach(&handle);
    for number in 0..8 {
        handle.attach_subchannel(ring, id(number), SubchannelOptions::new(number), Box::new(Null)).unwrap();
    }
    let mut sum = Latencies::default();
    let (mut posted, mut done) = (0u64, 0u64);
    while done < 5000 {
        while posted < 5000 {
            let number = u16::try_from(posted % 8).unwrap();
            let descriptor = match posted % 5 {
                3 => plain(Operation::Clear, number, posted),
                4 => plain(Operation::Halt, number, posted),
                _ => ssch(number, 0, posted),
            };
            if guest.poster.stage(&now(descriptor)).is_err() {
                break;
            }
            posted += 1;
        }
        guest.publish();
        done += std::iter::from_fn(|| guest.reader.take().unwrap()).count() as u64;
        if done % 7 == 0 {
            sum.add(&handle.latencies().unwrap());
        }
    }
    handle.drain(ring, PATIENCE).unwrap();
    sum.add(&handle.latencies().unwrap());
    let counters = handle.counters().unwrap();
    assert_eq!((counters.taken, counters.finals), (5000, 5000));
    for stage in [Stage::Posted, Stage::Completed, Stage::Total] {
        assert_eq!(total(&sum, stage), 5000, "{}", stage.name());
    }
    let of = |series, stage| sum.get(series, stage).unwrap().len();
    for stage in Stage::ALL {
        assert_eq!(of(Series::Start, stage), counters.ran, "{}", stage.name());
    }
    assert_eq!(total(&sum, Stage::Taken), total(&sum, Stage::Issued));
    let overtaken = counters.merged_away + counters.stopped_active + counters.cancelled;
    assert!(of(Series::Overtaken, Stage::Total) >= overtaken, "halts and clears may be overtaken too");
    assert!(of(Series::Immediate, Stage::Total) >= counters.refused);
    sum.reset();
    assert_eq!(total(&sum, Stage::Total), 0);
}

/// The posted time is the guest's word: one that cannot be is not used, and no total is longer than the truth.
#[test]
fn a_posted_time_that_cannot_be_is_not_used() {
    let mut rig = Rig::small();
    rig.attach(1, NONE, StatusMode::Delivered);
    let began = clock::now();
    let batch = [u64::MAX, began + 3_600_000_000_000, 0].map(|posted| plain(Operation::Store, 1, 1).posted_at(posted));
    rig.batch(&batch);
    let took = clock::now() - began;
    let latencies = rig.reactor.take_latencies();
    assert_eq!(counts(&latencies, Series::Immediate), [0, 0, 0, 3, 3]);
    let histogram = latencies.get(Series::Immediate, Stage::Total).unwrap();
    // Two significant digits, so the greatest value may be a hundredth too great.
    assert!(histogram.max() <= took + took / 64 + 1);
    // A time in the past is believed, however long ago: it harms its author only.
    rig.batch(&[plain(Operation::Store, 1, 1).posted_at(1)]);
    let latencies = rig.reactor.take_latencies();
    assert_eq!(counts(&latencies, Series::Immediate), [1, 0, 0, 1, 1]);
}

#[test]
fn a_ring_without_a_common_clock_has_no_posted_stage() {
    let mut rig = Rig::new(Builder::default(), RingSizes { clock: ClockId::None, ..RingSizes::new(64) });
    rig.attach(1, NONE, StatusMode::Delivered);
    rig.batch(&[now(plain(Operation::Store, 1, 1)), now(plain(Operation::Cancel, 1, 2))]);
    assert_eq!(counts(&rig.reactor.take_latencies(), Series::Immediate), [0, 0, 0, 2, 2]);
}

#[test]
fn names_of_series_and_stages_are_told_apart() {
    let names: std::collections::BTreeSet<&str> =
        Series::ALL.iter().map(|series| series.name()).chain(Stage::ALL.iter().map(|stage| stage.name())).collect();
    assert_eq!(names.len(), 10);
}

/// Switched off to measure what they cost: counters and the stage times of completions stay.
#[test]
fn without_latencies_the_rest_of_the_books_is_kept() {
    let (mut reactor, _handle) = Builder::default().latencies(false).build().unwrap();
    let mut guest = TestGuest::new(RingSizes::new(64));
    let owner = reactor.attach_guest(guest.memory.clone());
    let ring = reactor.attach_ring(owner, guest.ends()).unwrap();
    reactor.attach_subchannel(ring, id(1), SubchannelOptions::new(1), Box::new(Null)).unwrap();
    for tag in 1..=3 {
        guest.poster.stage(&now(ssch(1, 0, tag))).unwrap();
        guest.poster.stage(&now(plain(Operation::Store, 1, 10 + tag))).unwrap();
        guest.publish();
        while reactor.turn(64) {}
    }
    let mut times = Vec::new();
    while let Some((completion, _)) = guest.reader.take().unwrap() {
        times.push(completion.times);
    }
    assert_eq!(times.len(), 6);
    assert!(times.iter().any(|times| *times != Default::default()), "{times:?}");
    let counters = reactor.counters();
    assert_eq!((counters.taken, counters.finals, counters.ran), (6, 6, 3));
    let latencies = reactor.take_latencies();
    assert_eq!(Series::ALL.map(|series| counts(&latencies, series)), [[0; 5]; 5]);
}

#[test]
fn a_start_that_does_not_run_through_is_told_when_it_ended() {
    let mut rig = Rig::small();
    rig.attach(1, NONE, StatusMode::Delivered);
    rig.batch(&[ssch(1, 0, 1)]);
    let issued = clock::now();
    while clock::now() - issued < 2_000_000 {}
    rig.stage.tell(1, ended(0x1008));
    rig.turns();
    let end = final_of(&rig.completions(), 1);
    assert!(end.times.completed_after >= 2_000_000, "{:?}", end.times);
}
