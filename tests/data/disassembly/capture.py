"""Recapture the texts of this folder from the running kernel and from bpftool; root is needed.

    python tests/data/disassembly/capture.py

`log.txt` has what the verifier's log writes of instructions: one of each opcode and shape that this kernel has.
`xlated.json` has programs as the kernel keeps them, with the names of what they refer to and the lines of
`bpftool prog dump xlated`.
"""

from __future__ import annotations

import json
import re
import sys
from dataclasses import asdict
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parents[2]), str(HERE.parents[1]), str(HERE.parents[1] / "kernel")]

import logs  # noqa: E402
import xlated  # noqa: E402
from bytecode import variants  # noqa: E402

import ebpflab  # noqa: E402


def texts() -> list[str]:
    """Return lines of bytes in hexadecimal and the kernel's text."""
    found: dict[str, str] = {}
    for code in variants():
        text = logs.text_of(code)
        if text and text != "unknown" and "(null)" not in text:
            found.setdefault(re.sub(r"\b(?:0x[0-9a-f]+|[rw]?\d+)\b|[+-]\d+", "", text), f"{code.hex()} {text}")
    return sorted(found.values())


def programs() -> list[dict[str, object]]:
    """Return what crosses to the disassembler, and bpftool's lines, of each program of a few cells."""
    found = []
    for name in ("buffers: PERF_MIXED", "control: filter"):
        with ebpflab.load(xlated.cell(name), attach=False) as session:
            for info in session._handle.programs():
                given = asdict(session._handle.instructions(info.name))
                lines = xlated.by_bpftool(session, info.id)
                found.append({"cell": name, "given": given | {"code": given["code"].hex()}, "bpftool": lines})
    return found


if __name__ == "__main__":
    (HERE / "log.txt").write_text("\n".join(texts()) + "\n")
    (HERE / "xlated.json").write_text(json.dumps(programs(), indent=1) + "\n")
