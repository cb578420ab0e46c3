"""The engine of recordings: an object that was loaded elsewhere, as far as a recording remembers it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NoReturn

from ..errors import SessionError
from .base import Handle, Instructions, LinkInfo, MapInfo, ProgramInfo, TestResult, TestRun


class ReplayHandle:
    """The programs and types of a recording; whatever would need the kernel raises SessionError.

    Parameters
    ----------
    btf
        The types of the recorded object.
    programs
        Its programs.

    Examples
    --------
    >>> ReplayHandle(recording.about.facts.btf, recording.about.facts.programs).programs()[0].name
    'on_open'
    """

    def __init__(self, btf: bytes, programs: Sequence[ProgramInfo]) -> None:
        self.btf = btf
        self._programs = tuple(programs)

    def programs(self) -> Sequence[ProgramInfo]:
        """Every program, with its counters as they were."""
        return self._programs

    def optional(self) -> Sequence[ProgramInfo]:
        """No program: a recording holds those that were loaded."""
        return ()

    def choose(self, programs: Sequence[str]) -> None:  # noqa: ARG002 - the interface's
        """Raise: there is no optional program."""
        refuse("take in another program")

    def maps(self) -> Sequence[MapInfo]:
        """No map: a recording holds what came through one."""
        return ()

    def initial(self, map_name: str) -> memoryview:  # noqa: ARG002 - the interface's
        """Raise: there is no map."""
        refuse("hold global variables")

    def calls(self, program: str) -> frozenset[int]:  # noqa: ARG002 - the interface's
        """The helpers of a program are not recorded."""
        return frozenset()

    def resize(self, map_name: str, size: int) -> None:  # noqa: ARG002 - the interface's
        """Raise: there is no map."""
        refuse("give a buffer another size")

    def load(self) -> None:
        """Do nothing: the programs were loaded elsewhere."""

    def verifier_log(self, *, statistics: bool = False) -> Mapping[str, str]:  # noqa: ARG002 - the interface's
        """Raise: no verifier is asked."""
        refuse("ask the verifier")

    def instructions(self, program: str) -> Instructions:  # noqa: ARG002 - the interface's
        """Raise: no program is loaded."""
        refuse("disassemble programs")

    def attach(self, program: str, target: str | None) -> LinkInfo:  # noqa: ARG002 - the interface's
        """Raise: no program is loaded."""
        refuse("attach programs")

    def detach(self, link: LinkInfo) -> None:  # noqa: ARG002 - the interface's
        """Raise: no program is attached."""
        refuse("detach programs")

    def iterate(self, link: LinkInfo) -> int:  # noqa: ARG002 - the interface's
        """Raise: no program is loaded."""
        refuse("run an iterator")

    def test_run(self, program: str, run: TestRun) -> TestResult:  # noqa: ARG002 - the interface's
        """Raise: no program is loaded."""
        refuse("run a program")

    def close(self) -> None:
        """Do nothing."""


class ReplayEngine:
    """The engine whose objects are recordings."""

    name = "replay"

    def open(self, data: bytes, *, name: str, targets: Mapping[str, str]) -> Handle:  # noqa: ARG002 - the interface's
        """Raise: recordings are opened by :func:`ebpflab.replay`."""
        refuse("load an object")


def refuse(what: str) -> NoReturn:
    """Raise the error for what a recording cannot do; `what` is a verb with its object."""
    raise SessionError(
        f"a recording cannot {what}: it replays events, and no program is loaded",
        hint="ebpflab.load(s.source) runs the same source on a kernel",
    )
