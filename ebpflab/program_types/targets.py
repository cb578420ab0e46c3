"""Targets: the text that says where a program is attached, taken apart."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..errors import AttachError
from ..similar import did_you_mean, nearest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .model import ProgramType

_NUMBER = re.compile(r"(0x[0-9a-f]+)|(0[0-7]*)|([1-9][0-9]*)", re.IGNORECASE)
_OPTION = re.compile(r"(.*),\s*([a-z_]+)=([^,]*)", re.DOTALL)
_EXPRESSION = re.compile(r"/(.+)/", re.DOTALL)

# perf_event_open(2): PERF_TYPE_HARDWARE and PERF_TYPE_SOFTWARE with the names that perf(1) gives their events.
_PERF_EVENTS = {
    **{name: (0, number) for number, name in enumerate(
        ("cpu-cycles", "instructions", "cache-references", "cache-misses", "branch-instructions", "branch-misses",
         "bus-cycles", "stalled-cycles-frontend", "stalled-cycles-backend", "ref-cycles"))},
    **{name: (1, number) for number, name in enumerate(
        ("cpu-clock", "task-clock", "page-faults", "context-switches", "cpu-migrations", "minor-faults",
         "major-faults", "alignment-faults", "emulation-faults", "dummy", "bpf-output", "cgroup-switches"))},
}  # fmt: skip
# enum nf_inet_hooks, include/uapi/linux/netfilter.h, and the two families that BPF links take.
_NETFILTER_HOOKS = ("pre_routing", "local_in", "forward", "local_out", "post_routing")
_NETFILTER_FAMILIES = {"ipv4": 2, "ipv6": 10}


@dataclass(frozen=True)
class Target:
    """Where to attach: the place, and options by name."""

    place: str
    options: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return ",".join([self.place, *(f"{name}={value}" for name, value in self.options.items())])

    def number(self, option: str, default: int) -> int:
        """Return an option as a whole number; raises AttachError when it is none."""
        text = self.options.get(option)
        found = default if text is None else _number(text.removeprefix("-"))
        if found is None:
            raise AttachError(f"{option}={text} is not a number", hint=f"write {option}=1")
        return -found if text is not None and text.startswith("-") else found


@dataclass(frozen=True)
class UprobeTarget:
    """A place in a binary: ``offset`` bytes into a function, or into the file where there is no function."""

    path: str
    function: str | None
    offset: int = 0


@dataclass(frozen=True)
class PerfEvent:
    """A perf event by perf_event_open(2)'s numbers."""

    type: int
    config: int


@dataclass(frozen=True)
class NetfilterHook:
    """A netfilter hook by the kernel's numbers: NFPROTO_* and NF_INET_*."""

    family: int
    hook: int


def parse_target(row: ProgramType, text: str) -> Target:
    """Split a target from the options behind it, as in ``eth0,mode=generic``.

    Raises
    ------
    AttachError
        The kind has no such option; names those that it has.

    Examples
    --------
    >>> parse_target(BY_KIND["perf_event"], "cpu-clock,freq=99").options
    {'freq': '99'}
    """
    known = [option.name for option in row.options]
    options: dict[str, str] = {}
    place = text.strip()
    while found := _OPTION.fullmatch(place):
        place, name, value = found.groups()
        if name not in known:
            near = nearest(name, known)
            listed = ", ".join(f"{o.name}={o.example}" for o in row.options)
            raise AttachError(
                f"a {row.kind} target has no option {name!r}",
                hint=did_you_mean(near) or (f"its options: {listed}" if listed else "it takes no options"),
            )
        options = {name: value.strip(), **options}
    return Target(place.strip(), options)


def is_pattern(name: str) -> bool:
    """Return whether a name in a target stands for several: it has a ``*`` or ``?``, or is ``/EXPRESSION/``.

    Examples
    --------
    >>> is_pattern("vfs_*"), is_pattern("/^vfs_(read|write)$/"), is_pattern("vfs_read")
    (True, True, False)
    """
    return bool(_EXPRESSION.fullmatch(name) or re.search(r"[*?]", name))


def pattern(name: str) -> re.Pattern[str]:
    """Return what matches the names that a pattern stands for.

    ``*`` is any letters and ``?`` is one, of the whole name, as libbpf has it. Between slashes stands a regular
    expression, matched from the start of a name, as BCC has it (``event_re``).

    Raises
    ------
    AttachError
        What stands between the slashes is no regular expression.

    Examples
    --------
    >>> [name for name in ("vfs_read", "vfs_readv") if pattern("/vfs_read$/").match(name)]
    ['vfs_read']
    """
    expression = _EXPRESSION.fullmatch(name)
    if expression is None:
        return re.compile(re.escape(name).replace(r"\*", ".*").replace(r"\?", ".") + r"\Z")
    try:
        return re.compile(expression[1])
    except re.error as error:
        hint = "it is one of Python's re, as in /^vfs_(read|write)$/; or write a pattern, as in vfs_*"
        raise AttachError(f"{name} is no regular expression: {error}", hint=hint) from None


def tracepoint_target(text: str) -> tuple[str, str]:
    """Split ``category/event`` or ``category:event`` into its two names.

    Raises
    ------
    AttachError
        The text is neither.
    """
    found = re.fullmatch(r"([^/:\s]+)[/:]([^/:\s]+)", text.strip())
    if found is None:
        raise AttachError(
            f"{text!r} does not name a tracepoint",
            hint='write category/event, as in SEC("tp/syscalls/sys_enter_openat")',
        )
    return found[1], found[2]


def kprobe_target(text: str, *, returns: bool = False) -> tuple[str, int]:
    """Split ``function+offset`` into the two; without an offset it is 0.

    Parameters
    ----------
    text
        The target; the offset is in bytes, and decimal, 0x... or octal 0.... A module may stand before the
        function, as in ``nf_conntrack:nf_conntrack_in``.
    returns
        True for a kretprobe, which is at a function's return and takes no offset.

    Raises
    ------
    AttachError
        The text is something else.

    Examples
    --------
    >>> kprobe_target("vfs_read+0x10")
    ('vfs_read', 16)
    """
    function, plus, tail = text.strip().partition("+")
    offset = _number(tail) if plus else 0
    if not re.fullmatch(r"([\w-]+:)?[\w.$]+", function) or offset is None:
        hint = "write its name, or name+offset as in vfs_read+0x10"
        if re.search(r"[\^$|()\\]", text):
            hint = f"a regular expression stands between slashes: /{text.strip()}/"
        raise AttachError(f"{text!r} does not name a function of the kernel", hint=hint)
    if returns and offset:
        raise AttachError(f"{text!r}: a kretprobe takes no offset", hint=f"write {function}")
    return function, offset


def uprobe_target(text: str, *, returns: bool = False) -> UprobeTarget:
    """Take a uprobe target apart: ``path:function``, ``path:function+offset`` or ``path:offset``.

    The path is absolute, or the name of a program or library. Offsets are decimal, 0x... or octal 0..., and
    an offset alone counts from the start of the file.

    Parameters
    ----------
    text
        The target.
    returns
        True for a uretprobe, which is at a function's return and takes no offset.

    Raises
    ------
    AttachError
        The text is none of these.

    Examples
    --------
    >>> uprobe_target("libc.so.6:malloc+0x10")
    UprobeTarget(path='libc.so.6', function='malloc', offset=16)
    """
    path, _, place = text.strip().partition(":")
    if not path or not place:
        raise AttachError(
            f"{text!r} does not name a place in a binary",
            hint="write path:function, path:function+offset or path:0xOFFSET, as in libc.so.6:malloc",
        )
    if place[0].isdigit():
        offset = _number(place)
        if offset is None:
            raise AttachError(f"{place!r} in {text!r} is not a number", hint="write 0x1234 or 4660")
        return UprobeTarget(path, None, offset)
    # What follows the last plus may belong to the name, as in "operator+".
    function, plus, tail = place.rpartition("+")
    offset = _number(tail) if plus and function else None
    if offset is None:
        return UprobeTarget(path, place)
    if returns and offset:
        raise AttachError(f"{text!r}: a uretprobe takes no offset", hint=f"write {path}:{function}")
    return UprobeTarget(path, function, offset)


def usdt_target(text: str) -> tuple[str, str, str]:
    """Split ``path:provider:name`` into its three parts.

    Raises
    ------
    AttachError
        The text is something else.
    """
    found = re.fullmatch(r"([^:]+):([^:]+):([^:]+)", text.strip())
    if found is None:
        raise AttachError(
            f"{text!r} does not name a USDT probe",
            hint="write path:provider:name, as in /usr/bin/python3:python:function__entry",
        )
    return found[1], found[2], found[3]


def perf_event_target(text: str) -> PerfEvent:
    """Return the event of a name that perf(1) knows (``cpu-clock``), or of ``raw:0x...``.

    Raises
    ------
    AttachError
        There is no such event; names the nearest.
    """
    name = text.strip().replace("_", "-")
    if name.startswith("raw:"):
        config = _number(name.removeprefix("raw:"))
        if config is not None:
            return PerfEvent(4, config)  # PERF_TYPE_RAW
    if name not in _PERF_EVENTS:
        near = nearest(name, _PERF_EVENTS)
        hint = did_you_mean(near) or f"events: {', '.join(_PERF_EVENTS)}, raw:0x..."
        raise AttachError(f"{text!r} is no perf event", hint=hint)
    return PerfEvent(*_PERF_EVENTS[name])


def perf_event_names(kind: int) -> tuple[str, ...]:
    """Return the names of the events of one type: 0, PERF_TYPE_HARDWARE, or 1, PERF_TYPE_SOFTWARE.

    Examples
    --------
    >>> perf_event_names(1)[0]
    'cpu-clock'
    """
    return tuple(name for name, (number, _) in _PERF_EVENTS.items() if number == kind)


def netfilter_names() -> tuple[str, ...]:
    """Return every netfilter hook that a program can be attached to, as ``family:hook``.

    Examples
    --------
    >>> netfilter_names()[1]
    'ipv4:local_in'
    """
    return tuple(f"{family}:{hook}" for family in _NETFILTER_FAMILIES for hook in _NETFILTER_HOOKS)


def netfilter_target(text: str) -> NetfilterHook:
    """Take ``ipv4:local_in`` apart: a family and a hook.

    Raises
    ------
    AttachError
        Either is unknown; names those that exist.
    """
    family, _, hook = text.strip().lower().partition(":")
    hook = hook.removeprefix("nf_inet_").replace("-", "_")
    hook = {"prerouting": "pre_routing", "input": "local_in", "output": "local_out", "postrouting": "post_routing"}.get(
        hook, hook
    )
    if family not in _NETFILTER_FAMILIES or hook not in _NETFILTER_HOOKS:
        raise AttachError(
            f"{text!r} is no netfilter hook",
            hint=f"write ipv4:HOOK or ipv6:HOOK, where HOOK is {', '.join(_NETFILTER_HOOKS)}",
        )
    return NetfilterHook(_NETFILTER_FAMILIES[family], _NETFILTER_HOOKS.index(hook))


def _number(text: str) -> int | None:
    # strtol's three bases, which is how libbpf reads an offset. The kernel's numbers have 64 bits at most.
    found = _NUMBER.fullmatch(text)
    if found is None or len(text) > 25:
        return None
    number = int(text, 16 if found[1] else 8 if found[2] else 10)
    return number if number < 1 << 64 else None
