"""The same count by three witnesses on the same events: :func:`check`."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import CellError, EbpflabError
from ..tracer.programs import counting_runs
from .held import Held
from .result import Check, Count
from .running import Running
from .texts import SLICES, Scope, Text, of_a_process, own_calls, section_of, texts

CALLS = 10_007  # a prime number: a batch counted twice, or lost, cannot hide in it
_PARTS = 100  # slices of a window whose length is known
_SHORTEST, _LONGEST = 10_000_000, 100_000_000  # nanoseconds of a slice
_SETTLE = 0.002  # seconds, for an event at the very end of a window to be counted by all

Workload = Callable[[], object] | str | Sequence[str]


def check(
    hook: str = "tp/syscalls/sys_enter_getppid",
    *,
    seconds: float = 1.0,
    workload: Workload | None = None,
    pid: int | None = None,
) -> Check:
    """Count the same events with libbpf's C, BCC's C and bpftrace, and show the three side by side.

    Parameters
    ----------
    hook
        A tracepoint, a raw tracepoint, a kprobe or a uprobe (kretprobe, uretprobe), as :func:`ebpflab.template`
        takes it.
    seconds
        How long to count, where no workload says it: at least 0.01.
    workload
        What makes the events: a command (text, or a list of words), or a function to call. It begins once all three
        are attached, and only what it does is counted, with all processes that it starts. Default: a process of our
        own that makes a system call 10,007 times, where the hook is one of getppid, getpid, getuid, geteuid, getgid,
        getegid or sched_yield; else whatever happens on the machine within ``seconds``.
    pid
        Count the events of this process within ``seconds``.

    Returns
    -------
    Check
        ``agree``, ``frame``, ``texts``; shows itself in a notebook. A witness that is not to be had (bpftrace is not
        installed, say) has a row that says so.

    Raises
    ------
    HookNotFoundError
        There is no such hook, or not all three can count it.
    CellError
        The command does not exist, or workload and pid are both given.
    EbpflabError
        When none of the three can count; what libbpf's engine says.

    Examples
    --------
    >>> ebpflab.check("tp/sched/sched_process_exec", workload='sh -c "ls; ls"').frame[["witness", "counted"]]
    """
    if workload is not None and pid is not None:
        raise CellError("a workload and a pid are two answers to whose events count", hint="give one of them")
    if seconds < _SHORTEST / 1e9:
        raise CellError(f"seconds={seconds:g} is too short a window", hint="at least 0.01")
    job = _job(workload)
    section = section_of(hook)
    if job is None and pid is None and (name := own_calls(section)):
        job = _Job(("call", name, str(CALLS)), f"{CALLS:,} calls of {name}() by a process of its own", expected=CALLS)
    if job is not None and of_a_process(section):
        return _of_job(f"{section.prefix}/{section.target}", lambda scope: texts(section, scope), job)
    return _of_window(f"{section.prefix}/{section.target}", lambda scope: texts(section, scope), job, seconds, pid)


@dataclass(frozen=True)
class _Job:
    # What a held process does (see `held`), or a function that is called here.
    what: tuple[str, ...]
    says: str
    call: Callable[[], object] | None = None
    expected: int | None = None

    @property
    def command(self) -> tuple[str, ...]:
        return self.what[2:] if self.what[0] == "run" else ()

    def run(self, held: Held) -> int | None:
        if self.call is None:
            return held.run()
        with held.joined():
            self.call()
        return None


def _job(workload: Workload | None) -> _Job | None:
    if workload is None:
        return None
    if callable(workload):
        name = getattr(workload, "__name__", type(workload).__name__)
        return _Job(("call", "getppid", "0"), f"{name}() and what it starts", workload)
    try:
        words = shlex.split(workload) if isinstance(workload, str) else [str(word) for word in workload]
    except ValueError as error:
        raise CellError(f"the command cannot be read: {error}", hint="check the quotes") from error
    path = shutil.which(words[0]) if words else None
    if path is None:
        what = f"there is no command {words[0]}" if words else "the command is empty"
        raise CellError(what, hint="name a program in PATH, or its path; a shell's own words need sh -c '...'")
    return _Job(("run", str(Path(path).absolute()), *words), f"{shlex.join(words)} and what it starts")


def _of_job(hook: str, write: Callable[[Scope], Sequence[Text]], job: _Job) -> Check:
    # Exact: a held process in a namespace of its own, and nobody else's events.
    began = time.perf_counter()
    with Held(job.what) as held, _witnesses(write(Scope(namespace=held.namespace)), began) as witnesses:
        with _counted_runs(witnesses) as measured:
            status = job.run(held)
        left = held.others()
        costs = [each.runs() if measured and each.works else None for each in witnesses]
        rows = [_count_of(each, cost, range(1)) for each, cost in zip(witnesses, costs, strict=True)]
        output = held.output()
    notes = []
    if left:
        many = "a process" if len(left) == 1 else f"{len(left):,} processes"
        notes.append(f"{many} that the workload started outlived it: what they did while the witnesses were read may"
                     " be in one count and not in another")  # fmt: skip
    return Check(hook, job.says, tuple(rows), job.expected, 0, job.command, status, output, tuple(notes))


def _of_window(
    hook: str, write: Callable[[Scope], Sequence[Text]], job: _Job | None, seconds: float, pid: int | None
) -> Check:
    # Counted in slices of time by the kernel's clock, and those are added up that lie between two moments.
    slice_ns = _LONGEST if job else max(int(seconds * 1e9 / _PARTS), _SHORTEST)
    if pid is not None and not Path(f"/proc/{pid}").exists():
        raise CellError(f"there is no process {pid}", hint="look for it with ps or pgrep")
    began, first = time.perf_counter(), _now() // slice_ns
    says = f"process {pid}" if pid is not None else "all processes"
    status, output, notes = None, "", []
    with contextlib.ExitStack() as stack:
        held = stack.enter_context(Held(job.what)) if job else None
        scope = Scope(pid=pid or 0, slice=slice_ns)
        witnesses = stack.enter_context(_witnesses(write(scope), began))
        with _counted_runs(witnesses) as measured:
            begin = _next_slice(slice_ns)
            if job and held:
                status = job.run(held)
                end, output = _next_slice(slice_ns), held.output()
                says = f"all processes, while {job.says} ran"
                notes.append("interrupts are not the doing of the process that they interrupt: all of them are counted")
            else:
                end = begin + max(1, round(seconds * 1e9 / slice_ns))
                _sleep_until(end * slice_ns)
            time.sleep(_SETTLE)
        costs = [each.runs() if measured and each.works else None for each in witnesses]
        if _now() // slice_ns - first >= SLICES:
            raise EbpflabError("the window is longer than the witnesses remember", hint="give it less to do")
        rows = [_count_of(each, cost, range(begin, end)) for each, cost in zip(witnesses, costs, strict=True)]
    says = f"{says}, for {(end - begin) * slice_ns / 1e9:g} s"
    tolerance = 2 * (os.cpu_count() or 1)
    command = job.command if job else ()
    return Check(hook, says, tuple(rows), None, tolerance, command, status, output, tuple(notes))


@contextlib.contextmanager
def _witnesses(written: Sequence[Text], began: float) -> Iterator[list[Running]]:
    # All of them attached, or the reason why not; at least one.
    with contextlib.ExitStack() as stack:
        found = [Running(text) for text in written]
        for each in found:
            stack.callback(each.close)
            each.start(began)
        if found[0].error and not any(each.works for each in found):
            raise found[0].error
        yield found


@contextlib.contextmanager
def _counted_runs(witnesses: Sequence[Running]) -> Iterator[bool]:
    # The kernel's statistics while the block runs; False where the kernel does not keep them.
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(counting_runs())
        except EbpflabError:
            yield False
        else:
            for each in witnesses:
                each.mark()
            yield True


def _count_of(witness: Running, cost: tuple[int, int] | None, slices: range) -> Count:
    name, source, started = witness.text.witness, witness.text.source, witness.started_ms
    found = witness.counts() if witness.works else None
    if found is None:
        return Count(name, None, started, None, None, None, source, witness.note)
    counts = {key % SLICES: count for key, count in found.items()}
    counted = sum(counts.get(number % SLICES, 0) for number in slices)
    runs, ns = cost or (None, None)
    mean = ns / runs if runs and ns is not None else None
    return Count(name, counted, started, witness.ready_ms, runs, mean, source, witness.note)


def _now() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def _next_slice(slice_ns: int) -> int:
    # Its number, once it has begun.
    number = _now() // slice_ns + 1
    _sleep_until(number * slice_ns)
    return number


def _sleep_until(moment: int) -> None:
    while (left := moment - _now()) > 0:
        time.sleep(left / 1e9)
