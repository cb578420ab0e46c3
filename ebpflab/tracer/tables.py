"""What bpftrace printed of a map, as a frame: its keys as columns with the names that the program gives them."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import DecodeError
from . import script
from .messages import Message
from .script import MapUse

if TYPE_CHECKING:
    import pandas as pd

_STATS = {"count", "average", "total"}
_WHOLE = re.compile(r"-?(?:0|[1-9]\d*)")
_NUMERIC = ("count", "sum", "min", "max", "avg", "number")
_LOWEST, _HIGHEST = -(2**63), 2**63 - 1
_INT = 2**31


def frame(message: Message, use: MapUse) -> pd.DataFrame:
    """Return what a message says of a map.

    Parameters
    ----------
    message
        Of one of the kinds ``map``, ``stats``, ``hist`` and ``tseries``.
    use
        What the program's text says of the map.

    Returns
    -------
    pandas.DataFrame
        A row for each key, with the key's columns and one that is called after the function (``count``, ``sum``,
        ``value`` if there is none), or ``count``, ``average`` and ``total``. Of a histogram a row for each bucket:
        ``low``, ``high`` (both belong to it) and ``count``. Of a time series a row for each interval.

    Raises
    ------
    DecodeError
        When the data is not of the form of its kind.

    Examples
    --------
    >>> frame(Message("map", "@n", {"1,bash": 17}), MapUse(("pid", "comm"), "count"))
       pid  comm  count
    0    1  bash     17
    """
    entries = _entries(message, use)
    try:
        rows = [_ROWS[message.kind](value, use) for _, value in entries]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DecodeError(f"{message.name}: bpftrace's {message.kind} has another form than expected") from error
    keys = [key for (key, _), own in zip(entries, rows, strict=True) for _ in own]
    columns = _key_columns(keys, use) if _keyed(message, use) else {}
    columns |= _value_columns([row for own in rows for row in own], message, use, taken=set(columns))
    import pandas as pd

    return pd.DataFrame(columns)


def _keyed(message: Message, use: MapUse) -> bool:
    if use.keys or not isinstance(message.data, dict):
        return bool(use.keys)
    return not (message.kind == "stats" and message.data.keys() >= _STATS)


def _entries(message: Message, use: MapUse) -> list[tuple[str, Any]]:
    if not _keyed(message, use):
        return [("", message.data)]
    if not isinstance(message.data, dict):
        raise DecodeError(f"{message.name} has keys, and bpftrace printed none of them")
    return list(message.data.items())


def _plain(value: Any, use: MapUse) -> list[dict[str, Any]]:
    return [{use.function if use.function not in ("", "number") else "value": value}]


def _stats(value: Any, use: MapUse) -> list[dict[str, Any]]:
    return (
        [{name: value[name] for name in ("count", "average", "total")}]
        if isinstance(value, dict)
        else _plain(value, use)
    )


def _buckets(value: Any, use: MapUse) -> list[dict[str, Any]]:
    buckets = [
        {"low": _whole(b.get("min", _LOWEST)), "high": _whole(b.get("max", _HIGHEST)), "count": _whole(b["count"])}
        for b in value
    ]
    return _widened(buckets) if use.function != "lhist" else buckets


def _widened(buckets: list[dict[str, Any]]) -> list[dict[str, Any]]:
    # Up to 0.19 bpftrace computes the powers of two of JSON in 32 bits. Buckets follow one another without a gap, so
    # those from 2**31 on are known by the ones before. (With none before there is no telling.)
    for before, bucket in itertools.pairwise(buckets):
        low = before["high"] + 1
        if low >= _INT and bucket["low"] < low:
            bucket["low"], bucket["high"] = low, 2 * low - 1
    if buckets and buckets[0]["low"] == -_INT and buckets[0]["high"] != -1:
        buckets[0]["low"], buckets[0]["high"] = _INT, 2 * _INT - 1
        return _widened(buckets)
    return buckets


def _intervals(value: Any, _use: MapUse) -> list[dict[str, Any]]:
    import pandas as pd

    return [{"time": pd.Timestamp(each["interval_start"]), **_plain(each["value"], MapUse())[0]} for each in value]


_ROWS = {"map": _plain, "stats": _stats, "hist": _buckets, "tseries": _intervals}


def _whole(value: Any) -> int:
    return int(value)


def _value_columns(rows: Sequence[Mapping[str, Any]], message: Message, use: MapUse, taken: set[str]) -> dict[str, Any]:
    names = dict.fromkeys(name for row in rows for name in row)
    if not rows:
        names = dict.fromkeys(("low", "high", "count") if message.kind == "hist" else ())
    known = use.function in _NUMERIC or message.kind in ("hist", "stats")
    found = {}
    for name in names:
        column = [row.get(name) for row in rows]
        found[f"value.{name}" if name in taken else name] = _column(column, known_numbers=known)
    return found


def _column(values: list[Any], *, known_numbers: bool) -> Any:
    # Whole numbers that a double cannot hold come as texts (since 0.24): they are numbers all the same.
    if known_numbers or any(isinstance(value, int) for value in values):
        values = [int(v) if isinstance(v, str) and _WHOLE.fullmatch(v) else v for v in values]
    return numbers(values)


def numbers(values: list[Any]) -> Any:
    """Return values as an array: int64, uint64 where they need it, floats, or as they are."""
    if values and all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in values):
        if all(isinstance(v, int) for v in values):
            low, high = min(values), max(values)
            if low >= _LOWEST and high <= _HIGHEST:
                return np.array(values, np.int64)
            if low >= 0 and high < 2**64:
                return np.array(values, np.uint64)
        else:
            return np.array(values, np.float64)
    import pandas as pd

    if values and all(isinstance(value, str) for value in values):
        return pd.array([unindented(value) for value in values], dtype="str")
    return pd.Series(values, dtype="object")


def unindented(text: str) -> str:
    """Return a stack with a function a line, without the blanks that bpftrace puts around it; another text as it is."""
    return "\n".join(line.strip() for line in text.strip("\n").split("\n")) if text.startswith("\n") else text


def texts(values: list[str], expression: str) -> Any:
    """Return the texts of an expression as numbers, if all of them are numbers and it does not give text."""
    if not script.is_text(expression) and values and all(_WHOLE.fullmatch(value) for value in values):
        return numbers([int(value) for value in values])
    import pandas as pd

    return pd.array(values, dtype="str")


def _key_columns(keys: list[str], use: MapUse) -> dict[str, Any]:
    parts = [_parts(key, use.keys) for key in keys]
    if len(use.keys) < 2 or any(part is None for part in parts):
        # One key, or a text with commas among several keys, which could be taken apart in more than one way.
        (name,) = script.names(use.keys, "key") if len(use.keys) == 1 else ["key"]
        return {name: texts([unindented(key) for key in keys], use.keys[0] if len(use.keys) == 1 else "")}
    columns = zip(*[part for part in parts if part is not None], strict=True) if parts else [()] * len(use.keys)
    named = zip(script.names(use.keys, "key"), use.keys, columns, strict=True)
    return {name: texts([unindented(text) for text in column], expression) for name, expression, column in named}


def _parts(key: str, expressions: tuple[str, ...]) -> list[str] | None:
    # The key that bpftrace joined with commas. A text may hold commas itself: what is no text has none, so one text
    # among numbers is what is left over.
    parts = key.split(",")
    if len(parts) == len(expressions):
        return parts
    places = [place for place, expression in enumerate(expressions) if script.is_text(expression)]
    if len(places) != 1 or len(parts) < len(expressions):
        return None
    first, behind = places[0], len(expressions) - places[0] - 1
    end = len(parts) - behind
    return [*parts[:first], ",".join(parts[first:end]), *parts[end:]]
