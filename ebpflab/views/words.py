"""The words of a filter: which rows of a frame they let through.

========================  ===========================================================
``bash``                  any column shows it, in upper or lower case
``comm:bash``             this column shows it
``pid=123``, ``pid!=1``   it is this number, text, yes or no
``ret<0``, ``bytes>=4096``  it is less, or more
``latency>1ms``           durations have a unit: ns, us, ms, s, min, h
``time>12:34:56``         times are those of the day, UTC, or have a date before them
``!bash``, ``!ret<0``     not that
``"two words"``           blanks within quotes are part of the word
========================  ===========================================================

Every word has to be true of a row.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..formatting import time_span
from ..similar import did_you_mean, nearest
from . import cells

if TYPE_CHECKING:
    import pandas as pd

Mask = NDArray[np.bool_]

_LONGEST = 500  # characters
_TOKEN = re.compile(r'(?:"[^"]*"?|[^\s"])+')
# A column's name, how it is compared, with what. Not an address or a path: fe80::1, http://...
_COMPARED = re.compile(r"([A-Za-z_][\w.\[\]]*)(<=|>=|!=|==|[<>=]|:(?![:/]))(.*)", re.DOTALL)
_SIGNS: dict[str, Callable[[Any, Any], Any]] = {
    "=": operator.eq,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_UNITS = {"ns": 1, "us": 10**3, "µs": 10**3, "μs": 10**3, "ms": 10**6, "s": 10**9, "min": 60 * 10**9, "h": 3600 * 10**9}
_SPAN = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))\s*([a-zµμ]*)", re.ASCII)
_CLOCK = re.compile(r"(?:(\d{4}-\d\d-\d\d)[T ]?)?(?:(\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?)?Z?", re.ASCII)
_YES_NO = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}
_SECOND, _DAY = 10**9, 86_400 * 10**9
# What can be in a text of these kinds: a word with anything else in it need not be looked for there.
_LETTERS = {
    "number": set("0123456789-+.,einfa"),
    "time": set("0123456789:.-"),
    "duration": set("0123456789.,- nums+einfa"),
    "bool": set("yesno-"),
}


class WordError(Exception):
    """A word that means nothing, or nothing yet because it is still being typed; one sentence."""


def matching(frame: pd.DataFrame, text: str) -> Mask:
    """Return for each row whether it passes a filter; see the table of this module.

    Raises
    ------
    WordError
        When a word compares with a column that is not there, or with what cannot be compared.

    Examples
    --------
    >>> frame[matching(frame, "comm:bash latency>1ms")]
    """
    if len(text) > _LONGEST:
        raise WordError(f"the filter is longer than {_LONGEST} characters")
    passed = np.ones(len(frame), np.bool_)
    for token in _TOKEN.findall(text):
        # Only what passed so far is looked at again.
        (left,) = np.nonzero(passed)
        with np.errstate(invalid="ignore"):  # records may hold any bits as a float
            passed[left] = _word(frame if len(left) == len(frame) else frame.iloc[left], token)
    return passed


def _word(frame: pd.DataFrame, token: str) -> Mask:
    negated = token.startswith("!")
    word = token.removeprefix("!")
    if not word.strip('"'):
        raise WordError(f"the filter {token} is not complete: a word is missing")
    compared = None if word.startswith('"') else _COMPARED.fullmatch(word)
    if compared is None:
        found = _anywhere(frame, word.replace('"', "").lower())
    else:
        name, sign, value = compared.groups()
        found = _compared(_column(frame, name), sign, value.replace('"', ""), word)
    return ~found if negated else found


def _column(frame: pd.DataFrame, name: str) -> pd.Series[Any]:
    if name in frame.columns:
        return frame[name]
    names = [str(column) for column in frame.columns]
    raise WordError(
        f"there is no column {name}: {did_you_mean(nearest(name, names)) or 'columns are ' + ', '.join(names)}"
    )


def _anywhere(frame: pd.DataFrame, word: str) -> Mask:
    found = np.zeros(len(frame), np.bool_)
    for name in frame.columns:
        found |= _contains(frame[name], word)
    return found


def _contains(series: pd.Series[Any], word: str) -> Mask:
    if not _LETTERS.get(cells.kind_of(series), set(word)).issuperset(word):
        return np.zeros(len(series), np.bool_)
    return _where(series, lambda text: word in text.lower())


def _where(series: pd.Series[Any], condition: Callable[[str], bool]) -> Mask:
    # Of each distinct text once, where the column knows them.
    if hasattr(series, "cat"):
        codes, names = cells.distinct(series)
        return np.array([condition(name) for name in names], np.bool_)[codes]
    if isinstance(series.dtype, np.dtype) and series.dtype.kind in "iu":  # ids and counts repeat
        values, places = np.unique(series.to_numpy(), return_inverse=True)
        return np.fromiter(map(condition, map(str, values.tolist())), np.bool_, len(values))[places]
    return np.fromiter(map(condition, cells.texts(series)), np.bool_, len(series))


def _compared(series: pd.Series[Any], sign: str, value: str, word: str) -> Mask:
    if not value:
        raise WordError(f"the filter {word} is not complete: a value is missing")
    if sign == ":":
        return _contains(series, value.lower())
    sign = "=" if sign == "==" else sign
    compare = _COMPARE[cells.kind_of(series)]
    return ~compare(series, "=", value) if sign == "!=" else compare(series, sign, value)


def _compare_text(series: pd.Series[Any], sign: str, value: str) -> Mask:
    wanted, same = value.lower(), _SIGNS[sign]
    return _where(series, lambda text: bool(same(text.lower(), wanted)))


def _compare_bool(series: pd.Series[Any], sign: str, value: str) -> Mask:
    if sign != "=" or value.lower() not in _YES_NO:
        raise WordError(f"{series.name} is yes or no: compare with {series.name}=yes or {series.name}=no")
    return _where(series, lambda text: text == ("yes" if _YES_NO[value.lower()] else "no"))


def _compare_number(series: pd.Series[Any], sign: str, value: str) -> Mask:
    wanted = _number(value)
    if wanted is None:
        raise WordError(f"{series.name} holds numbers, and {value} is none")
    found = series.notna().to_numpy(copy=True)
    dtype: Any = series.dtype
    values = series[found].to_numpy(getattr(dtype, "numpy_dtype", dtype))  # of 64 bits, not the 53 of a float
    try:
        found[found] = _SIGNS[sign](values, wanted)
    except OverflowError:
        raise WordError(f"{series.name} holds fractions, and {len(value)} digits are more than these have") from None
    return found


def _number(value: str) -> int | float | None:
    plain = value.replace(",", "")
    try:
        return int(plain, 0)
    except ValueError:
        pass
    try:
        return float(plain)
    except ValueError:
        return None


def _compare_duration(series: pd.Series[Any], sign: str, value: str) -> Mask:
    found = _SPAN.fullmatch(value.lower())
    if found is None or (found[2] and found[2] not in _UNITS):
        raise WordError(f"{series.name} holds durations, and {value} is none: write 3us, 1.5ms or 2s")
    if not found[2] and float(found[1]):
        raise WordError(f"{value} needs a unit: {value}ns, {value}us, {value}ms or {value}s")
    nanoseconds = float(found[1]) * _UNITS[found[2] or "ns"]
    if sign == "=":
        # What is shown as 1.23 ms is that to whoever reads it.
        return _where(series, lambda text: text == time_span(nanoseconds / 1e9))
    values = cells.durations(series)
    valid = values != np.iinfo(np.int64).min
    return np.asarray(_SIGNS[sign](values, nanoseconds) & valid, np.bool_)


def _compare_time(series: pd.Series[Any], sign: str, value: str) -> Mask:
    start, width, dated = _moment(str(series.name), value)
    values = cells.times(series)
    valid, at = ~np.isnat(values), values.astype(np.int64)
    at = at if dated else at % _DAY
    found = (at >= start) & (at < start + width) if sign == "=" else _SIGNS[sign](at, start)
    return np.asarray(found & valid, np.bool_)


def _moment(name: str, value: str) -> tuple[int, int, bool]:
    # Nanoseconds at which it begins, how many it lasts as exactly as it was written, and whether a date is part of it.
    found = _CLOCK.fullmatch(value)
    if found is None or not any(found.groups()):
        raise WordError(f"{name} holds times, and {value} is none: write 12:34, 12:34:56 or 2026-01-31T12:34:56")
    date, hour, minute, second, fraction = found.groups()
    try:
        text = f"{date or '1970-01-01'}T{hour or '00'}:{minute or '00'}:{second or '00'}+00:00"
        seconds = int(datetime.fromisoformat(text).timestamp())
    except (ValueError, OverflowError):
        raise WordError(f"{value} is no time: write 12:34, 12:34:56 or 2026-01-31T12:34:56") from None
    width = _DAY if not hour else 60 * _SECOND if not second else _SECOND
    if fraction:
        width = 10 ** (9 - len(fraction))
    return seconds * _SECOND + int((fraction or "").ljust(9, "0")), width, bool(date)


_COMPARE: dict[str, Callable[[pd.Series[Any], str, str], Mask]] = {
    "text": _compare_text,
    "bool": _compare_bool,
    "number": _compare_number,
    "duration": _compare_duration,
    "time": _compare_time,
}
