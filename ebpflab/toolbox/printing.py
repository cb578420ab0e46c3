"""A tool's rows on a terminal, and as lines of JSON."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TextIO

from .. import formatting

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

_WIDEST = 60  # characters of a value; a terminal cuts the last column itself
_NARROWEST = 6


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
            self._out.write("\n".join(lines) + "\n")
            self._out.flush()

    def totals(self, totals: Mapping[str, Any]) -> None:
        """Write the last line."""
        self._out.write(json.dumps({"totals": dict(totals)}) + "\n")
        self._out.flush()


class Rows:
    """Rows below one head, in columns that keep their places while rows come in.

    Examples
    --------
    >>> Rows(sys.stdout, sys.stderr).rows(frame)
    """

    def __init__(self, out: TextIO, notes: TextIO) -> None:
        self._out, self._notes = out, notes
        self._widths: dict[tuple[str, ...], list[int]] = {}
        self._last: tuple[str, ...] = ()

    def rows(self, frame: pd.DataFrame, stream: str = "") -> None:
        """Write rows; the head again where the columns are others than those of the rows before."""
        if frame.empty:
            return
        names = tuple(str(name) for name in frame.columns)
        columns = [[_shown(value) for value in frame.iloc[:, place]] for place in range(len(names))]
        widths = self._widths.setdefault(
            names, [max(_NARROWEST, len(name), *map(len, cells)) for name, cells in zip(names, columns, strict=True)]
        )
        right = [kind.kind in "iufm" for kind in frame.dtypes]
        if (stream, *names) != self._last:
            self._last = (stream, *names)
            self._line([f"# {stream}"] if stream else [], [0], [False])
            self._line(list(names), widths, right)
        for row in zip(*columns, strict=True):
            self._line(list(row), widths, right)
        self._out.flush()

    def totals(self, totals: Mapping[str, Any]) -> None:
        """Write the totals, apart from the rows."""
        shown = ", ".join(f"{name} {formatting.number(value)}" for name, value in totals.items() if value is not None)
        self._notes.write(f"{shown}\n")
        self._notes.flush()

    def _line(self, cells: list[str], widths: list[int], right: list[bool]) -> None:
        if cells:
            found = zip(cells, widths, right, strict=True)
            line = "  ".join(cell.rjust(width) if at_right else cell.ljust(width) for cell, width, at_right in found)
            self._out.write(line.rstrip() + "\n")


def _shown(value: Any) -> str:
    if isinstance(value, str) and ";" in value and len(value) > _WIDEST:
        value = f"…{value[1 - _WIDEST :]}"  # of a stack the functions that ran, not those that all have in common
    found = formatting.shown(value, _WIDEST)
    return "" if found is None else formatting.number(found) if isinstance(found, float) else str(found)


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
