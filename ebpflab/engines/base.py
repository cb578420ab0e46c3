"""What every engine offers: the whole interface between a session and whoever loads its programs.

Only plain values and file descriptors cross it, so that the other side may one day be another process
(a privileged helper), another machine, or a recording.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol


@dataclass(frozen=True)
class ProgramInfo:
    """One program of an object; ``id`` and ``fd`` are None until it is loaded.

    ``verified`` is the number of instructions that the verifier walked through: 0 until then, and before Linux 5.16.
    """

    name: str
    section: str
    insns: int
    type: int = 0
    fd: int | None = None
    id: int | None = None
    tag: str = ""
    jited: bool = False
    run_cnt: int = 0
    run_ns: int = 0
    verified: int = 0


@dataclass(frozen=True)
class MapInfo:
    """One map of an object; ``internal`` for the sections of global variables (``.data``, ``.rodata``, ``.bss``).

    A map of ring buffers has an ``inner_type``, and once it is loaded a descriptor and a size in bytes of each ring.
    A ring buffer that lies in such a map says so in ``held_by``. ``per_cpu_bytes`` is the size of each CPU's ring
    where a buffer has several.
    """

    name: str
    type: int
    key_size: int
    value_size: int
    max_entries: int
    flags: int
    internal: bool
    fd: int | None = None
    inner_type: int = 0
    inner_fds: tuple[int, ...] = ()
    inner_sizes: tuple[int, ...] = ()
    held_by: str = ""
    per_cpu_bytes: int = 0


@dataclass(frozen=True)
class LinkInfo:
    """One attached program: what is attached where. ``number`` identifies it to :meth:`Handle.detach`.

    ``fd`` is None where the kernel has no link for this kind.
    """

    number: int
    program: str
    hook: str
    target: str
    fd: int | None


@dataclass(frozen=True)
class TestRun:
    """Input of a test run: packet bytes, context bytes, how often.

    ``back`` says how the kernel hands the context back: "out" in a buffer of its own, "in place", or "" not at all.
    """

    data: bytes | None = None
    ctx: bytes | None = None
    repeat: int = 1
    back: Literal["out", "in place", ""] = ""


@dataclass(frozen=True)
class TestResult:
    """What a test run gave: the program's return value, packet and context after it, nanoseconds of one run."""

    retval: int
    data_out: bytes
    ctx_out: bytes
    ns: int


@dataclass(frozen=True)
class SourceLine:
    """Where the instructions from number ``insn`` on come from: file, line and column from 1, the line's text."""

    insn: int
    file: str
    line: int
    column: int
    text: str


@dataclass(frozen=True)
class Instructions:
    """A program's instructions, 8 bytes each, and the names of what they refer to.

    ``translated`` is what the verifier made of them: there a map is an id, and a call the distance to a function.
    ``functions`` are named by their first instruction, ``maps`` by id, ``calls`` and ``kfuncs`` by the number in the
    instruction. ``problem`` says why something is missing.
    """

    code: bytes
    translated: bool = False
    lines: tuple[SourceLine, ...] = ()
    functions: Mapping[int, str] = field(default_factory=dict)
    maps: Mapping[int, str] = field(default_factory=dict)
    calls: Mapping[int, str] = field(default_factory=dict)
    kfuncs: Mapping[int, str] = field(default_factory=dict)
    jited_bytes: int = 0
    problem: str = ""


class Handle(Protocol):
    """One opened object, on its way through load, attach and close."""

    btf: bytes

    def programs(self) -> Sequence[ProgramInfo]:
        """Every program, with counters as of now."""

    def optional(self) -> Sequence[ProgramInfo]:
        """The programs in sections that start with a question mark, which are left out unless chosen."""

    def choose(self, programs: Sequence[str]) -> None:
        """Take in optional programs, before load."""

    def maps(self) -> Sequence[MapInfo]:
        """Every map."""

    def initial(self, map_name: str) -> memoryview:
        """The initial bytes of a section of global variables, writable until load."""

    def resize(self, map_name: str, size: int) -> None:
        """Give an event buffer another size in bytes before load, of each CPU's ring where it has several."""

    def calls(self, program: str) -> frozenset[int]:
        """The numbers of the helpers that a program calls."""

    def load(self) -> None:
        """Create the maps and have the verifier accept the programs; raises LoadError and its children."""

    def verifier_log(self, *, statistics: bool = False) -> Mapping[str, str]:
        """What the verifier says of each program that it accepted, or with *statistics* what it counted."""

    def instructions(self, program: str) -> Instructions:
        """The instructions of a loaded program as the kernel keeps them."""

    def attach(self, program: str, target: str | None) -> LinkInfo:
        """Attach one program, to ``target`` or where its section says; raises AttachError and its children."""

    def detach(self, link: LinkInfo) -> None:
        """Detach one link."""

    def iterate(self, link: LinkInfo) -> int:
        """Open an attached iterator; a file descriptor to read its output from, once."""

    def test_run(self, program: str, run: TestRun) -> TestResult:
        """Run a program once or more in the kernel, without attaching it (BPF_PROG_TEST_RUN)."""

    def close(self) -> None:
        """Detach everything and give all file descriptors back; harmless when repeated."""


class Engine(Protocol):
    """Opens objects."""

    name: str

    def open(self, data: bytes, *, name: str, targets: Mapping[str, str]) -> Handle:
        """Parse an object without touching the kernel; raises LoadError."""
