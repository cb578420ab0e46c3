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
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

from . import buffers, iterators, line, registry, runs, stacks
from .btf import Btf
from .buffers import Buffers
from .cell import Cell
from .engines.base import Handle, LinkInfo, TestRun
from .errors import CellError, SessionError
from .events import Events
from .maps import Maps, Variables
from .program_types import parse_section
from .recording.layout import Facts
from .records import RecordTypes, record_types
from .runs import RunResult
from .similar import nearest
from .stacks import Resolver
from .store import Keep

if TYPE_CHECKING:
    import pandas as pd

    from .decode import RecordType
    from .recording.playback import Playback

_STRUCT_OPS = 26  # BPF_MAP_TYPE_STRUCT_OPS, include/uapi/linux/bpf.h


class SupportsFileno(Protocol):
    """Whatever has a file descriptor, such as a socket."""

    def fileno(self) -> int:
        """Return the descriptor."""


@dataclass(frozen=True)
class Stage:
    """One step of the line: its name, how long it took, what came out."""

    name: str
    ms: float
    detail: str = ""


class Session:
    """A loaded cell; made by :func:`ebpflab.load`, and a context manager that closes itself.

    Attributes
    ----------
    name : str
        The name it was given, or ``bpf1``, ``bpf2``, ...
    engine : str
        Who loaded it: ``libbpf``.
    source : str
        The C text; empty for an object file.
    vars : Variables
        The global variables of the program, as a mapping.
    maps : Maps
        The maps of the program by name.
    streams : dict of str to Events
        The ring buffers by map name.

    Examples
    --------
    >>> with ebpflab.load(source) as s:
    ...     s.events.wait(10, timeout=5)
    """

    def __init__(self, prepared: line.Prepared, name: str, handle: Handle, stages: list[Stage]) -> None:
        self.name = name
        self.engine = prepared.engine.name
        self.source = prepared.cell.source if prepared.cell else ""
        self.warnings = prepared.warnings
        self._verifier_log = ""
        self.streams: dict[str, Events] = {}
        self._cell: Cell | None = prepared.cell
        self._targets = dict(prepared.targets)
        self._wanted: dict[str, str] = {}
        self._handle = handle
        self._btf = Btf.parse(handle.btf)
        self.vars = Variables(handle, self._btf)
        self.maps = Maps(handle, self._btf)
        self._stages = stages
        self._links: list[LinkInfo] = []
        self._buffers: Buffers | Playback | None = None
        self._lookup: Resolver | None = None
        self._programs = list(handle.programs())
        self._state = "opened"
        self._began = time.time()
        self._lock = threading.RLock()

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
    def programs(self) -> pd.DataFrame:
        """The programs: name, type, section, insns, jited, run_cnt, run_ns.

        The kernel counts runs only while ``kernel.bpf_stats_enabled`` is 1.
        """
        import pandas as pd

        if self._state != "closed":
            self._programs = list(self._handle.programs())
        rows = [
            (p.name, parse_section(p.section).kind, p.section, p.insns, p.jited, p.run_cnt, p.run_ns)
            for p in self._programs
        ]
        return pd.DataFrame(rows, columns=["name", "type", "section", "insns", "jited", "run_cnt", "run_ns"])

    @property
    def links(self) -> pd.DataFrame:
        """The links: program, hook, target, state."""
        import pandas as pd

        return pd.DataFrame(
            [(k.program, k.hook, k.target, "attached") for k in self._links],
            columns=["program", "hook", "target", "state"],
        )

    @property
    def verifier_log(self) -> str:
        """What the verifier says of the programs, instruction by instruction; it is asked at the first look.

        (The log of a refusal is on the error: ``VerifierError.log``.)

        Raises
        ------
        SessionError
            When the session was closed before the first look.
        """
        if not self._verifier_log:
            self._alive()
            self._verifier_log = self._handle.verifier_log()
        return self._verifier_log

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
                stack.callback(self.vars.close)
                stack.callback(self.maps.close)
                if self._lookup is not None:
                    stack.callback(self._lookup.close)
                if self._buffers is not None:
                    stack.callback(self._buffers.close)
                for link in self._links:
                    stack.callback(self._handle.detach, link)
            self._links.clear()

    def iterate(self, program: str | None = None) -> str:
        """Run an attached iterator (``SEC("iter/task")``) once over everything and return what it printed.

        Parameters
        ----------
        program
            The function's name; may be left out when only one iterator is attached.

        Raises
        ------
        SessionError
            When no iterator of this name is attached.

        Examples
        --------
        >>> print(s.iterate("tasks"))
        """
        return self._output(self._iterator(program)).decode("utf-8", "replace")

    def iterate_df(self, program: str | None = None, *, names: Sequence[str] | None = None) -> pd.DataFrame:
        """Run an attached iterator once over everything and return what it wrote as a frame.

        A program that calls ``bpf_seq_write()`` writes records: of the cell's only struct, or of the one that
        ``--event PROGRAM=STRUCT`` (``events={"program": "struct"}``) names. They become columns as those of
        a stream do. One that calls ``bpf_seq_printf()`` writes a table: columns apart by blanks, their names in
        the first line; only the last column may hold blanks.

        Parameters
        ----------
        program
            The function's name; may be left out when only one iterator is attached.
        names
            Names for the columns, of a table that has none in its first line.

        Raises
        ------
        SessionError
            When no iterator of this name is attached.
        DecodeError
            When the output is not of that form.

        Examples
        --------
        >>> s.iterate_df("tasks").sort_values("utime").tail()
        """
        link = self._iterator(program)
        return iterators.frame(link.program, self._output(link), self._row_type(link.program), names)

    def test_run(
        self, program: str | None = None, data: Any = None, ctx: Any = None, repeat: int = 1
    ) -> RunResult | pd.DataFrame:
        """Run a program in the kernel without attaching it (BPF_PROG_TEST_RUN).

        Parameters
        ----------
        program
            The function's name; may be left out when there is only one.
        data
            A packet from its Ethernet header on, at least 14 bytes, for program types that take one: bytes, or an
            object that knows its bytes, such as a packet of scapy. A list of packets, or the path of a pcap file
            of Ethernet frames, runs the program on each.
        ctx
            The context: bytes; a list of numbers (the arguments of a raw tracepoint); or fields by name, as
            ``{"ingress_ifindex": 1}``.
        repeat
            How many times to run it; the nanoseconds are a mean over these.

        Returns
        -------
        RunResult or pandas.DataFrame
            retval, verdict (its name), data_out (the packet afterwards), ctx_out, ns (nanoseconds of one run); for
            several packets a frame with a row for each.

        Raises
        ------
        LoadError
            When the kernel cannot test-run this type, or refuses what it is given.
        CellError
            When a file cannot be read, or the context has no such field.

        Examples
        --------
        >>> s.test_run("drop", data=bytes(64)).verdict
        'XDP_DROP'
        """
        self._alive()
        name = self._only(program)
        if not runs.is_many(data):
            return self._run_once(name, data, ctx, repeat)
        listed = list(runs.packets(data))
        results = [self._run_once(name, packet, ctx, repeat) for _, packet in listed]
        return runs.frame(results, [when for when, _ in listed], [len(packet) for _, packet in listed])

    def _run_once(self, program: str, data: Any, ctx: Any, repeat: int) -> RunResult:
        row = parse_section(next(p.section for p in self._programs if p.name == program)).type
        packet = None if data is None else runs.as_bytes(data, "a packet")
        context = None if ctx is None else runs.context_bytes(row, ctx, len(packet or b""))
        got = self._handle.test_run(program, TestRun(packet, context, repeat, runs.context_back(row)))
        return RunResult(
            program, got.retval, row.verdict(got.retval), got.data_out, got.ctx_out, got.ns, max(repeat, 1), row
        )

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
        self._state = "loaded"
        self.vars.loaded(self._handle)
        self.maps.loaded(self._handle)
        prelude = self._cell is not None
        self._lookup = self.maps.lookup = stacks.lookup(self._handle.maps())
        self._buffers = Buffers(self._handle, self._btf, types, keep, self._lookup, name=self.name, prelude=prelude)
        self.streams = self._buffers.streams
        for events in self.streams.values():
            events.facts = self._facts

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

    def _row_type(self, program: str) -> RecordType | None:
        calls = self._handle.calls(program)
        return iterators.row_type(program, self._btf, self._structs(), self._wanted.get(program), calls)

    def _iterator(self, program: str | None) -> LinkInfo:
        self._alive()
        attached = [link for link in self._links if link.hook == "iter" and program in (None, link.program)]
        names = sorted({link.program for link in attached})
        if not attached:
            raise SessionError(
                f"{self.name} has no attached iterator{f' {program}' if program else ''}",
                hint='an iterator is a function under SEC("iter/task"); attach() it first',
            )
        if len(names) > 1:
            raise SessionError(f"{self.name} has {len(names)} iterators", hint=f"name one: {', '.join(names)}")
        return attached[0]

    def _output(self, iterator: LinkInfo) -> bytes:
        with open(self._handle.iterate(iterator), "rb") as output:  # noqa: PTH123 - a file descriptor, not a path
            return output.read()

    def _structs(self) -> tuple[str, ...]:
        return (*self._cell.struct_names, *self._cell.typedef_names) if self._cell else ()

    def _record_types(self, buffer: str, wanted: str | None) -> RecordTypes:
        return record_types(buffer, self._btf, self._structs(), wanted)

    def _where(
        self, name: str, section: str, target: str | SupportsFileno | None, options: Mapping[str, Any]
    ) -> str | None:
        # The target as text, which is all that crosses to the engine.
        text = target if isinstance(target, str) or target is None else f"fd:{target.fileno()}"
        place = text or self._targets.get(name) or self._targets.get(section) or parse_section(section).place
        return ",".join([place, *(f"{option}={value}" for option, value in options.items())]) or None

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
            if name == program or (program is None and by_itself and name not in attached):
                yield name, section

    def _only(self, program: str | None) -> str:
        names = [p.name for p in self._programs]
        if program is None and len(names) == 1:
            return names[0]
        if program in names:
            return str(program)
        if program is None:
            raise SessionError(f"{self.name} has {len(names)} programs", hint=f"name one: {', '.join(names)}")
        near = nearest(program, names)
        raise SessionError(f"{self.name} has no program {program}", hint=f"did you mean {', '.join(near or names)}?")

    def _alive(self) -> None:
        if self._state == "closed":
            raise SessionError(f"{self.name} is closed", hint="run the cell again")

    def _forget(self) -> None:
        for events in self.streams.values():
            events.end()
        self._state = "closed"
        registry.forget(self)
