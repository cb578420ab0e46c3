# What programs can be attached by on the running kernel, beyond the types that it can load.
#
# A link is asked for to a target that does not exist: a kernel that knows the kind of link says that it cannot
# find the target, others that the request makes no sense. Only BPF's own test functions are attached to.

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from .. import _probes
from .facilities import facility

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ._ways import Ways
    from .kernel import Facts

_EVENT_SOURCES = Path("/sys/bus/event_source/devices")
_NO_INTERFACE = 0x7FFFFFFF
_NO_SYMBOL, _TEST_FUNCTION = b"ebpflab_no_such_function", b"bpf_fentry_test1"
_NOT_SUPPORTED = 524  # ENOTSUPP, which only the kernel knows


class Found(NamedTuple):
    # `available` is "yes", "no" or "unknown"; `answer` is what the kernel said, where that is why.
    name: str
    available: str
    why: str = ""
    answer: _probes.Answer | None = None
    type: str = ""  # of the program that it was asked with


def attach_features(ways: Ways, known: Facts, wanted: Callable[[str], object]) -> Iterator[Found]:
    # What is known of each way to attach that is wanted by name.
    yield from (find(name, ways, known) for name, find in _FEATURES.items() if wanted(name))


def _tracefs(name: str, _ways: Ways, known: Facts) -> Found:
    if known.tracefs is None:
        return Found(name, "no", "not mounted")
    if not known.tracefs_readable:
        return Found(name, "unknown", f"{known.tracefs} is not readable for this process")
    return Found(name, "yes", str(known.tracefs))


def _btf(name: str, _ways: Ways, known: Facts) -> Found:
    return Found(name, "yes", str(known.btf))  # nothing is probed without it


def _event_source(name: str, _ways: Ways, _known: Facts) -> Found:
    # A kind of event that perf_event_open(2) knows has a folder of its own in sysfs.
    try:
        listed = os.listdir(_EVENT_SOURCES)  # noqa: PTH208 - names are all that is needed
    except OSError as error:
        return Found(name, "unknown", f"{_EVENT_SOURCES}: {error.strerror}")
    return Found(name, "yes" if name in listed else "no")


def _perf_link(name: str, ways: Ways, _known: Facts) -> Found:
    return _link(name, ways, "tracepoint", "BPF_PERF_EVENT", errno.EBADF, -1, "5.15")


def _tcx(name: str, ways: Ways, _known: Facts) -> Found:
    return _link(name, ways, "sched_cls", "BPF_TCX_INGRESS", errno.ENODEV, _NO_INTERFACE, "6.6")


def _netkit(name: str, ways: Ways, _known: Facts) -> Found:
    return _link(name, ways, "sched_cls", "BPF_NETKIT_PRIMARY", errno.ENODEV, _NO_INTERFACE, "6.7")


def _link(name: str, ways: Ways, type_name: str, attach_type: str, missing: int, target: int, since: str) -> Found:
    number = ways.attach_types.get(attach_type)
    if number is None:
        return Found(name, "no", f"came with Linux {since}")
    answer = _probes.link(_probes.Program(ways.types[type_name]), target, number)
    return _judged(name, type_name, answer, missing)


def _kprobe_multi(name: str, ways: Ways, _known: Facts) -> Found:
    number = ways.attach_types.get("BPF_TRACE_KPROBE_MULTI")
    if number is None:
        return Found(name, "no")
    program = _probes.Program(ways.types["kprobe"], number)
    answer = _probes.link_symbol(program, number, _NO_SYMBOL)
    if answer.errno == errno.EINVAL:
        # Which is also what 5.18 and 5.19 say of a symbol that they cannot find.
        answer = _probes.link_symbol(program, number, _TEST_FUNCTION)
    return _judged(name, "kprobe", answer, errno.ESRCH, errno.ENOENT)


def _uprobe_multi(name: str, ways: Ways, _known: Facts) -> Found:
    number = ways.attach_types.get("BPF_TRACE_UPROBE_MULTI")
    if number is None:
        return Found(name, "no")
    answer = _probes.link_file(_probes.Program(ways.types["kprobe"], number), number, b"/")
    return _judged(name, "kprobe", answer, errno.EBADF)


def _trampoline(name: str, ways: Ways, _known: Facts) -> Found:
    wanted = ways.attach_types.get("BPF_TRACE_FENTRY")
    programs = [way.program for way in ways.of("tracing") if way.program.attach_type == wanted]
    if not programs:
        return Found(name, "no")
    return _judged(name, "tracing", _probes.trace(programs[0]))


def _lsm(name: str, ways: Ways, known: Facts) -> Found:
    if "lsm" not in ways.types:
        return Found(name, "no")
    answer = min((way.answer for way in ways.of("lsm")), default=_probes.Answer(errno.EINVAL))
    loads = _judged(name, "lsm", answer)
    if loads.available != "yes":
        return loads
    against = facility("lsm")
    if against:
        return Found(name, "no", against)
    if known.lsms is None:
        return Found(name, "unknown", "the list of active security modules is not readable (securityfs)")
    return _trampoline(name, ways, known)


def _judged(name: str, type_name: str, answer: _probes.Answer, *missing: int) -> Found:
    if answer.errno in (0, *missing):
        return Found(name, "yes")
    if answer.errno in (errno.EINVAL, errno.EOPNOTSUPP, _NOT_SUPPORTED):
        return Found(name, "no")
    return Found(name, "unknown", answer=answer, type=type_name)


_FEATURES: dict[str, Callable[[str, Ways, Facts], Found]] = {
    "btf": _btf,
    "tracefs": _tracefs,
    "tracepoint": _event_source,
    "kprobe": _event_source,
    "uprobe": _event_source,
    "perf_event link": _perf_link,
    "kprobe.multi": _kprobe_multi,
    "uprobe.multi": _uprobe_multi,
    "trampoline": _trampoline,
    "lsm": _lsm,
    "tcx": _tcx,
    "netkit": _netkit,
}
