"""Turn the raw bytes of records into typed columns: BTF struct -> numpy dtype -> columns -> DataFrame or Arrow.

:meth:`RecordType.decode` gives plain numpy arrays, :func:`to_frame` the pandas types that people expect, and
:func:`to_arrow` the same as an Arrow table (a categorical is a dictionary there):

===========================  ==================================  ===============================
C                            decoded (numpy)                     in the frame (pandas)
===========================  ==================================  ===============================
integer, float, bool         same width and sign                 the same
pointer                      uint64                              the same
bitfield                     its declared type                   the same
enum                         its number                          categorical of names
``char[N]``                  ``S<N>``, cut at the first NUL      categorical of str
``unsigned char[N]``         uint8, (rows, N)                    Arrow binary
array of up to 16            one column each: ``x[0]``, ...      by the element's rule
longer array of numbers      (rows, length, ...)                 Arrow fixed-size list
longer array of others       uint8, (rows, bytes)                Arrow binary
struct, union                ``a.b``; anonymous ones inlined     by the member's rule
128-bit integer              ``x.lo``, ``x.hi``                  two 64-bit integers
``ktime_t``                  datetime64[ns], 0 is NaT            datetime64[ns, UTC]
``duration_t``               timedelta64[ns]                     the same
``ipv4_t``, ``in_addr``      uint32 in host order                categorical: ``10.0.0.1``
``ipv6_t``, ``in6_addr``     uint8, (rows, 16)                   categorical: ``2001:db8::1``
``mac_t``                    uint8, (rows, 6)                    categorical: ``02:00:5e:10:00:01``
``port_t``                   uint16 in host order                the same
``errno_t``                  its number                          categorical: ``ENOENT``, 0 is ``OK``
``syscall_t``                its number                          categorical: ``openat``
``signal_t``                 its number                          categorical: ``SIGKILL``
``kernel_stack_t``,          its number                          categorical: ``main;read``, root first;
``user_stack_t``                                                 for an error its name, ``[EEXIST]``
``ksym_t``, ``usym_t``       its number                          categorical: ``vfs_read+0x1f``
===========================  ==================================  ===============================

Arrays of ``char[N]`` or ``unsigned char[N]`` get one column per element whatever their length; elements of a
longer array are plain numbers, without names or units. Flexible arrays and empty structs have no column.

A number without a name is shown as a number. A ``port_t`` has to be a ``__be16``, as the prelude's is: others that
define this name may mean host order. Stacks and symbols take a :class:`~ebpflab.rules.Lookup`, and are plain
numbers without one. The process of a user stack or symbol is that of the record's first integer column ``tgid``, or
else ``pid`` (also as a member: ``task.pid``).
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from . import rules, shown
from .btf import Btf, Kind
from .columns import Column as Column
from .columns import Layout, joined
from .errors import DecodeError
from .rules import Clock, Lookup
from .shown import Array

if TYPE_CHECKING:
    import pandas as pd

ClockOffset = int | Clock

_MAX_SIZE = 1 << 30  # bytes of a record: no ring buffer takes a larger one
_BLOCK = 1 << 20  # bytes decoded at a time: every column of a block is read while it is in the cache


@dataclass(frozen=True)
class RecordType:
    """What one record of a stream (or one key or value of a map) is made of.

    Attributes
    ----------
    name
        As C has it: ``struct event``.
    size
        In bytes.
    dtype
        The structured numpy dtype with every offset as C has it; a bitfield is the bytes that it lies in.
    columns
        What a record becomes; a type that is not a struct has the one column ``value``.
    """

    name: str
    size: int
    dtype: np.dtype[Any]
    columns: tuple[Column, ...]

    @classmethod
    def from_btf(cls, btf: Btf, type_id: int) -> RecordType:
        """Lay out a type for decoding.

        Raises
        ------
        DecodeError
            The type has no size, or one that no record can have, or BTF contradicts itself about it.

        >>> event = RecordType.from_btf(btf, btf.find("event", Kind.STRUCT).id)
        >>> [c.name for c in event.columns]
        ['ts', 'pid', 'comm']
        """
        *names, core = btf.chain(type_id)
        named = next((t for t in names if t.kind is Kind.TYPEDEF), core)
        name, size = btf.c_type(named.id), btf.sizeof(type_id)
        if not 0 < size <= _MAX_SIZE:
            raise DecodeError(f"{name} of {size} bytes cannot be a record.")
        layout = Layout(btf)
        columns = layout.columns(type_id)
        if core.kind not in (Kind.STRUCT, Kind.UNION):
            columns = tuple(replace(c, name=joined("value", c.name)) for c in columns)
        if len({c.name for c in columns}) < len(columns):
            raise DecodeError(f"{name} has two columns of one name.")
        return cls(name, size, layout.dtype(type_id), columns)

    @property
    def has_stacks(self) -> bool:
        """Whether some columns are stack ids, for which :func:`remember` has work to do."""
        return any(c.rule.reference is not None and c.rule.reference.what == "stack" for c in self.columns)

    def decode(self, raw: NDArray[np.uint8], clock_offset: ClockOffset = 0) -> dict[str, Array]:
        """Return the columns of some records as numpy arrays of their own, never views of *raw*.

        Parameters
        ----------
        raw
            The bytes of the records: uint8, shape (rows, ``size``).
        clock_offset
            Nanoseconds to add to CLOCK_MONOTONIC for UTC: one number or one per row.

        Raises
        ------
        DecodeError
            The bytes do not have that shape.
        """
        return _decode(self, [(raw, clock_offset)])


Chunks = Sequence[tuple[NDArray[np.uint8], ClockOffset]]


def to_frame(record_type: RecordType, chunks: Chunks, lookup: Lookup | None = None) -> pd.DataFrame:
    """Return the records of all chunks, in order, as one typed DataFrame.

    Parameters
    ----------
    record_type
        What the records are.
    chunks
        Pairs of bytes and clock offset, as :meth:`RecordType.decode` takes them.
    lookup
        What their numbers stand for: stacks and symbols.

    Examples
    --------
    >>> to_frame(event, [(raw, 0)]).groupby("comm", observed=True).size()
    """
    import pandas as pd

    rows = sum(len(raw) for raw, _ in chunks)
    columns = {name: shown.to_pandas(column) for name, column in _present(record_type, chunks, lookup)}
    return pd.DataFrame(columns, index=pd.RangeIndex(rows), copy=False)


def to_arrow(record_type: RecordType, chunks: Chunks, lookup: Lookup | None = None) -> Any:
    """Return the records of all chunks, in order, as a ``pyarrow.Table``.

    Written to Parquet and read by pandas, it is the frame that :func:`to_frame` makes, but for longer arrays of
    numbers: pandas reads lists as objects.

    Parameters
    ----------
    record_type, chunks, lookup
        As in :func:`to_frame`.

    Examples
    --------
    >>> pyarrow.parquet.write_table(to_arrow(event, [(raw, 0)]), "events.parquet")
    """
    import pyarrow as pa

    table = pa.table({name: shown.to_arrow(column) for name, column in _present(record_type, chunks, lookup)})
    return table.replace_schema_metadata(_metadata(record_type))


@functools.lru_cache(maxsize=64)
def _metadata(record_type: RecordType) -> dict[bytes, bytes]:
    return shown.pandas_metadata(to_frame(record_type, []))


def remember(record_type: RecordType, raw: NDArray[np.uint8], lookup: Lookup) -> None:
    """Have *lookup* keep what the stack ids of some records stand for; cheap for records that have none.

    To be called soon after the records arrived: a process may exit, and its addresses then mean nothing.

    Parameters
    ----------
    raw
        The bytes of the records: uint8, shape (rows, ``size``).
    """
    clock = np.zeros(len(raw), np.int64)
    for column in record_type.columns:
        reference = column.rule.reference
        if reference is not None and reference.what == "stack" and len(raw):
            process = _process_column(record_type) if reference.space == "user" else None
            pids = None if process is None else _read(process, raw, clock)
            _, distinct, owners = _distinct(_read(column, raw, clock), pids)
            lookup.remember(reference.space, rules.stack_ids(distinct), owners)


def _present(record_type: RecordType, chunks: Chunks, lookup: Lookup | None) -> Iterator[tuple[str, Any]]:
    values = _decode(record_type, chunks)
    process = _process_column(record_type)
    pids = values[process.name] if process else None
    for column in record_type.columns:
        # Each column is handed over as it is presented, so that its decoded form can go at once.
        plain = values.pop(column.name)
        if lookup is None or column.rule.reference is None:
            yield column.name, column.rule.present(plain)
        else:
            owners = pids if column.rule.reference.space == "user" else None
            codes, distinct, owners = _distinct(plain, owners)
            texts = rules.look_up(column.rule, distinct, owners, lookup)
            yield column.name, shown.Coded.of(codes, texts, sorted(texts))


def _distinct(values: Array, pids: Array | None) -> tuple[Array, Array, Array | None]:
    return (*shown.distinct_numbers(values), None) if pids is None else shown.distinct_pairs(values, pids)


def _process_column(record_type: RecordType) -> Column | None:
    integers = [c for c in record_type.columns if c.rule.kind == "number" and c.rule.dtype.kind in "iu"]
    found = (c for name in ("tgid", "pid") for c in integers if c.name.rpartition(".")[2] == name)
    return next(found, None)


def _decode(record_type: RecordType, chunks: Chunks) -> dict[str, Array]:
    for raw, _ in chunks:
        if raw.dtype != np.uint8 or raw.shape[1:] != (record_type.size,):
            raise DecodeError(
                f"Bytes of shape {raw.shape} and type {raw.dtype} are no records of {record_type.name}, "
                f"which has {record_type.size} bytes."
            )
    rows = sum(len(raw) for raw, _ in chunks)
    columns = record_type.columns
    values = {c.name: np.empty((rows, *c.rule.shape), c.rule.dtype) for c in columns}
    start = 0
    for block, clock in _blocks(chunks, max(1, _BLOCK // record_type.size)):
        stop = start + len(block)
        for c in columns:
            values[c.name][start:stop] = _read(c, block, clock)
        start = stop
    return values


def _read(column: Column, raw: NDArray[np.uint8], clock: Clock) -> Array:
    return column.rule.read(raw[:, column.offset : column.offset + column.size], clock)


def _blocks(
    chunks: Iterable[tuple[NDArray[np.uint8], ClockOffset]], rows: int
) -> Iterator[tuple[NDArray[np.uint8], Clock]]:
    for raw, clock_offset in chunks:
        clock = np.broadcast_to(np.asarray(clock_offset, dtype=np.int64), len(raw))
        for start in range(0, len(raw), rows):
            yield raw[start : start + rows], clock[start : start + rows]
