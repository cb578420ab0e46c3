"""Kernel names that are macros, which BTF and so vmlinux.h do not know: ``ETH_P_IP``, ``EPERM``, ``TC_ACT_OK``."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from pathlib import Path

_HEADER = Path(__file__).parent / "include" / "macros.h"
_DEFINE = re.compile(r"^[ \t]*#[ \t]*define[ \t]+([A-Za-z_]\w*)", re.MULTILINE)


@functools.cache
def _known() -> dict[str, str]:
    found = re.findall(r"^#define (\w+) (.+)$", _HEADER.read_text(), re.MULTILINE)
    return dict(found)


def subset(words: Iterable[str], taken: Iterable[str], texts: Iterable[str]) -> str:
    r"""Return definitions of the macros among *words*, as C.

    Parameters
    ----------
    words
        The words of a cell.
    taken
        Names that the cell declares itself.
    texts
        The cell and its own headers: what they define is left to them.

    Examples
    --------
    >>> subset({"EPERM", "x"}, (), ())
    '#ifndef EPERM\n#define EPERM 1\n#endif\n'
    """
    known = _known()
    left_out = {*taken, *(name for text in texts for name in _DEFINE.findall(text))}
    wanted: set[str] = set()
    queue = [word for word in words if word in known and word not in left_out]
    while queue:
        name = queue.pop()
        if name not in wanted:
            wanted.add(name)
            queue += [word for word in re.findall(r"[A-Z]\w+", known[name]) if word in known]
    return "".join(f"#ifndef {name}\n#define {name} {known[name]}\n#endif\n" for name in known if name in wanted)
