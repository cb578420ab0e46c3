"""Where the peers are: a C program on libbpf, BCC's Python, bpftrace. What is missing is installed or said."""

import ctypes
import functools
import json
import os
import shutil
import signal
import subprocess
from pathlib import Path

from ebpflab import toolchain

HERE = Path(__file__).parent
BUILD = HERE.parent / "build" / "bench"
_PACKAGES = {"C": ("gcc", "libc6-dev", "libbpf-dev"), "BCC": ("python3-bpfcc",), "bpftrace": ("bpftrace",)}
_LONGEST = 120.0  # seconds for one round of a peer


class PeerMissing(Exception):  # noqa: N818 - it is no error of ours
    """A peer cannot be measured here; the text says why."""


def start(command, **options):
    """Start a process that goes when we do, whatever ends us; Ctrl-C is for us alone."""
    prctl = ctypes.CDLL(None).prctl
    goes_with_us = functools.partial(prctl, 1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    return subprocess.Popen(command, text=True, start_new_session=True, preexec_fn=goes_with_us, **options)


class Peer:
    """A peer's process that says "ready" and then lines of JSON; a context manager that ends it."""

    def __init__(self, command, *fds, env=None):
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        self.process = start([str(part) for part in command], **pipes, pass_fds=fds, env=env)

    def __enter__(self):
        if self.process.stdout.readline() != "ready\n":
            _, errors = self.process.communicate(timeout=_LONGEST)
            raise PeerMissing(f"it did not start: {errors.strip()[-300:]}")
        return self

    def ask(self, text):
        """Send a line, return what comes back."""
        self.process.stdin.write(f"{text}\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise PeerMissing(f"it ended: {self.process.communicate(timeout=_LONGEST)[1].strip()[-300:]}")
        return json.loads(answer)

    def result(self):
        """Wait until it has ended and return what it said."""
        output, errors = self.process.communicate(timeout=_LONGEST)
        if self.process.returncode or not output:
            raise PeerMissing(f"it ended with status {self.process.returncode}: {errors.strip()[-300:]}")
        return json.loads(output)

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()


def c_consumer(mode, fd, *arguments):
    """The C program on libbpf, on a map's descriptor."""
    return Peer([_built(), fd, mode, *arguments], fd)


def bcc(mode, *arguments, fds=(), env=None):
    """BCC's Python, in the interpreter that has it."""
    return Peer([_bcc_python(), HERE / "bcc_peer.py", mode, *arguments], *fds, env={**os.environ, **(env or {})})


def bpftrace():
    """bpftrace's path."""
    path = shutil.which("bpftrace") or _install("bpftrace") or shutil.which("bpftrace")
    if path is None:
        raise PeerMissing("no bpftrace: apt-get install bpftrace")
    return path


@functools.cache
def _built():
    source, target = HERE / "consumer.c", BUILD / "consumer"
    compiler = shutil.which("cc") or shutil.which("clang")
    if compiler is None or not _has_libbpf(compiler):
        _install("C")
        compiler = shutil.which("cc") or shutil.which("clang")
    if compiler is None:
        raise PeerMissing("no C compiler: apt-get install gcc libc6-dev libbpf-dev")
    BUILD.mkdir(parents=True, exist_ok=True)
    command = [compiler, "-O2", "-Wall", "-o", target, source, "-lbpf"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        raise PeerMissing(f"{compiler} cannot build consumer.c: {done.stderr.strip()[-300:]}")
    return target


def _has_libbpf(compiler):
    text = "#include <bpf/libbpf.h>\nint main(void) { return libbpf_major_version(); }"
    command = [compiler, "-x", "c", "-", "-o", "/dev/null", "-lbpf"]
    return subprocess.run(command, input=text, text=True, capture_output=True, timeout=60, check=False).returncode == 0


@functools.cache
def _bcc_python():
    for attempt in (False, True):
        if attempt:
            _install("BCC")
        for python in ("/usr/bin/python3", shutil.which("python3")):
            command = [python, "-c", "from bcc import BPF; from bcc.libbcc import lib; lib.bpf_new_ringbuf"]
            if python and subprocess.run(command, capture_output=True, timeout=60, check=False).returncode == 0:
                return python
    raise PeerMissing("no Python with BCC: apt-get install python3-bpfcc")


@functools.cache
def _install(peer):
    # Once for each peer, and only where that is possible; what is still missing afterwards is said line by line.
    if toolchain.package_manager() != "apt" or os.geteuid():
        return
    quiet = {"capture_output": True, "timeout": 300, "check": False}
    subprocess.run(["apt-get", "update"], **quiet)
    subprocess.run(["apt-get", "install", "-y", "--no-install-recommends", *_PACKAGES[peer]], **quiet)
