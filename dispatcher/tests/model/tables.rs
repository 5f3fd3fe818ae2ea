// SPDX-License-Identifier: MIT OR Apache-2.0
//! The pages of `docs` that speak of what the code does: their generated parts are made here by running the subchannel, and the tests
//! that the conformance table names must exist. `FCTL_BLESS=1` writes the generated parts instead of comparing them.

use super::exhaustive::reach;
use super::lockstep::{Pair, WAYS};
use super::or_word::{EXAMPLES, WRONG};
use super::situations::{outcome, run, Before, BEFORES, OPS};
use fctl_dispatcher::subchannel::StatusMode;
use fctl_model::pairs::Code;
use fctl_model::{fold_pair, Actl, Fctl, Instruction, Op, Outcome, Progress, Stctl, ALPHABET, PATHLESS};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::PathBuf;

const PAGE: &str = "docs/register-or-instruction.md";

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn mnemonic(op: Op) -> String {
    format!("{op:?}").to_uppercase()
}

fn mnemonics(sequence: &[Op]) -> String {
    sequence.iter().map(|&op| mnemonic(op)).collect::<Vec<_>>().join(", ")
}

// ---------------------------------------------------------------------------------------------------------------------
// State diagram and condition codes

/// Where a subchannel stands, read from the status word that the implementation shows.
fn place(pair: &Pair) -> &'static str {
    let word = super::lockstep::image(&pair.ours.scsw());
    let suspended = word.actl.has(Actl::SUSPENDED);
    if word.stctl.is(Stctl::PENDING.with(Stctl::INTERMEDIATE)) {
        match (suspended, word.fctl.has(Fctl::HALT)) {
            (false, _) => "active, intermediate status",
            (true, false) => "suspended, status pending",
            (true, true) => "suspended and halted, status pending",
        }
    } else if word.stctl.has(Stctl::PENDING) {
        "status pending"
    } else if word.actl.has(Actl::CLEAR_PENDING) {
        "clear pending"
    } else if word.actl.has(Actl::HALT_PENDING) {
        "halt pending"
    } else if suspended {
        if word.actl.has(Actl::RESUME_PENDING) {
            "resume pending"
        } else {
            "suspended"
        }
    } else if word.actl.has(Actl::SUBCHANNEL_ACTIVE) {
        "active"
    } else if word.actl.has(Actl::START_PENDING) {
        "start pending"
    } else if word.actl.has(Actl::DEVICE_ACTIVE) {
        "device active"
    } else {
        "idle"
    }
}

const PLACES: [&str; 13] = [
    "idle",
    "start pending",
    "active",
    "active, intermediate status",
    "device active",
    "suspended, status pending",
    "suspended",
    "resume pending",
    "suspended and halted, status pending",
    "halt pending",
    "clear pending",
    "status pending",
    "not enabled",
];

fn step_name(step: Progress) -> &'static str {
    match step {
        Progress::IssueStart => "start issued",
        Progress::DeferredCc1 | Progress::DeferredCc3 => "start refused",
        Progress::Resume => "resume issued",
        Progress::Halt(_) => "halted",
        Progress::Clear => "cleared",
        Progress::InitialStatus | Progress::Pci => "PCI or Z",
        Progress::Suspend => "S flag",
        Progress::End { .. } => "ended",
        Progress::DeviceEnd => "device end",
        Progress::Attention | Progress::PresentStacked => "attention",
    }
}

type Edges = BTreeMap<(usize, usize), BTreeSet<String>>;
type Codes = BTreeMap<(usize, usize), BTreeSet<u8>>;

/// Every change of place, and every condition code, in all states that can be reached.
fn walk() -> (Edges, Codes) {
    let (mut edges, mut codes) = (Edges::new(), Codes::new());
    let number = |pair: &Pair| {
        let name = if pair.ours.schib().pmcw.is_enabled() { place(pair) } else { "not enabled" };
        PLACES.iter().position(|&known| known == name).unwrap_or_else(|| panic!("{name} is not among the places"))
    };
    for pair in &reach(StatusMode::Held).pairs {
        let from = number(pair);
        let mut edge = |to: usize, label: String| {
            // MODIFY SUBCHANNEL, and CLEAR SUBCHANNEL that leads from everywhere to one place, are told in words.
            let told = PLACES[from] == "not enabled" || PLACES[to] == "not enabled" || label == "CSCH";
            if from != to && !told {
                edges.entry((from, to)).or_default().insert(label);
            }
        };
        // A start that selects no path is condition code 3 everywhere: told in words.
        for instruction in ALPHABET.into_iter().filter(|&one| one != Instruction::Ssch(PATHLESS)) {
            let mut next = pair.clone();
            let cc = next.execute(instruction).unwrap();
            codes.entry((from, instruction.op() as usize)).or_default().insert(cc);
            if instruction == Instruction::Csch && cc == 0 {
                assert_eq!(place(&next), "clear pending");
            }
            if cc == 0 {
                edge(number(&next), mnemonic(instruction.op()));
            }
        }
        for step in pair.model.legal_progress() {
            for way in WAYS.into_iter().filter(|_| !pair.never(step)) {
                let mut next = pair.clone();
                if let Some(lived) = next.progress(step, way) {
                    lived.unwrap();
                    edge(number(&next), step_name(step).into());
                }
            }
        }
    }
    (edges, codes)
}

fn identifier(place: &str) -> String {
    place.replace([',', ' '], "_")
}

fn diagram(edges: &Edges) -> String {
    let mut text = String::from("```mermaid\nstateDiagram-v2\n");
    for place in PLACES.iter().filter(|&&place| place != "not enabled") {
        writeln!(text, "    state \"{place}\" as {}", identifier(place)).unwrap();
    }
    for (&(from, to), labels) in edges {
        let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
        writeln!(text, "    {} --> {} : {}", identifier(PLACES[from]), identifier(PLACES[to]), labels.join(", ")).unwrap();
    }
    text + "```\n"
}

fn condition_codes(codes: &Codes) -> String {
    let mut text = format!("| state | {} |\n|---|{}\n", Op::ALL.map(mnemonic).join(" | "), "---|".repeat(8));
    for (number, place) in PLACES.iter().enumerate() {
        let cells = Op::ALL.map(|op| {
            let seen: Vec<String> = codes[&(number, op as usize)].iter().map(u8::to_string).collect();
            seen.join(" or ")
        });
        writeln!(text, "| {place} | {} |", cells.join(" | ")).unwrap();
    }
    text
}

// ---------------------------------------------------------------------------------------------------------------------
// Pair tables

/// One cell as the implementation has it: both values of S together, where both can be.
fn cell(before: Before, pair: [Op; 2]) -> String {
    let seen: Vec<(Vec<u8>, String)> = before
        .suspend_bits()
        .iter()
        .map(|&suspend| {
            let (both, codes) = run(before, suspend, &pair);
            let outcome = outcome(&both, &pair, &codes);
            (codes, outcome)
        })
        .collect();
    let (first, last) = (&seen[0], &seen[seen.len() - 1]);
    let code = |at: usize| match (first.0[at], last.0[at]) {
        (without, with) if without == with => with.to_string(),
        (2, 0) => "r".into(),
        other => panic!("{before:?} {pair:?}: condition codes {other:?} by S"),
    };
    let outcome = match (first.1.as_str(), last.1.as_str()) {
        (without, with) if without == with => with.to_string(),
        (without, with) if with.strip_suffix("+R") == Some(without) => format!("{without}(+R)"),
        other => panic!("{before:?} {pair:?}: outcomes {other:?} by S"),
    };
    format!("{},{} {outcome}", code(0), code(1))
}

/// The same cell as the reference has it; `None` where it has none.
fn reference_cell(before: Before, [a, b]: [Op; 2]) -> Option<String> {
    use fctl_model::Before as Theirs;
    let theirs = match before {
        Before::Idle => Theirs::Idle,
        Before::StartPending => Theirs::StartPending,
        Before::Active => Theirs::Active,
        Before::StatusPending => Theirs::StatusPending,
        Before::Suspended => Theirs::SuspendedTaken,
        Before::SuspendedPending => return None,
    };
    let code = |code: Code| match code {
        Code::Is(cc) => cc.to_string(),
        Code::R => "r".into(),
    };
    let found = fold_pair(theirs, a, b)?;
    let with_resume = if before == Before::Suspended { "S0+R" } else { "S0(+R)" };
    let outcome = match found.outcome {
        Outcome::Nothing => "N",
        Outcome::OldStatus => "P",
        Outcome::Earlier => "S0",
        Outcome::EarlierResume => with_resume,
        Outcome::First => "SA",
        Outcome::FirstResume => "SA(+R)",
        Outcome::Second => "SB",
        Outcome::Cancelled => "X",
        Outcome::Halt => "H0",
        Outcome::HaltUnissued => "Hs",
        Outcome::HaltActive => "Ha",
        Outcome::Clear => "C",
    };
    Some(format!("{},{} {outcome}", code(found.a), code(found.b)))
}

fn five_by_five(text: &mut String, mut cell: impl FnMut(Op, Op) -> String) {
    writeln!(text, "| A\\B | {} |\n|---|---|---|---|---|---|", OPS.map(mnemonic).join(" | ")).unwrap();
    for a in OPS {
        writeln!(text, "| {} | {} |", mnemonic(a), OPS.map(|b| cell(a, b)).join(" | ")).unwrap();
    }
}

fn pair_tables() -> String {
    let mut text = String::new();
    for before in BEFORES {
        writeln!(text, "Before = **{}**\n", before.name()).unwrap();
        five_by_five(&mut text, |a, b| cell(before, [a, b]));
        text.push('\n');
    }
    text
}

// ---------------------------------------------------------------------------------------------------------------------
// The OR-word

fn or_word_tables() -> String {
    let cells = |suspend: Option<bool>| WRONG.iter().filter(move |table| suspend.is_none_or(|bit| table.1 == bit));
    let count = |suspend: Option<bool>, what: &dyn Fn(&str) -> bool| {
        cells(suspend).flat_map(|table| table.2).flat_map(|row| row.split(' ')).filter(|cell| what(cell)).count()
    };
    let mut text = format!(
        "Of {} pairs (six states, both values of S where both can be) {} come out right. In {} a condition code is wrong, in {} the wrong \
         function is performed, in {} the wrong ORB or interruption parameter counts.\n\n",
        count(None, &|_| true),
        count(None, &|cell| cell == "."),
        count(None, &|cell| cell.contains('c')),
        count(None, &|cell| cell.contains('f')),
        count(None, &|cell| cell.contains('o')),
    );
    for (before, _, rows) in cells(Some(true)) {
        writeln!(text, "Before = **{}**\n", before.name()).unwrap();
        let at = |op: Op| OPS.iter().position(|&known| known == op).unwrap();
        five_by_five(&mut text, |a, b| rows[at(a)].split(' ').nth(at(b)).unwrap().to_string());
        text.push('\n');
    }
    text
}

fn example_table() -> String {
    let mut text =
        String::from("| reference | before | sequence | must be | OR-word | what the guest sees |\n|---|---|---|---|---|---|\n");
    for example in EXAMPLES {
        let show = |(codes, function, orb): (&[u8], &str, u32)| {
            let codes: Vec<String> = codes.iter().map(u8::to_string).collect();
            format!("{} `{function}` {orb:X}", codes.join(","))
        };
        writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} |",
            example.source,
            example.before.name(),
            mnemonics(example.sequence),
            show(example.right),
            show(example.sketch),
            example.consequence
        )
        .unwrap();
    }
    text
}

// ---------------------------------------------------------------------------------------------------------------------
// The pages

/// The page with the generated part `name` replaced.
fn with_part(page: &str, name: &str, generated: &str) -> String {
    let (begin, end) = (format!("<!-- generated: {name} -->\n"), format!("<!-- end: {name} -->"));
    let (head, rest) = page.split_once(&begin).unwrap_or_else(|| panic!("{PAGE} has no line {begin}"));
    let (_, tail) = rest.split_once(&end).unwrap_or_else(|| panic!("{PAGE} has no line {end}"));
    format!("{head}{begin}\n{}\n\n{end}{tail}", generated.trim_end())
}

#[test]
fn the_page_says_what_the_subchannel_does() {
    let committed = read(PAGE);
    let (edges, codes) = walk();
    let parts = [
        ("state diagram", diagram(&edges)),
        ("condition codes", condition_codes(&codes)),
        ("pair tables", pair_tables()),
        ("or-word pairs", or_word_tables()),
        ("or-word examples", example_table()),
    ];
    let mut page = committed.clone();
    for (name, generated) in &parts {
        page = with_part(&page, name, generated);
    }
    if std::env::var_os("FCTL_BLESS").is_some_and(|value| value == "1") {
        std::fs::write(root().join(PAGE), page).unwrap();
        return;
    }
    for (at, (ours, there)) in page.lines().zip(committed.lines()).enumerate() {
        assert_eq!(ours, there, "{PAGE}, line {}, is not what the code does; FCTL_BLESS=1 rewrites it", at + 1);
    }
    assert!(page == committed, "{PAGE} is not what the code does; FCTL_BLESS=1 rewrites it");
}

#[test]
fn pair_tables_as_implemented_are_those_of_the_reference() {
    let mut compared = 0;
    for before in BEFORES {
        for a in OPS {
            for b in OPS {
                if let Some(expected) = reference_cell(before, [a, b]) {
                    assert_eq!(cell(before, [a, b]), expected, "{before:?} [{a:?}, {b:?}]");
                    compared += 1;
                }
            }
        }
    }
    assert_eq!(compared, 125);
    // "Suspended with I+X pending: SSCH/XSCH/RSCH → 1, HSCH/CSCH → 0."
    let alone = |op: Op| run(Before::SuspendedPending, true, &[op]).1[0];
    assert_eq!(OPS.map(alone), [1, 0, 0, 1, 1]);
}

const CONFORMANCE: &str = "docs/conformance.md";

/// Items of the checklist that cannot be asked here, each with its reason in the table.
const NOT_ASKED: [u16; 10] = [1, 8, 18, 70, 71, 72, 73, 78, 79, 80];

/// The names `file::test` in a cell of the table.
fn names(cell: &str) -> Vec<(String, String)> {
    let quoted = cell.split('`').skip(1).step_by(2);
    quoted.filter_map(|name| name.split_once("::")).map(|(file, test)| (file.to_string(), test.to_string())).collect()
}

/// Whether a file has this test: a function under `#[test]`, doc comments and other attributes between them allowed.
fn has_test(source: &str, test: &str) -> bool {
    let mut under_test = false;
    for line in source.lines().map(str::trim) {
        if line == "#[test]" {
            under_test = true;
        } else if let Some(rest) = line.strip_prefix("fn ") {
            if under_test && rest.strip_prefix(test).is_some_and(|rest| rest.starts_with('(')) {
                return true;
            }
            under_test = false;
        } else if !line.starts_with("#[") && !line.starts_with("//") {
            under_test = false;
        }
    }
    false
}

#[test]
fn every_item_of_the_conformance_table_names_tests_that_exist() {
    let page = read(CONFORMANCE);
    let mut items = BTreeMap::new();
    for line in page.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let Ok(item) = cells[0].parse::<u16>() else { continue };
        assert!(items.insert(item, names(cells[cells.len() - 1])).is_none(), "item {item} is there twice");
    }
    assert_eq!(items.keys().copied().collect::<Vec<_>>(), (1..=80).collect::<Vec<_>>());
    let mut sources: BTreeMap<String, String> = BTreeMap::new();
    let mut counted = 0;
    for (item, tests) in items {
        assert_eq!(tests.is_empty(), NOT_ASKED.contains(&item), "item {item}: {tests:?}");
        for (file, test) in tests {
            let source = sources.entry(file.clone()).or_insert_with(|| read(&file));
            assert!(has_test(source, &test), "item {item}: there is no test {test} in {file}");
            counted += 1;
        }
    }
    println!("{counted} tests are named");
}
