// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the random comparison has found, each in as few steps as show it.

use super::common::id;
use super::common::scripted::{plain, ssch, status, Call, Rig};
use fctl_dispatcher::device::{Capabilities, DeviceEvent, Status};
use fctl_dispatcher::subchannel::StatusMode;
use fctl_dispatcher::Builder;
use fctl_ringabi::arch::{
    DeviceStatus, FunctionControl, Orb, OrbControl, PmcwCharacteristics, PmcwFlags, Schib, StatusControl, SubchannelStatus,
};
use fctl_ringabi::{CompletionKind, Descriptor, Extension, Operation, RingSizes};

const ENDED: DeviceEvent =
    DeviceEvent::Ended(Status { device: DeviceStatus::CHANNEL_END.union(DeviceStatus::DEVICE_END), ..NOTHING });
const NOTHING: Status =
    Status { device: DeviceStatus::empty(), subchannel: SubchannelStatus::empty(), ccw_address: 0, residual: 0 };
const PCI: DeviceEvent =
    DeviceEvent::Intermediate(Status { subchannel: SubchannelStatus::PROGRAM_CONTROLLED_INTERRUPTION, ..NOTHING });

fn rig(mode: StatusMode) -> Rig {
    let mut rig = Rig::small();
    rig.attach(1, Capabilities::RESUME, mode);
    rig
}

/// A start of a program that may be suspended.
fn suspendable(tag: u64) -> Descriptor {
    Descriptor::start(id(1), &Orb::new(7, 0x1000).with_control(OrbControl::SUSPEND), tag)
}

fn attention() -> DeviceEvent {
    DeviceEvent::Unsolicited(status(DeviceStatus::ATTENTION))
}

/// A SCHIB with these two bits.
fn schib(enabled: bool, sense: bool) -> Schib {
    let mut schib = Schib::initial(1);
    let mut flags = schib.pmcw.flags();
    flags.set(PmcwFlags::ENABLED, enabled);
    schib.pmcw.set_flags(flags);
    let sense = if sense { PmcwCharacteristics::CONCURRENT_SENSE } else { PmcwCharacteristics::empty() };
    schib.pmcw.set_characteristics(sense);
    schib
}

/// Kinds and tags of all completions that are there.
fn told(rig: &mut Rig) -> Vec<(CompletionKind, u64)> {
    rig.completions().iter().map(|completion| (completion.kind().unwrap(), completion.tag)).collect()
}

/// A ring of sixteen completion entries that its guest has let run full: a program runs on subchannel 1, and nothing unasked finds room.
fn full(orb: Descriptor) -> Rig {
    let mut rig = Rig::new(Builder::default(), RingSizes { completion_entries: 16, ..RingSizes::new(8) });
    rig.attach(1, Capabilities::RESUME, StatusMode::Delivered);
    rig.attach(2, Capabilities::empty(), StatusMode::Delivered);
    rig.batch(&[orb, ssch(2, 2, 2)]);
    assert_eq!(rig.stage.take_calls().len(), 2);
    for _ in 0..20 {
        rig.stage.tell(2, PCI);
        rig.reactor.turn(0);
    }
    // Its status is pending: the ring is full but for what is promised to the two starts.
    rig
}

#[test]
fn an_attention_that_is_stacked_is_kept_while_the_subchannel_is_disabled() {
    let mut rig = rig(StatusMode::Held);
    rig.batch(&[ssch(1, 7, 1)]);
    rig.stage.tell_all(1, &[ENDED, attention()]);
    rig.turns();
    let disable = rig.msch(1, &schib(false, false), 3);
    rig.batch(&[plain(Operation::Test, 1, 2), disable]);
    let enable = rig.msch(1, &schib(true, false), 4);
    assert!(rig.batch(&[enable]).iter().any(|one| one.kind() == Some(CompletionKind::InterruptionPending)));
    let taken = rig.batch(&[plain(Operation::Test, 1, 5)]);
    assert_eq!((taken[0].cc, taken[0].scsw.device_status()), (0, DeviceStatus::ATTENTION));
}

#[test]
fn concurrent_sense_goes_with_the_status_of_a_halt() {
    let mut rig = rig(StatusMode::Delivered);
    let wanted = rig.msch(1, &schib(true, true), 1);
    rig.batch(&[wanted, ssch(1, 7, 2)]);
    rig.batch(&[plain(Operation::Halt, 1, 3)]);
    let checked = DeviceStatus::CHANNEL_END | DeviceStatus::DEVICE_END | DeviceStatus::UNIT_CHECK;
    rig.stage.tell(1, DeviceEvent::Ended(status(checked)));
    rig.turns();
    let found = rig.read();
    let (halted, extension) = found.last().unwrap();
    assert_eq!((halted.tag, halted.scsw.fctl()), (3, FunctionControl::START | FunctionControl::HALT));
    let Some(Extension::Irb { esw, ecw }) = extension else { panic!("no ESW and ECW in {found:?}") };
    assert!(esw.erw().has_concurrent_sense());
    assert_eq!((esw.erw().sense_count(), &ecw.0[..24], &ecw.0[24..]), (24, &[0x5A; 24][..], &[0; 8][..]));
}

#[test]
fn a_resume_that_is_accepted_while_an_earlier_one_is_performed_is_for_the_next_suspension() {
    let mut rig = rig(StatusMode::Delivered);
    rig.batch(&[suspendable(1)]);
    assert_eq!(rig.batch(&[plain(Operation::Resume, 1, 2)])[0].cc, 0);
    // Suspended and resumed in one turn, in which the second RSCH is accepted.
    rig.stage.tell(1, DeviceEvent::Suspended(NOTHING));
    assert_eq!(rig.batch(&[plain(Operation::Resume, 1, 3)])[0].cc, 0);
    rig.stage.tell(1, DeviceEvent::Suspended(NOTHING));
    rig.turns();
    assert_eq!(rig.stage.take_calls_of(1), [Call::Start(7), Call::Resume, Call::Resume]);
    assert_eq!(told(&mut rig), [], "it was never seen suspended");
}

#[test]
fn status_that_waited_for_room_is_published_though_nothing_else_happens() {
    let mut rig = full(ssch(1, 7, 1));
    rig.stage.tell(1, DeviceEvent::Ended(status(DeviceStatus::CHANNEL_END)));
    rig.reactor.turn(0);
    // Both devices fall silent; the second one's end takes its pending status along.
    rig.stage.tell(1, DeviceEvent::Secondary(status(DeviceStatus::DEVICE_END)));
    rig.stage.tell(2, ENDED);
    rig.reactor.turn(0);
    assert!(!told(&mut rig).contains(&(CompletionKind::Secondary, 1)), "there was room");
    assert!(rig.reactor.turn(0), "to be published");
    assert_eq!(told(&mut rig), [(CompletionKind::Secondary, 1)]);
}

#[test]
fn an_attention_behind_status_that_waited_for_room_is_presented() {
    let mut rig = full(ssch(1, 7, 1));
    rig.stage.tell(1, DeviceEvent::Ended(status(DeviceStatus::CHANNEL_END)));
    rig.reactor.turn(0);
    rig.stage.tell_all(1, &[DeviceEvent::Secondary(status(DeviceStatus::DEVICE_END)), attention()]);
    rig.stage.tell(2, ENDED);
    rig.reactor.turn(0);
    told(&mut rig);
    rig.turns();
    assert_eq!(told(&mut rig), [(CompletionKind::Secondary, 1), (CompletionKind::Unsolicited, 0)]);
}

#[test]
fn a_suspension_that_waited_for_room_is_delivered_with_the_halt() {
    let mut rig = full(suspendable(1));
    rig.stage.tell(1, DeviceEvent::Suspended(NOTHING));
    rig.reactor.turn(0);
    told(&mut rig);
    rig.batch(&[plain(Operation::Halt, 1, 3)]);
    rig.turns();
    rig.stage.tell(1, DeviceEvent::Halted(NOTHING));
    rig.turns();
    let found = rig.completions();
    let halted = found.iter().find(|completion| completion.tag == 3).unwrap();
    assert_eq!(halted.scsw.fctl(), FunctionControl::START | FunctionControl::HALT);
    assert_eq!(halted.scsw.stctl(), StatusControl::INTERMEDIATE | StatusControl::PENDING);
}
