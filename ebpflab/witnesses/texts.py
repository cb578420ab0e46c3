"""What each witness runs: the same count of the same hook in libbpf's C, in BCC's C and in bpftrace's language."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from ..errors import CellError, HookNotFoundError
from ..inspectors import bcc_names, binaries, tracefs
from ..inspectors.templating.hooks import find_hook
from ..program_types import parse_section, tracepoint_target

if TYPE_CHECKING:
    from ..program_types import Section

SLICES = 4096  # of time; as many keys as bpftrace keeps of a map unless it is told otherwise
_KINDS = ("tracepoint", "raw_tracepoint", "kprobe", "kretprobe", "uprobe", "uretprobe")
_PLAIN = re.compile(r"[\w.]+", re.ASCII)
# System calls that take nothing, change nothing, and that Python makes one to one.
_CALLS = ("getppid", "getpid", "getuid", "geteuid", "getgid", "getegid", "sched_yield")
_CALL = re.compile(r"(?:syscalls/sys_(?:enter|exit)_|__\w+_sys_)(\w+)")
# Tracepoints of interrupts: whom they interrupt has nothing to do with them.
_INTERRUPTS = ("irq", "irq_vectors", "irq_matrix", "napi", "nmi", "rcu", "timer")
_EVENTS = re.compile(r"(irq_handler|softirq|tasklet|hrtimer|timer|tick|napi|nmi|rcu|ipi)_\w+")

_LIBBPF = """\
u64 counted{many};

SEC("{section}")
int on_event(void *ctx)
{{
{skip}	__sync_fetch_and_add(&counted{which}, 1);
	return 0;
}}
"""
_BCC = """\
#include <linux/sched.h>
#include <linux/nsproxy.h>
#include <linux/utsname.h>

BPF_ARRAY(counted, u64, {many});

{head}
{{
{skip}	counted.atomic_increment({which});
	return 0;
}}
"""
_TASK = "	struct task_struct *task = (struct task_struct *)bpf_get_current_task();\n\n"
_RETURN = "	if ({condition})\n		return 0;\n"


@dataclass(frozen=True)
class Scope:
    """Whose events are counted: those in a UTS namespace (its inode), of a process, or all; and in which slices.

    ``slice`` is nanoseconds; 0 counts in one number, from the first event to the last.
    """

    namespace: int = 0
    pid: int = 0
    slice: int = 0


@dataclass(frozen=True)
class Text:
    """What one witness runs; ``otherwise`` is for one that refuses it, and ``note`` says what is different then."""

    witness: str
    source: str
    targets: Mapping[str, str] = field(default_factory=dict)
    note: str = ""
    otherwise: Text | None = None


def section_of(hook: str) -> Section:
    """Return the section that a hook means, if all three witnesses can count it.

    Raises
    ------
    HookNotFoundError
        There is no such hook, or not all of them can.

    Examples
    --------
    >>> section_of("sched:sched_switch").target
    'sched/sched_switch'
    """
    section = find_hook(bcc_names.section_of(hook)).section
    if section.kind == "fentry" and section.target:
        near = (f"kprobe/{section.target}",)
        raise HookNotFoundError(f"{hook}: not all three count fentry programs", nearest=near, hint=f"try {near[0]}")
    if section.kind not in _KINDS or section.sleepable or not section.target:
        hint = f"a section of one of these kinds: {', '.join(_KINDS)}; for example tp/sched/sched_switch"
        raise HookNotFoundError(f"{hook}: not all three can count such events", hint=hint)
    if section.kind in ("uprobe", "uretprobe"):
        return _in_file(section)
    name = tracepoint_target(section.target)[1] if section.kind == "tracepoint" else section.target
    if not _PLAIN.fullmatch(name):
        raise HookNotFoundError(f"{hook}: not all three take such a name", hint="name one hook, without * and +")
    return section


def own_calls(section: Section) -> str:
    """Return the system call that a process of ours can make to cause such events, "" if there is none.

    Examples
    --------
    >>> own_calls(parse_section("tp/syscalls/sys_exit_getppid"))
    'getppid'
    """
    found = _CALL.fullmatch(section.target) if section.kind in ("tracepoint", "kprobe", "kretprobe") else None
    return found[1] if found and found[1] in _CALLS else ""


def of_a_process(section: Section) -> bool:
    """Tell whether the process that runs at such an event is the one that caused it.

    Examples
    --------
    >>> of_a_process(parse_section("tp/irq/softirq_entry")), of_a_process(parse_section("tp/sched/sched_switch"))
    (False, True)
    """
    if section.kind == "tracepoint":
        return tracepoint_target(section.target)[0] not in _INTERRUPTS
    return section.kind != "raw_tracepoint" or not _EVENTS.fullmatch(section.target)


def texts(section: Section, scope: Scope) -> tuple[Text, Text, Text]:
    """Return what libbpf, BCC and bpftrace run to count the events of a hook.

    Parameters
    ----------
    section
        The hook, from :func:`section_of`.
    scope
        Whose events count.

    Examples
    --------
    >>> print(texts(parse_section("tp/sched/sched_switch"), Scope(pid=1))[2].source)
    tracepoint:sched:sched_switch /pid == 1/ { @counted = count(); }
    """
    return _libbpf(section, scope), _bcc(section, scope), _bpftrace(section, scope)


def _libbpf(section: Section, scope: Scope) -> Text:
    read = "BPF_CORE_READ(task, nsproxy, uts_ns, ns.inum)"
    many, which = (f"[{SLICES}]", f"[{_slice(scope)}]") if scope.slice else ("", "")
    name = f"{section.prefix}/{section.target}"
    return Text("libbpf", _LIBBPF.format(many=many, section=name, skip=_skip(scope, read), which=which))


def _bcc(section: Section, scope: Scope) -> Text:
    many, which = (SLICES, _slice(scope)) if scope.slice else (1, 0)
    skip = _skip(scope, "task->nsproxy->uts_ns->ns.inum")
    head = bcc_names.head(section, [], "on_event")
    targets = {} if bcc_names.is_named(section) else {"on_event": bcc_names.attached(section, "")}
    return Text("bcc", _BCC.format(many=many, head=head, skip=skip, which=which), targets)


def _skip(scope: Scope, read: str) -> str:
    # The lines that leave out what is not to be counted.
    if scope.namespace:
        return _TASK + _RETURN.format(condition=f"{read} != {scope.namespace}")
    return _RETURN.format(condition=f"bpf_get_current_pid_tgid() >> 32 != {scope.pid}") if scope.pid else ""


def _slice(scope: Scope) -> str:
    # bpftrace's nsecs is this clock.
    return f"bpf_ktime_get_boot_ns() / {scope.slice} % {SLICES}"


def _bpftrace(section: Section, scope: Scope) -> Text:
    if section.kind == "tracepoint":
        return _traced(f"tracepoint:{':'.join(tracepoint_target(section.target))}", scope)
    if section.kind != "raw_tracepoint":
        return _traced(f"{section.kind}:{section.target}", scope)
    text = _traced(f"rawtracepoint:{section.target}", scope)
    same = next((event for event in tracefs.events() if event.endswith(f":{section.target}")), "")
    if not same:
        return text
    note = f"this bpftrace has no raw tracepoints: it counted the same event at tracepoint:{same}"
    return replace(text, otherwise=replace(_traced(f"tracepoint:{same}", scope), note=note))


def _traced(probe: str, scope: Scope) -> Text:
    condition = f"/pid == {scope.pid}/ " if scope.pid else ""
    if scope.namespace:
        condition = f"/curtask->nsproxy->uts_ns->ns.inum == {scope.namespace}/ "
    which = f"[nsecs / {scope.slice}]" if scope.slice else ""
    return Text("bpftrace", f"{probe} {condition}{{ @counted{which} = count(); }}")


def _in_file(section: Section) -> Section:
    # By the path of the file, so that all three look into the same one.
    binary, _, function = section.target.rpartition(":")
    path = binaries.resolve_binary(binary) if binary else None
    if path is None or not _PLAIN.fullmatch(function):
        raise CellError(f"{section.target} does not name a function of a file", hint="as in uprobe/libc.so.6:malloc")
    return parse_section(f"{section.prefix}/{path.resolve()}:{function}")
