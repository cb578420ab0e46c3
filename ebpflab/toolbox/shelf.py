"""Where the tools are, and which there are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import CellError
from ..similar import nearest
from .tool import SUFFIX, Tool, parse

if TYPE_CHECKING:
    import pandas as pd

# Beside the package in a checkout, inside it when installed.
_FOLDERS = (Path(__file__).parents[1] / "bpf_src", Path(__file__).parents[2] / "bpf_src")


def paths() -> dict[str, Path]:
    """Return where the source of each tool is, by name.

    Examples
    --------
    >>> paths()["opensnoop"].name
    'opensnoop.bpf.c'
    """
    return {p.name.removesuffix(SUFFIX): p for folder in _FOLDERS for p in sorted(folder.glob(f"*{SUFFIX}"))}


def find(name: str) -> Tool:
    """Return the tool of this name.

    Raises
    ------
    CellError
        There is none; the hint has the nearest.

    Examples
    --------
    >>> find("opensnoop").question
    'which process opens which file, and did it work?'
    """
    known = paths()
    if name not in known:
        near = nearest(name, sorted(known))
        raise CellError(
            f"there is no tool {name!r} in bpf_src",
            hint=f"{f'did you mean {near[0]}? ' if near else ''}%bpf tools (ebpflab tools, in a shell) lists all "
            f"{len(known)}; or give C text, or the path of a .c or .o file",
        )
    return parse(known[name].read_text(), known[name])


def tools(pattern: str = "") -> pd.DataFrame:
    """Return the tools that come with this package, each of which answers one question.

    ``ebpflab.load("opensnoop")`` runs one, as do ``%bpf run opensnoop`` and, in a shell, ``ebpflab run opensnoop``.

    Parameters
    ----------
    pattern
        A word of the name or of the question; default: all.

    Returns
    -------
    pandas.DataFrame
        tool, question, options (of ``%bpf run``), and ns of one run by the kernel's statistics, if measured.

    Examples
    --------
    >>> tools("open")["tool"].tolist()
    ['opensnoop']
    """
    import pandas as pd

    found = [parse(path.read_text(), path) for path in dict(sorted(paths().items())).values()]
    word = pattern.lower()
    rows = [
        (t.name, t.question, " ".join([*t.places, *(p.option for p in t.parameters)]), t.nanoseconds)
        for t in found
        if word in t.name or word in t.question.lower()
    ]
    frame = pd.DataFrame(rows, columns=["tool", "question", "options", "ns"]).astype({"ns": "Int64"})
    if frame.empty:
        frame.attrs["note"] = f"no tool answers to {pattern!r}; %bpf tools lists all"
    return frame
