# SPDX-License-Identifier: MIT OR Apache-2.0
"""A Linux guest in QEMU with volumes of ours: started, told what to do on its console, watched, ended."""

import json
import os
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import time


class Failed(Exception):
    """A check has failed; the text says how."""


class Guest:
    """One running QEMU. `run` executes a line in the guest; `qmp` a command of QEMU's monitor."""

    def __init__(self, fctl, guest, volumes, options=(), qemu=None, arguments=(), memory="512", cpus=1, reboot=False):
        self.directory = tempfile.mkdtemp(prefix="fctl-guest-")
        self.console = b""
        self.monitor = None
        command = [fctl, "qemu", *options]
        if qemu:
            command += ["--qemu", qemu]
        for volume in volumes:
            command += ["--volume", volume]
        command += ["--", "-M", "s390-ccw-virtio", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", str(cpus), "-m", memory]
        command += ["-nographic", *([] if reboot else ["-no-reboot"]), "-nodefaults", "-serial", "stdio", "-kernel", f"{guest}/kernel", "-initrd", f"{guest}/initrd"]
        command += ["-append", "console=ttysclp0 panic=-1 quiet"]
        command += ["-qmp", f"unix:{self.directory}/qmp,server=on,wait=off", *arguments]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        os.set_blocking(self.process.stdout.fileno(), False)
        try:
            self.expect(b"guest ready\r\n", 120)
        except BaseException:
            self.__exit__()
            raise

    def expect(self, text, seconds):
        """Reads the console until `text` comes, and gives what came before it."""
        end = time.monotonic() + seconds
        while True:
            before, found, after = self.console.partition(text)
            if found:
                self.console = after
                return before.decode(errors="replace").replace("\r\n", "\n")
            left = end - time.monotonic()
            if left <= 0:
                raise Failed(f"no {text!r} within {seconds} s; the console's last lines:\n{self.last_lines()}")
            if select.select([self.process.stdout], [], [], left)[0]:
                piece = self.process.stdout.read(65536)
                if not piece:
                    raise Failed(f"QEMU has ended (status {self.process.wait()}); its last lines:\n{self.last_lines()}")
                self.console += piece

    def last_lines(self):
        return "\n".join(self.console.decode(errors="replace").splitlines()[-25:])

    def send(self, line):
        """Starts a line in the guest; `result` waits for its end."""
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()

    def result(self, line, seconds=60, status=0):
        """What the line printed. Fails if it does not end with `status`."""
        output = self.expect(b"guest status ", seconds)
        found = int(self.expect(b"\r\n", 10))
        if found != status:
            raise Failed(f"{line!r} ended with status {found} in the guest:\n{output}")
        return output

    def run(self, line, seconds=60, status=0):
        self.send(line)
        return self.result(line, seconds, status)

    def online(self, devno="0120", disk="dasda"):
        self.run(f"online {devno} {disk}")

    def qmp(self, name, **arguments):
        if self.monitor is None:
            connection = socket.socket(socket.AF_UNIX)
            connection.connect(f"{self.directory}/qmp")
            self.monitor = connection.makefile("rw")
            self.monitor.readline()
            self.qmp("qmp_capabilities")
        self.monitor.write(json.dumps({"execute": name, "arguments": arguments}) + "\n")
        self.monitor.flush()
        while True:
            answer = json.loads(self.monitor.readline())
            if "error" in answer:
                raise Failed(f"QEMU's monitor refuses {name}: {answer['error']['desc']}")
            if "return" in answer:
                return answer["return"]

    def host_directory(self, volume):
        """What the device of a volume was added with: it is on the command line that `fctl qemu` made of ours."""
        with open(f"/proc/{self.process.pid}/cmdline", "rb") as file:
            devices = [word.decode() for word in file.read().split(b"\0") if word.startswith(b"vfio-ccw,")]
        return devices[volume].partition("sysfsdev=")[2]

    def poweroff(self):
        """Ends the guest in order."""
        self.send("poweroff -f")
        self.wait(60)

    def wait(self, seconds):
        try:
            rest, _ = self.process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            raise Failed(f"QEMU does not end within {seconds} s") from None
        self.console += rest or b""
        if self.process.returncode:
            raise Failed(f"QEMU has ended with status {self.process.returncode}:\n{self.last_lines()}")

    def kill(self):
        """SIGKILL, as when the host's memory runs out."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)
