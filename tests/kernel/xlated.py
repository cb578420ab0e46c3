"""Programs as `bpftool prog dump xlated` writes them, and the cells that together have the most different words."""

from __future__ import annotations

import re
import subprocess

import bpftool
import cells
import cells_buffers
import cells_maps
from hook_cells import CELLS

NAMES = (
    "cells: GETPPID",
    "buffers: PERF_MIXED",
    "maps: TABLES",
    "maps: OTHERS",
    "templates: usdt",
    "templates: flow_dissector",
    "cgroup: sockops",
    "control: filter",
    "sockets: lookup",
    "routes: segments",
)
_TEXTS = {
    "cells: GETPPID": cells.GETPPID,
    "buffers: PERF_MIXED": cells_buffers.PERF_MIXED,
    "maps: TABLES": cells_maps.TABLES,
    "maps: OTHERS": cells_maps.OTHERS,
}


def cell(name: str) -> str:
    """The text of a cell by the name of its module and its own."""
    return _TEXTS[name] if name in _TEXTS else CELLS[f"cells_{name}"]


def by_bpftool(session, program_id: int) -> list[str]:
    """Number and text of each instruction of a program, with the names of the session's maps for their ids."""
    command = [bpftool.BPFTOOL, "prog", "dump", "xlated", "id", str(program_id)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    ids = {str(bpftool.map_id(info.fd)): info.name for info in session._handle.maps()}
    lines = re.findall(r"^ *(\d+: (?:\(..\)|BUG).*)$", done.stdout, re.MULTILINE)
    return [re.sub(r"map\[id:(\d+)\]", lambda match: f"map[{ids[match[1]]}]", line) for line in lines]


def as_bpftool(line: str) -> str:
    """A line of ours in bpftool's words: of a function its kernel symbol's tag is gone on both sides.

    bpftool before 7.4 shows a per-CPU address as a plain move, and it does not name callbacks.
    """
    line = re.sub(r"#bpf_prog_[0-9a-f]{16}_(\w+)$", r"#\1", line)
    line = re.sub(r"&\(void __percpu \*\)\((r\d+)\)$", r"\1", line)
    return re.sub(r"(subprog\[[+-]\d+\])#\w+$", r"\1", line)
