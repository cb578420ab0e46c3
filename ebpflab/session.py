"""A session: one cell on its way from text to attached programs, and everything that it owns.

:func:`ebpflab.load` walks the line once (cell, compile, open, load, attach); the session owns every handle
and closes them in reverse. A killed process leaves nothing in the kernel either, because everything hangs
on its file descriptors.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
import weakref
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

from . import buffers, line, registry, stacks, views
from .btf import Btf
from .buffers import Buffers
from .engines.base import Handle, LinkInfo
from .errors import CellError, SessionError
from .events import Events
from .maps import Maps, Variables
from .program_types import parse_section
from .programs import Programs
from .recording.layout import Facts
from .records import RecordTypes, record_types
from .stacks import Resolver
from .store import Keep
from .toolbox import answer

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from .recording.playback import Playback
    from .toolbox.tool import Tool

_IN_PROCESSES = ("uprobe", "uretprobe", "uprobe.multi", "uprobe.session", "usdt")
_STRUCT_OPS = 26  # BPF_MAP_TYPE_STRUCT_OPS, include/uapi/linux/bpf.h


class SupportsFileno(Protocol):
    """Whatever has a file descriptor, such as a socket."""

    def fileno(self) -> int:
        """Return the descriptor."""


class Guest(Protocol):
    """Who is closed with a session, while its programs are still loaded: a live view's monitor."""

    def close(self) -> None:
        """End; harmless when repeated."""


@dataclass(frozen=True)
class Stage:
    """One step of the line: its name, how long it took, what came out."""

    name: str
    ms: float
    detail: str = ""


class Session(Programs):
    """A loaded cell; made by :func:`ebpflab.load`, and a context manager that closes itself.

    Attributes
    ----------
    name : str
        The name it was given, or ``bpf1``, ``bpf2``, ...
    engine : str
        Who loaded it: ``libbpf``, or ``bcc`` for a cell of BCC's dialect.
    source : str
        The C text; empty for an object file.
    object : bytes
        The object file that was loaded, for libbpf, bpftool or Aya to load as well; empty of a recording.
    vars : Variables
        The global variables of the program, as a mapping.
    maps : Maps
        The maps of the program by name.
    streams : dict of str to Events
        The ring buffers by map name.
    tool : Tool or None
        The tool of ``bpf_src/`` that this is.

    Examples
    --------
    >>> with ebpflab.load(source) as s:
    ...     s.events.wait(10, timeout=5)
    """

    def __init__(self, prepared: line.Prepared, name: str, handle: Handle, stages: list[Stage]) -> None:
        super().__init__(name, handle, Btf.parse(handle.btf), prepared.cell)
        self.engine = prepared.engine.name
        self.source = prepared.cell.source if prepared.cell else ""
        self.object, self.warnings = prepared.object, prepared.warnings
        self.tool: Tool | None = None
        self.streams: dict[str, Events] = {}
        self._targets, self._more = dict(prepared.targets), dict(prepared.more)
        self._waiting = frozenset(prepared.waiting)  # nothing says where to attach these: that is left to attach(name)
        self.vars = Variables(handle, self._btf)
        self.maps = Maps(handle, self._btf)
        self._stages = stages
        self._buffers: Buffers | Playback | None = None
        self._lookup: Resolver | None = None
        self._began = time.time()
        self._ended = 0.0  # UTC seconds, once it is closed
        self._lock = threading.RLock()
        self._guests: weakref.WeakSet[Guest] = weakref.WeakSet()  # under the lock

    @property
    def state(self) -> str:
        """``attached``, ``loaded`` (nothing attached), ``detached`` (was attached) or ``closed``.

        Of a recording: ``replaying``, ``replayed`` or ``closed``.
        """
        return self._state

    @property
    def stages(self) -> pd.DataFrame:
        """The steps of the line: stage, ms, detail."""
        import pandas as pd

        return pd.DataFrame([(s.name, s.ms, s.detail) for s in self._stages], columns=["stage", "ms", "detail"])

    @property
    def links(self) -> pd.DataFrame:
        """The links: program, hook, target, state."""
        import pandas as pd

        return pd.DataFrame(
            [(k.program, k.hook, k.target, "attached") for k in self._links],
            columns=["program", "hook", "target", "state"],
        )

    @property
    def events(self) -> Events:
        """The only stream.

        Raises
        ------
        SessionError
            When there is none, or more than one.
        """
        if len(self.streams) != 1:
            names = ", ".join(f'streams["{name}"]' for name in self.streams)
            raise SessionError(
                f"{self.name} has {len(self.streams) or 'no'} ring buffer{'s' if len(self.streams) != 1 else ''}",
                hint=f"use {names}" if names else "define a map of type BPF_MAP_TYPE_RINGBUF in the cell",
            )
        return next(iter(self.streams.values()))

    def attach(self, program: str | None = None, *, target: str | SupportsFileno | None = None, **options: Any) -> None:
        """Attach one program, or all that are not attached.

        Parameters
        ----------
        program
            The function's name; None for all.
        target
            Where to, in the syntax of its kind (``sched:sched_switch``, ``/bin/bash:readline``, ``eth0``, a
            cgroup's path), or a socket; default: what the section says. ``ebpflab.context(kind)`` shows the syntax.
        options
            What the kind takes besides, as ``pid=1234`` or ``mode="generic"``.

        Raises
        ------
        HookNotFoundError
            When the target does not exist; offers the nearest that do. What this call attached is detached again.
        AttachError, PrivilegeError
            When the kernel refuses.
        SessionError
            When the session is closed.
        """
        with self._lock:
            self._alive()
            done: list[LinkInfo] = []
            try:
                for name, section in self._to_attach(program):
                    done.append(self._handle.attach(name, self._where(name, section, target, options)))
                    for other in self._others(name, section) if target is None else ():
                        done.append(self._handle.attach(name, self._where(name, section, other, options)))
            except BaseException:
                for link in done:
                    self._handle.detach(link)
                raise
            self._links += done
            if self._links:
                self._state = "attached"
                if self._buffers is not None:
                    self._buffers.begin()

    def detach(self) -> None:
        """Detach every program; events that are already in a buffer still arrive, and frames stay readable."""
        with self._lock:
            self._alive()
            for link in self._links:
                self._handle.detach(link)
            self._links.clear()
            if self._buffers is not None:
                self._buffers.end()
            self._state = "detached" if self._state == "attached" else self._state

    def close(self) -> None:
        """Detach, take what is left in the buffers, free everything in the kernel; frames stay readable."""
        with self._lock:
            if self._state == "closed":
                return
            with contextlib.ExitStack() as stack:
                # In reverse order of making, each one even if another fails.
                stack.callback(self._forget)
                stack.callback(self._handle.close)
                for guest in list(self._guests):  # nothing is attached any more, and the programs are still there
                    stack.callback(guest.close)
                stack.callback(self.vars.close)
                stack.callback(self.maps.close)
                if self._lookup is not None:
                    stack.callback(self._lookup.close)
                if self._buffers is not None:
                    stack.callback(self._buffers.close)
                for link in self._links:
                    stack.callback(self._handle.detach, link)
            self._links.clear()

    def view(self, **options: Any) -> Any:
        """Return a live view: numbers, newest rows, plots, maps, source; it stays readable when the session is over.

        In a notebook that is a widget, in a terminal a text that stays up to date. It costs the same at any rate
        of events, and the programs' run time is measured only while somebody looks at it.

        Parameters
        ----------
        **options
            What to look at first, see :class:`ebpflab.views.Look`: ``tab``, ``stream``, ``plot``, ``column``, ...

        Returns
        -------
        View
            With ``show()`` and ``close()``, which leaves the session as it is.

        Raises
        ------
        EbpflabError
            When there is no such tab, stream, plot or column.

        Examples
        --------
        >>> s.view(plot="top", column="comm")
        """
        return views.view(self, **options)

    def rows(self) -> pd.DataFrame:
        """Return a tool's answer as a frame: its events or what it counted; of any other cell the events.

        Raises
        ------
        EbpflabError
            When there are no events or several streams, or what was counted went with a closed session.

        Examples
        --------
        >>> ebpflab.load("runqlat").rows()
        """
        return answer.rows(self)

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw a tool's answer in the way that suits it; of another cell the rate of its events.

        Raises
        ------
        EbpflabError
            As :meth:`rows`.

        Examples
        --------
        >>> ebpflab.load("runqlat").plot()
        """
        return answer.plot(self, ax)

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        from .formatting import text
        from .summary import session_document

        return text(session_document(self))

    def _repr_html_(self) -> str:
        from .formatting import html
        from .summary import session_document

        return html(session_document(self))

    def _load(self, keep: Keep, wanted: Mapping[str, str], sizes: Mapping[str, int]) -> None:
        # Load, then start draining: attached programs must find their reader there.
        self._wanted = dict(wanted)
        for name in wanted:
            self._check_event(name)
        types = {name: self._record_types(name, wanted.get(name)) for name in buffers.names(self._handle)}
        for buffer, size in sizes.items():
            self._handle.resize(buffer, size)
        self._handle.load()
        self._programs = list(self._handle.programs())  # with the kernel's counts of their instructions
        self._state = "loaded"
        self.vars.loaded(self._handle)
        self.maps.loaded(self._handle)
        prelude = self._cell is not None
        self._lookup = self.maps.lookup = stacks.lookup(self._handle.maps())
        self._buffers = Buffers(self._handle, self._btf, types, keep, self._lookup, name=self.name, prelude=prelude)
        self.streams = self._buffers.streams
        for events in self.streams.values():
            events.facts, events.live = self._facts, self.view

    def _facts(self) -> Facts:
        # What recordings keep of this session. Their threads ask for it, so nothing here may ask the kernel.
        machine, attached = os.uname(), tuple(self._links)
        programs, btf = tuple(self._programs), self._handle.btf
        return Facts(self.name, self.engine, self.source, machine.release, machine.machine, programs, attached, btf)

    def _check_event(self, name: str) -> None:
        # The struct of a buffer's records is looked for where they are all, that of an iterator's rows here.
        found = [p.name for p in self._programs if parse_section(p.section).kind == "iter"]
        if name in found:
            self._row_type(name)
        elif name not in buffers.names(self._handle):
            raise CellError(
                f"--event {name}=...: the cell has no ring buffer of that name, and no iterator",
                hint=f"it has: {', '.join([*buffers.names(self._handle), *found]) or 'none'}",
            )

    def _record_types(self, buffer: str, wanted: str | None) -> RecordTypes:
        return record_types(buffer, self._btf, self._structs(), wanted)

    def _where(
        self, name: str, section: str, target: str | SupportsFileno | None, options: Mapping[str, Any]
    ) -> str | None:
        # The target as text, which is all that crosses to the engine.
        text = target if isinstance(target, str) or target is None else f"fd:{target.fileno()}"
        parsed = parse_section(section)
        place = text or self._targets.get(name) or self._targets.get(section) or parsed.place
        if parsed.kind in _IN_PROCESSES and ",pid=" not in place and (only := self._only_process()):
            options = {"pid": only, **options}
        return ",".join([place, *(f"{option}={value}" for option, value in options.items())]) or None

    def _only_process(self) -> int:
        # Every process enters the kernel where it is probed: a tool that looks at one of them leaves the others alone.
        has = self.tool is not None and any(p.name == "pid" for p in self.tool.parameters)
        return int(self.vars["pid"]) if has else 0

    def _others(self, name: str, section: str) -> tuple[str, ...]:
        return self._more.get(name, ()) or self._more.get(section, ())

    def _to_attach(self, program: str | None) -> Iterator[tuple[str, str]]:
        # All programs but those that only test_run or another program calls; or the one asked for. Programs of a
        # struct_ops map are attached by that map.
        maps = [(info.name, "struct_ops") for info in self._handle.maps() if info.type == _STRUCT_OPS]
        programs = [(p.name, p.section) for p in self._programs]
        if program is not None and program not in dict(maps):
            program = self._only(program)
        attached = {link.program for link in self._links}
        for name, section in programs + maps:
            parsed = parse_section(section)
            by_itself = parsed.attachable and (parsed.type.attach != "map" or name in dict(maps))
            by_itself = by_itself and name not in self._waiting
            if name == program or (program is None and by_itself and name not in attached):
                yield name, section

    def _forget(self) -> None:
        for events in self.streams.values():
            events.end()
        self._ended, self._state = time.time(), "closed"
        registry.forget(self)
