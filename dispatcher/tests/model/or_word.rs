// SPDX-License-Identifier: MIT OR Apache-2.0
//! The literal sketch of a function-control *register*: one mapped word into which the guest ORs its function bits, one ORB slot beside it,
//! then a kick. Run on the same sequences as the subchannel, to see exactly where it goes wrong and that the subchannel does not.

use super::situations::{of_model, of_ours, run, start_and_resume, Before, Seen, BEFORES, EARLIER, FIRST, OPS};
use fctl_model::Op;
use std::sync::atomic::{AtomicU32, Ordering};

const CLEAR: u32 = 1;
const HALT: u32 = 2;
const START: u32 = 4;
const CANCEL: u32 = 8;
const RESUME: u32 = 16;

/// The sketch says nothing about a cancel and a start in one word; it has to choose, and either choice is wrong somewhere.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reading {
    /// The cancel takes pending starts and resumes away.
    CancelWins,
    /// What was to be cancelled may have come before the start: the start stays.
    StartWins,
}

/// The mapped word and the ORB slot; the last ORB written wins.
struct OrWord {
    word: AtomicU32,
    slot: AtomicU32,
}

impl OrWord {
    /// A start that is pending is one whose bit the handler has not taken yet.
    fn before(before: Before) -> Self {
        let word = if before == Before::StartPending { START } else { 0 };
        Self { word: word.into(), slot: if before == Before::Idle { 0 } else { EARLIER }.into() }
    }

    /// The guest's side. Nobody looks at any state, so every answer is condition code 0.
    fn execute(&self, op: Op, orb: u32) -> u8 {
        let bit = match op {
            Op::Csch => CLEAR,
            Op::Hsch => HALT,
            Op::Ssch => START,
            Op::Xsch => CANCEL,
            Op::Rsch => RESUME,
            Op::Msch | Op::Tsch | Op::Stsch => unreachable!("the word has no bit for it"),
        };
        if op == Op::Ssch {
            self.slot.store(orb, Ordering::Relaxed);
        }
        // Pairs with the Acquire in `kick`.
        self.word.fetch_or(bit, Ordering::Release);
        0
    }

    /// The handler: takes the word, and picks by precedence. Start and resume do not exclude one another.
    fn kick(&self, reading: Reading) -> &'static str {
        // Pairs with the Release in `execute`.
        let word = self.word.swap(0, Ordering::Acquire);
        if word & CLEAR != 0 {
            "C"
        } else if word & HALT != 0 {
            "H"
        } else if word & CANCEL != 0 && reading == Reading::CancelWins {
            "-"
        } else {
            start_and_resume(word & START != 0, word & RESUME != 0)
        }
    }
}

/// What becomes of a sequence in the sketch.
pub fn of_sketch(before: Before, sequence: &[Op], reading: Reading) -> Seen {
    let sketch = OrWord::before(before);
    let codes = sequence.iter().zip(FIRST..).map(|(&op, orb)| sketch.execute(op, orb)).collect();
    let function = sketch.kick(reading);
    Seen { codes, function, orb: sketch.slot.into_inner() }
}

/// Where something differs from the model: `c` a wrong condition code, `f` a wrong function performed, `o` a wrong ORB or interruption
/// parameter; `.` nowhere.
pub fn differences(seen: &Seen, model: &Seen) -> String {
    let found = [(seen.codes != model.codes, 'c'), (seen.function != model.function, 'f'), (seen.orb != model.orb, 'o')];
    let found: String = found.into_iter().filter(|one| one.0).map(|one| one.1).collect();
    if found.is_empty() {
        ".".into()
    } else {
        found
    }
}

/// The sketch's differences for one pair; that of the implementation must be none.
pub fn pair_differences(before: Before, suspend: bool, pair: [Op; 2]) -> String {
    let (both, codes) = run(before, suspend, &pair);
    let model = of_model(&both, &codes);
    assert_eq!(of_ours(&both, &codes), model, "{before:?} {pair:?}, S={suspend}: the implementation differs from the model");
    differences(&of_sketch(before, &pair, Reading::CancelWins), &model)
}

/// Rows: the first instruction, columns: the second; both SSCH, HSCH, CSCH, XSCH, RSCH. S is the bit of all ORBs.
#[rustfmt::skip]
pub const WRONG: [(Before, bool, [&str; 5]); 10] = [
    (Before::Idle, false, ["co . . . cf", "co c . c c", "co c . c c", "cf c c c c", "cf c c c cf"]),
    (Before::Idle, true, ["co . . . .", "co c . c c", "co c . c c", "cf c c c c", "cf c c c cf"]),
    (Before::StartPending, false, ["co co co co cfo", "co c . c c", "co c . c c", "f . . c c", "cfo c c c cf"]),
    (Before::StartPending, true, ["co co co co co", "co c . c c", "co c . c c", "f . . c c", "co . . . c"]),
    (Before::Active, false, ["cfo co co co cfo", "co c . c c", "co c . c c", "co c c c c", "cfo c c c cf"]),
    (Before::Active, true, ["cfo co co co cfo", "co c . c c", "co c . c c", "co c c c cf", "cfo . . cf c"]),
    (Before::StatusPending, false, ["cfo cfo co co cfo", "cfo cf c cf cf", "co c . c c", "co cf c c c", "cfo cf c c cf"]),
    (Before::StatusPending, true, ["cfo cfo co co cfo", "cfo cf c cf cf", "co c . c c", "co cf c c c", "cfo cf c c cf"]),
    (Before::Suspended, true, ["cfo co co co cfo", "co c . c c", "co c . c c", "f . . c c", "cfo . . . c"]),
    (Before::SuspendedPending, true, ["cfo co co co cfo", "co c . c c", "co c . c c", "co c c c c", "cfo c c c cf"]),
];

/// A sequence of §4.3 or §8, and what must come of it and does in the sketch: condition codes, next function, interruption parameter.
pub struct Example {
    pub source: &'static str,
    pub before: Before,
    pub sequence: &'static [Op],
    pub right: (&'static [u8], &'static str, u32),
    pub reading: Reading,
    pub sketch: (&'static [u8], &'static str, u32),
    /// What the guest sees of it.
    pub consequence: &'static str,
}

const A1: u32 = FIRST;
const A2: u32 = FIRST + 1;
const A4: u32 = FIRST + 3;
use Op::{Csch, Hsch, Rsch, Ssch, Xsch};
use Reading::{CancelWins, StartWins};

#[rustfmt::skip]
pub const EXAMPLES: &[Example] = &[
    Example { source: "§4.3.3", before: Before::StartPending, sequence: &[Xsch, Ssch], right: (&[0, 0], "S", A2),
        reading: CancelWins, sketch: (&[0, 0], "-", A2),
        consequence: "A lost start: accepted with condition code 0, it never runs and no interruption comes; the guest waits for its time-out." },
    Example { source: "§4.3.3", before: Before::Idle, sequence: &[Ssch, Xsch], right: (&[0, 0], "-", A1),
        reading: StartWins, sketch: (&[0, 0], "S", A1),
        consequence: "A start runs after it was cancelled: the device writes into pages that the guest has given to somebody else. \
                      (The other reading loses the start of the line above.)" },
    Example { source: "§4.3.3", before: Before::Idle, sequence: &[Ssch, Ssch], right: (&[0, 2], "S", A1),
        reading: CancelWins, sketch: (&[0, 0], "S", A2),
        consequence: "A lost ORB: the first program was accepted and never runs; two accepted starts share one interruption." },
    Example { source: "§4.2", before: Before::StartPending, sequence: &[Ssch], right: (&[2], "S", EARLIER),
        reading: CancelWins, sketch: (&[0], "S", A1),
        consequence: "A rejected start replaces the ORB of one that was accepted before." },
    Example { source: "§4.2", before: Before::Active, sequence: &[Ssch], right: (&[2], "-", EARLIER),
        reading: CancelWins, sketch: (&[0], "S", A1),
        consequence: "A rejected instruction is executed: a second program is given to a device that runs the first." },
    Example { source: "§4.3.3", before: Before::StatusPending, sequence: &[Ssch], right: (&[1], "-", EARLIER),
        reading: CancelWins, sketch: (&[0], "S", A1),
        consequence: "A rejected instruction is executed: the new start overwrites an ending status that the guest has not taken." },
    Example { source: "§4.3.3", before: Before::StatusPending, sequence: &[Hsch], right: (&[1], "-", EARLIER),
        reading: CancelWins, sketch: (&[0], "H", EARLIER),
        consequence: "A rejected instruction is executed: the program had ended, and the guest is told that it was halted." },
    Example { source: "§4.3.2", before: Before::Idle, sequence: &[Ssch, Csch], right: (&[0, 0], "C", A1),
        reading: CancelWins, sketch: (&[0, 0], "C", A1),
        consequence: "None: this order comes out right. The word is the same as in the next line, where it does not." },
    Example { source: "§4.3.2", before: Before::Idle, sequence: &[Csch, Ssch], right: (&[0, 2], "C", 0),
        reading: CancelWins, sketch: (&[0, 0], "C", A2),
        consequence: "A start is lost that was told condition code 0; the clear's interruption carries the parameter of a start that never was." },
    Example { source: "§4.2", before: Before::Idle, sequence: &[Hsch, Ssch], right: (&[0, 2], "H", 0),
        reading: CancelWins, sketch: (&[0, 0], "H", A2),
        consequence: "The same under a halt; its status says start and halt where there was no start." },
    Example { source: "§4.2", before: Before::Idle, sequence: &[Csch, Hsch], right: (&[0, 2], "C", 0),
        reading: CancelWins, sketch: (&[0, 0], "C", 0),
        consequence: "A halt is accepted that nothing will ever end." },
    Example { source: "§4.2", before: Before::Idle, sequence: &[Hsch, Hsch], right: (&[0, 2], "H", 0),
        reading: CancelWins, sketch: (&[0, 0], "H", 0),
        consequence: "Two halts are accepted, one interruption comes; the guest waits for the other." },
    Example { source: "§4.3.8", before: Before::Active, sequence: &[Xsch], right: (&[2], "-", EARLIER),
        reading: CancelWins, sketch: (&[0], "-", EARLIER),
        consequence: "A false \"cancelled\": the guest takes the device for idle, does not go on to halt and clear, and reuses pages that are still written." },
    Example { source: "§4.2", before: Before::Active, sequence: &[Xsch, Rsch], right: (&[2, 0], "R", EARLIER),
        reading: CancelWins, sketch: (&[0, 0], "-", EARLIER),
        consequence: "A rejected cancel takes an accepted resume away: the program stops at its next suspend flag for good." },
    Example { source: "§4.2", before: Before::Suspended, sequence: &[Rsch, Xsch], right: (&[0, 0], "-", EARLIER),
        reading: StartWins, sketch: (&[0, 0], "R", EARLIER),
        consequence: "A program goes on after it was cancelled." },
    Example { source: "§4.2", before: Before::SuspendedPending, sequence: &[Rsch], right: (&[1], "-", EARLIER),
        reading: CancelWins, sketch: (&[0], "R", EARLIER),
        consequence: "A rejected instruction is executed: the program goes on before the guest has seen where it stopped." },
    Example { source: "§8.51", before: Before::Idle, sequence: &[Ssch, Ssch, Csch, Ssch, Csch], right: (&[0, 2, 0, 2, 0], "C", A1),
        reading: CancelWins, sketch: (&[0, 0, 0, 0, 0], "C", A4),
        consequence: "Two starts that were refused count as accepted; the interruption carries the parameter of one of them." },
];

#[test]
fn the_or_word_is_wrong_in_exactly_these_pairs_and_the_subchannel_in_none() {
    let mut found = Vec::new();
    for before in BEFORES {
        for &suspend in before.suspend_bits() {
            let rows = OPS.map(|a| OPS.map(|b| pair_differences(before, suspend, [a, b])).join(" "));
            found.push((before, suspend, rows));
        }
    }
    let expected: Vec<_> = WRONG.iter().map(|(before, suspend, rows)| (*before, *suspend, rows.map(String::from))).collect();
    if found != expected {
        for (before, suspend, rows) in &found {
            println!("    (Before::{before:?}, {suspend}, [");
            rows.iter().for_each(|row| println!("        \"{row}\","));
            println!("    ]),");
        }
    }
    assert!(found == expected, "the differences are those printed above");
}

#[test]
fn counter_examples_of_the_reference() {
    for example in EXAMPLES {
        let why = format!("{} {:?} {:?}", example.source, example.before, example.sequence);
        let seen = |(codes, function, orb): (&[u8], _, _)| Seen { codes: codes.to_vec(), function, orb };
        let (both, codes) = run(example.before, true, example.sequence);
        assert_eq!(of_model(&both, &codes), seen(example.right), "{why}: model");
        assert_eq!(of_ours(&both, &codes), seen(example.right), "{why}: subchannel");
        assert_eq!(of_sketch(example.before, example.sequence, example.reading), seen(example.sketch), "{why}: sketch");
    }
}
