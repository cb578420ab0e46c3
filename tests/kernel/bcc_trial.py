"""A program of one of BCC's tools through the whole line, and what became of it."""

from __future__ import annotations

import functools
import os
import re
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path

import kernel_has
from bcc_corpus import Text

import ebpflab
from ebpflab.errors import EbpflabError

# What the verifier or the kernel has against a program, whoever compiled it.
REFUSALS = {
    # bpf_override_return() takes CONFIG_BPF_KPROBE_OVERRIDE, and functions that allow it.
    "inject": r"program of this type cannot use helper bpf_override_return|should_fail",
    # A member of a union in a struct that the kernel vouches for is a number to the verifier.
    "ttysnoop": r"kfunc__tty_write: R\d invalid mem access 'scalar'",
    # Written for a kernel whose tracepoint had more arguments (before 5.18): it reads past the last.
    "compactsnoop": r"raw tracepoint 'mm_compaction_(begin|end)': Invalid argument",
}
# Tools for what the workload cannot have happen: other file systems, memory that is short everywhere, lost packets,
# other libraries, RAID, and virtual machines inside of this one.
UNREACHED = {
    *("btrfsdist", "btrfsslower", "xfsdist", "xfsslower", "nfsdist", "nfsslower"),
    *("compactsnoop", "drsnoop", "kvmexit", "mdflush", "sslsniff", "tcpretrans", "virtiostat"),
}
_TRACING = Path("/sys/kernel/tracing")


@dataclass
class Trial:
    """How far a text came: what stopped it, and of each function that has a hook, the reason or the number of runs."""

    tool: str
    arguments: tuple[str, ...]
    stopped: str = ""
    log: str = ""
    refused: dict[str, str] = field(default_factory=dict)
    attached: dict[str, list[str]] = field(default_factory=dict)
    runs: dict[str, int] = field(default_factory=dict)
    ended: str = ""

    @property
    def name(self) -> str:
        return " ".join((self.tool, *self.arguments))

    @property
    def row(self) -> dict[str, object]:
        return asdict(self)


def start(text: Text) -> tuple[Trial, ebpflab.Session | None]:
    """Load a text and attach each of its functions that has a hook; the session is the caller's to close."""
    trial = Trial(text.tool, text.arguments, ended=text.ended)
    try:
        session = ebpflab.load(text.source, engine="bcc", targets=text.targets, attach=False, unsafe=True)
    except EbpflabError as error:
        trial.stopped = f"{type(error).__name__}: {error.what}"
        trial.log = getattr(error, "log", "")[-4000:]
        return trial, None
    rows = session.programs
    for function, section in zip(rows["name"], rows["section"], strict=True):
        if function in text.targets or "/" in section:
            _attach(session, trial, function, section, text)
    return trial, session


def _attach(session: ebpflab.Session, trial: Trial, function: str, section: str, text: Text) -> None:
    first = text.targets.get(function, "")
    places = [first.partition(":")[2]] if first else [None]
    places += [place for name, place in text.more if name == function]
    for place in places:
        here = place and re.sub(r",pid=\d+$", f",pid={os.getpid()}", re.sub(r"^/proc/\d+/root", "", place))
        shown = f"{first.partition(':')[0]}:{here}" if here else section
        try:
            session.attach(function, target=here)
        except EbpflabError as error:
            trial.refused[f"{function} {shown}"] = f"{type(error).__name__}: {error.what}"
        else:
            trial.attached.setdefault(function, []).append(shown)


def finish(trial: Trial, session: ebpflab.Session | None) -> None:
    """Note how often each function ran, and close the session."""
    if session is not None:
        rows = session.programs
        trial.runs = {n: int(c) for n, c in zip(rows["name"], rows["run_cnt"], strict=True) if n in trial.attached}
        session.close()


def unexplained(trial: Trial) -> list[str]:
    """Return what stopped a trial, or kept its functions from hooks, where the kernel's own lists do not tell why."""
    reasons = [f"{where}: {what}" for where, what in trial.refused.items() if not _absent(where.partition(" ")[2])]
    if trial.stopped and not _impossible(trial.stopped):
        reasons.append(trial.stopped)
    known = REFUSALS.get(trial.tool)
    return [reason for reason in reasons if not (known and re.search(known, reason))]


def _impossible(stopped: str) -> bool:
    # Whether this kernel lacks what an error says that a program has to have to be loaded.
    if found := re.match(r"HookNotFoundError: .*'(\w+)'", stopped):
        return not _traceable(found[1])
    if found := re.match(r"KernelSupportError: \w+ \((\w+)\)", stopped):
        return kernel_has.absent(found[1]) is not None
    if found := re.match(r"RewriteError: .*incomplete definition of type 'struct (\w+)'", stopped):
        return f"\0{found[1]}\0".encode() not in Path("/sys/kernel/btf/vmlinux").read_bytes()
    return False


def _absent(hook: str) -> bool:
    # Whether this kernel lacks a hook, such as "kprobe:vfs_read" or "tp/sched/sched_switch".
    kind, place = re.split("[:/]", hook, maxsplit=1)
    if kernel_has.absent(kind):
        return True
    if kind in ("kprobe", "kretprobe", "fentry", "fexit"):
        return not _traceable(place.partition("+")[0])
    if kind in ("tp", "raw_tp"):
        return not any((_TRACING / "events").glob(place.replace(":", "/") if kind == "tp" else f"*/{place}"))
    return kind == "perf_event" and not Path("/sys/bus/event_source/devices/cpu").exists()


def _traceable(function: str) -> bool:
    # Since 6.7, a name that several functions have is refused.
    return function in _filter_functions() and _symbols()[function] == 1


@functools.cache
def _filter_functions() -> frozenset[str]:
    lines = (_TRACING / "available_filter_functions").read_text().splitlines()
    return frozenset(line.partition(" ")[0] for line in lines)


@functools.cache
def _symbols() -> Counter[str]:
    return Counter(line.split()[2] for line in Path("/proc/kallsyms").read_text().splitlines() if line[17] in "tTwW")
