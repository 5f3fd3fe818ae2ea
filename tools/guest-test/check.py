#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""The checks with a real guest: an unmodified Linux for s390x in an unmodified QEMU, with our volumes as its disks.

Each check prints one line, `PASS name`; the first that fails prints `FAIL name` with the reason, and ends all with status 1."""

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

from guest import Failed, Guest

MIB = 1 << 20


class Checks:
    def __init__(self, options):
        self.fctl, self.guest, self.qemu = options.fctl, options.guest, options.qemu
        self.only = options.only
        self.directory = tempfile.mkdtemp(prefix="fctl-check-")
        self.began = time.monotonic()
        self.name = None

    def check(self, name):
        """What follows is this check, until `passed`."""
        self.name = name

    def passed(self, what=""):
        print(f"PASS {self.name}{': ' if what else ''}{what} ({time.monotonic() - self.began:.0f} s)", flush=True)
        self.name = None

    def not_run(self, why):
        print(f"not run: {self.name}: {why}", flush=True)
        self.name = None

    def boot(self, volumes, **more):
        return Guest(self.fctl, self.guest, volumes, qemu=self.qemu, **more)

    def path(self, name):
        return os.path.join(self.directory, name)

    def image(self, name, mib, random=False):
        """A new image, sparse or of random bytes."""
        with open(self.path(name), "wb") as file:
            if random:
                for _ in range(mib):
                    file.write(os.urandom(MIB))
            file.truncate(mib * MIB)
        return self.path(name)

    def same(self, image, text):
        """The guest's checksum is the image's."""
        with open(image, "rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if text.split()[:1] != [found]:
            raise Failed(f"the guest reads {text.split()[:1]}, the image is {found}")

    def clean(self, image):
        """The host finds nothing wrong with the file system on an image."""
        found = subprocess.run(["/sbin/e2fsck", "-f", "-n", image], capture_output=True, text=True, check=False)
        if found.returncode:
            raise Failed(f"e2fsck on the host, status {found.returncode}:\n{found.stdout[-1000:]}{found.stderr[-1000:]}")


def refused(checks, volume, says, options=(), qemu="", environment=None):
    """`fctl qemu` ends with status 2 and says why, before the guest starts."""
    command = [checks.fctl, "qemu", *options, "--qemu", qemu or checks.qemu, "--volume", volume, "--", "-M", "s390-ccw-virtio", "-display", "none", "-S"]
    found = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env={**os.environ, **(environment or {})})
    if found.returncode != 2 or says not in found.stderr or found.stderr.count("\n") > 3:
        raise Failed(f"volume {volume!r}: status {found.returncode}, said {found.stderr!r}; status 2 and {says!r} were expected")


def bad_input(checks):
    image = checks.image("good", 8)
    checks.check("a volume that is missing, odd-sized, empty or no file is refused before the guest starts")
    refused(checks, checks.path("missing"), "does not exist")
    with open(checks.path("odd"), "wb") as file:
        file.truncate(MIB + 100)
    refused(checks, checks.path("odd"), "not a multiple of 512")
    open(checks.path("empty"), "wb").close()
    refused(checks, checks.path("empty"), "is empty")
    refused(checks, checks.directory, "is a directory")
    refused(checks, image + ",devno=xyz", "devno=xyz")
    checks.passed()

    checks.check("a library that is not loaded is noticed")
    refused(checks, image, "does not load the library", qemu=shutil.which("qemu-s390x-static") or "/bin/true")
    refused(checks, image, "build it", environment={"FCTL_QEMU_LIBRARY": "/nowhere/libfctl_qemu.so"})
    checks.passed()

    checks.check("a CPU that is not there, or that QEMU's sandbox forbids, is refused before the guest starts")
    refused(checks, image, "are accepted", options=["--cpu", "4095"])
    forbidden = [checks.fctl, "qemu", "--cpu", str(min(os.sched_getaffinity(0))), "--qemu", checks.qemu, "--volume", image, "--", "-M", "s390-ccw-virtio", "-display", "none", "-S", "-sandbox", "on,resourcecontrol=deny"]
    found = subprocess.run(forbidden, capture_output=True, text=True, timeout=60, check=False)
    if found.returncode != 1 or "forbids pinning" not in found.stderr:
        raise Failed(f"status {found.returncode}, said {found.stderr!r}")
    checks.passed()

    checks.check("an image that a QEMU has open is refused")
    drive = ["-drive", f"if=none,id=disk,format=raw,file={image}", "-device", "virtio-blk-ccw,drive=disk"]
    with subprocess.Popen([checks.qemu, "-M", "s390-ccw-virtio", "-display", "none", "-S", "-monitor", "stdio", *drive], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        refused(checks, image, "in use by a QEMU")
        refused(checks, image + ",readonly", "in use by a QEMU")
        other.kill()
    checks.passed()


def image_in_use(checks, image, read_only):
    checks.check("QEMU refuses an image that is a volume, and shares one that is read-only")
    def other_qemu(drive):
        command = [checks.qemu, "-M", "s390-ccw-virtio", "-display", "none", "-S", "-monitor", "stdio", "-drive", f"if=none,id=disk,format=raw,{drive}", "-device", "virtio-blk-ccw,drive=disk"]
        return subprocess.run(command, input="quit\n", capture_output=True, text=True, timeout=60, check=False)

    found = other_qemu(f"file={image}")
    if found.returncode == 0 or '"write" lock' not in found.stderr:
        raise Failed(f"another QEMU has opened a volume: {found.stdout}{found.stderr}")
    found = other_qemu(f"file={read_only}")
    if found.returncode == 0 or '"write" lock' not in found.stderr:
        raise Failed(f"another QEMU writes to a volume that is read-only: {found.stdout}{found.stderr}")
    found = other_qemu(f"file={read_only},readonly=on")
    if found.returncode:
        raise Failed(f"another QEMU cannot read a volume that is read-only: {found.stdout}{found.stderr}")
    refused(checks, image, "in use by another dispatcher")
    checks.passed()


def idle(checks, guest):
    checks.check("an idle guest leaves the dispatcher's thread asleep")
    threads = {}
    for task in os.listdir(f"/proc/{guest.process.pid}/task"):
        with open(f"/proc/{guest.process.pid}/task/{task}/comm", encoding="ascii") as file:
            threads[task] = file.read().strip()
    ours = [task for task, name in threads.items() if name.startswith("fctl")]
    if len(ours) != 1:
        raise Failed(f"one thread of ours was expected; there are {sorted(threads.values())}")

    def switches():
        with open(f"/proc/{guest.process.pid}/task/{ours[0]}/status", encoding="ascii") as file:
            return sum(int(line.split()[1]) for line in file if "ctxt_switches" in line)

    time.sleep(2)
    before = switches()
    time.sleep(10)
    count = switches() - before
    if count > 2:
        raise Failed(f"{count} context switches in 10 s; at most 2 are accepted")
    checks.passed(f"{count} context switches in 10 s")


def everyday(checks):
    """One guest with two processors, more than 2 GiB of memory and three volumes."""
    random, sparse, read_only = checks.image("random", 64, True), checks.image("sparse", 256), checks.image("read-only", 8, True)
    volumes = [random, f"{sparse},devno=0200,durability=writeback", f"{read_only},readonly,cache=direct"]
    with checks.boot(volumes, memory="4096", cpus=2) as guest:
        checks.check("a disk comes online")
        guest.online()
        checks.passed()

        checks.check("the whole disk has the same checksum on both sides")
        checks.same(random, guest.run("sha256sum /dev/dasda"))
        checks.passed()

        checks.check("several volumes, one of them read-only")
        guest.online("0200", "dasdb")
        guest.online("0122", "dasdc")
        checks.same(read_only, guest.run("sha256sum /dev/dasdc"))
        guest.run("dd if=/dev/zero of=/dev/dasdc bs=4096 count=1 conv=fsync", status=1)
        checks.passed()
        image_in_use(checks, random, read_only)

        checks.check("a file system is made, filled, unmounted and checked clean on both sides")
        guest.run("mounted /dev/dasdb")
        guest.run("mkdir /mnt/folder; for n in $(seq 40); do dd if=/dev/dasda of=/mnt/folder/$n bs=64k skip=$n count=32 2>/dev/null; done", 120)
        sums = guest.run("cd /mnt/folder; sha256sum *; cd /", 120)
        guest.run("umount /mnt && e2fsck -f -n /dev/dasdb", 120)
        checks.clean(sparse)
        guest.run("blockdev --flushbufs /dev/dasdb; mount -t ext4 /dev/dasdb /mnt")
        if guest.run("cd /mnt/folder; sha256sum *; cd /", 120) != sums:
            raise Failed("files have other bytes after mounting again")
        checks.passed()

        checks.check("discard frees blocks in the file")
        guest.run("sync")
        before = os.stat(sparse).st_blocks * 512
        guest.run("rm -r /mnt/folder; sync; fstrim /mnt; umount /mnt")
        after = os.stat(sparse).st_blocks * 512
        if before - after < 70 * MIB:
            raise Failed(f"the file had {before >> 20} MiB and has {after >> 20}")
        checks.clean(sparse)
        checks.passed(f"the file had {before >> 20} MiB and has {after >> 20}")

        checks.check("parallel random reads and writes, every byte compared")
        said = guest.run("work check /dev/dasda 4 8 1", 60).strip().splitlines()[-1]
        checks.same(random, guest.run("blockdev --flushbufs /dev/dasda; sha256sum /dev/dasda"))
        checks.passed(said)

        checks.check("instructions that were read over others are the ones that run")
        said = guest.run("work code /dev/dasdb 2000").strip().splitlines()[-1]
        checks.passed(said)

        checks.check("offline and online again")
        guest.run("offline 0120 && vanishes /dev/dasda")
        guest.online()
        checks.same(random, guest.run("sha256sum /dev/dasda"))
        checks.passed()

        idle(checks, guest)

        checks.check("unplugged and plugged in again under load")
        guest.run("for devno in 0120 0200; do echo 5 >/sys/bus/ccw/devices/0.0.$devno/expires; done")
        guest.send("work check /dev/dasdb 2 12 2 >/tmp/work 2>&1 & work check /dev/dasda 2 6 3")
        time.sleep(2)
        guest.qmp("device_del", id="fctl1")
        written = os.stat(sparse).st_mtime_ns
        guest.result("work", 60)
        if os.stat(sparse).st_mtime_ns != written:
            raise Failed("the image was written after the volume was unplugged")
        # Linux keeps a disk that is in use and waits for its path; what it had in flight goes on when the volume is back.
        guest.qmp("device_add", driver="vfio-ccw", id="fctl1", devno="fe.0.0200", sysfsdev=guest.host_directory(1))
        said = guest.run("wait; cat /tmp/work", 60).strip().splitlines()[-1]
        if "all bytes as written" not in said:
            raise Failed(f"the work on the volume that was unplugged: {said}")
        guest.run("blockdev --flushbufs /dev/dasdb")
        checks.same(sparse, guest.run("sha256sum /dev/dasdb", 120))
        guest.run("dmesg | grep -iE 'oops|bug:|lockup' ", status=1)
        checks.passed(said)

        checks.check("unplugged while offline, and plugged in again")
        guest.run("offline 0200")
        guest.qmp("device_del", id="fctl1")
        guest.run("vanishes /sys/bus/ccw/devices/0.0.0200")
        guest.qmp("device_add", driver="vfio-ccw", id="fctl1", devno="fe.0.0200", sysfsdev=guest.host_directory(1))
        guest.run("appears /sys/bus/ccw/devices/0.0.0200/online")
        guest.online("0200", "dasdb")
        guest.run("work check /dev/dasdb 2 2 4", 60)
        checks.passed()
        guest.poweroff()


def reset(checks):
    image = checks.image("reset", 64, True)
    with checks.boot([image], reboot=True) as guest:
        guest.online()
        checks.check("reset during I/O ends it")
        guest.send("work check /dev/dasda 4 60 5")
        time.sleep(2)
        guest.qmp("system_reset")
        written = os.stat(image).st_mtime_ns
        time.sleep(2)
        if os.stat(image).st_mtime_ns != written:
            raise Failed("the image was written after the reset")
        if not guest.qmp("query-status")["running"]:
            raise Failed("QEMU does not run any more")
        checks.passed()
        checks.check("after a reset the disk works")
        try:
            guest.expect(b"guest ready\r\n", 20)
            guest.run("test -d /sys/bus/css/devices/0.0.0000")
        except Failed:
            # So it is with any disk, and without one, as soon as a Linux that was started by -kernel is reset.
            checks.not_run("this QEMU does not start a guest properly a second time")
            return
        guest.online()
        guest.run("work check /dev/dasda 4 2 6", 60)
        checks.passed()
        guest.poweroff()


def faults(checks):
    image = checks.image("faults", 64, True)
    options = ["--unit-check-every", "37", "--swallow-every", "900"]
    with checks.boot([image], options=options) as guest:
        guest.online()
        checks.check("unit checks and swallowed starts are recovered from, no byte is lost")
        guest.run("echo 1 >/sys/bus/ccw/devices/0.0.0120/expires; echo 32 >/sys/bus/ccw/devices/0.0.0120/retries")
        said = guest.run("work check /dev/dasda 4 12 7", 120).strip().splitlines()[-1]
        guest.run("sync; blockdev --flushbufs /dev/dasda")
        checks.same(image, guest.run("sha256sum /dev/dasda", 120))
        guest.qmp("device_del", id="fctl0")
        struck = guest.expect(b"on purpose", 30).rpartition("fctl: ")[2].strip(" ,")
        counts = re.search(r"(\d+) ended in unit check and (\d+) were swallowed \((\d+) of these cleared by the guest\)", struck)
        if not counts:
            raise Failed(f"the library does not tell its faults: {struck!r}")
        checked, swallowed, cleared = map(int, counts.groups())
        if checked < 10 or swallowed < 3:
            raise Failed(f"too few faults to see anything: {struck}")
        # Linux ends a start that nobody answers by a CSCH of its own. None is left for the unplugging to clear.
        if cleared != swallowed:
            raise Failed(f"Linux did not clear each start that was swallowed: {struck}")
        checks.passed(f"{said}; {struck}")
        guest.poweroff()


def killed(checks):
    image = checks.image("killed", 128)
    checks.check("killed during writes: the journal is replayed, and every file that was fsynced is there")
    with checks.boot([image]) as guest:
        guest.online()
        guest.run("mounted /dev/dasda")
        guest.send("work files /mnt 100000")
        guest.expect(b"stable 100\r\n", 120)
        time.sleep(1)
        guest.kill()
        rest = guest.process.stdout.read() or b""
        last = int((b"stable 100\r\n" + guest.console + rest).rpartition(b"\r\n")[0].rpartition(b"stable ")[2])
    with checks.boot([image]) as guest:
        guest.online()
        guest.run("mount -t ext4 /dev/dasda /mnt", 60)
        guest.run(f"work verify /mnt {last + 1}", 60)
        guest.run("dmesg | grep -q 'recovery complete'")
        guest.run("umount /mnt && e2fsck -f -n /dev/dasda", 60)
        guest.poweroff()
    checks.clean(image)
    checks.passed(f"{last + 1} files")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fctl", required=True)
    parser.add_argument("--guest", required=True, help="folder with kernel and initrd")
    parser.add_argument("--qemu", default="qemu-system-s390x")
    parser.add_argument("--only", choices=["bad_input", "everyday", "reset", "faults", "killed"])
    checks = Checks(parser.parse_args())
    try:
        for part in [bad_input, everyday, reset, faults, killed]:
            if checks.only in (None, part.__name__):
                part(checks)
    except Failed as failure:
        print(f"FAIL {checks.name}: {failure}", flush=True)
        return 1
    finally:
        shutil.rmtree(checks.directory, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
