"""Texts of a fixed width, cut at their first NUL: ``text.c``, or numpy where nothing compiles it."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from ..errors import ToolMissingError
from .build import load

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from . import Kind

# Takes bytes of shape (rows, width), whose rows may lie apart, and returns a packed copy.
Cutter = Callable[["NDArray[np.uint8]"], "NDArray[np.uint8]"]


@functools.cache
def cutter(kind: Kind = "auto") -> Cutter:
    r"""Return the function that copies texts and clears every byte behind a row's first NUL.

    Parameters
    ----------
    kind
        ``"c"``, ``"numpy"``, or ``"auto"``: C where it can be compiled, else numpy.

    Raises
    ------
    ToolMissingError
        If `kind` is ``"c"`` and there is no compiler.

    Examples
    --------
    >>> cutter()(np.frombuffer(b"sh\0garb\xff", np.uint8).reshape(1, 8)).tobytes()
    b'sh\x00\x00\x00\x00\x00\x00'
    """
    if kind == "numpy":
        return _cut_with_numpy
    try:
        return _c_cutter(load())
    except ToolMissingError:
        if kind == "c":
            raise
        return _cut_with_numpy


def _c_cutter(library: ctypes.PyDLL) -> Cutter:
    function = library.ebpflab_texts
    function.restype = None
    function.argtypes = (ctypes.c_void_p, ctypes.c_int64, ctypes.c_uint64, ctypes.c_uint64, ctypes.c_void_p)

    def cut(cells: NDArray[np.uint8]) -> NDArray[np.uint8]:
        rows, width = cells.shape
        out = np.empty((rows, width), np.uint8)
        packed = cells if cells.strides[1] == 1 else np.ascontiguousarray(cells)
        function(packed.ctypes.data, packed.strides[0], rows, width, out.ctypes.data)
        return out

    return cut


def _cut_with_numpy(cells: NDArray[np.uint8]) -> NDArray[np.uint8]:
    # Works on words of 8 bytes, read so that the first byte is the lowest.
    rows, width = cells.shape
    padded = np.zeros((rows, -(-width // 8) * 8), np.uint8)
    padded[:, :width] = cells
    alive = np.full(rows, ~np.uint64(0))
    for word in padded.view("<u8").T:
        # Marks the lowest zero byte exactly (and perhaps some above it); keep is all ones if there is none.
        zero = (word - np.uint64(0x0101010101010101)) & ~word & np.uint64(0x8080808080808080)
        keep = ((zero & -zero) >> np.uint64(7)) - np.uint64(1)
        word &= keep & alive
        alive[zero != 0] = 0
    return np.ascontiguousarray(padded[:, :width])
