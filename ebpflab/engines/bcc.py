"""The BCC engine: BCC rewrites a cell (:mod:`ebpflab.bcc`), and what clang makes of that is loaded by libbpf."""

from __future__ import annotations

from collections.abc import Mapping

from ..bcc import hooks
from ..program_types import Section, parse_section
from .attach.reap import reap
from .base import LinkInfo
from .libbpf import LibbpfEngine, LibbpfHandle


class BccEngine(LibbpfEngine):
    """Opens objects that were compiled from BCC's dialect; they are libbpf's as any other."""

    name = "bcc"

    def open(self, data: bytes, *, name: str, targets: Mapping[str, str]) -> BccHandle:
        """Parse an object file; raises LoadError with libbpf's words when it is none."""
        reap()
        return BccHandle(data, name, targets)


class BccHandle(LibbpfHandle):
    """An object of BCC's dialect, where what a program is attached as may be said when it is attached."""

    def __init__(self, data: bytes, name: str, targets: Mapping[str, str]) -> None:
        self._as: dict[str, Section] = {}
        super().__init__(data, name, targets)

    def attach(self, program: str, target: str | None) -> LinkInfo:
        """Attach one program, to a target or to ``KIND:TARGET``; raises as that of the libbpf engine."""
        with self._lock:
            section, place = hooks.later(program, self._section(program), target)
            self._as[program] = parse_section(section)
            try:
                return super().attach(program, place)
            finally:
                del self._as[program]

    def _parsed(self, program: str) -> Section:
        return self._as.get(program) or super()._parsed(program)
