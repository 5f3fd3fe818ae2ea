#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# Counts the system calls of the reactor's thread under FBA load at batch 32: at most one io_uring_enter for each productive turn, but for a few at set-up, and
# 0.1 for each start, other calls at most 50 a second. Where FCTL_GATE is 1, as .ci/run sets it, what cannot run has failed.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=${CARGO_TARGET_DIR:-$PWD/target}/release
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
seconds=6

if ! strace -f -o /dev/null true 2>/dev/null; then
    echo "system calls: not run (strace is missing or may not trace here)"
    exit "${FCTL_GATE:-0}"
fi
strace -f -ff -qq -e signal=none -o "$out/trace" "$bin/fctl-bench" load --what fba --batch 32 --seconds "$seconds" >"$out/load.txt"
python3 - "$out" "$seconds" <<'PY'
import collections, glob, re, sys
out, seconds = sys.argv[1], float(sys.argv[2])
text = open(f"{out}/load.txt").read()
load = {name: int(re.search(rf"\b{name}: (\d+)", text).group(1)) for name in ("starts", "productive_turns", "sleeps")}
best = None
for path in glob.glob(f"{out}/trace.*"):
    calls = collections.Counter(m.group(1) for m in (re.match(r"(\w+)\(", line) for line in open(path, errors="replace")) if m)
    if best is None or calls["io_uring_enter"] > best["io_uring_enter"]:
        best = calls
enters, starts, turns = best["io_uring_enter"], load["starts"], load["productive_turns"]
others = {name: count for name, count in best.items() if name != "io_uring_enter"}
per_second = sum(others.values()) / seconds
print(f"starts {starts}, productive turns {turns}, io_uring_enter {enters}: {enters / starts:.4f} a start, {enters / turns:.3f} a turn")
print(f"other calls of that thread: {per_second:.1f} a second {dict(sorted(others.items()))}")
# Watches of the mailbox and of the ring go in before there is anything to be productive with.
setting_up = 4
ok = starts > 0 and enters <= 0.1 * starts and enters <= turns + load["sleeps"] + setting_up and per_second <= 50
sys.exit(0 if ok else 1)
PY
