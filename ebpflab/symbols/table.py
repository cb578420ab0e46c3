"""Symbols sorted by address: the form in which all sources of symbols are searched."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Addresses = NDArray[np.uint64]


class Symbol(NamedTuple):
    """What an address belongs to: a name, how far into it, and where that comes from (a module, a file; or "")."""

    name: str
    offset: int
    origin: str = ""

    def __str__(self) -> str:
        # As the kernel prints it (%pS in Documentation/core-api/printk-formats.rst), without the size.
        return f"{self.name}+{self.offset:#x}" + (f" [{self.origin}]" if self.origin else "")


@dataclass(frozen=True)
class SymbolTable:
    """Symbols by address; ``limits`` says how many bytes each one has at most, ``name_of`` gives the name of a place.

    Examples
    --------
    >>> table.find(np.array([0xFFFFFFFF81000010], np.uint64))
    [Symbol(name='startup_64', offset=16, origin='')]
    """

    starts: Addresses
    limits: NDArray[np.uint64]
    name_of: Callable[[int], tuple[str, str]]

    @classmethod
    def of(
        cls, starts: Addresses, sizes: NDArray[np.uint64], name_of: Callable[[int], tuple[str, str]], most: int
    ) -> SymbolTable:
        """Sort symbols; of several at one address the first counts.

        Parameters
        ----------
        sizes
            Bytes of each symbol; one without a size reaches to the next, and no further than *most* bytes.
        name_of
            Gives name and origin of the symbol at a place in *starts*.
        """
        order = np.argsort(starts, kind="stable")
        first = np.ones(len(order), bool)
        first[1:] = starts[order][1:] != starts[order][:-1]
        order = order[first]
        limits = np.where(sizes[order] > 0, sizes[order], np.uint64(most))
        return cls(starts[order], limits, lambda place: name_of(int(order[place])))

    def find(self, addresses: Addresses) -> list[Symbol | None]:
        """Return the symbol of each address, None where there is none."""
        if not len(self.starts):
            return [None] * len(addresses)
        places = np.searchsorted(self.starts, addresses, side="right").astype(np.int64) - 1
        offsets = addresses - self.starts[places]
        inside = (places >= 0) & (offsets < self.limits[places])
        return [
            Symbol(self.name_of(place)[0], offset, self.name_of(place)[1]) if known else None
            for place, offset, known in zip(places.tolist(), offsets.tolist(), inside.tolist(), strict=True)
        ]
