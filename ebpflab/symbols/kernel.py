"""Names of kernel addresses, from ``/proc/kallsyms`` (proc_kallsyms in the kernel's kernel/kallsyms.c)."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from .table import Symbol, SymbolTable

_SYMBOLS = Path("/proc/kallsyms")
# An address, a letter (nm(1); absolute symbols are no places), a name, and after a tab the module. The padding
# before functions is no function, and arm64 marks code and data with $x and $d.
_LINE = re.compile(rb"^([0-9a-f]+) [^aA] (?!__pfx_|\$)(\S+)(?:\t\[(\S+)\])?$", re.MULTILINE)
_KERNEL = 1 << 63  # addresses from here on are the kernel's; symbols below are offsets into per-CPU memory
_MOST = 1 << 20  # bytes: nothing is larger, so what lies farther behind a symbol is something unknown
_AGAIN = 1.0  # seconds before modules and BPF programs may be looked for again


class KernelSymbols:
    """Names of addresses in the kernel, its modules and BPF programs.

    The list is read when the first address is asked for, and again when one lies outside the kernel proper, where
    modules and programs come and go. What was found once stays known.

    Parameters
    ----------
    path
        A file like ``/proc/kallsyms``.

    Examples
    --------
    >>> [str(symbol) for symbol in KernelSymbols().find([0xFFFFFFFF812F4E3F])]
    ['vfs_read+0x1f']
    """

    def __init__(self, path: Path = _SYMBOLS) -> None:
        self._path = path
        self._table: SymbolTable | None = None
        self._core = range(0)
        self._read_at = 0.0
        self._known: dict[int, Symbol] = {}

    def find(self, addresses: Iterable[int]) -> list[Symbol | None]:
        """Return the symbol of each address; None where the kernel names none, or hides them: see :meth:`hidden`."""
        wanted = [int(address) for address in addresses]
        missing = sorted({address for address in wanted if address not in self._known})
        if missing:
            found = self._fresh(missing).find(np.array(missing, np.uint64))
            self._known.update((a, symbol) for a, symbol in zip(missing, found, strict=True) if symbol)
        return [self._known.get(address) for address in wanted]

    @property
    def asked(self) -> bool:
        """Whether any address has been asked for."""
        return self._table is not None

    def hidden(self) -> str | None:
        """Say why the kernel shows no addresses, or return None if it does."""
        if len(self._fresh([]).starts):
            return None
        if not self._path.exists():
            return f"kernel symbols are unknown: there is no {self._path}"
        return (
            "kernel symbols are hidden from this process: it takes CAP_SYSLOG, or kernel.kptr_restrict=0 and "
            "kernel.perf_event_paranoid below 2"
        )

    def _fresh(self, addresses: list[int]) -> SymbolTable:
        now = time.monotonic()
        moved = any(address not in self._core for address in addresses) and now - self._read_at > _AGAIN
        if self._table is None or moved:
            self._table, self._core = _read(self._path)
            self._read_at = now
        return self._table


def _read(path: Path) -> tuple[SymbolTable, range]:
    try:
        lines = _LINE.findall(path.read_bytes())
    except OSError:  # the kernel was built without, or /proc is not there
        lines = []
    starts = np.array([int(address, 16) for address, _, _ in lines], np.uint64)
    names = [(name, module) for _, name, module in lines]
    places = np.flatnonzero(starts >= np.uint64(_KERNEL))

    def name_of(place: int) -> tuple[str, str]:
        name, module = names[places[place]]
        return name.decode(errors="replace"), module.decode(errors="replace")

    ends = {name: int(address, 16) for address, name, _ in lines if name in (b"_stext", b"_end")}
    core = range(ends.get(b"_stext", 0), ends.get(b"_end", 0))
    return SymbolTable.of(starts[places], np.zeros(len(places), np.uint64), name_of, _MOST), core
