"""Stack traces: the addresses that ``bpf_get_stackid()`` kept."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import MapError
from . import table
from ._entries import Entries
from .bpfmap import BpfMap
from .record import record_class

if TYPE_CHECKING:
    import pandas as pd

_BUILD_ID_FLAG = 1 << 5  # BPF_F_STACK_BUILD_ID
# struct bpf_stack_build_id, include/uapi/linux/bpf.h; a status of 0 ends the stack.
_BUILD_ID = np.dtype([("status", "=i4"), ("build_id", "u1", (20,)), ("offset", "=u8")])
_FRAME = record_class("frame", ("build_id", "offset"))


class StackTraces(BpfMap):
    """A map of stack traces: ``m[id]`` is a tuple of addresses, the innermost first.

    With BPF_F_STACK_BUILD_ID it is a tuple of records of build_id (hexadecimal text) and offset in that file.

    Examples
    --------
    >>> [hex(a) for a in s.maps["stacks"][17]]
    ['0xffffffff81a3c0f1', '0xffffffff81200a0d']
    """

    @property
    def depth(self) -> int:
        """How many addresses a stack has at most."""
        return self._facts.stride // (_BUILD_ID.itemsize if self._by_build_id else 8)

    def addresses(self, ids: ArrayLike) -> NDArray[np.uint64]:
        """Return the stacks of many ids: uint64, shape (ids, depth), filled up with 0.

        Parameters
        ----------
        ids
            What ``bpf_get_stackid()`` returned, shape (n,); negative ones are errors and have no addresses, nor
            have ids that are not in the map.
        """
        if self._by_build_id:
            raise MapError(f"{self.name} has build ids instead of addresses", hint="look at m[id]")
        wanted = np.asarray(ids, dtype=np.int64).reshape(-1)
        distinct, places = np.unique(wanted, return_inverse=True)
        stacks = np.zeros((len(distinct), self.depth), np.uint64)
        for row, number in enumerate(distinct.tolist()):
            if 0 <= number < 1 << 32:
                with contextlib.suppress(KeyError):
                    stacks[row] = np.frombuffer(self._lookup(number), np.uint64)
        found: NDArray[np.uint64] = stacks[places]
        return found

    @property
    def _by_build_id(self) -> bool:
        return bool(self._facts.flags & _BUILD_ID_FLAG)

    def _decode_value(self, raw: bytes) -> tuple[Any, ...]:
        if self._by_build_id:
            frames = np.frombuffer(raw, _BUILD_ID)
            return tuple(_FRAME((bytes(f["build_id"]).hex(), int(f["offset"]))) for f in frames if f["status"])
        return tuple(_until_zero(np.frombuffer(raw, f"{'<' if sys.byteorder == 'little' else '>'}u8")))

    def _frame(self, entries: Entries) -> pd.DataFrame:
        # A row for each address: the stack's id, its place in it from the innermost, the address.
        import pandas as pd

        assert self._facts.key is not None
        stacks = [self._decode_value(value.tobytes()) for value in entries.values]
        lengths = [len(stack) for stack in stacks]
        flat = [frame for stack in stacks for frame in stack]
        shown: dict[str, Any] = {"depth": [i for n in lengths for i in range(n)]}
        if self._by_build_id:
            shown |= {"build_id": [f[0] for f in flat], "offset": np.array([f[1] for f in flat], np.uint64)}
        else:
            shown["address"] = np.array(flat, np.uint64)
        keys = table.key_columns(self._facts.key, np.repeat(entries.keys, lengths, axis=0))
        return pd.DataFrame(table.named(keys, {}, shown))


def _until_zero(addresses: NDArray[np.uint64]) -> list[int]:
    (zeros,) = np.nonzero(addresses == 0)
    return [int(a) for a in (addresses[: zeros[0]] if len(zeros) else addresses)]
