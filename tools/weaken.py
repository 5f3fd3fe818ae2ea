#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""Shows that every ordering of the ring code is needed: takes them away one at a time and demands that a test notices.

Copies the crate `ringabi` to `target/weaken/`, checks that its loom tests pass unmodified, then applies each weakening below to a fresh
copy of the sources and demands that the loom tests fail. A weakening that nothing notices is either a hole in the tests or an ordering
that is not needed: both end with a non-zero exit.

Usage: tools/weaken.py [part of a weakening's description]
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve()
WORK = ROOT / "target" / "weaken"
SECONDS = 600  # for one build and run of the tests, on a loaded machine too; one that hangs has noticed nothing

# Description, file, the text as it ships, the text that replaces it, the test that should notice (tried first).
WEAKENINGS = [
    (
        "PUBLISH Release -> Relaxed",
        "producer.rs",
        "const PUBLISH: Ordering = Ordering::Release;",
        "const PUBLISH: Ordering = Ordering::Relaxed;",
        "entries_arrive_whole_and_in_order_over_several_laps",
    ),
    (
        "TAKE Acquire -> Relaxed",
        "consumer.rs",
        "const TAKE: Ordering = Ordering::Acquire;",
        "const TAKE: Ordering = Ordering::Relaxed;",
        "entries_arrive_whole_and_in_order_over_several_laps",
    ),
    (
        "GIVE_BACK Release -> Relaxed",
        "consumer.rs",
        "const GIVE_BACK: Ordering = Ordering::Release;",
        "const GIVE_BACK: Ordering = Ordering::Relaxed;",
        "a_full_ring_makes_the_producer_wait_and_overwrites_nothing",
    ),
    (
        "SEE_HEAD Acquire -> Relaxed",
        "producer.rs",
        "const SEE_HEAD: Ordering = Ordering::Acquire;",
        "const SEE_HEAD: Ordering = Ordering::Relaxed;",
        "a_full_ring_makes_the_producer_wait_and_overwrites_nothing",
    ),
    (
        "no fence in Sleeper::announce",
        "wake.rs",
        "        // Pairs with the fence in `Waker::must_wake`.\n        self.memory.full_fence();\n",
        "",
        "no_wake_up_is_lost_and_none_is_sent_twice",
    ),
    (
        "no fence in Waker::must_wake",
        "wake.rs",
        "        // Pairs with the fence in `Sleeper::announce`.\n        self.memory.full_fence();\n",
        "",
        "no_wake_up_is_lost_and_none_is_sent_twice",
    ),
    (
        "last look before the announcement of sleep",
        "guest_port.rs",
        "        self.sleeper.announce();\n        if self.completions.is_empty()",
        "        let empty = self.completions.is_empty();\n        self.sleeper.announce();\n        if empty",
        "a_sleeping_guest_is_notified_of_every_completion",
    ),
    (
        "sleeps are not counted",
        "wake.rs",
        "self.count = self.count.wrapping_add(1);",
        "self.count = 0;",
        "no_wake_up_is_lost_and_none_is_sent_twice",
    ),
    (
        "a sleep that was rung for is forgotten",
        "wake.rs",
        "            self.woken = count;\n",
        "",
        "no_wake_up_is_lost_and_none_is_sent_twice",
    ),
    (
        "first slot of a batch valid before the others",
        "producer.rs",
        "            self.held = first;\n",
        "            self.held = first;\n            self.memory.store(word, first, PUBLISH);\n",
        "a_batch_is_visible_at_once",
    ),
    (
        "first slot of a poster's batch valid before the others",
        "shared_producer.rs",
        "        for (index, entry) in (0..).zip(batch) {\n",
        "        self.memory.store_body(self.lane.word(ticket), &batch[0]);\n"
        "        self.memory.store(self.lane.word(ticket), with_lap(batch[0][0], self.lane.lap(ticket)), PUBLISH);\n"
        "        for (index, entry) in (0..).zip(batch).skip(1) {\n",
        "a_batch_of_one_of_two_posters_stays_together",
    ),
    (
        "lap valid before the body is written",
        "producer.rs",
        "        self.memory.store_body(word, &entry);\n",
        "        self.memory.store(word, first, PUBLISH);\n        self.memory.store_body(word, &entry);\n",
        "entries_arrive_whole_and_in_order_over_several_laps",
    ),
    (
        "lap off by one, so that an old slot is valid",
        "consumer.rs",
        "        let expected = self.lane.lap(self.head);\n",
        "        let expected = self.lane.lap(self.head).wrapping_sub(1);\n",
        "entries_arrive_whole_and_in_order_over_several_laps",
    ),
    (
        "lap zero, so that zeroed memory is valid",
        "lane.rs",
        "        lap.wrapping_add(1)\n",
        "        lap\n",
        "entries_arrive_whole_and_in_order_over_several_laps",
    ),
    (
        "slot given back before it is read",
        "consumer.rs",
        "        let entry = self.peek()?;\n        if entry.is_some() {\n            self.advance();\n        }\n        Ok(entry)\n",
        "        if self.is_empty() {\n            return Ok(None);\n        }\n        self.advance();\n        self.head -= 1;\n"
        "        let entry = self.peek();\n        self.head += 1;\n        entry\n",
        "entries_arrive_whole_and_in_order_over_several_laps",
    ),
    (
        "ticket by load and store instead of compare-and-swap",
        "shared_producer.rs",
        "match self.memory.compare_exchange(self.ticket_word, ticket, ticket.wrapping_add(want)) {\n",
        "self.memory.store(self.ticket_word, ticket.wrapping_add(want), Ordering::Relaxed);\n            match Ok::<u64, u64>(ticket) {\n",
        "two_posters_lose_and_double_nothing",
    ),
    (
        "a head that other posters have overtaken is taken for room",
        "producer.rs",
        "Ok(lane.entries().saturating_sub(next.wrapping_sub(head)))",
        "Ok(lane.entries().wrapping_sub(next.wrapping_sub(head)))",
        "two_posters_lose_and_double_nothing",
    ),
    (
        "an outdated ticket accuses the consumer",
        "shared_producer.rs",
        "if fresh == ticket {",
        "if fresh >= ticket {",
        "an_outdated_ticket_accuses_nobody",
    ),
]

PASSED = re.compile(r"^test (\S+) \.\.\. ok$", re.MULTILINE)
FAILED = re.compile(r"^test (\S+) \.\.\. FAILED$", re.MULTILINE)


def copy_workspace():
    """A workspace of the one crate, with the versions of the whole one."""
    shutil.rmtree(WORK, ignore_errors=True)
    # With new times of modification: else cargo takes what the last weakening of an earlier run has built for up to date.
    shutil.copytree(ROOT / "ringabi", WORK / "ringabi", copy_function=shutil.copyfile)
    manifest = (ROOT / "Cargo.toml").read_text()
    for key in ("members", "default-members"):
        manifest, found = re.subn(rf"^{key} = \[[^\]]*\]$", f'{key} = ["ringabi"]', manifest, flags=re.MULTILINE)
        if found != 1:
            sys.exit(f"Cargo.toml: {key} stands there {found} times, once is expected")
    (WORK / "Cargo.toml").write_text(manifest)
    shutil.copy(ROOT / "Cargo.lock", WORK)


def cargo(*arguments):
    environment = dict(os.environ, CARGO_TARGET_DIR=str(TARGET / "weaken-build"), RUST_BACKTRACE="0")
    environment["RUSTFLAGS"] = (environment.get("RUSTFLAGS", "") + " --cfg loom -Awarnings").strip()
    command = ["cargo", "test", "--offline", "--quiet", "-p", "fctl-ringabi", "--test", "loom", "--release", *arguments]
    try:
        return subprocess.run(
            command, cwd=WORK, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=SECONDS
        )
    except subprocess.TimeoutExpired as expired:
        text = expired.stdout.decode() if isinstance(expired.stdout, bytes) else expired.stdout or ""
        return subprocess.CompletedProcess(command, None, text)


def run(*arguments):
    """Runs the tests: (whether all passed, the names of those that failed, the output)."""
    ended = cargo("--", "--format=pretty", *arguments)
    return ended.returncode == 0 and bool(PASSED.search(ended.stdout)), FAILED.findall(ended.stdout), ended.stdout


def weaken(name, file, shipped, weakened, test):
    """Applies one weakening, runs the tests, puts the sources back. Returns (caught, what to print)."""
    path = WORK / "ringabi" / "src" / file
    source = path.read_text()
    if (found := source.count(shipped)) != 1:
        return False, f"NOT APPLIED: its text stands {found} times in {file}, once is expected"
    path.write_text(source.replace(shipped, weakened))
    try:
        built = cargo("--no-run")
        if built.returncode != 0:
            return False, "NOT COMPILED:\n" + built.stdout
        _, failed, _ = run("--exact", test)
        if not failed:
            _, failed, _ = run()
        if not failed:
            return False, "NOT CAUGHT"
        return True, "caught by test " + ", ".join(failed)
    finally:
        path.write_text(source)


def main():
    wanted = sys.argv[1] if len(sys.argv) > 1 else ""
    chosen = [weakening for weakening in WEAKENINGS if wanted in weakening[0]]
    if not chosen:
        sys.exit(f"no weakening is described by {wanted!r}; there are: " + "; ".join(weakening[0] for weakening in WEAKENINGS))
    copy_workspace()
    passed, failed = 0, 0
    begin = time.monotonic()
    good, broken, output = run()
    if not good:
        sys.exit(f"unmodified: the tests do not pass ({', '.join(broken) or 'no test ran'})\n{output}")
    print(f"unmodified: all tests pass ({time.monotonic() - begin:.0f} s)", flush=True)
    passed += 1
    for weakening in chosen:
        caught, text = weaken(*weakening)
        passed, failed = passed + caught, failed + (not caught)
        print(f"weakened: {weakening[0]} → {text}", flush=True)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
