# System calls that neither Python nor libbpf 1.1 offers, through libc's syscall(2). Declarations only.

from __future__ import annotations

import ctypes as ct
import os
import platform

# Old calls have a number for each machine (arch/*/entry/syscalls, include/uapi/asm-generic/unistd.h); calls
# since 5.1 have one number for all.
_GENERIC = {"bpf": 280, "perf_event_open": 241, "setns": 268, "renameat2": 276}
_NUMBERS = {
    "x86_64": {"bpf": 321, "perf_event_open": 298, "setns": 308, "renameat2": 316},
    "aarch64": _GENERIC,
    "riscv64": _GENERIC,
    "loongarch64": _GENERIC,
    "s390x": {"bpf": 351, "perf_event_open": 331, "setns": 339, "renameat2": 347},
    "ppc64le": {"bpf": 361, "perf_event_open": 319, "setns": 350, "renameat2": 357},
}
_PIDFD_OPEN, _PIDFD_GETFD = 434, 438

MAP_CREATE, LINK_CREATE, LINK_DETACH = 0, 28, 34  # enum bpf_cmd, include/uapi/linux/bpf.h

_syscall = ct.CDLL(None, use_errno=True).syscall
_syscall.restype = ct.c_long


def _call(number: int, *arguments: object) -> int:
    result = int(_syscall(ct.c_long(number), *arguments))
    if result < 0:
        error = ct.get_errno()
        raise OSError(error, os.strerror(error))
    return result


def _number(name: str) -> int:
    machine = platform.machine()
    if machine not in _NUMBERS:
        raise OSError(38, f"the number of {name}(2) on {machine} is not known")
    return _NUMBERS[machine][name]


def bpf(command: int, attributes: ct.Structure) -> int:
    # bpf(2). Raises OSError.
    return _call(_number("bpf"), ct.c_int(command), ct.byref(attributes), ct.c_uint(ct.sizeof(attributes)))


def perf_event_open(attributes: ct.Structure, pid: int, cpu: int, flags: int = 1 << 3) -> int:
    # perf_event_open(2) without a group; PERF_FLAG_FD_CLOEXEC closes the descriptor on exec. Raises OSError.
    return _call(
        _number("perf_event_open"),
        ct.byref(attributes),
        ct.c_int(pid),
        ct.c_int(cpu),
        ct.c_int(-1),
        ct.c_ulong(flags),
    )


def setns(fd: int, kind: int) -> None:
    # setns(2): this thread only. Raises OSError.
    _call(_number("setns"), ct.c_int(fd), ct.c_int(kind))


def exchange(one: os.PathLike[str], other: os.PathLike[str]) -> None:
    # renameat2(2) with RENAME_EXCHANGE, Linux 3.15: two names change places in one step. Raises OSError.
    here, paths = ct.c_int(-100), [ct.c_char_p(os.fsencode(path)) for path in (one, other)]
    _call(_number("renameat2"), here, paths[0], here, paths[1], ct.c_uint(1 << 1))


def descriptor_of(pid: int, fd: int) -> int:
    # A copy of another process's descriptor: pidfd_open(2), pidfd_getfd(2), Linux 5.6. Raises OSError.
    process = _call(_PIDFD_OPEN, ct.c_int(pid), ct.c_uint(0))
    try:
        return _call(_PIDFD_GETFD, ct.c_int(process), ct.c_int(fd), ct.c_uint(0))
    finally:
        os.close(process)
