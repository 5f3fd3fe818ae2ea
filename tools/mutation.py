# SPDX-License-Identifier: MIT OR Apache-2.0
"""Programs that are wrong on purpose: a copy of some crates in which a few lines are changed, and the tests that should notice."""

import contextlib
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time
import typing

ROOT = pathlib.Path(__file__).resolve().parent.parent
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve()
SECONDS = 600  # for one build and run of the tests, on a loaded machine too; one that hangs has noticed nothing
RESULT = re.compile(r"^test (\S+) \.\.\. (ok|FAILED)$", re.MULTILINE)


class Wrong(Exception):
    """A change that says nothing about the tests: it does not apply, or does not compile."""


class Outcome(typing.NamedTuple):
    """Which tests passed and which failed; neither, if nothing was run."""

    passed: set
    failed: set
    output: str


class Workshop:
    """A copy of some crates under `target/`, as a workspace with the versions of the whole one."""

    def __init__(self, name, members, package, options=(), flags=""):
        self.work = ROOT / "target" / name
        self.build = TARGET / f"{name}-build"
        self.members = members
        self.command = ["cargo", "test", "--offline", "--quiet", "--package", package, *options]
        self.flags = flags

    def open(self, programs):
        """Copies the sources and demands that the tests pass as they are: `programs` maps a test program to its tests (none named: all)."""
        self._copy()
        began = time.monotonic()
        number = 0
        for program, tests in programs.items():
            try:
                outcome = self.test(program, *tests)
            except Wrong as wrong:
                sys.exit(f"unmodified: {program}: {wrong}")
            missing = (set(tests) - outcome.passed) | outcome.failed
            if missing or not outcome.passed:
                sys.exit(f"unmodified: {program} does not pass ({', '.join(sorted(missing)) or 'no test ran'})\n{outcome.output}")
            number += len(outcome.passed)
        print(f"unmodified: all {number} tests pass ({time.monotonic() - began:.0f} s)", flush=True)

    def _copy(self):
        shutil.rmtree(self.work, ignore_errors=True)
        for member in self.members:
            # With new times of modification: else cargo takes what an earlier run has built for up to date.
            if not (self.work / member).exists():
                shutil.copytree(ROOT / member, self.work / member, copy_function=shutil.copyfile)
        manifest = (ROOT / "Cargo.toml").read_text()
        members = ", ".join(f'"{member}"' for member in self.members)
        for key in ("members", "default-members"):
            manifest, found = re.subn(rf"^{key} = \[[^\]]*\]$", f"{key} = [{members}]", manifest, flags=re.MULTILINE)
            if found != 1:
                sys.exit(f"Cargo.toml: {key} stands there {found} times, once is expected")
        (self.work / "Cargo.toml").write_text(manifest)
        shutil.copy(ROOT / "Cargo.lock", self.work)

    @contextlib.contextmanager
    def changed(self, changes):
        """The sources with these changes (file, the text as it ships, the text that replaces it), for as long as the block lasts."""
        before = {}
        try:
            for file, shipped, replacement in changes:
                path = self.work / file
                source = path.read_text()
                if (found := source.count(shipped)) != 1:
                    raise Wrong(f"NOT APPLIED: its text stands {found} times in {file}, once is expected")
                before.setdefault(path, source)
                path.write_text(source.replace(shipped, replacement))
            yield
        finally:
            for path, source in before.items():
                path.write_text(source)

    def test(self, program, *tests):
        """Builds a test program (`lib`: the tests inside the crate) and runs these of its tests, or all."""
        built, output = self._cargo(program, "--no-run")
        if not built:
            raise Wrong("NOT COMPILED:\n" + output)
        _, output = self._cargo(program, "--", "--format=pretty", *(["--exact", *tests] if tests else []))
        results = RESULT.findall(output)
        passed = {name for name, result in results if result == "ok"}
        return Outcome(passed, {name for name, _ in results} - passed, output)

    def _cargo(self, program, *arguments):
        """Whether cargo ended well, and in time; what it said."""
        environment = dict(os.environ, CARGO_TARGET_DIR=str(self.build), CARGO_PROFILE_DEV_DEBUG="0", RUST_BACKTRACE="0")
        environment["RUSTFLAGS"] = f"{environment.get('RUSTFLAGS', '')} {self.flags} -Awarnings".strip()
        running = subprocess.Popen(
            [*self.command, *(["--lib"] if program == "lib" else ["--test", program]), *arguments],
            cwd=self.work,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            output, _ = running.communicate(timeout=SECONDS)
        except subprocess.TimeoutExpired:
            # The test program too, which holds the pipe.
            os.killpg(running.pid, signal.SIGKILL)
            output, _ = running.communicate()
            return False, f"{output}\nnot over after {SECONDS} s"
        return running.returncode == 0, output


def choose(candidates, what):
    """Those whose description has the script's argument in it; all without one."""
    wanted = sys.argv[1] if len(sys.argv) > 1 else ""
    chosen = [candidate for candidate in candidates if wanted in candidate[0]]
    if not chosen:
        sys.exit(f"no {what} is described by {wanted!r}; there are: " + "; ".join(candidate[0] for candidate in candidates))
    return chosen


def report(word, chosen, judge):
    """Judges each: (whether it was noticed, what to print). The script's exit status."""
    failed = 0
    for candidate in chosen:
        try:
            noticed, text = judge(*candidate)
        except Wrong as wrong:
            noticed, text = False, str(wrong)
        failed += not noticed
        print(f"{word}: {candidate[0]} → {text}", flush=True)
    print(f"{len(chosen) - failed} of {len(chosen)} noticed")
    return 1 if failed else 0
