# Perf events: samples by a clock, or at every so many events that the kernel or the processor counts.
#
# perf_event_open(2) makes an event, and the program runs at each of its samples (kernel/events/core.c).

from __future__ import annotations

import ctypes as ct
import errno
import os
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from ... import _syscalls
from ...errors import AttachError, HookNotFoundError, KernelSupportError
from ...program_types import PerfEvent, Target, perf_event_names, perf_event_target
from .base import Attachment, Request, failed, libbpf_link, together

_SOFTWARE = 1  # PERF_TYPE_SOFTWARE
_INHERIT, _BY_FREQUENCY, _THREADS_ONLY = 1 << 1, 1 << 10, 1 << 35  # bits of struct perf_event_attr
_DEFAULT = {"freq": "99"}  # not 100, which would keep step with whatever runs at every tick
_ONLINE = Path("/sys/devices/system/cpu/online")
_MOST_SAMPLES = Path("/proc/sys/kernel/perf_event_max_sample_rate")


class EventAttributes(ct.Structure):
    # struct perf_event_attr up to PERF_ATTR_SIZE_VER0 (include/uapi/linux/perf_event.h).
    _fields_ = [
        ("type", ct.c_uint32),
        ("size", ct.c_uint32),
        ("config", ct.c_uint64),
        ("sample", ct.c_uint64),  # a period, or with _BY_FREQUENCY a frequency
        ("sample_type", ct.c_uint64),
        ("read_format", ct.c_uint64),
        ("flags", ct.c_uint64),
        ("wakeup", ct.c_uint32),
        ("bp_type", ct.c_uint32),
        ("config1", ct.c_uint64),
    ]


def perf_link(request: Request, link: int | None, place: str = "") -> Attachment:
    # As libbpf_link, for what is attached through a perf event: before Linux 5.15 that takes an ioctl and no link,
    # and libbpf gives the event's descriptor in the place of the link's.
    attachment = libbpf_link(request, link, place)
    is_link = "bpf" in str(Path(f"/proc/self/fd/{attachment.fd}").readlink())
    return attachment if is_link else replace(attachment, fd=None)


def process(target: Target) -> int:
    # The process that pid= names, where 0 is this one; -1 without pid=, as libbpf has it. Raises OSError.
    if "pid" not in target.options:
        return -1
    pid = target.number("pid", 0) or os.getpid()
    if not Path(f"/proc/{pid}").exists():
        raise failed(errno.ESRCH)
    return pid


def _perf_event(request: Request) -> Attachment:
    target = request.target
    if not {"freq", "period"} & target.options.keys():
        target = replace(target, options={**_DEFAULT, **target.options})
    event = perf_event_target(target.place)
    attributes = _attributes(event, target)
    parts: list[Attachment] = []
    with ExitStack() as undo:
        for pid, cpu in _where(target):
            try:
                parts.append(_attach_one(request, attributes, pid, cpu))
            except OSError as error:
                if error.errno == errno.ESRCH and parts:
                    continue  # a thread that has ended meanwhile
                raise _explained(error, event, target) from None
            undo.callback(parts[-1].close)
        undo.pop_all()
    return together(parts, str(target))


def _attributes(event: PerfEvent, target: Target) -> EventAttributes:
    if {"freq", "period"} <= target.options.keys():
        hint = "freq= is samples a second and CPU, period= how many events make a sample"
        raise AttachError(f"{target}: freq= and period= exclude each other", hint=hint)
    way = "period" if "period" in target.options else "freq"
    rate = target.number(way, 0)
    if not 1 <= rate < 1 << 63:
        raise AttachError(f"{target}: {way} has to be at least 1, and less than 2**63", hint=f"write {way}=99")
    flags = _BY_FREQUENCY if way == "freq" else 0
    return EventAttributes(event.type, ct.sizeof(EventAttributes), event.config, rate, flags=flags)


def _where(target: Target) -> list[tuple[int, int]]:
    # A thread and a CPU for each event to open; -1 stands for all. The threads are listed before the first event is
    # opened: those that come later are counted by the event of the thread that starts them.
    pid, cpu = process(target), target.number("cpu", -1)
    if "cpu" in target.options and cpu not in _online():
        hint = f"online: {_ONLINE.read_text().strip()}"
        raise HookNotFoundError(f"CPU {cpu} is not online", errno=errno.ENODEV, hint=hint)
    if pid > 0:
        return [(pid, cpu), *((thread, cpu) for thread in _threads(pid) if thread != pid)]
    return [(-1, cpu)] if cpu >= 0 else [(-1, number) for number in _online()]


def _threads(pid: int) -> list[int]:
    try:
        return sorted(int(path.name) for path in Path(f"/proc/{pid}/task").iterdir())
    except (FileNotFoundError, ProcessLookupError):
        return []


def _online() -> list[int]:
    # Such as "0-3,6".
    spans = [span.split("-") for span in _ONLINE.read_text().strip().split(",")]
    return [number for span in spans for number in range(int(span[0]), int(span[-1]) + 1)]


def _attach_one(request: Request, attributes: EventAttributes, pid: int, cpu: int) -> Attachment:
    fd = _open(attributes, pid, cpu)
    attachment = None
    try:
        attachment = perf_link(request, request.lib.bpf_program__attach_perf_event_opts(request.pointer, fd, None))
    finally:
        if attachment is None:  # otherwise the link owns it
            os.close(fd)
    return attachment


def _open(attributes: EventAttributes, pid: int, cpu: int) -> int:
    # The threads that a thread starts are to be counted with it. Before Linux 5.13 the kernel does that only
    # together with child processes, which are not asked for.
    if pid > 0:
        with_threads = EventAttributes.from_buffer_copy(attributes)
        with_threads.flags |= _INHERIT | _THREADS_ONLY
        try:
            return _syscalls.perf_event_open(with_threads, pid, cpu)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
    return _syscalls.perf_event_open(attributes, pid, cpu)


def _explained(error: OSError, event: PerfEvent, target: Target) -> Exception:
    if error.errno in (errno.ENOENT, errno.EOPNOTSUPP, errno.ENODEV) and event.type != _SOFTWARE:
        what = f"{target.place} cannot be counted: this machine's processor offers no counters (PMU), or not this one"
        software = ", ".join(perf_event_names(_SOFTWARE)[:7])
        hint = f"most virtual machines have none; what the kernel counts itself works everywhere: {software}"
        return KernelSupportError(what, hint=hint, stage="attach")
    rate, most = target.number("freq", 0), int(_MOST_SAMPLES.read_text())
    if rate > most:
        what = f"freq={rate} is above the {most} samples a second that this kernel allows"
        hint = f"lower it, or raise the limit: sysctl kernel.perf_event_max_sample_rate={rate}"
        return AttachError(what, errno=error.errno, hint=hint)
    return error


KINDS: dict[str, Callable[[Request], Attachment]] = {"perf_event": _perf_event}
