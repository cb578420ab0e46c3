"""What the programs of a session cost: how often they ran, and for how long, as the kernel counts it.

The kernel counts runs only on demand, for all programs at once: while ``kernel.bpf_stats_enabled`` is 1, or while
somebody holds a descriptor of BPF_ENABLE_STATS (Linux 5.8; ``bpf_enable_stats()`` in include/uapi/linux/bpf.h and
kernel/bpf/syscall.c). Counting costs each run some ten nanoseconds, so it is held no longer than somebody looks.
"""

from __future__ import annotations

import errno
import os
import weakref
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from .. import _libbpf
from ..errors import EbpflabError

if TYPE_CHECKING:
    from ..session import Session

_RUN_TIME = 0  # BPF_STATS_RUN_TIME
_SYSCTL = Path("/proc/sys/kernel/bpf_stats_enabled")
_APART = 0.5  # seconds between two looks at the counters, at least
_SMOOTH = 1.0  # seconds that rates are means of
_WITHOUT = "set the sysctl kernel.bpf_stats_enabled to 1 as root to have it measured"


class Cost(NamedTuple):
    """What one program cost; None is not known.

    ``runs`` is the kernel's count since the program was loaded, of the time in which it counted. The others are of
    the last second; when the session is over, of all the time that was measured.
    """

    name: str
    runs: int
    runs_per_s: float | None
    ns_per_run: float | None
    core_share: float | None  # 0.01 is one per cent of one core


class _Run(NamedTuple):
    runs: int
    ns: int


class _Sample(NamedTuple):
    at: float
    runs: dict[str, _Run]


class Overhead:
    """Measures the programs of a session while it is switched on; for one thread at a time.

    Attributes
    ----------
    problem : str
        Why nothing is measured although it is switched on; empty if it is.

    Examples
    --------
    >>> overhead = Overhead(session)
    >>> overhead.measure(True); overhead.look(time.monotonic()); overhead.costs()
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._on = False
        self._fd = -1
        self._samples: deque[_Sample] = deque()
        self._seconds = 0.0  # measured in all, and what ran in them
        self._total: dict[str, _Run] = {}
        self._runs: dict[str, int] = {}  # as the kernel last told
        self._mean: dict[str, float] = {}  # ns of a run when a program last ran
        self.problem = ""
        _all.add(self)

    @property
    def on(self) -> bool:
        """Whether runs are counted for this session."""
        return self._on and not self.problem

    def measure(self, on: bool, at: float) -> None:
        """Switch the kernel's counting on or off; harmless when repeated. `at` is now, in seconds of a steady clock."""
        if on and not self._on and self._programs():
            self._on = True
            self.problem = self._enable()
            self.look(at)
        elif not on and self._on:
            self.look(at, last=True)
            self._on, self.problem = False, ""
            self._samples.clear()
            self._disable()

    def look(self, at: float, *, last: bool = False) -> None:
        """Read the counters, if the last reading is long enough ago or this is to be the `last` one."""
        soon = bool(self._samples) and at - self._samples[-1].at < _APART
        if not self.on or (soon and not last):
            return
        runs = self._programs()
        if runs:
            self._add(_Sample(at, runs))

    def costs(self, *, over: bool = False) -> tuple[Cost, ...]:
        """Return what each program cost, of the last second or, when it is `over`, of all that was measured."""
        if over:
            return tuple(self._cost(name, ran, self._seconds) for name, ran in self._total.items())
        if not self._samples:
            return ()
        first, last = self._samples[0], self._samples[-1]
        return tuple(
            self._cost(name, _since(run, first.runs.get(name)), last.at - first.at) for name, run in last.runs.items()
        )

    def close(self) -> None:
        """Switch off without another look."""
        self._on = False
        self._disable()

    def __del__(self) -> None:
        self._disable()  # of a view that nobody closed

    def _programs(self) -> dict[str, _Run]:
        # Empty when the session is closed, or was never in this kernel.
        try:
            found = self._session._handle.programs()
        except EbpflabError:
            return {}
        return {p.name: _Run(p.run_cnt, p.run_ns) for p in found if p.fd is not None and p.id is not None}

    def _enable(self) -> str:
        # Returns why not.
        fd = int(_libbpf.library().bpf_enable_stats(_RUN_TIME))
        if fd >= 0:
            self._fd = fd
            return ""
        return "" if _counted_anyway() else _why_not(-fd)

    def _disable(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def _add(self, sample: _Sample) -> None:
        if self._samples:
            before = self._samples[-1]
            self._seconds += sample.at - before.at
            for name, run in sample.runs.items():
                ran, so_far = _since(run, before.runs.get(name)), self._total.get(name, _Run(0, 0))
                self._total[name] = _Run(so_far.runs + ran.runs, so_far.ns + ran.ns)
                if ran.runs:
                    self._mean[name] = ran.ns / ran.runs
        self._runs |= {name: run.runs for name, run in sample.runs.items()}
        self._samples.append(sample)
        while len(self._samples) > 2 and sample.at - self._samples[1].at >= _SMOOTH:
            self._samples.popleft()

    def _cost(self, name: str, ran: _Run, seconds: float) -> Cost:
        runs = self._runs[name]
        mean = ran.ns / ran.runs if ran.runs else self._mean.get(name)
        if seconds <= 0:
            return Cost(name, runs, None, mean, None)
        return Cost(name, runs, ran.runs / seconds, mean, ran.ns / seconds / 1e9)


_all: weakref.WeakSet[Overhead] = weakref.WeakSet()


def _forked() -> None:
    # A child that goes on for long, such as one of a pool, must not keep the kernel counting.
    for overhead in list(_all):
        overhead._disable()


os.register_at_fork(after_in_child=_forked)


def _since(run: _Run, before: _Run | None) -> _Run:
    return _Run(run.runs - before.runs, run.ns - before.ns) if before else run


def _counted_anyway() -> bool:
    try:
        return _SYSCTL.read_text(encoding="ascii").strip() == "1"
    except OSError:
        return False


def _why_not(number: int) -> str:
    if number == errno.EPERM:
        return f"the programs' overhead is not measured: that takes CAP_SYS_ADMIN; {_WITHOUT}"
    if number == errno.EINVAL:
        return f"the programs' overhead is not measured: this kernel is older than 5.8; {_WITHOUT}"
    return f"the programs' overhead is not measured: the kernel refuses: {os.strerror(number)}"
