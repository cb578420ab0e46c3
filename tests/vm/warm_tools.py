"""Fill a guest's cache with the tools of bpf_src/, which take its formats of tracepoints besides its types."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from . import VmError, facts
from .kernels import ROOT
from .machine import Machine
from .warm import Warmed


def warm(machine: Machine, folder: Path) -> Warmed:
    """Compile the tools for a machine's kernel; none where this user is not root.

    Parameters
    ----------
    machine
        Its kernel is asked for its facts, if that was not done before.
    folder
        The guest's ``$EBPFLAB_CACHE``.

    Raises
    ------
    VmError
        When compiling fails altogether, with what Python said.
    """
    if os.geteuid():
        return Warmed()
    options = [str(machine.image.btf), str(machine.cpus)]
    command = facts.within(facts.gather(machine), [sys.executable, "-m", "tests.vm.warm_tools", *options])
    environment = {**os.environ, "EBPFLAB_CACHE": str(folder), "EBPFLAB_VM": machine.image.version}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise VmError(f"cannot compile the tools for {machine.image.version}: {done.stderr.strip()}")
    return Warmed(**json.loads(done.stdout))


def wanted(command: Sequence[str]) -> bool:
    """Whether a command line runs the tests of tools.

    Examples
    --------
    >>> wanted(["pytest", "tests/kernel/test_tools_proc.py"])
    True
    """
    return "tests/kernel" in command or any("test_tools" in word for word in command)


def compile_here(btf: Path, cpus: int) -> Warmed:
    """Compile the tools for another kernel into this process's own cache."""
    from ebpflab.cell import Cell
    from ebpflab.compile import Target, compile_cell, kept_types
    from ebpflab.errors import EbpflabError
    from ebpflab.line import _contexts
    from ebpflab.toolbox import shelf

    warmed = Warmed()
    for name, path in sorted(shelf.paths().items()):
        cell = Cell(path.read_text())
        try:
            target = Target(btf, cpus)
            compiled = compile_cell(cell, contexts=_contexts(cell), keep_types=kept_types(cell), target=target)
        except EbpflabError as error:  # of a kernel that lacks what it is about; its test will tell
            warmed.refused[name] = str(error)
        else:
            (warmed.cached if compiled.cached else warmed.compiled).append(name)
    return warmed


if __name__ == "__main__":
    with contextlib.redirect_stdout(sys.stderr):
        result = compile_here(Path(sys.argv[1]), int(sys.argv[2]))
    print(json.dumps(asdict(result)))
