"""Fill a guest's cache with cells of BCC's dialect: on the host, where that takes half a second instead of thirty.

BCC asks the running kernel while it works, so it gets the guest's answers (:mod:`.facts`), which takes root. The cells
are those of ``tests/kernel/bcc_cells.py`` and, with ``EBPFLAB_BCC_CORPUS`` set, the programs of BCC's own tools, which
``bcc_corpus-first.json`` (or ``-all``) in the cache then lists for the guest.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

from . import VmError, facts
from .kernels import ROOT
from .machine import Machine
from .warm import Warmed

CORPUS = "bcc_corpus-{}.json"
_TESTS = ROOT / "tests/kernel"
_Cells = Mapping[str, tuple[str, Mapping[str, str]]]


def warm(machine: Machine, folder: Path) -> Warmed:
    """Compile cells of BCC's dialect for a machine's kernel; none where this user is not root.

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
    known = facts.gather(machine)
    command = facts.within(known, [sys.executable, "-m", "tests.vm.warm_bcc", str(known)])
    environment = {**os.environ, "EBPFLAB_CACHE": str(folder)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise VmError(f"cannot compile BCC's dialect for {machine.image.version}: {done.stderr.strip()}")
    return Warmed(**json.loads(done.stdout))


def wanted(command: Sequence[str]) -> bool:
    """Whether a command line runs the tests of ``test_bcc_tools.py``.

    Examples
    --------
    >>> wanted(["pytest", "tests/kernel"])
    True
    """
    return "tests/kernel" in command or any("test_bcc_tools" in word for word in command)


def compile_here(cells: _Cells) -> Warmed:
    """Compile cells into this process's own cache; cells are pairs of a text and its targets, by name."""
    from ebpflab.bcc import building
    from ebpflab.cell import Cell
    from ebpflab.errors import EbpflabError

    warmed = Warmed()

    def compile_one(name: str) -> None:
        source, targets = cells[name]
        try:
            built = building.build(Cell(source), targets=dict(targets))
        except EbpflabError as error:  # its test will tell
            warmed.refused[name] = error.what
        else:
            (warmed.cached if built.cached else warmed.compiled).append(name)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(compile_one, cells))
    return warmed


def _cells(cache: Path) -> _Cells:
    sys.path.insert(0, str(_TESTS))
    import bcc_cells
    import bcc_corpus

    cells = dict(bcc_cells.CELLS)
    if every := os.environ.get("EBPFLAB_BCC_CORPUS"):
        listed = cache / CORPUS.format(every)
        if not listed.exists():
            with tempfile.TemporaryDirectory() as folder:
                found = bcc_corpus.texts(bcc_corpus.fetch(Path(folder)), every=every == "all")
            cache.mkdir(parents=True, exist_ok=True)
            bcc_corpus.save(found, listed)
        cells |= {" ".join([t.tool, *t.arguments]): (t.source, t.targets) for t in bcc_corpus.read(listed)}
    return cells


def _pretend(release: str) -> None:
    # The one thing that no file tells.
    here = os.uname()
    os.uname = lambda: os.uname_result((*here[:2], release, *here[3:]))  # type: ignore[method-assign]
    os.environ["BCC_TOOL_RELEASE"] = release


if __name__ == "__main__":
    with contextlib.redirect_stdout(sys.stderr):
        _pretend(Path(sys.argv[1], "version").read_text())
        result = compile_here(_cells(Path(os.environ["EBPFLAB_CACHE"])))
    print(json.dumps(asdict(result)))
