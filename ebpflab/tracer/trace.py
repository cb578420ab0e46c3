"""A bpftrace program that runs: :func:`bpftrace` starts it, :class:`Trace` is what a user holds."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, cast

from .. import registry, toolchain
from ..errors import CellError, EbpflabError
from . import messages, programs, refusals, widths
from .lines import Lines
from .printed import Maps, PrintedMap, is_table
from .process import Process

if TYPE_CHECKING:
    import pandas as pd

    from ..session import Session

_STARTING = 60.0  # seconds that it may take until its probes are attached; hundreds of kprobes take some
_ENDING = 10.0  # seconds that it may take to print its maps
_ANSWER, _EMPTY = 2.0, 0.3  # seconds that it may take to print a map it was asked for, and after others were printed
_KEEP = 1_000_000  # lines
_LINES = (b'{"type": "printf"', b'{"type": "value"')
_numbers = itertools.count(1)


def bpftrace(text: str, *, name: str | None = None, duration: float | None = None) -> Trace:
    """Run a program in bpftrace's language, with the bpftrace of this machine, and collect what it prints.

    Parameters
    ----------
    text
        The program.
    name
        A name for it. A live one of the same name is replaced: closed once the new one is attached.
    duration
        Seconds to let it run, from when its probes are attached; default: it goes on, and the call returns then.

    Returns
    -------
    Trace
        Also a context manager, which ends it.

    Raises
    ------
    ToolMissingError
        When bpftrace is not installed.
    CompileError, HookNotFoundError, AttachError, PrivilegeError, UnsafeError
        When bpftrace refuses the program; with its words, and the place in the text.

    Examples
    --------
    >>> t = ebpflab.bpftrace("tracepoint:syscalls:sys_enter_openat { @[comm] = count(); }", duration=5)
    >>> t.maps["@"].df()
    """
    if not text.strip():
        raise CellError("the program is empty", hint="write one, as in tracepoint:sched:sched_switch { @ = count(); }")
    trace = Trace(text, name or f"bpftrace{next(_numbers)}")
    trace._start(toolchain.find_bpftrace())
    registry.add(cast("Session", trace))
    if duration is not None:
        try:
            trace.wait(duration)
        finally:
            trace.close()
    return trace


class Trace:
    """A program that bpftrace runs; made by :func:`ebpflab.bpftrace`, and a context manager that ends it.

    Attributes
    ----------
    name : str
        The name it was given, or ``bpftrace1``, ``bpftrace2``, ...
    source : str
        Its text.
    engine : str
        ``bpftrace``.
    maps : Maps
        Its maps by name, as frames.
    events : Lines
        What it prints line by line.

    Examples
    --------
    >>> with ebpflab.bpftrace("profile:hz:99 { @[kstack(3)] = count(); }") as t:
    ...     t.wait(2)
    """

    engine = "bpftrace"

    def __init__(self, text: str, name: str) -> None:
        self.name, self.source = name, text
        self.events = Lines(text, _KEEP)
        self.streams = {"events": self.events}
        self.maps = Maps(text, self._ask)
        self._complaints: list[str] = []
        self._cut: list[str] = []
        self._closed = False
        self._probes = 0
        self._links: tuple[int, ...] = ()  # one for each probe that is attached now
        self._programs: list[programs.Program] = []
        self._began, self._ended = time.time(), 0.0
        self._owner = os.getpid()
        self._tables = 0  # how many maps were printed so far
        self._lock = threading.RLock()
        self._stages: tuple[tuple[str, float, str], ...] = ()
        self._process: Process | None = None  # None of a recording

    @property
    def state(self) -> str:
        """``attached``, ``ended`` when the program did so by itself, ``closed`` or, of a recording, ``recorded``."""
        if self._process is None:
            return "recorded"
        if not self._process.ended:
            return "attached"
        return "closed" if self._closed else "ended"

    @property
    def pid(self) -> int:
        """The process of bpftrace; 0 of a recording."""
        return self._process.pid if self._process else 0

    @property
    def stages(self) -> pd.DataFrame:
        """The steps of the start: stage, ms, detail."""
        import pandas as pd

        return pd.DataFrame(self._stages, columns=["stage", "ms", "detail"])

    @property
    def programs(self) -> pd.DataFrame:
        """What the kernel says of its programs; see :func:`ebpflab.tracer.programs.loaded_by`.

        When it has ended, as they were last seen. The kernel counts runs only while ``kernel.bpf_stats_enabled`` is 1,
        or within :func:`ebpflab.tracer.programs.counting_runs`.
        """
        self._look()
        return programs.table(self._programs)

    @property
    def lost(self) -> int:
        """How many lines bpftrace says that it lost, because they came faster than it could read them."""
        return int(self.events.stats()["lost"])

    @property
    def warnings(self) -> list[str]:
        """What the program cuts to 32 bits, and what bpftrace complained of: full maps, failed helpers, and more."""
        errors = self._process.errors if self._process else []
        said = [d.message for d in refusals.read(errors, self.source)]
        return list(dict.fromkeys([*self._cut, *self._complaints, *said]))

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the program ends by itself, at most so many seconds; returns whether it has ended."""
        return self._process is None or self._process.wait(timeout)

    def close(self) -> None:
        """End bpftrace and read what it prints at its end; frames stay readable. Harmless when repeated."""
        if self._process is None or os.getpid() != self._owner:  # a forked process has no part in it
            return
        with self._lock:
            if not self._process.ended:
                with contextlib.suppress(EbpflabError):  # numbers of programs are no reason not to end
                    self._look()
                if not self._process.stop(_ENDING):
                    self._complaints.append(
                        f"it did not end within {_ENDING:g} s and was killed: its maps are not known"
                    )
            self._closed = True
            registry.forget(cast("Session", self))

    def __enter__(self) -> Trace:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        from ..formatting import text
        from .summary import document

        return text(document(self))

    def _repr_html_(self) -> str:
        from ..formatting import html
        from .summary import document

        return html(document(self))

    def _start(self, path: Path) -> None:
        # Until it is attached; one that is not leaves nothing behind.
        start = time.perf_counter()
        process = self._process = Process(path, self.source, self.name, self._take, self._over)
        try:
            self._run(process, path)
            with contextlib.suppress(EbpflabError):  # who may run bpftrace may not always ask about its programs
                self._look()
        except BaseException:  # the stop button is one
            process.stop(0)
            raise
        attached_at = process.attached_at or time.perf_counter()
        if process.attached:
            self._began = time.time() - (time.perf_counter() - attached_at)
        self._cut = widths.cut(self.source)
        detail = f"{self._probes} probe{'s' if self._probes != 1 else ''}"
        self._stages = (("compile + load + attach", (attached_at - start) * 1000, detail),)

    def _run(self, process: Process, path: Path) -> None:
        try:
            process.start()
        except OSError as error:
            raise EbpflabError(f"{path} cannot be run: {error.strerror}", stage="setup") from error
        if not process.wait_attached(_STARTING):
            what = f"bpftrace did not attach its probes within {_STARTING:g} s"
            raise EbpflabError(what, stage="attach", details=process.errors[-3:])
        if not process.attached and process.status != 0:
            raise refusals.refusal([*process.errors, *self.events._texts()], self.source, process.status)

    def _take(self, at: int, line: bytes) -> None:
        # In the reading thread: what can wait is kept as it came.
        if line.startswith(_LINES):
            self.events._take(at, line)
            return
        message = messages.parse(line)
        if message.kind == "attached_probes":
            self._probes, self._links = message.data, tuple(range(message.data))
        elif message.kind == "lost_events":
            self.events._lose(message.data)
        elif message.kind in messages.COMPLAINTS:
            self._complaints.append(message.data)
        elif is_table(message):
            self.maps._take(at, message)
            self._tables += 1
        else:
            self.events._take(at, line)

    def _ask(self, wanted: PrintedMap) -> None:
        # bpftrace prints its maps on SIGUSR1, one after the other and those only that hold something. When others came
        # and this one did not for a while, it is empty.
        process = self._process
        if process is None or process.ended or os.getpid() != self._owner:
            return
        wanted._new.clear()
        before, sent = self._tables, time.monotonic()
        process.send(signal.SIGUSR1)
        while not (wanted._new.wait(0.01) or process.ended):
            gone = time.monotonic() - sent
            if gone > _ANSWER or (gone > _EMPTY and self._tables != before):
                return

    def _look(self) -> None:
        if self._process is not None and not self._process.ended and (found := programs.held_by(self.pid)):
            self._programs = found

    def _over(self) -> None:
        # In the reading thread, last of all.
        self._ended, self._links = time.time(), ()
