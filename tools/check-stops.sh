#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# Ten thousand halts and clears of reads in flight, in release, with what became of each; then the same with builds that present a status too soon,
# each of which must fail the test. Works on a copy under target/; the sources are not touched.
#
# Usage: tools/check-stops.sh [part of a fault's description]
set -euo pipefail
cd "$(dirname "$0")/.."
exec python3 - "$@" <<'PY'
import os
import pathlib
import re
import shutil
import subprocess
import sys

ROOT = pathlib.Path.cwd()
WORK = ROOT / "target" / "check-stops"
BUILD = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve() / "check-stops-build"
MEMBERS = ["ringabi", "dispatcher", "dispatcher/model"]
HELD = "nothing_changes_after_the_final_on_a_file_whose_server_waits"
SECONDS = 300  # for one run of the tests

AT_ONCE = (
    "device/emulated/mod.rs",
    """        if self.stop != Some(Stop::Clear) {
            self.stop = Some(stop);
        }
        if let Some(slot) = cx.slot {
            cx.engine.cancel(slot);
        }
""",
    """        if let Some(slot) = cx.slot {
            cx.engine.cancel(slot);
        }
        self.stopped(cx, stop);
""",
)
CHANGED = "(?:memory|the volume) changed after the final"
# Description, changes (file, the text as it ships, the text that replaces it), what the test must say.
FAULTS = [
    ("halt and clear are answered at once, whatever is in the kernel", [AT_ONCE], CHANGED),
    (
        "they are answered at once, and the engine's slot is free at once",
        [
            AT_ONCE,
            (
                "engine/uring.rs",
                "            if entry.owner.take().is_some() && !entry.in_flight {\n",
                "            if entry.owner.take().is_some() {\n"
                "                if std::mem::replace(&mut entry.in_flight, false) {\n"
                "                    entry.generation = entry.generation.wrapping_add(1);\n"
                "                    self.flying -= 1;\n"
                "                }\n",
            ),
        ],
        CHANGED,
    ),
    (
        "the answer to a cancel is taken for the end of the operation",
        [
            ("engine/uring.rs", "KIND_CANCEL => self.cancel_answered(generation, index)", "KIND_CANCEL => self.ended(generation, index, result)"),
        ],
        CHANGED,
    ),
    (
        "a start that was issued ends when a clear is accepted",
        [
            (
                "subchannel/accept.rs",
                "        if !self.start_issued {\n            if let Some(start) = self.start.take() {\n                self.absorbed(start, Disposition::AbsorbedByClear, false, answers);\n",
                "        {\n            if let Some(start) = self.start.take() {\n                self.absorbed(start, Disposition::AbsorbedByClear, self.start_issued, answers);\n",
            )
        ],
        CHANGED,
    ),
    (
        "the reactor itself waits for the server",
        [("engine/uring/slot.rs", "if self.aside { squeue::Flags::ASYNC }", "if false { squeue::Flags::ASYNC }")],
        r"\b0 cancelled",
    ),
]


def copy_workspace():
    shutil.rmtree(WORK, ignore_errors=True)
    for member in MEMBERS[:2]:
        # With new times of modification: else cargo takes what an earlier run has built for up to date.
        shutil.copytree(ROOT / member, WORK / member, copy_function=shutil.copyfile)
    manifest = (ROOT / "Cargo.toml").read_text()
    members = ", ".join(f'"{member}"' for member in MEMBERS)
    for key in ("members", "default-members"):
        manifest, found = re.subn(rf"^{key} = \[[^\]]*\]$", f"{key} = [{members}]", manifest, flags=re.MULTILINE)
        if found != 1:
            sys.exit(f"Cargo.toml: {key} stands there {found} times, once is expected")
    (WORK / "Cargo.toml").write_text(manifest)
    shutil.copy(ROOT / "Cargo.lock", WORK)


def cargo(stops, *arguments):
    environment = dict(os.environ, CARGO_TARGET_DIR=str(BUILD), RUST_BACKTRACE="0", FCTL_TEST_STOPS=str(stops))
    environment["RUSTFLAGS"] = (environment.get("RUSTFLAGS", "") + " -Awarnings").strip()
    command = ["cargo", "test", "--offline", "--quiet", "--release", "-p", "fctl-dispatcher", "--test", "stops_in_flight", *arguments]
    try:
        return subprocess.run(
            command, cwd=WORK, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=SECONDS
        )
    except subprocess.TimeoutExpired as expired:
        text = expired.stdout.decode() if isinstance(expired.stdout, bytes) else expired.stdout or ""
        return subprocess.CompletedProcess(command, None, text)


def run(stops, *arguments):
    return cargo(stops, "--", "--nocapture", "--test-threads=1", *arguments)


def fails(description, changes, expected):
    """Whether the test notices these changes, for the reason it should; and what to print."""
    before = {}
    try:
        for file, shipped, changed in changes:
            path = WORK / "dispatcher" / "src" / file
            source = path.read_text()
            if (found := source.count(shipped)) != 1:
                return False, f"NOT APPLIED: its text stands {found} times in {file}, once is expected"
            before.setdefault(path, source)
            path.write_text(source.replace(shipped, changed))
        built = cargo(0, "--no-run")
        if built.returncode != 0:
            return False, "NOT COMPILED:\n" + built.stdout
        ended = run(2000, "--exact", HELD)
        if ended.returncode == 0:
            return False, "NOT NOTICED:\n" + ended.stdout
        said = re.search(rf"^.*{expected}.*$", ended.stdout, re.MULTILINE)
        if not said:
            return False, "FAILED FOR ANOTHER REASON:\n" + ended.stdout
        return True, "fails: " + said.group(0).strip()
    finally:
        for path, source in before.items():
            path.write_text(source)


wanted = sys.argv[1] if len(sys.argv) > 1 else ""
chosen = [fault for fault in FAULTS if wanted in fault[0]]
if not chosen:
    sys.exit(f"no fault is described by {wanted!r}; there are: " + "; ".join(fault[0] for fault in FAULTS))
copy_workspace()
built = cargo(0, "--no-run")
if built.returncode != 0:
    sys.exit("as it ships: not compiled\n" + built.stdout)
ended = run(10000)
if ended.returncode != 0:
    sys.exit("as it ships: the tests do not pass\n" + ended.stdout)
for line in ended.stdout.splitlines():
    if found := re.search(r"(a device that delays|a file whose server waits): .*|nothing_\S+: not run, .*", line):
        print(found.group(0), flush=True)
if f"{HELD}: not run" in ended.stdout:
    print("builds that present a status too soon: not run, they show on that file only")
    sys.exit(0)
failed = 0
for description, changes, expected in chosen:
    noticed, text = fails(description, changes, expected)
    failed += not noticed
    print(f"{description} → {text}", flush=True)
print(f"{len(chosen) - failed} of {len(chosen)} faults noticed")
sys.exit(1 if failed else 0)
PY
