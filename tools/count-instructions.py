#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""Counts the dispatcher's instructions per guest instruction under callgrind, against the baselines of bench/instructions.toml.

`fctl-bench load --one-thread` makes each turn in a function of its own, and only what runs below it is counted. Each load runs twice, with a few
and with more round trips; the difference, divided by their difference, has neither set-up nor first use in it.

Fails when a count is more than the tolerance above its baseline. `--update` writes the counts as the new baselines.
Where FCTL_GATE is 1, as .ci/run sets it, what cannot run has failed.
"""
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
    update = sys.argv[1:] == ["--update"]
    if sys.argv[1:] and not update:
        sys.exit(__doc__)
    if shutil.which("valgrind") is None:
        print("instruction counts: not run (no valgrind)")
        sys.exit(int(os.environ.get("FCTL_GATE", "0")))
    book = tomllib.loads(BOOK.read_text())
    tolerance = book.pop("tolerance")
    program = build()
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
