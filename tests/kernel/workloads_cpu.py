"""Workloads of the tools that look at CPUs, and the child process that they and their tests share."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

TURNS = 503
PACKETS = 503
WRITES = 101

# What it is told, a letter each: (n)ap for 20 ms, a (s)hort nap of 1 ms, 50 ms of processor time in (u)ser space or in
# the (k)ernel. A new line asks for an answer. Naps go by way of doze(), as libc's syscall() sets up no frame of its
# own, and who calls such a function is not in a stack.
CHILD = """
#include <fcntl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static char zeros[1 << 20];

static long spent(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return now.tv_sec * 1000000000L + now.tv_nsec;
}

void known_spin(void)
{
    for (long end = spent() + 50000000; spent() < end;)
        for (volatile int i = 0; i < 100000; i++)
            ;
}

void known_read(int zero)
{
    for (long end = spent() + 50000000; spent() < end;)
        if (read(zero, zeros, sizeof(zeros)) < 0)
            _exit(1);
}

void doze(long ms)
{
    struct timespec span = { .tv_nsec = ms * 1000000 };
    syscall(SYS_nanosleep, &span, 0);
}

void known_nap(void) { doze(20); }
void short_nap(void) { doze(1); }

int main(void)
{
    int zero = open("/dev/zero", O_RDONLY);
    for (char what; read(0, &what, 1) == 1;)
        if (what == 'n') known_nap();
        else if (what == 's') short_nap();
        else if (what == 'u') known_spin();
        else if (what == 'k') known_read(zero);
        else if (what == '\\n' && write(1, "done\\n", 5) != 5) return 1;
    return 0;
}
"""


def compiled(folder):
    """Compile the child; None without a compiler."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        return None
    (folder / "cpuchild.c").write_text(CHILD)
    flags = ["-O0", "-fno-omit-frame-pointer", "-fno-optimize-sibling-calls"]
    subprocess.run([compiler, *flags, "cpuchild.c", "-o", "cpuchild"], check=True, timeout=120, cwd=folder)
    return folder / "cpuchild"


class Child:
    """A process on one CPU that does as it is told, and waits."""

    def __init__(self, path, cpu=None):
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self.process = subprocess.Popen([path], **pipes, bufsize=0)
        self.pid = self.process.pid
        if cpu is not None:
            os.sched_setaffinity(self.pid, {cpu})
        self.do("")

    def tell(self, what):
        """Have it do that, and do not wait."""
        os.write(self.process.stdin.fileno(), what.encode())

    def do(self, what):
        """Have it do that, and return once it sleeps again."""
        self.tell(f"{what}\n")
        assert self.process.stdout.readline() == b"done\n"
        self.asleep()

    def asleep(self):
        """Return once it waits to be told something, with its switch to another thread behind it."""
        before = None
        while self.state != "S" or self.switches != before:
            before = self.switches
            time.sleep(0.005)

    @property
    def state(self):
        """The letter of /proc/PID/stat."""
        return Path(f"/proc/{self.pid}/stat").read_text().rpartition(") ")[2][0]

    @property
    def switches(self):
        """How often it left the CPU, to sleep or because it had to."""
        return sum(self._switches())

    @property
    def sleeps(self):
        """How often it left the CPU to sleep."""
        return self._switches()[0]

    def _switches(self):
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return [int(line.split()[1]) for line in lines if "ctxt_switches" in line]  # voluntary, then nonvoluntary

    @property
    def schedstat(self):
        """Nanoseconds on a CPU, nanoseconds that it waited for one, and how often it got one (sched-stats.rst)."""
        return tuple(map(int, Path(f"/proc/{self.pid}/schedstat").read_text().split()))

    def end(self):
        self.process.kill()
        self.process.communicate()


@contextlib.contextmanager
def turns():
    """Wake a process that wakes this one, in turn: each waits for the other."""
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as cat:

        def make():
            for _ in range(TURNS):
                os.write(cat.stdin.fileno(), b"x")
                os.read(cat.stdout.fileno(), 1)

        try:
            yield {}, make
        finally:
            cat.kill()


@contextlib.contextmanager
def busy():
    """Keep a CPU busy, and take samples ten times as often as asked by default."""

    def make():
        end = time.thread_time() + 0.3
        while time.thread_time() < end:
            pass

    yield {"targets": {"on_sample": "cpu-clock,freq=997"}}, make


@contextlib.contextmanager
def packets():
    """Send packets to oneself: each is received in a soft interrupt."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))

        def make():
            for _ in range(PACKETS):
                receiver.sendto(b"x", receiver.getsockname())
                receiver.recv(1)

        yield {}, make


@contextlib.contextmanager
def writes():
    """Have a disk write, and tell when it has."""
    with tempfile.NamedTemporaryFile(dir="/var/tmp") as file:

        def make():
            for _ in range(WRITES):
                os.pwrite(file.fileno(), b"x" * 4096, 0)
                os.fsync(file.fileno())

        yield {}, make


WORKLOADS = {
    **dict.fromkeys(("runqlat", "cpudist", "offcputime", "wakeuptime"), turns),
    **dict.fromkeys(("runqlen", "profile"), busy),
    "softirqs": packets,
    "hardirqs": writes,
}
