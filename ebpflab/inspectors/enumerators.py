"""The numbers behind names of constants, from the BTF of the running kernel."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from ..btf import Kind
from . import kernel_btf
from .btf_source import BtfSource, open_btf

if TYPE_CHECKING:
    from collections.abc import Iterable


def values(names: Iterable[str], module: str = "") -> dict[str, int]:
    """Return the values of those names that are enumerators of the running kernel.

    Parameters
    ----------
    names
        Names as C has them, such as ``TCP_ESTABLISHED``. What ``#define`` made of a name is in no BTF.
    module
        A module whose enumerators count as well, if it is loaded and has BTF of its own.

    Raises
    ------
    KernelSupportError, PrivilegeError, DecodeError
        The kernel's BTF is not there, or cannot be read.

    Examples
    --------
    >>> values(["TCP_ESTABLISHED", "NO_SUCH_NAME"])
    {'TCP_ESTABLISHED': 1}
    """
    loaded = bool(module) and (kernel_btf.DIRECTORY / module).exists()
    known = _all(open_btf(module if loaded else None))
    return {name: known[name] for name in names if name in known}


# A kernel has about 20,000 of them, which takes about 100 ms.
@functools.lru_cache(maxsize=2)
def _all(source: BtfSource) -> dict[str, int]:
    found: dict[str, int] = {}
    for each in source.btf.of_kind(Kind.ENUM, Kind.ENUM64):
        for enumerator in each.values:
            found.setdefault(enumerator.name, enumerator.value)
    return found
