"""Fill a guest's cache on the host, where clang and Python are many times quicker.

What it holds then is what `ebpflab` itself would put there in the guest: the kernel's header taken apart, the
reader of rings, the cells of ``tests/kernel/hook_cells.py``, and those of ``cells_verifier.py`` if the guest is to
run their tests.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from . import VmError
from .kernels import ROOT
from .machine import Machine

_CELLS = ROOT / "tests/kernel/hook_cells.py"
_ON_REQUEST = ROOT / "tests/kernel/cells_verifier.py"


@dataclass
class Warmed:
    """Names of the cells that were compiled now, that were there, and what clang had against the others."""

    compiled: list[str] = field(default_factory=list)
    cached: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)

    def add(self, other: Warmed) -> None:
        """Take in what was compiled elsewhere."""
        self.compiled += other.compiled
        self.cached += other.cached
        self.refused |= other.refused


def warm(machine: Machine, folder: Path, command: Sequence[str] = ()) -> Warmed:
    """Compile for a machine's kernel on the host.

    Parameters
    ----------
    machine
        Its kernel and number of CPUs go into what is compiled.
    folder
        The guest's ``$EBPFLAB_CACHE``.
    command
        What the guest is going to run: the cells of the verifier's tests are compiled if it names these tests, or
        all tests of the kernel.

    Raises
    ------
    VmError
        When compiling fails altogether, with what Python said.

    Examples
    --------
    >>> warm(Machine(prepare(find("6.12"), print)), Path("build/vm/6.12/cache")).refused
    {}
    """
    # In a process of its own: the cache is found by an environment variable, and remembered.
    options = [str(machine.image.btf), str(machine.cpus), *(["verifier"] if wants_verifier(command) else [])]
    environment = {**os.environ, "EBPFLAB_CACHE": str(folder), "EBPFLAB_VM": machine.image.version}
    call = [sys.executable, "-m", "tests.vm.warm", *options]
    done = subprocess.run(call, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise VmError(f"cannot compile for {machine.image.version}: {done.stderr.strip()}")
    return Warmed(**json.loads(done.stdout))


def wants_verifier(command: Sequence[str]) -> bool:
    """Whether a command line runs the tests of ``test_verifier_corpus.py``.

    Examples
    --------
    >>> wants_verifier(["pytest", "-m", "hook", "tests/kernel"])
    False
    """
    everything = "tests/kernel" in command and "-m" not in command
    return everything or any("verifier_corpus" in word for word in command)


def compile_here(btf: Path, cpus: int, cells: Mapping[str, str]) -> Warmed:
    """Compile cells for another kernel into this process's own cache, and make all that they need there."""
    from ebpflab._native import build
    from ebpflab.cell import Cell
    from ebpflab.compile import Target, compile_cell, kept_types, vmlinux
    from ebpflab.errors import CompileError

    build.load()
    vmlinux.subset([], btf=btf)
    warmed = Warmed()
    for name, source in cells.items():
        cell = Cell(source)
        try:
            compiled = compile_cell(cell, keep_types=kept_types(cell), target=Target(btf, cpus))
        except CompileError as error:  # of an old kernel, whose types it does not fit; its test will tell
            warmed.refused[name] = error.what
        else:
            (warmed.cached if compiled.cached else warmed.compiled).append(name)
    return warmed


def registered(path: Path = _CELLS, name: str = "CELLS") -> Mapping[str, str]:
    """Return the cells that a module of the tests registers: its ``CELLS``; none if there is no such module."""
    if not path.exists():
        return {}
    sys.path.insert(0, str(path.parent))  # it may import its neighbours, as under pytest
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise VmError(f"{path} is no module")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    cells: Mapping[str, str] = getattr(module, name)
    return cells


if __name__ == "__main__":
    with contextlib.redirect_stdout(sys.stderr):
        on_request = registered(_ON_REQUEST, "ON_REQUEST") if "verifier" in sys.argv[3:] else {}
        result = compile_here(Path(sys.argv[1]), int(sys.argv[2]), {**registered(), **on_request})
    print(json.dumps(asdict(result)))
