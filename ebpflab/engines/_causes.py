# What a refusal comes from, found on the machine: a table of stage and error number, and who is to look.
#
# Each function looks at one thing and answers with two sentences, what is the matter and what to do, or with None if
# that is not it. Refusals for lack of privilege have a table of their own (inspectors/privileges.py).

from __future__ import annotations

import errno
import re
import resource
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ..inspectors import binaries, kernel, memory, program_refusals, undefined
from ..program_types import Section, Target, uprobe_target
from . import _attached, _places
from .attach.base import Request
from .attach.cgroup import mounts

ENOTSUPP = 524  # the kernel's own, include/linux/errno.h
_WATCHDOG = Path("/proc/sys/kernel/nmi_watchdog")
_UPROBES = ("uprobe", "uretprobe", "uprobe.multi", "uprobe.session", "usdt")
# Where there is room for many programs, but for each only once (bpf_prog_array_copy() in kernel/bpf/core.c).
_ONCE_EACH = ("tracepoint", "kprobe", "kretprobe", "ksyscall", "uprobe", "uretprobe", "perf_event")
_FEW_INSTRUCTIONS, _MANY_INSTRUCTIONS = 4096, 1_000_000  # BPF_MAXINSNS, BPF_COMPLEXITY_LIMIT_INSNS


class Cause(NamedTuple):
    # Both are sentences: what is the matter, and the command or change that mends it.
    what: str
    hint: str


@dataclass(frozen=True)
class Failure:
    # What failed. `action` is how a sentence about it begins; `request` is there for attachments only, and
    # `instructions`, how many each program has, for loads only.
    action: str
    error: int
    program: str = ""
    section: Section | None = None
    target: Target | None = None
    words: Sequence[str] = ()
    request: Request | None = None
    instructions: Mapping[str, int] | None = None

    @property
    def kind(self) -> str:
        return self.section.kind if self.section else ""

    @property
    def place(self) -> str:
        return f"{self.kind} {self.target}"


def find(stage: str, failure: Failure) -> Cause | None:
    # The cause of a failure to "load" or "attach", or None if nothing on the machine tells.
    for row in _TABLE:
        fits = row.stage in (stage, "") and (not row.numbers or failure.error in row.numbers)
        if fits and (not row.kinds or failure.kind in row.kinds) and (cause := row.look(failure)):
            return cause
    return None


# --- either stage -----------------------------------------------------------------------------------------


def _descriptors(failure: Failure) -> Cause:
    if failure.error == errno.ENFILE:
        what = "the machine has as many files open as it may"
        return Cause(f"{failure.action}: {what}", "raise the limit: sysctl fs.file-max shows it")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    what = f"{failure.action}: this process has the {soft:,} files open that it may"
    raised = f", for example ulimit -n {hard}" if hard > soft else "; ulimit -Hn has to be raised by root"
    return Cause(what, f"close a session, or raise `ulimit -n` before starting Jupyter{raised}")


def _memory(failure: Failure) -> Cause:
    left, limit = memory.left(), memory.limit()
    what = f"{failure.action}: the kernel had no memory for it" + (f"; {left} are available" if left else "")
    if limit:
        return Cause(f"{what}; {limit}", "close other sessions, or give the cgroup more")
    return Cause(what, "close other sessions or programs; free -m shows what is left")


# --- attaching --------------------------------------------------------------------------------------------


def _no_process(failure: Failure) -> Cause | None:
    pid = failure.target.options.get("pid", "") if failure.target else ""
    if not pid.isdigit() or Path(f"/proc/{pid}").exists():
        return None
    return Cause(f"{failure.program}: there is no process {pid}", "pid= takes a running process")


def _there_already(failure: Failure) -> Cause | None:
    request = failure.request
    there = _places.programs(request) if request else []
    if request and there and _attached.program_id(request.lib, request.fd) not in there:
        return None
    what = f"{failure.program} is attached to {failure.place} already"
    return Cause(what, "a program can be there once; s.detach() takes it off")


def _full(failure: Failure) -> Cause | None:
    there = _places.programs(failure.request) if failure.request else []
    if not there:
        return None
    what = f"{failure.action}: {len(there)} programs are there, and the kernel takes no more"
    return Cause(what, _attached.way_out(there, "no process is seen to hold them: `bpftool prog list` shows them"))


def _taken(failure: Failure) -> Cause | None:
    request = failure.request
    there = _places.programs(request) if request else []
    if not request or not there:
        return None
    listed = "; ".join(_attached.shown(request.lib, number) for number in there[:3])
    what = f"{failure.action}: another program is attached there ({listed}), and there is room for one"
    return Cause(what, _attached.way_out(there, "no process is seen to hold it: `bpftool link list` shows its link"))


def _probed(failure: Failure) -> tuple[Path, int] | None:
    # The file of a uprobe and the offset into it.
    if failure.target is None or failure.kind == "usdt":
        return None
    place = uprobe_target(failure.target.place, returns=False)
    path = binaries.resolve_binary(place.path)
    if path is None:
        return None
    starts = binaries.function_offsets(path, {place.function}) if place.function else {0}
    return (path.resolve(), min(starts) + place.offset) if starts else None


def _beyond_the_file(failure: Failure) -> Cause | None:
    path, offset = _probed(failure) or (None, 0)
    if path is None or offset <= (size := path.stat().st_size):
        return None
    what = f"{failure.action}: {path} has {size:,} bytes, and offset {offset:#x} is beyond its end"
    return Cause(what, f"name a function: `objdump -d {path}` lists them with their offsets")


def _no_instruction(failure: Failure) -> Cause | None:
    path, offset = _probed(failure) or (None, 0)
    if path is None:
        return None
    with path.open("rb") as file:
        file.seek(offset)
        bytes_there = file.read(8).hex(" ")
    what = f"{failure.action}: no instruction that can be probed is at offset {offset:#x} of {path} ({bytes_there})"
    return Cause(what, f"`objdump -d {path}` shows where instructions start; a function's name is always such a place")


def _unreadable_file(failure: Failure) -> Cause | None:
    path, _ = _probed(failure) or (None, 0)
    if path is None:
        return None
    device = path.stat().st_dev
    mounted = mounts(Path("/proc/self/mountinfo").read_text())
    kind = next((each.type for each in mounted if each.device == device), "its")
    what = f"{failure.action}: files of a filesystem of type {kind} cannot be probed, and {path} is one"
    return Cause(what, "probe the program's own file, on a disk or in memory (ext4, xfs, overlay, tmpfs)")


def _no_classifier(failure: Failure) -> Cause | None:
    config = kernel.kernel_config()
    needed = ("CONFIG_NET_SCH_INGRESS", "CONFIG_NET_CLS_BPF", "CONFIG_NET_CLS_ACT")
    lacking = [option for option in needed if config is not None and option not in config]
    if not lacking:
        return None
    what = f"{failure.action}: this kernel was built without {' and '.join(lacking)}"
    return Cause(what, 'SEC("xdp") sees the packets that come in; tc takes another kernel, or Linux 6.6')


def _counters(failure: Failure) -> Cause:
    what = f"{failure.action}: all counters of the processor are in use"
    if _WATCHDOG.exists() and _WATCHDOG.read_text().strip() != "0":
        return Cause(f"{what}, one of them by the kernel's watchdog", "sysctl kernel.nmi_watchdog=0 frees one")
    return Cause(what, "detach a program that uses one, or end perf(1); cpu-clock takes none")


# --- loading ----------------------------------------------------------------------------------------------


def _too_long(failure: Failure) -> Cause | None:
    size = (failure.instructions or {}).get(failure.program, 0)
    if size <= _FEW_INSTRUCTIONS or not failure.section:
        return None
    most = _FEW_INSTRUCTIONS if program_refusals.takes_few(failure.section) else _MANY_INSTRUCTIONS
    if size <= most:
        return None
    what = f"{failure.program} has {size:,} instructions, and the kernel takes {most:,} of a program here"
    if most == _FEW_INSTRUCTIONS:
        return Cause(what, f"with CAP_BPF, as root has it, Linux 5.2 and later takes {_MANY_INSTRUCTIONS:,}")
    return Cause(what, "loop instead of unrolling (bpf_loop()), or split it into programs with bpf_tail_call()")


def _no_machine_code(failure: Failure) -> Cause | None:
    if kernel.facts().bpf_jit_enable != 0:
        return None
    what = f"{failure.action}: it calls functions that only compiled programs can call, and the BPF JIT is off"
    return Cause(what, "sysctl net.core.bpf_jit_enable=1 switches it on")


def _of_a_kind(failure: Failure) -> Cause | None:
    # The smallest program there is tells whether it is the kind that the kernel does not take.
    if failure.section is None:
        return None
    found = program_refusals.explain(failure.section)
    return Cause(f"{failure.program}: {found[0]}", found[1]) if found else None


def _by_libbpfs_words(failure: Failure) -> Cause | None:
    said = "\n".join(failure.words)
    for pattern, explain in undefined.WORDS:
        found = re.search(pattern, said)
        if found and (answer := explain(found)):
            return Cause(*answer)
    return None


class _Row(NamedTuple):
    stage: str  # "" for both
    numbers: tuple[int, ...]  # none: for any
    kinds: tuple[str, ...]  # of programs; none: for any
    look: Callable[[Failure], Cause | None]


_TABLE = (
    _Row("", (errno.EMFILE, errno.ENFILE), (), _descriptors),
    _Row("attach", (), (), _no_process),
    _Row("attach", (errno.EEXIST,), _ONCE_EACH, _there_already),
    _Row("attach", (errno.E2BIG, errno.ERANGE), (), _full),
    _Row("attach", (errno.EBUSY, errno.EEXIST), (), _taken),
    _Row("attach", (errno.EINVAL,), _UPROBES, _beyond_the_file),
    _Row("attach", (ENOTSUPP, errno.EOPNOTSUPP, errno.ENOEXEC, errno.EILSEQ), _UPROBES, _no_instruction),
    _Row("attach", (errno.EIO,), _UPROBES, _unreadable_file),
    _Row("attach", (errno.ENOENT, errno.EINVAL, errno.EOPNOTSUPP), ("tc",), _no_classifier),
    _Row("attach", (errno.ENOSPC, errno.EBUSY), ("perf_event",), _counters),
    _Row("load", (), (), _by_libbpfs_words),
    _Row("load", (errno.E2BIG,), (), _too_long),
    _Row("load", (ENOTSUPP,), (), _no_machine_code),
    _Row("load", (errno.EINVAL, errno.EOPNOTSUPP, ENOTSUPP), (), _of_a_kind),
    _Row("", (errno.ENOMEM,), (), _memory),
)
