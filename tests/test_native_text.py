"""Cutting texts at their first NUL, in C and in numpy, against bytes.partition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ebpflab._native.text import cutter

KINDS = ("c", "numpy")


def rows_of(width):
    few = st.sampled_from([0, 0, 1, 65, 127, 128, 129, 254, 255])
    return st.lists(st.lists(few, min_size=width, max_size=width).map(bytes), min_size=0, max_size=23)


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None)  # the first one compiles the library
@given(data=st.data(), width=st.integers(1, 41), before=st.integers(0, 9), after=st.integers(0, 9))
def test_each_text_ends_at_its_first_nul_wherever_it_lies_in_the_record(kind, data, width, before, after):
    rows = data.draw(rows_of(width))
    raw = np.full((len(rows), before + width + after), 0xEE, np.uint8)
    cells = raw[:, before : before + width]
    cells[:] = np.frombuffer(b"".join(rows), np.uint8).reshape(-1, width)
    cut = cutter(kind)(cells)
    assert [row.tobytes() for row in cut] == [row.partition(b"\0")[0].ljust(width, b"\0") for row in rows]
    assert cut.flags["C_CONTIGUOUS"]
    assert cut.shape == cells.shape
    assert (raw[:, :before] == 0xEE).all()
    assert b"".join(row.tobytes() for row in cells) == b"".join(rows)


@pytest.mark.parametrize("kind", KINDS)
def test_bytes_that_lie_apart_are_cut_too(kind):
    cells = np.frombuffer(b"a-b-\0-c-", np.uint8).reshape(1, 8)[:, ::2]
    assert cutter(kind)(cells).tobytes() == b"ab\0\0"
