"""Columns of a frame as the texts that tables show, and what kind each column is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..formatting import number, shown, time_span

if TYPE_CHECKING:
    import pandas as pd

WIDEST = 160  # characters of a cell: a path, the functions of a stack
_WHOLE = 4096  # of a text that is looked through
_KINDS = {"b": "bool", "M": "time", "m": "duration", **dict.fromkeys("iuf", "number")}


class Column(NamedTuple):
    """A column of a table: its name, and ``number``, ``text``, ``time``, ``duration`` or ``bool``."""

    name: str
    kind: str


def columns_of(frame: pd.DataFrame) -> tuple[Column, ...]:
    """Return the columns of a frame, each with its kind, which its dtype tells."""
    return tuple(Column(str(name), kind_of(frame[name])) for name in frame.columns)


def kind_of(series: pd.Series[Any]) -> str:
    """Return what a column is: ``number``, ``text``, ``time``, ``duration`` or ``bool``."""
    return _KINDS.get(getattr(series.dtype, "kind", "O"), "text")


def cell(value: Any) -> str:
    """Return a value as :mod:`ebpflab.formatting` shows it in tables, whole, and times without their date."""
    text = number(shown(value, _WHOLE))
    return text.partition(" ")[2] or text if hasattr(value, "isoformat") else text


def cut(text: str, widest: int = WIDEST) -> str:
    """Return the text with at most `widest` characters; ``…`` stands for the rest."""
    return text if len(text) <= widest else f"{text[: widest - 1]}…"


def cells_of(frame: pd.DataFrame, widest: int = WIDEST) -> tuple[tuple[str, ...], ...]:
    """Return the rows of a frame as texts, each of at most `widest` characters."""
    columns = [[cut(text, widest) for text in texts(frame[name])] for name in frame.columns]
    return tuple(zip(*columns, strict=True)) if columns else ()


def texts(series: pd.Series[Any]) -> list[str]:
    """Return every value of a column as :func:`cell` does, many at once."""
    kind, dtype = kind_of(series), series.dtype
    if hasattr(series, "cat"):
        codes, names = distinct(series)
        return [names[code] for code in codes.tolist()]
    if kind == "time":
        return _times_of_day(times(series))
    if kind == "duration":
        return _spans(durations(series))
    if isinstance(dtype, np.dtype) and dtype.kind in "iu":
        return list(map(str, series.tolist()))
    if isinstance(dtype, np.dtype) and dtype.kind == "f":
        with np.errstate(invalid="ignore"):  # a signalling NaN is no number either
            return _numbers(series.to_numpy().astype(np.float64))
    if kind == "number":  # whole ones, of which some are missing
        there = series.notna().to_numpy()
        found = np.full(len(series), number(None), object)
        found[there] = list(map(str, series[there].tolist()))
        return list(found.tolist())
    return [cell(value) for value in series.tolist()]


def _times_of_day(values: NDArray[np.datetime64]) -> list[str]:
    # The end of ISO 8601 in milliseconds: 2026-01-31T12:34:56.789.
    wide = values.astype("datetime64[ms]").astype("U23")
    letters = np.ascontiguousarray(wide.view("U1").reshape(len(wide), 23)[:, 11:])
    found = np.where(np.isnat(values), number(None), letters.view("U12").reshape(len(wide)))
    return list(found.tolist())


def _numbers(values: NDArray[np.float64]) -> list[str]:
    # What formatting.number() gives, without a call for each.
    large, missing = np.abs(values) >= 100, np.isnan(values)
    if missing.any():
        return list(map(number, values.tolist()))
    return [f"{v:,.0f}" if big else f"{v:.3g}" for v, big in zip(values.tolist(), large.tolist(), strict=True)]


def _spans(values: NDArray[np.int64]) -> list[str]:
    # What formatting.time_span() gives: of each unit all at once.
    seconds, texts = values / 1e9, np.empty(len(values), object)
    left = values != np.iinfo(np.int64).min
    texts[~left] = number(None)
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        mine = left & (np.abs(seconds) >= size)
        texts[mine] = [f"{text} {unit}" for text in _numbers(seconds[mine] / size)]
        left &= ~mine
    texts[left] = list(map(time_span, seconds[left].tolist()))
    return list(texts.tolist())


def distinct(series: pd.Series[Any]) -> tuple[NDArray[np.int64], list[str]]:
    """Return a categorical column as places in a list of texts; the last of these is that of missing values."""
    codes = series.cat.codes.to_numpy().astype(np.int64)
    used, places = np.unique(codes, return_inverse=True)
    names = series.cat.categories.take(used[used >= 0]).tolist()
    if len(used) and used[0] < 0:  # the missing ones came first
        return np.where(codes < 0, len(names), places - 1), [*map(cell, names), cell(None)]
    return places.astype(np.int64), [*map(cell, names), cell(None)]


def times(series: pd.Series[Any]) -> NDArray[np.datetime64]:
    """Return a column of times as UTC, in nanoseconds, without a zone."""
    if getattr(series.dtype, "tz", None) is not None:
        series = series.dt.tz_convert("UTC").dt.tz_localize(None)
    return series.to_numpy().astype("datetime64[ns]")


def durations(series: pd.Series[Any]) -> NDArray[np.int64]:
    """Return a column of durations in nanoseconds; a missing one is the lowest number."""
    return series.to_numpy().astype("timedelta64[ns]").astype(np.int64)
