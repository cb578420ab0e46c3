"""The BCC engine: BCC rewrites a cell (:mod:`ebpflab.bcc`), and what clang makes of that is loaded by libbpf."""

from __future__ import annotations

from .libbpf import LibbpfEngine


class BccEngine(LibbpfEngine):
    """Opens objects that were compiled from BCC's dialect; they are libbpf's as any other."""

    name = "bcc"
