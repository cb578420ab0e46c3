"""What a BPF iterator writes, as a frame: records of a struct, or a table in text.

A program writes records with ``bpf_seq_write()`` and text with ``bpf_seq_printf()``
(``include/uapi/linux/bpf.h``, ``kernel/bpf/bpf_iter.c``).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from .btf import Btf, Kind
from .decode import RecordType, to_frame
from .errors import CellError, DecodeError
from .records import record_types
from .stream import monotonic_to_utc_offset

if TYPE_CHECKING:
    import pandas as pd

_SEQ_PRINTF, _SEQ_WRITE, _SEQ_PRINTF_BTF = 126, 127, 150  # helper numbers


def row_type(
    program: str, btf: Btf, structs: Sequence[str], wanted: str | None, calls: Collection[int]
) -> RecordType | None:
    """Return the struct that an iterator writes for a row, or None if it writes text.

    Parameters
    ----------
    program
        The program's name.
    btf
        The object's types.
    structs
        The structs that the cell defines: if it is only one, and the program only calls ``bpf_seq_write()``,
        that is its row.
    wanted
        The value of ``--event``, which decides if it is given.
    calls
        The numbers of the helpers that the program calls.

    Raises
    ------
    CellError
        `wanted` is no struct of the object.
    DecodeError
        The cell has several structs, and none is named.

    Examples
    --------
    >>> row_type("tasks", btf, ["row"], None, calls={127}).name
    'struct row'
    """
    if wanted is None and (_SEQ_WRITE not in calls or {_SEQ_PRINTF, _SEQ_PRINTF_BTF} & set(calls)):
        return None
    found = record_types(program, btf, _distinct(btf, structs), wanted).candidates
    if wanted is not None and (len(found) > 1 or found[0].field):
        what = f"--event {program}={wanted}: the rows of an iterator have one type, and no tag"
        raise CellError(what, hint=f"write --event {program}={wanted.partition(',')[0].partition(':')[0]}")
    if len(found) > 1:
        names = ", ".join(candidate.type.name for candidate in found)
        hint = f"name it: --event {program}=STRUCT (events={{'{program}': 'STRUCT'}} in Python)"
        raise DecodeError(f"the cell defines {names}: which one does {program} write?", hint=hint)
    return found[0].type if found else None


def _distinct(btf: Btf, names: Sequence[str]) -> list[str]:
    # A struct and a typedef of it are one; the first name stays.
    found: dict[int, str] = {}
    for name in names:
        if (known := btf.find(name, Kind.STRUCT, Kind.TYPEDEF)) is not None:
            found.setdefault(btf.strip(known.id).id, name)
    return list(found.values())


def frame(program: str, output: bytes, row: RecordType | None, names: Sequence[str] | None = None) -> pd.DataFrame:
    """Return an iterator's output as a frame.

    Parameters
    ----------
    program
        The program's name, for messages.
    output
        All that it wrote.
    row
        What its records are; None for text, whose columns are apart by blanks and whose last may hold some.
    names
        Names for the columns; the first line is then a row like the others. None: it has the names.

    Raises
    ------
    DecodeError
        The output is no whole number of records, or is no text.

    Examples
    --------
    >>> frame("tasks", b"1 systemd", None, names=["pid", "comm"])["pid"].tolist()
    [1]
    """
    return _table(program, output, names) if row is None else _records(program, output, row, names)


def _records(program: str, output: bytes, row: RecordType, names: Sequence[str] | None) -> pd.DataFrame:
    import numpy as np

    if len(output) % row.size:
        what = f"{program} wrote {len(output)} bytes, which is no whole number of {row.name} ({row.size} bytes each)"
        raise DecodeError(what, hint=f"write sizeof({row.name}) bytes for each row, or name another struct: --event")
    rows = np.frombuffer(output, np.uint8).reshape(-1, row.size)
    made = to_frame(row, [(rows, monotonic_to_utc_offset())])
    return made if names is None else made.set_axis(list(names), axis="columns")


def _table(program: str, output: bytes, names: Sequence[str] | None) -> pd.DataFrame:
    import pandas as pd

    if b"\0" in output:
        hint = f"name the struct of its rows: --event {program}=STRUCT (events={{'{program}': 'STRUCT'}} in Python)"
        raise DecodeError(f"{program} wrote records and not text", hint=hint)
    lines = [line for line in output.decode("utf-8", "replace").splitlines() if line.strip()]
    head = list(names) if names is not None else lines.pop(0).split() if lines else []
    cells = [line.strip().split(None, len(head) - 1) for line in lines]
    columns = [[row[at] if at < len(row) else None for row in cells] for at in range(len(head))]
    made = pd.concat([_column(values) for values in columns], axis="columns") if columns else pd.DataFrame()
    return made.set_axis(head, axis="columns")


def _column(values: list[str | None]) -> pd.Series:
    # Numbers where every value is one.
    import pandas as pd

    try:
        return pd.Series(pd.to_numeric(pd.Series(values, dtype=object)))
    except ValueError:
        return pd.Series(values, dtype=object)
