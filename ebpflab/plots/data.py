"""What plots read from a frame of events: its columns, times, groups and gaps, as arrays without any drawing."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import EbpflabError
from ..similar import did_you_mean, nearest

if TYPE_CHECKING:
    import pandas as pd

OTHERS = "others"
NONE = "(none)"  # how a missing value is called where values are names

_SECOND = 1_000_000_000
_IN_NANOSECONDS = {"ns": 1, "nsec": 1, "us": 1000, "usec": 1000, "ms": 1_000_000, "msec": 1_000_000}
_DURATION = re.compile(r"_(ns|us|ms|nsec|usec|msec)s?$", re.IGNORECASE)
_BYTES = re.compile(r"(^|[_.])(bytes|size|len|length)$", re.IGNORECASE)


class Numbers(NamedTuple):
    """The values of a column that are there; `valid` says for each row whether it has one.

    `kind` is ``time`` (nanoseconds), ``bytes`` or empty; `step` is the smallest difference, 0 for fractions.
    """

    values: NDArray[Any]
    valid: NDArray[np.bool_]
    kind: str
    step: int


class Groups(NamedTuple):
    """For each row the place of its value in `names`; the last of them stands for `others` values, if not 0."""

    codes: NDArray[np.int64]
    names: tuple[str, ...]
    others: int = 0


class Gap(NamedTuple):
    """When records were lost: from `start` to `end`, nanoseconds UTC, or up to `blur` later."""

    start: int
    end: int
    lost: int
    blur: int = 0


def pick(frame: pd.DataFrame, column: str) -> pd.Series[Any]:
    """Return a column; raises EbpflabError with the nearest names where there is none of this name."""
    if column in frame.columns:
        return frame[column]
    names = [str(name) for name in frame.columns]
    shown = f"the columns are {', '.join(names)}"
    hint = did_you_mean(nearest(column, names)) or shown
    raise EbpflabError(f"the events have no column {column!r}", hint=hint, stage="plot")


def times(frame: pd.DataFrame, column: str | None = None) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return when each event was, nanoseconds UTC, and for each row whether it has a time.

    Without a name it is the column ``time``, or the first that holds times.

    Raises
    ------
    EbpflabError
        When no column holds times.
    """
    if column is None:
        found = [str(c) for c, dtype in frame.dtypes.items() if getattr(dtype, "kind", "") == "M"]
        column = "time" if "time" in found or not found else found[0]
    if column not in frame.columns or getattr(frame[column].dtype, "kind", "") != "M":
        raise EbpflabError(
            "the events have no column of times",
            hint="give the record a member ktime_t time, set to bpf_ktime_get_ns()",
            stage="plot",
        )
    series = frame[column]
    if getattr(series.dtype, "tz", None) is not None:
        series = series.dt.tz_convert("UTC").dt.tz_localize(None)
    nanoseconds = series.to_numpy().astype("datetime64[ns]")
    valid = ~np.isnat(nanoseconds)
    return nanoseconds[valid].astype(np.int64), valid


def numbers(frame: pd.DataFrame, column: str) -> Numbers:
    """Return the numbers of a column; durations are nanoseconds, whatever they were counted in.

    A timedelta is a duration, and so is a number in a column that is called ``latency_us`` or so; a column called
    ``bytes`` or ``size`` holds bytes.

    Raises
    ------
    EbpflabError
        When there is no such column, or it holds no numbers.
    """
    series = pick(frame, column)
    letter = getattr(series.dtype, "kind", "O")
    if letter == "m":
        raw = series.to_numpy().astype("timedelta64[ns]")
        there = ~np.isnat(raw)
        return Numbers(raw[there].astype(np.int64), there, "time", 1)
    if letter not in "iuf":
        hint = f'plot.top("{column}") counts the values of a column of names'
        raise EbpflabError(f"the column {column!r} holds no numbers", hint=hint, stage="plot")
    there = series.notna().to_numpy(copy=True)
    values = series[there].to_numpy(np.float64 if letter == "f" else np.int64 if letter == "i" else np.uint64)
    if letter == "f":
        finite = np.isfinite(values)
        there[there], values = finite, values[finite]
    whole = letter != "f" or bool((values == np.floor(values)).all())  # integers beside missing values are floats
    named = _DURATION.search(column)
    if named:
        scale = _IN_NANOSECONDS[named[1].lower()]
        return Numbers(summable(values, scale) * scale, there, "time", scale if whole else 0)
    return Numbers(values, there, "bytes" if _BYTES.search(column) else "", 1 if whole else 0)


def summable(values: NDArray[Any], times: int = 1) -> NDArray[Any]:
    """Return numbers as int64, or as float64 where their sum, so many times over, has more bits than that."""
    whole = values.dtype.kind in "iu" and float(np.abs(values.astype(np.float64)).sum()) * times < 2.0**63
    return values.astype(np.int64 if whole else np.float64)


def names(series: pd.Series[Any]) -> tuple[NDArray[np.int64], list[str]]:
    """Return the values of a column as texts: for each row its place among the distinct ones.

    These come in the order of the numbers or categories, or of the alphabet; a missing value is ``(none)``, the last.
    """
    import pandas as pd

    try:
        codes, distinct = pd.factorize(series, sort=True)
    except TypeError:  # arrays, lists
        codes, distinct = pd.factorize(series.map(str, na_action="ignore"), sort=True)
    texts = [str(value) for value in distinct]
    if (codes < 0).any():
        codes, texts = np.where(codes < 0, len(texts), codes), [*texts, NONE]
    return codes.astype(np.int64), texts


def groups(series: pd.Series[Any], top: int) -> Groups:
    """Return the `top` most frequent values of a column, most frequent first, and ``others`` for the rest."""
    codes, texts = names(series)
    counts = np.bincount(codes, minlength=len(texts))
    order = np.argsort(-counts, kind="stable")  # of equally frequent ones the first name comes first
    order = order[counts[order] > 0]
    places = np.full(len(texts), min(top, len(order)), np.int64)
    places[order[:top]] = np.arange(min(top, len(order)))
    shown = [texts[i] for i in order[:top]]
    rest = len(order) - len(shown)
    return Groups(places[codes], tuple(shown + ([f"{OTHERS} ({rest:,})"] if rest else [])), rest)


def gaps(frame: pd.DataFrame) -> list[Gap]:
    """Return when records were lost, as the attrs of the frame tell it: in whole seconds, or more exactly."""
    found = []
    for start, end, lost in frame.attrs.get("gaps", ()):
        first, last = (int(np.datetime64(text.removesuffix("Z"), "ns").astype(np.int64)) for text in (start, end))
        found.append(Gap(first, last, lost, blur=0 if "." in end else _SECOND))
    return found


def loss(frame: pd.DataFrame) -> str:
    """Return a few words about what the frame lacks, empty if it lacks nothing: ``17 lost, 4 evicted``.

    A frame whose attrs say that more are ``held`` has only the newest ones.
    """
    counts = [(frame.attrs.get(name), name) for name in ("lost", "evicted")]
    words = [f"{count:,} {name}" for count, name in counts if count]
    return ", ".join([*filter(None, [newest(frame)]), *words])


def newest(frame: pd.DataFrame) -> str:
    """Return which part of all events a frame is, empty if it is all: ``newest 100,000 of 1,234,567``."""
    held = frame.attrs.get("held", 0)
    return f"newest {len(frame):,} of {held:,}" if held > len(frame) else ""


def steps(width: float) -> float:
    """Return the number of the series 1, 2, 5, 10, 20, 50 ... that is at least `width`."""
    power = 10.0 ** np.floor(np.log10(width))
    return float(next(m * power for m in (1, 2, 5, 10) if m * power >= width * (1 - 1e-9)))
