"""How a column is shown: what it becomes in a DataFrame, and in an Arrow table.

A rule presents its values as one of three things: a numpy array, a :class:`Coded` column of texts, or an Arrow array
for what numpy has no type for. Both :func:`to_pandas` and :func:`to_arrow` start from there, so that they agree.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[Any]


@dataclass(frozen=True)
class Coded:
    """A dictionary-coded column: row ``i`` shows ``texts[codes[i]]``; no text is there twice."""

    codes: Array
    texts: tuple[str, ...]

    @classmethod
    def of(cls, codes: Array, texts: Sequence[str], known: Iterable[str] = ()) -> Coded:
        """Return a column whose distinct texts are *known*, in their order, and then what else *texts* holds.

        Parameters
        ----------
        codes
            For each row its place in *texts*, in which a text may be there several times.
        """
        places = {text: place for place, text in enumerate(dict.fromkeys(known))}
        merged = [places.setdefault(text, len(places)) for text in texts]
        narrow = np.array(merged, dtype=np.min_scalar_type(-len(places) - 1))
        return cls(narrow[codes], tuple(places))


def coded_numbers(values: Array, name: Callable[[Any], str], *, by_number: bool = False) -> Coded:
    """Return numbers as texts; *name* is called once for each distinct number.

    Parameters
    ----------
    by_number
        Order the distinct texts by their numbers rather than by the alphabet.
    """
    codes, distinct = distinct_numbers(values)
    texts = [name(number) for number in distinct.tolist()]
    ordered = [texts[place] for place in np.argsort(distinct)] if by_number else sorted(texts)
    return Coded.of(codes, texts, ordered)


def coded_bytes(values: Array, name: Callable[[bytes], str], *, by_number: bool = False) -> Coded:
    """Return rows of bytes, uint8 of shape (rows, width) or ``S<width>``, as texts; see :func:`coded_numbers`."""
    codes, distinct = distinct_bytes(values)
    texts = [name(item) for item in distinct]
    ordered = [text for _, text in sorted(zip(distinct, texts, strict=True))] if by_number else sorted(texts)
    return Coded.of(codes, texts, ordered)


def distinct_numbers(values: Array) -> tuple[Array, Array]:
    """Return the place of every value among the distinct ones, and those in order of appearance."""
    import pandas as pd

    codes, distinct = pd.factorize(values)
    return codes, distinct


def distinct_pairs(first: Array, second: Array) -> tuple[Array, Array, Array]:
    """Return the place of every pair among the distinct ones, and both halves of those."""
    firsts, of_first = distinct_numbers(first)
    seconds, of_second = distinct_numbers(second)
    width = max(1, len(of_second))
    codes, pairs = distinct_numbers(firsts * width + seconds)
    return codes, of_first[pairs // width], of_second[pairs % width]


def distinct_bytes(values: Array) -> tuple[Array, list[bytes]]:
    """Return the place of every row of bytes among the distinct ones, and those in order of appearance."""
    pa = _pyarrow()
    encoded = fixed_binary(values).dictionary_encode()  # exact, and no Python object per row
    width = encoded.dictionary.type.byte_width
    # Not as S<width>: numpy drops NULs at the end of those, which are part of an address.
    data = pa.py_buffer(encoded.dictionary.buffers()[1] or b"").to_pybytes()
    start = encoded.dictionary.offset * width
    distinct = [data[i : i + width] for i in range(start, start + len(encoded.dictionary) * width, width)]
    return encoded.indices.to_numpy(), distinct


def fixed_binary(values: Array) -> Any:
    """Return rows of bytes as an Arrow array of fixed-size binary, which shares their memory."""
    pa = _pyarrow()
    width = values.dtype.itemsize if values.ndim == 1 else values.shape[1]
    buffers = [None, pa.py_buffer(np.ascontiguousarray(values))]
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(width), len(values), buffers)


def fixed_lists(values: Array) -> Any:
    """Return an array of several dimensions as an Arrow array of fixed-size lists."""
    pa = _pyarrow()
    lists = pa.array(values.reshape(-1))
    for length in reversed(values.shape[1:]):
        lists = pa.FixedSizeListArray.from_arrays(lists, length)
    return lists


def to_pandas(shown: Any) -> Any:
    """Return what a DataFrame takes as the column: times are UTC, texts categorical."""
    import pandas as pd

    if isinstance(shown, Coded):
        return pd.Categorical.from_codes(shown.codes, categories=pd.Index(list(shown.texts), dtype="str"))
    if not isinstance(shown, np.ndarray):
        pa = _pyarrow()
        # pandas writes the size of fixed-size binary into Parquet files, and cannot read those.
        fixed = pa.types.is_fixed_size_binary(shown.type)
        return pd.arrays.ArrowExtensionArray(shown.cast(pa.large_binary()) if fixed else shown)
    if shown.dtype.kind != "M":
        return shown
    # As numbers they are UTC already; tz_localize() would copy them twice.
    return pd.DatetimeIndex(shown.view(np.int64), dtype="datetime64[ns, UTC]", copy=False)


def to_arrow(shown: Any) -> Any:
    """Return the column as an Arrow array: times are UTC, texts dictionary-coded."""
    pa = _pyarrow()
    if isinstance(shown, Coded):
        # Signed 32-bit codes, as Arrow's own encoder makes them: not every reader takes others.
        return pa.DictionaryArray.from_arrays(shown.codes.astype(np.int32), pa.array(shown.texts, pa.large_string()))
    if not isinstance(shown, np.ndarray):
        return shown
    if shown.dtype.kind in "mM":  # looked through for NaT here, since Arrow takes several times as long
        kind, missing = pa.timestamp("ns", "UTC") if shown.dtype.kind == "M" else pa.duration("ns"), np.isnat(shown)
        return pa.array(shown.view(np.int64), mask=missing if missing.any() else None).view(kind)
    return pa.array(shown)


def pandas_metadata(frame: pd.DataFrame) -> dict[bytes, bytes]:
    """Return what an Arrow schema says to be read as a frame of these dtypes.

    The format is pandas' own (its developer guide, "Storing pandas DataFrame objects in Apache Parquet format").
    """
    pa = _pyarrow()
    words = json.loads(pa.Schema.from_pandas(frame).metadata[b"pandas"])
    for column in words["columns"]:
        if column["numpy_type"].startswith("fixed_size_list<"):  # pandas writes this name, and cannot read it
            column["numpy_type"] = "object"
    return {b"pandas": json.dumps(words).encode()}


def _pyarrow() -> Any:
    # It has no types, and is slow to import: only making a frame needs it.
    import pyarrow

    return pyarrow
