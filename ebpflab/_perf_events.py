# The perf events that stand behind a perf event array: one for each CPU, for bpf_perf_event_output to write to.
#
# perf_event_open(2), include/uapi/linux/perf_event.h. Functions raise OSError.

from __future__ import annotations

import ctypes as ct
import errno
import fcntl
import os
import struct
from pathlib import Path

from . import _syscalls

_SOFTWARE, _BPF_OUTPUT = 1, 10  # PERF_TYPE_SOFTWARE, PERF_COUNT_SW_BPF_OUTPUT
_TIME, _RAW = 1 << 2, 1 << 10  # PERF_SAMPLE_*
_LOST = 1 << 4  # PERF_FORMAT_LOST, Linux 6.0
_DISABLED, _WATERMARK, _USE_CLOCK = 1 << 0, 1 << 14, 1 << 25  # bits of struct perf_event_attr
_CLOCK_MONOTONIC = 1
_ENABLE = 0x2400  # PERF_EVENT_IOC_ENABLE
_MAP_UPDATE = 2  # BPF_MAP_UPDATE_ELEM
_ONLINE = Path("/sys/devices/system/cpu/online")


class _Attributes(ct.Structure):
    # struct perf_event_attr up to PERF_ATTR_SIZE_VER3.
    _fields_ = [
        ("type", ct.c_uint32),
        ("size", ct.c_uint32),
        ("config", ct.c_uint64),
        ("sample_period", ct.c_uint64),
        ("sample_type", ct.c_uint64),
        ("read_format", ct.c_uint64),
        ("flags", ct.c_uint64),
        ("wakeup_watermark", ct.c_uint32),
        ("bp_type", ct.c_uint32),
        ("config1", ct.c_uint64),
        ("config2", ct.c_uint64),
        ("branch_sample_type", ct.c_uint64),
        ("sample_regs_user", ct.c_uint64),
        ("sample_stack_user", ct.c_uint32),
        ("clockid", ct.c_int32),
    ]


class _MapUpdate(ct.Structure):
    # union bpf_attr of BPF_MAP_UPDATE_ELEM.
    _fields_ = [
        ("map_fd", ct.c_uint32),
        ("_pad", ct.c_uint32),
        ("key", ct.c_uint64),
        ("value", ct.c_uint64),
        ("flags", ct.c_uint64),
    ]


def online() -> list[int]:
    # The CPUs that run, written such as "0-3,6".
    spans = [span.split("-") for span in _ONLINE.read_text().strip().split(",")]
    return [number for span in spans for number in range(int(span[0]), int(span[-1]) + 1)]


def open_output(cpu: int, watermark: int) -> int:
    # An event of that CPU whose samples hold a time and raw data; a sleeper is woken every `watermark` bytes. It is
    # off until `enable`.
    attributes = _Attributes(
        type=_SOFTWARE,
        size=ct.sizeof(_Attributes),
        config=_BPF_OUTPUT,
        sample_period=1,
        sample_type=_TIME | _RAW,
        read_format=_LOST,
        flags=_DISABLED | _WATERMARK | _USE_CLOCK,
        wakeup_watermark=watermark,
        clockid=_CLOCK_MONOTONIC,
    )
    try:
        return _syscalls.perf_event_open(attributes, -1, cpu)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    attributes.read_format = 0
    return _syscalls.perf_event_open(attributes, -1, cpu)


def enable(map_fd: int, cpu: int, event_fd: int) -> None:
    # Put the event into the map and switch it on.
    put(map_fd, cpu, event_fd)
    fcntl.ioctl(event_fd, _ENABLE, 0)


def put(map_fd: int, cpu: int, event_fd: int) -> None:
    # Put the event into the map, which keeps it until that descriptor of the map is closed.
    key, value = ct.c_uint32(cpu), ct.c_uint32(event_fd)
    update = _MapUpdate(map_fd=map_fd, key=ct.addressof(key), value=ct.addressof(value))
    _syscalls.bpf(_MAP_UPDATE, update)


def open_counter(kind: int, config: int, pid: int, cpu: int) -> int:
    # An event that only counts, on that CPU, in all threads or (pid > 0) in one; its count is read as eight bytes.
    attributes = _Attributes(type=kind, size=ct.sizeof(_Attributes), config=config)
    return _syscalls.perf_event_open(attributes, pid, cpu)


def lost(event_fd: int) -> int | None:
    # How many samples had no room, ever; None if this kernel does not tell.
    counts = os.read(event_fd, 16)
    return struct.unpack("QQ", counts)[1] if len(counts) == 16 else None
