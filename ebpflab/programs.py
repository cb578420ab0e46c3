"""The programs of a session: what the kernel says of them, and running them by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from . import iterators, runs
from .engines.base import Handle, LinkInfo, ProgramInfo, TestRun
from .errors import SessionError
from .program_types import parse_section
from .runs import RunResult
from .similar import nearest
from .verifier.statistics import Statistics, statistics

if TYPE_CHECKING:
    import pandas as pd

    from .btf import Btf
    from .cell import Cell
    from .decode import RecordType
    from .disassembly import Disassembly


class Programs:
    """The part of a :class:`~ebpflab.session.Session` that is about its programs.

    Parameters
    ----------
    name
        The session's name.
    handle
        The opened object.
    btf
        Its types.
    cell
        The cell that it was compiled from; None for an object file.

    Examples
    --------
    >>> s.test_run("drop", data=bytes(64)).verdict
    'XDP_DROP'
    """

    def __init__(self, name: str, handle: Handle, btf: Btf, cell: Cell | None) -> None:
        self.name = name
        self._handle, self._btf, self._cell = handle, btf, cell
        self._state = "opened"
        self._programs: list[ProgramInfo] = list(handle.programs())
        self._links: list[LinkInfo] = []
        self._wanted: dict[str, str] = {}  # record types by buffer or iterator, as the user asked for
        self._verifier_log = ""
        self._statistics: dict[str, Statistics] | None = None
        self._disassemblies: dict[str, Disassembly] = {}

    @property
    def programs(self) -> pd.DataFrame:
        """The programs: name, type, section, insns, jited, run_cnt, run_ns, verified.

        The kernel counts runs only while ``kernel.bpf_stats_enabled`` is 1. ``verified`` is the number of instructions
        that the verifier walked through, of the million that it would; 0 before Linux 5.16, and :attr:`verification`
        tells more.
        """
        import pandas as pd

        if self._state != "closed":
            self._programs = list(self._handle.programs())
        rows = [
            (p.name, parse_section(p.section).kind, p.section, p.insns, p.jited, p.run_cnt, p.run_ns, p.verified)
            for p in self._programs
        ]
        return pd.DataFrame(
            rows, columns=["name", "type", "section", "insns", "jited", "run_cnt", "run_ns", "verified"]
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
            logs = self._handle.verifier_log()
            self._verifier_log = "\n".join(f"{name}:\n{log}" for name, log in logs.items())
        return self._verifier_log

    @property
    def verification(self) -> pd.DataFrame:
        """What it took to verify the programs, beside the kernel's limits; it is asked at the first look.

        Columns: program; processed, limit (instructions that the verifier walked through, each as often as it came
        by, and how many it would have); states, peak_states, states_per_insn (register states that it kept in all,
        at a time, and of one instruction); stack (bytes, of all functions together; 512 is the most that a function
        and those it calls may have); us (microseconds that it took); hint (what to do when a limit is near).

        Needs Linux 5.2 or later for stack and us. The format is that of print_verification_stats() in
        kernel/bpf/verifier.c.

        Raises
        ------
        SessionError
            When the session was closed before the first look.

        Examples
        --------
        >>> s.verification[["program", "processed", "limit", "stack"]]
        """
        import pandas as pd

        if self._statistics is None:
            self._alive()
            logs = self._handle.verifier_log(statistics=True)
            self._statistics = {name: counted for name, log in logs.items() if (counted := statistics(log))}
        rows = [
            (name, c.processed, c.limit, c.states, c.peak_states, c.states_per_insn,
             None if c.stack is None else sum(c.stack), c.microseconds, c.hint)
            for name, c in self._statistics.items()
        ]  # fmt: skip
        columns = ["program", "processed", "limit", "states", "peak_states", "states_per_insn", "stack", "us", "hint"]
        return pd.DataFrame(rows, columns=columns).astype({"stack": "Int64", "us": "Int64"})

    def disasm(self, program: str | None = None) -> Disassembly:
        """Return a program's instructions as the kernel keeps them, between the lines of C that they were made from.

        They are asked for at the first look, and stay readable when the session is over.

        Parameters
        ----------
        program
            The function's name; may be left out when there is only one.

        Raises
        ------
        SessionError
            When there is no such program, or the session was closed before the first look.

        Examples
        --------
        >>> s.disasm("on_open").df()[["line", "source", "text"]]
        """
        from .disassembly import Disassembly

        name = self._only(program)
        if name not in self._disassemblies:
            self._alive()
            self._disassemblies[name] = Disassembly.of(name, self._handle.instructions(name))
        return self._disassemblies[name]

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
        # The kernel takes none, and refuses one of no bytes.
        context = None if ctx is None else runs.context_bytes(row, ctx, len(packet or b"")) or None
        got = self._handle.test_run(program, TestRun(packet, context, repeat, runs.context_back(row)))
        return RunResult(
            program, got.retval, row.verdict(got.retval), got.data_out, got.ctx_out, got.ns, max(repeat, 1), row
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
