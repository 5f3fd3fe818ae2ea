#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""Counts the dispatcher's instructions per guest instruction under callgrind, against the baselines of bench/instructions.toml.

`fctl-bench load --one-thread` makes each turn in a function of its own, and only what runs below it is counted. Each load runs twice, with a few
and with more round trips; the difference, divided by their difference, has neither set-up nor first use in it.

Fails when a count is more than the tolerance above its baseline. `--update` writes the counts as the new baselines. `--json` tells the counts to
`fctl-bench peers` and judges nothing; `--built` uses the build that is there, and says so if that is older than the sources.
Where FCTL_GATE is 1, as .ci/run sets it, what cannot run has failed.
"""
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib

ROOT = pathlib.Path(__file__).resolve().parent.parent
BOOK = ROOT / "bench" / "instructions.toml"
# A target folder of its own: the flag rebuilds everything. Valgrind does not survive the system calls that rustix makes without libc.
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "callgrind"
FLAGS = "--cfg=rustix_use_libc"
FEW, MORE = 2048, 6144


def build():
    environment = {**os.environ, "RUSTFLAGS": FLAGS, "CARGO_TARGET_DIR": str(TARGET)}
    subprocess.run(["cargo", "build", "--release", "--quiet", "-p", "fctl-bench"], cwd=ROOT, env=environment, check=True)
    return TARGET / "release" / "fctl-bench"


def built():
    """The build that is there, or why it cannot be used."""
    program = TARGET / "release" / "fctl-bench"
    if not program.exists():
        return None, "no build for callgrind yet: tools/count-instructions.py makes it"
    sources = [ROOT / "Cargo.lock", *(path for room in ("ringabi", "dispatcher", "bench")
                                      for path in (ROOT / room).glob("src/**/*.rs"))]
    if max(source.stat().st_mtime for source in sources) > program.stat().st_mtime:
        return None, "the build for callgrind is older than the sources: tools/count-instructions.py makes it anew"
    return program, None


def count(program, load, starts, directory):
    """Instructions below the counted function, and descriptors taken as the program tells them."""
    out = pathlib.Path(directory) / "callgrind.out"
    command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", "--collect-atstart=no",
               "--toggle-collect=*load*counted_turn*", str(program), "load", "--what", load, "--one-thread",
               "--batch", "32", "--depth", "32", "--starts", str(starts)]
    run = subprocess.run(command, capture_output=True, text=True)
    if run.returncode != 0:
        sys.exit(f"instruction counts: {load}: {run.stderr.strip().splitlines()[-1] if run.stderr.strip() else run.returncode}")
    taken = int(re.search(r"\btaken: (\d+)", run.stdout).group(1))
    return int(re.search(r"^(?:summary|totals): (\d+)", out.read_text(), re.M).group(1)), taken


def per_instruction(program, load):
    with tempfile.TemporaryDirectory() as directory:
        few, more = (count(program, load, starts, directory) for starts in (FEW, MORE))
    instructions, taken = (b - a for a, b in zip(few, more))
    return instructions / taken


def main():
    options = set(sys.argv[1:])
    if options not in (set(), {"--update"}, {"--json"}, {"--json", "--built"}):
        sys.exit(__doc__)
    update, as_json = "--update" in options, "--json" in options
    program, reason = None, None
    if shutil.which("valgrind") is None:
        reason = "no valgrind"
    elif "--built" in options:
        program, reason = built()
    if reason:
        print(json.dumps({"not_run": reason}) if as_json else f"instruction counts: not run ({reason})")
        sys.exit(0 if as_json else int(os.environ.get("FCTL_GATE", "0")))
    book = tomllib.loads(BOOK.read_text())
    tolerance = book.pop("tolerance")
    program = program or build()
    if as_json:
        counts = [{"what": entry["what"], "count": per_instruction(program, load), "baseline": entry["baseline"],
                   "goal": entry.get("goal")} for load, entry in book.items()]
        print(json.dumps({"counts": {"tolerance": tolerance, "counts": counts}}))
        return
    text, failed = BOOK.read_text(), []
    print(f"{'dispatcher side, batch 32':26} {'count':>7} {'baseline':>9} {'':>7}  goal")
    for load, entry in book.items():
        found = per_instruction(program, load)
        change = found / entry["baseline"] - 1 if entry["baseline"] else 0.0
        goal = entry.get("goal")
        verdict = "no goal" if goal is None else f"≤ {goal}: {'met' if found <= goal else 'not met'}"
        guarded = change <= tolerance
        remark = f"; more than {tolerance:.0%} above the baseline" if not guarded else "; time to --update" if change < -tolerance else ""
        print(f"{entry['what']:26} {found:7.1f} {entry['baseline']:9.1f} {change:+7.1%}  {verdict}"
              f"{remark}")
        if not guarded:
            failed.append(load)
        text = re.sub(rf"(\[{re.escape(load)}\][^\[]*?baseline = )[\d.]+", rf"\g<1>{found:.1f}", text)
    if update:
        BOOK.write_text(text)
    elif failed:
        sys.exit(f"instruction counts: more instructions than the baseline allows: {', '.join(failed)}")


main()
