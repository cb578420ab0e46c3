"""Recapture clang's messages of this folder: clang and libbpf's headers are needed.

    python tests/data/diagnostics/capture.py

Every NAME.c is a cell that clang refuses; its messages are written beside it as NAME.txt. `HERE` in a cell marks
the line of the first error.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[2]))

from ebpflab.diagnostics import CLANG_FLAGS  # noqa: E402


def messages(cell: str) -> str:
    """Return what clang says of a cell that stands after a prelude."""
    warnings = ("-Wall", "-Wno-unused-function", "-Wno-unused-variable", "-Werror=implicit-function-declaration")
    command = ("clang", "-target", "bpf", "-D__TARGET_ARCH_x86", "-O2", "-g", *warnings, *CLANG_FLAGS)
    text = f'#include "prelude.h"\n#line 1 "cell"\n{cell}'
    done = subprocess.run(
        [*command, "-x", "c", "-c", "-", "-o", "/dev/null"],
        input=text.encode(),
        cwd=HERE,
        capture_output=True,
        timeout=60,
        check=False,
    )
    return done.stderr.decode()


if __name__ == "__main__":
    for cell in sorted(HERE.glob("*.c")):
        cell.with_suffix(".txt").write_text(messages(cell.read_text()))
