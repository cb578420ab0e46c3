"""A tool's rows on a terminal, and as lines of JSON."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any, TextIO

from .. import formatting

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

_WIDEST = 60  # characters of a value on a terminal, but in the last column
_LONGEST = 1 << 16
_USUAL = {"comm": 15, "pid": 7}  # characters that columns get at least, for rows that are still to come


def write(out: TextIO, text: str) -> None:
    r"""Write text to a file whole and at once, whatever signals come meanwhile.

    Python's own buffers lose what is left of a large text when a signal interrupts a write to a full pipe (seen with
    CPython 3.11, where the handler returns and the write goes on with what comes next).

    Examples
    --------
    >>> write(sys.stdout, "a line\n")
    """
    try:
        descriptor = out.fileno()
    except (AttributeError, OSError):  # a file in memory
        out.write(text)
        return
    out.flush()
    left = memoryview(text.encode(out.encoding or "utf-8", "backslashreplace"))
    while left:
        left = left[os.write(descriptor, left) :]


class JsonLines:
    """A line of JSON for each row, as jq and pandas.read_json(lines=True) take them.

    Times are UTC in ISO 8601 with nanoseconds, durations whole nanoseconds, bytes hexadecimal; what is missing is null.

    Examples
    --------
    >>> JsonLines(sys.stdout).rows(frame)
    {"time": "2026-11-22T10:12:01.117000000Z", "pid": 4711, "comm": "cat"}
    """

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def rows(self, frame: pd.DataFrame, stream: str = "") -> None:
        """Write rows; with a stream's name, where there are several."""
        names = [str(name) for name in frame.columns]
        columns = [_plain(frame.iloc[:, place]) for place in range(len(names))]
        head = {"stream": stream} if stream else {}
        lines = [json.dumps({**head, **dict(zip(names, row, strict=True))}) for row in zip(*columns, strict=True)]
        if lines:
            write(self._out, "\n".join(lines) + "\n")

    def again(self) -> None:
        """Begin anew; every line says itself what it is."""

    def totals(self, totals: Mapping[str, Any]) -> None:
        """Write the last line."""
        write(self._out, json.dumps({"totals": dict(totals)}) + "\n")


class Rows:
    """Rows below one head, in columns that keep their places while rows come in.

    Examples
    --------
    >>> Rows(sys.stdout, sys.stderr).rows(frame)
    """

    def __init__(self, out: TextIO, notes: TextIO) -> None:
        self._out, self._notes = out, notes
        self._widest = _WIDEST if out.isatty() else None  # a file or another program gets all of it
        self._widths: dict[tuple[str, ...], list[int]] = {}
        self._last: tuple[str, ...] = ()

    def rows(self, frame: pd.DataFrame, stream: str = "") -> None:
        """Write rows; the head again where the columns are others than those of the rows before."""
        if frame.empty:
            return
        names = tuple(str(name) for name in frame.columns)
        last = len(names) - 1  # the terminal's own affair
        columns = [
            [_shown(value, None if place == last else self._widest) for value in frame.iloc[:, place]]
            for place in range(len(names))
        ]
        widths = self._widths.setdefault(
            names,
            [max(_USUAL.get(name, 6), len(name), *map(len, cells)) for name, cells in zip(names, columns, strict=True)],
        )
        right = [kind.kind in "iufm" for kind in frame.dtypes]
        lines: list[str] = []
        if (stream, *names) != self._last:
            self._last = (stream, *names)
            lines += [f"# {stream}"] if stream else []
            lines.append(_line(names, widths, right))
        lines += [_line(row, widths, right) for row in zip(*columns, strict=True)]
        write(self._out, "".join(f"{line}\n" for line in lines))

    def again(self) -> None:
        """Begin anew: what follows are the same rows as they are now."""
        if self._last:
            write(self._out, "\n")
        self._widths, self._last = {}, ()

    def totals(self, totals: Mapping[str, Any]) -> None:
        """Write the totals, apart from the rows."""
        shown = ", ".join(f"{name} {formatting.number(value)}" for name, value in totals.items() if value is not None)
        self._notes.write(f"{shown}\n")
        self._notes.flush()


def _line(cells: Sequence[str], widths: list[int], right: list[bool]) -> str:
    found = zip(cells, widths, right, strict=True)
    return "  ".join(cell.rjust(width) if at_right else cell.ljust(width) for cell, width, at_right in found).rstrip()


def _shown(value: Any, widest: int | None) -> str:
    found = formatting.shown(value, _LONGEST)
    text = "" if found is None else formatting.number(found) if isinstance(found, float) else str(found)
    if widest is None or len(text) <= widest:
        return text
    # Of a stack the functions that ran, not those that all stacks have in common.
    return f"…{text[1 - widest :]}" if ";" in text else f"{text[: widest - 1]}…"


def _plain(column: pd.Series[Any]) -> list[Any]:
    # A column as what JSON has; whole columns at a time, as a tool may write thousands of rows a second.
    import numpy as np
    import pandas as pd

    kind = getattr(column.dtype, "kind", "O")
    if isinstance(column.dtype, pd.CategoricalDtype):
        names = [*_plain(column.cat.categories.to_series()), None]  # code -1 is a missing value
        return [names[code] for code in column.cat.codes]
    if kind == "M":
        times = column.dt.tz_convert(None) if getattr(column.dtype, "tz", None) else column
        texts = np.datetime_as_string(times.to_numpy(), unit="ns")
        return [None if text == "NaT" else f"{text}Z" for text in texts.tolist()]
    if kind == "m":
        values: list[Any] = column.astype("timedelta64[ns]").to_numpy().astype(np.int64).tolist()
    else:
        values = [_value(value) for value in column.tolist()]
    return [None if missing else value for value, missing in zip(values, column.isna().tolist(), strict=True)]


def _value(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, (tuple, list)):
        return [_value(each) for each in value]
    if hasattr(value, "tolist"):
        return _value(value.tolist())
    if isinstance(value, float) and value in (float("inf"), float("-inf")):
        return None
    return value if isinstance(value, (str, int, float, bool)) or value is None else str(value)
