"""Workloads of the tools that look at processes, their system calls and signals, and what their tests share."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
from pathlib import Path

from ebpflab.tables import system_calls

CALLS = 1009
COMMANDS = 101

NUMBERS = {name: number for number, name in system_calls().items()}
_libc = ctypes.CDLL(None, use_errno=True)


def syscall(name, *arguments):
    """Make a system call by its name, whatever libc would make of it; returns its result, or its error as -errno."""
    values = [ctypes.c_long(value) if isinstance(value, int) else value for value in arguments]
    _libc.syscall.restype = ctypes.c_long
    result = _libc.syscall(ctypes.c_long(NUMBERS[name]), *values)
    return -ctypes.get_errno() if result == -1 else result


def _spawn():
    for _ in range(COMMANDS):
        subprocess.run(["/bin/true", "one", "two"], check=True)


def _stat():
    path = Path("/proc/self/stat")
    for _ in range(CALLS):
        path.stat()


def _getppid():
    for _ in range(CALLS):
        os.getppid()


def _nice():
    # Asks for CAP_SYS_NICE each second time.
    for turn in range(2 * CALLS):
        os.setpriority(os.PRIO_PROCESS, 0, -(turn % 2))
    os.setpriority(os.PRIO_PROCESS, 0, 0)


def _signal():
    for _ in range(CALLS):
        os.kill(os.getpid(), signal.SIGCONT)


def _workload(make, **constants):
    @contextlib.contextmanager
    def workload():
        yield {"vars": {name: value() for name, value in constants.items()}}, make

    return workload


WORKLOADS = {
    "execsnoop": _workload(_spawn, ppid=os.getpid, failed=lambda: True),
    "exitsnoop": _workload(_spawn, ppid=os.getpid),
    "statsnoop": _workload(_stat, pid=os.getpid),
    "syscount": _workload(_getppid, pid=os.getpid),
    "argsnoop": _workload(_getppid, pid=os.getpid, nr=lambda: NUMBERS["getppid"]),
    "sigsnoop": _workload(_signal, pid=os.getpid),
    "capable": _workload(_nice, pid=os.getpid, every=lambda: True),
}
