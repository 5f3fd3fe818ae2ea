// SPDX-License-Identifier: MIT OR Apache-2.0
//! Sequences of instructions on a subchannel that is idle, has a start pending or running, has status pending, or is suspended. What
//! each must bring is what the model of the subchannel says, the guest in C executes them and compares what it sees.

use super::common::{id, TestGuest, PATIENCE};
use super::{volume, volume_file, Host};
use fctl_dispatcher::device::delay::{Delay, FOREVER};
use fctl_dispatcher::device::fba::Fba;
use fctl_dispatcher::device::null::Null;
use fctl_dispatcher::subchannel::StatusMode;
use fctl_dispatcher::{Builder, SubchannelOptions};
use fctl_model::{
    Ending, Fctl, Fields, Image, Instruction, Progress, Scsw, Start, State, Stctl, ALPHABET, DISABLE, ENABLE, PATHLESS, PLAIN,
    QUIETLY_SUSPENDABLE, SUSPENDABLE,
};
use fctl_ringabi::arch::{Ccw, CcwFlags, Orb, PmcwFlags, Schib};
use fctl_ringabi::{Descriptor, Operation, RingSizes};
use std::fmt::Write as _;
use std::time::Instant;

const PROGRAM: u64 = 0x1000;
/// The operands of MODIFY SUBCHANNEL: as at first, and the two of the model.
const SCHIB_AT_FIRST: u64 = 0x8000;
const SCHIB_ENABLE: u64 = 0x8100;
const SCHIB_DISABLE: u64 = 0x8200;

/// In the order of `enum before` of the guest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Before {
    Idle,
    StartPending,
    Active,
    StatusPending,
    Suspended,
}

impl Before {
    fn start(self) -> Start {
        // The program that is suspended is one whose ORB lets it; the guest sees no initial status.
        let mut orb = if self == Self::Suspended { SUSPENDABLE.orb } else { PLAIN.orb };
        (orb.initial_status, orb.format) = (false, true);
        Start { id: 9, intparm: 0x99, orb, lpm: 0x80 }
    }

    fn state(self) -> State {
        let mut state = State::IDLE;
        let steps: &[Progress] = match self {
            Self::Idle => return state,
            Self::StartPending => &[],
            Self::Active => &[Progress::IssueStart],
            Self::StatusPending => &[Progress::IssueStart, Progress::End { ending: Ending::ChannelEndDeviceEnd, pci: false }],
            Self::Suspended => &[Progress::IssueStart, Progress::Suspend],
        };
        state.execute(Instruction::Ssch(self.start()));
        for &step in steps {
            assert!(state.legal_progress().contains(&step), "{self:?}: {step:?} in {state:?}");
            state.progress(step);
        }
        if self == Self::Suspended {
            assert_eq!(state.execute(Instruction::Tsch).cc, 0);
        }
        state
    }
}

/// What the guest knows how to post: of the model's instructions all but two starts that differ from these in their operands alone.
fn alphabet() -> Vec<Instruction> {
    let others = [Instruction::Ssch(QUIETLY_SUSPENDABLE), Instruction::Ssch(PATHLESS)];
    ALPHABET.into_iter().filter(|instruction| !others.contains(instruction)).collect()
}

/// All sequences of up to so many instructions.
fn sequences(most: usize) -> Vec<Vec<Instruction>> {
    let (mut all, mut longest) = (vec![Vec::new()], vec![Vec::new()]);
    for _ in 0..most {
        longest =
            longest.iter().flat_map(|start| alphabet().into_iter().map(move |next| [start, &[next][..]].concat())).collect();
        all.extend_from_slice(&longest);
    }
    all
}

/// The ORB's control word: all paths.
fn control(start: &Start) -> u32 {
    start.orb.word0() | 0x8000
}

/// Which bits of words 0 and 2 have a meaning (table of field validity in ch. 16), and what they are.
fn words(scsw: Scsw) -> [u32; 4] {
    let scsw = scsw.meaningful();
    let (start, pending) = (scsw.fctl.has(Fctl::START), scsw.stctl.has(Stctl::PENDING));
    let mut mask = 0x7FFF;
    if start {
        mask |= 0xF8F8_0000;
    }
    if start && pending {
        mask |= 0x0300_0000;
    }
    [
        mask,
        scsw.word0(),
        if pending { 0xFFFF_0000 } else { 0 },
        u32::from_be_bytes([scsw.device_status, scsw.subchannel_status, 0, 0]),
    ]
}

/// One sequence as the guest reads it, and what the subchannel looks like behind it.
fn line(subchannel: u16, before: Before, sequence: &[Instruction]) -> String {
    let start = before.start();
    let mut state = before.state();
    let mut text =
        format!("{subchannel:x} {:x} {:x} {:x} {:x}", before as u8, start.intparm, control(&start), sequence.len() + 1);
    for &instruction in sequence.iter().chain(&[Instruction::Stsch]) {
        let response = state.execute(instruction);
        let (operation, a, b) = match instruction {
            Instruction::Ssch(start) => (Operation::Start, start.intparm, control(&start)),
            Instruction::Hsch => (Operation::Halt, 0, 0),
            Instruction::Csch => (Operation::Clear, 0, 0),
            Instruction::Xsch => (Operation::Cancel, 0, 0),
            Instruction::Rsch => (Operation::Resume, 0, 0),
            Instruction::Msch(fields) => {
                (Operation::Modify, u32::try_from(if fields.enabled { SCHIB_ENABLE } else { SCHIB_DISABLE }).unwrap(), 0)
            }
            Instruction::Tsch => (Operation::Test, 0, 0),
            Instruction::Stsch => (Operation::Store, 0, 0),
        };
        let (stored, intparm) = match response.image {
            Some(Image::Irb(scsw)) => (words(scsw), 0),
            Some(Image::Schib(schib)) => (words(schib.scsw), schib.pmcw.fields.intparm),
            None => ([0; 4], 0),
        };
        let [mask0, word0, mask2, word2] = stored;
        write!(text, "  {:x} {a:x} {b:x} {:x} {mask0:x} {word0:x} {mask2:x} {word2:x} {intparm:x}", operation as u8, response.cc)
            .unwrap();
    }
    text + "\n"
}

fn schib(fields: &Fields) -> Schib {
    let mut schib = Schib::initial(0x120);
    schib.pmcw.set_intparm(fields.intparm);
    schib.pmcw.set_isc(fields.isc);
    let mut flags = schib.pmcw.flags();
    flags.set(PmcwFlags::ENABLED, fields.enabled);
    schib.pmcw.set_flags(flags);
    (schib.pmcw.lpm, schib.pmcw.pom) = (fields.lpm, fields.pom);
    schib
}

/// A dispatcher with these engine slots, and in the guest's memory a program that is suspended at once.
fn host(slots: u16) -> Host {
    let host = Host::new(Builder::default().engine_slots(slots));
    for (address, fields) in [(SCHIB_AT_FIRST, &State::IDLE.pmcw.fields), (SCHIB_ENABLE, &ENABLE), (SCHIB_DISABLE, &DISABLE)] {
        host.put(address, &schib(fields).to_bytes());
    }
    let suspended = Ccw { command: 3, flags: CcwFlags::SUSPEND | CcwFlags::SUPPRESS_LENGTH, count: 1, address: 0 };
    host.put(PROGRAM, &suspended.to_format1());
    host
}

/// Has the guest execute all sequences before which the subchannel is one of these.
fn execute(host: &Host, befores: &[(u16, Before)]) -> usize {
    // Longer ones where there is time.
    let most = std::env::var("FCTL_LONGEST_SEQUENCE").map_or(2, |most| most.parse().unwrap());
    let lines: Vec<String> = befores
        .iter()
        .flat_map(|&(number, before)| sequences(most).into_iter().map(move |sequence| line(number, before, &sequence)))
        .collect();
    let said = host.run("sequences", &lines.concat());
    println!("{befores:?}: {}", said.trim());
    assert!(said.starts_with(&format!("sequences={} ", lines.len())), "{said}");
    lines.len()
}

#[test]
fn a_guest_in_c_sees_each_sequence_as_the_model_has_it() {
    let file = volume_file();
    let host = host(8);
    let options = SubchannelOptions::new(0x120).with_mode(StatusMode::Held);
    host.attach(0, options, Delay::new(Null, FOREVER));
    host.attach(1, options, Null);
    host.attach(2, options, Fba::new(volume(file.path())).unwrap());
    let befores = [(0, Before::Idle), (0, Before::Active), (1, Before::StatusPending), (2, Before::Suspended)];
    assert!(execute(&host, &befores) >= 4 * 111);
    host.assert_settled();
}

#[test]
fn a_guest_in_c_sees_each_sequence_on_a_start_that_waits_as_the_model_has_it() {
    let file = volume_file();
    let volume = volume(file.path());
    // The only slot belongs to a program of another guest, which does not end.
    let host = host(1);
    let mut other = TestGuest::new(RingSizes::new(8));
    let (_, ring) = other.attach(&host.handle);
    let silent = Box::new(Delay::new(Fba::new(volume.clone()).unwrap(), FOREVER));
    host.handle.attach_subchannel(ring, id(0), SubchannelOptions::new(0x121), silent).unwrap();
    other.poster.stage(&Descriptor::start(id(0), &Orb::new(0, 0x1000), 1)).unwrap();
    other.publish();
    let deadline = Instant::now() + PATIENCE;
    while host.handle.counters().unwrap().issued == 0 {
        assert!(Instant::now() < deadline, "the other guest's start is not issued");
        std::thread::yield_now();
    }
    host.attach(0, SubchannelOptions::new(0x120).with_mode(StatusMode::Held), Fba::new(volume).unwrap());
    assert!(execute(&host, &[(0, Before::StartPending)]) >= 111);
}
