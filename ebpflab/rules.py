"""How the bytes of one column become values, and values a pandas column: one :class:`Rule` for each kind of field.

:data:`MEANINGS` is the table to extend when a typedef is to mean something: it maps the typedef's name to a
function from the plain rule to a better one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .btf import Type

Array = NDArray[Any]
Cells = NDArray[np.uint8]  # (rows, bytes of one column)
Clock = NDArray[np.int64]  # (rows,): nanoseconds from CLOCK_MONOTONIC to UTC


@dataclass(frozen=True)
class Rule:
    """How one column is decoded and shown.

    Attributes
    ----------
    kind
        One word for it: number, bool, enum, text, bytes, list, time or duration.
    dtype, shape
        Of the decoded values: native byte order, and the shape that one row has.
    read
        Takes bytes (rows, size of the column) and clock offsets (rows,), gives values (may be a view).
    present
        Takes all values, gives what a DataFrame accepts as a column.
    """

    kind: str
    dtype: np.dtype[Any]
    read: Callable[[Cells, Clock], Array]
    present: Callable[[Array], Any] = lambda values: values
    shape: tuple[int, ...] = ()


def number(source: np.dtype[Any]) -> Rule:
    if source.kind == "b":  # any byte but 0 is true
        return Rule("bool", source, lambda cells, _: cells[:, 0] != 0)
    return Rule("number", source.newbyteorder("="), lambda cells, _: cells.view(source)[:, 0])


def numbers(source: np.dtype[Any], shape: tuple[int, ...]) -> Rule:
    def read(cells: Cells, _: Clock) -> Array:
        flat = cells != 0 if source.kind == "b" else cells.view(source)
        return flat.reshape(len(cells), *shape)

    return Rule("list", source.newbyteorder("="), read, _fixed_lists, shape)


def bitfield(dtype: np.dtype[Any], shift: int, bits: int, big_endian: bool) -> Rule:
    # The bytes are one number of up to 72 bits, and shift counts from its lowest bit. Bits that a 64-bit word
    # loses on the left are above the field: shift is below 8 and the field has 64 bits at most.
    def read(cells: Cells, _: Clock) -> Array:
        value = np.zeros(len(cells), np.uint64)
        for i, byte in enumerate((cells[:, ::-1] if big_endian else cells).T):
            place = 8 * i - shift
            wide = byte.astype(np.uint64)
            value |= wide << np.uint64(place) if place >= 0 else wide >> np.uint64(-place)
        value &= np.uint64((1 << bits) - 1)
        if dtype.kind == "i":
            sign = np.uint64(1 << (bits - 1))
            value = (value ^ sign) - sign
        return value.astype(dtype)

    return Rule("bool" if dtype.kind == "b" else "number", dtype.newbyteorder("="), read)


def enum(number: Rule, core: Type, bits: int) -> Rule:
    # Enumerators are cut to the bits that a value has, since old compilers write -1 as 4294967295.
    mask, sign = (1 << bits) - 1, 1 << (bits - 1) if number.dtype.kind == "i" else 0
    names: dict[int, str] = {}
    for name, value in core.values:
        names.setdefault(((value & mask) ^ sign) - sign, name)  # of two names for a number, the first

    def present(values: Array) -> Any:
        import pandas as pd

        codes, distinct = pd.factorize(values)
        return _categorical(codes, [names.get(n, str(n)) for n in distinct.tolist()], names.values())

    return replace(number, kind="enum", present=present)


def text(width: int) -> Rule:
    def read(cells: Cells, _: Clock) -> Array:
        return _cut_at_nul(cells).view(f"S{width}")[:, 0]

    return Rule("text", np.dtype(f"S{width}"), read, _text_categorical)


def octets(width: int) -> Rule:
    return Rule("bytes", np.dtype(np.uint8), lambda cells, _: cells, _fixed_binary, (width,))


def _time(rule: Rule) -> Rule | None:
    def read(cells: Cells, clock: Clock) -> Array:
        ticks = rule.read(cells, clock)
        utc = ticks.astype(np.int64) + clock
        utc[ticks == 0] = np.iinfo(np.int64).min  # a time that was never set: NaT
        return utc.view("M8[ns]")

    def present(values: Array) -> Any:
        import pandas as pd

        return pd.DatetimeIndex(values).tz_localize("UTC")

    return replace(rule, kind="time", dtype=np.dtype("M8[ns]"), read=read, present=present) if _wide(rule) else None


def _duration(rule: Rule) -> Rule | None:
    def read(cells: Cells, clock: Clock) -> Array:
        # Unsigned differences that went below 0 come out as the negative durations that they are.
        return rule.read(cells, clock).astype(np.int64).view("m8[ns]")

    return replace(rule, kind="duration", dtype=np.dtype("m8[ns]"), read=read) if _wide(rule) else None


def _wide(rule: Rule) -> bool:
    return rule.kind == "number" and rule.dtype in (np.int64, np.uint64)


#: What the name of a typedef says about its values. A meaning takes the rule of the bare type (that of bytes
#: for a struct) and returns a better one, or None if a type of that shape cannot mean it.
MEANINGS: dict[str, Callable[[Rule], Rule | None]] = {
    "ktime_t": _time,  # nanoseconds of CLOCK_MONOTONIC, as bpf_ktime_get_ns() returns
    "duration_t": _duration,  # nanoseconds
}


def _cut_at_nul(cells: Cells) -> Cells:
    # Clears every byte after a row's first NUL: there may be anything, since a ring buffer does not clear its
    # memory. Works on words of 8 bytes, read so that the first byte is the lowest.
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


def _text_categorical(values: Array) -> Any:
    pa = _pyarrow()
    width = values.dtype.itemsize
    cells = pa.FixedSizeBinaryArray.from_buffers(pa.binary(width), len(values), [None, pa.py_buffer(values)])
    encoded = cells.dictionary_encode()  # exact, and no Python object per row
    distinct = np.frombuffer(encoded.dictionary.buffers()[1], values.dtype, len(encoded.dictionary))
    texts = [text.decode("utf-8", "replace") for text in distinct.tolist()]
    return _categorical(encoded.indices.to_numpy(), texts, sorted(set(texts)))


def _categorical(codes: Array, texts: Sequence[str], known: Iterable[str]) -> Any:
    # Row i holds texts[codes[i]]. Texts may be equal (two invalid spellings); the known ones come first.
    import pandas as pd

    places = {text: place for place, text in enumerate(dict.fromkeys(known))}
    merged = [places.setdefault(text, len(places)) for text in texts]
    narrow = np.array(merged, dtype=np.min_scalar_type(-len(places) - 1))
    return pd.Categorical.from_codes(narrow[codes], categories=pd.Index(list(places), dtype="str"))


def _pyarrow() -> Any:
    # It has no types, and is slow to import: only making a frame needs it.
    import pyarrow

    return pyarrow


def _fixed_binary(values: Array) -> Any:
    import pandas as pd

    pa = _pyarrow()
    buffers = [None, pa.py_buffer(values)]
    cells = pa.FixedSizeBinaryArray.from_buffers(pa.binary(values.shape[1]), len(values), buffers)
    return pd.arrays.ArrowExtensionArray(cells)


def _fixed_lists(values: Array) -> Any:
    import pandas as pd

    pa = _pyarrow()
    lists = pa.array(values.reshape(-1))
    for length in reversed(values.shape[1:]):
        lists = pa.FixedSizeListArray.from_arrays(lists, length)
    return pd.arrays.ArrowExtensionArray(lists)
