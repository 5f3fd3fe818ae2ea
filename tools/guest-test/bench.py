#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""Throughput in a guest: our DASD beside virtio-blk-ccw of the same QEMU, on the same file in the same cache mode, taking turns in one run; and how long
QEMU was kept in each region write."""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile

from guest import Guest

MIB = 1 << 20
SIZES = {"seq": 65536, "random": 4096}


def measure(guest, disk, depth, seconds, pattern, direction):
    said = guest.run(f"work bench {disk} {depth} {seconds} {SIZES[pattern]} {pattern} {direction}", 60)
    operations, bytes_per_second = (int(word) for word in said.replace(",", "").split() if word.isdigit())
    return operations, bytes_per_second / MIB


def profile(guest, directory, seconds):
    """Where the time goes while the DASD moves data in sequence: shares of all CPU time by program and what it ran, from `perf record` of the whole host."""
    recorded = os.path.join(directory, "perf")
    for direction in ["read", "write"]:
        for depth in [1, 16]:
            perf = subprocess.Popen(["perf", "record", "--quiet", "--all-cpus", "--event=cpu-clock", "--freq=2000", f"--output={recorded}",
                                     "--", "sleep", str(seconds)], stderr=subprocess.DEVNULL)
            measure(guest, "/dev/dasda", depth, seconds, "seq", direction)
            perf.wait()
            report = subprocess.run(["perf", "report", f"--input={recorded}", "--no-children", "--sort=comm,dso", "--stdio", "--percent-limit=1.5"],
                                    capture_output=True, text=True).stdout
            lines = [line.split() for line in report.splitlines() if line.strip() and not line.startswith("#")]
            shares = ", ".join(f"{words[1]} in {' '.join(words[2:])} {words[0]}" for words in lines if not words[1].startswith("swapper"))
            print(f"seq {direction}, depth {depth}: {shares}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fctl", required=True)
    parser.add_argument("--guest", required=True)
    parser.add_argument("--qemu", default="qemu-system-s390x")
    parser.add_argument("--seconds", type=int, default=3, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3, help="the median of this many is told")
    parser.add_argument("--mode", choices=["writeback", "writethrough"], default="writeback")
    parser.add_argument("--polling", default="50", help="microseconds that the dispatcher's thread may poll")
    parser.add_argument("--profile", action="store_true", help="also tell where the host's CPU time goes in sequential transfers (needs perf)")
    options = parser.parse_args()
    if options.profile and shutil.which("perf") is None:
        sys.exit("profile: not run (no perf; Debian's package is linux-perf)")
    directory = tempfile.mkdtemp(prefix="fctl-bench-", dir=os.environ.get("FCTL_BENCH_DIR"))
    image, statistics = os.path.join(directory, "image"), os.path.join(directory, "statistics")
    try:
        with open(image, "wb") as file:
            for _ in range(256):
                file.write(os.urandom(MIB))
        drive = f"if=none,id=disk,format=raw,file={image},file.locking=off,cache={options.mode}"
        arguments = ["-drive", drive, "-device", "virtio-blk-ccw,drive=disk,devno=fe.0.1000"]
        volume = f"{image},durability={options.mode}"
        with Guest(options.fctl, options.guest, [volume], ["--statistics", statistics, "--polling", options.polling], options.qemu, arguments) as guest:
            guest.online()
            guest.run("appears /dev/vda")
            print(f"mode {options.mode}, polling {options.polling} µs, {options.seconds} s each, median of {options.rounds} rounds; load of the host {os.getloadavg()[0]:.1f} on {os.cpu_count()} CPUs")
            print(f"{'':24}{'DASD':>12}{'virtio':>12}{'ratio':>8}   (MiB/s; operations a second)")
            for pattern in SIZES:
                for direction in ["read", "write"]:
                    for depth in [1, 16]:
                        found = {"/dev/dasda": [], "/dev/vda": []}
                        for _ in range(options.rounds):
                            for disk, values in found.items():
                                values.append(measure(guest, disk, depth, options.seconds, pattern, direction))
                        ours, theirs = (sorted(values)[len(values) // 2] for values in found.values())
                        name = f"{pattern} {direction}, depth {depth}"
                        print(f"{name:24}{ours[1]:12.2f}{theirs[1]:12.2f}{ours[0] / theirs[0]:8.2f}   {ours[0]:,} and {theirs[0]:,}", flush=True)
            if options.profile:
                profile(guest, directory, options.seconds)
            guest.poweroff()
        with open(statistics, encoding="utf-8") as file:
            for name, found in json.load(file).items():
                times = ", ".join(f"{key} {found[key] / 1000:.1f} µs" for key in ["p50", "p99", "max"])
                print(f"region writes, reactor {name}: {found['count']:,}: {times}")
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
