"""Which columns a stream has, which plots make sense of them, and which column a plot draws where nobody chose one."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ..errors import EbpflabError
from ..similar import did_you_mean, nearest
from . import PLOTS, Look
from .cells import columns_of

if TYPE_CHECKING:
    import pandas as pd

    from ..events import Events
    from ..session import Session

Columns = tuple[tuple[str, str], ...]  # name and kind: number, text, time, duration, bool or stack

# What each plot can draw.
_DRAWS = {
    "rate": (),
    "hist": ("number", "duration"),
    "heatmap": ("number", "duration"),
    "top": ("text", "number", "bool", "duration", "stack"),
    "timeline": ("number", "duration", "text", "bool"),
    "flame": ("stack",),
    "verdicts": ("text", "number", "bool"),
}
_HOLDS = {"bool": "yes and no"}  # how a column's values are called; others are as their kind is
_OVER_TIME = ("heatmap", "timeline")
# Numbers that tell things apart rather than measure them, as a word of the name.
_ID = re.compile(
    r"(^|[_.])(p?p?id|tgid|tid|[ug]id|\w*pid|cpu|node|inode|ino|fd|dev|major|minor|[sd]?port|[sd]?addr|ptr|ip|cookie"
    r"|cgroup|netns|ifindex|key|hash|flags|mode|ret|retval|err|errno|nr|syscall|family|proto|protocol|type|kind|prio"
    r"|priority|state|sig|signal|seq|line|verdict|action)$",
    re.IGNORECASE,
)
_VERDICT = re.compile(r"(^|[_.])(verdict|action|decision|retval)$", re.IGNORECASE)
_NAMES = ("comm", "name", "path", "file", "filename")


def choices(session: Session, look: Look) -> Columns:
    """Return the columns of the look's stream with their kinds; none while it is not known what its records are.

    Examples
    --------
    >>> choices(s, Look())
    (('time', 'time'), ('took', 'duration'), ('comm', 'text'))
    """
    try:
        events = stream(session, look)
        return columns(events.newest(1), events)
    except EbpflabError:  # no stream, or records that fit no struct: the table and the picture say so
        return ()


def suits(found: Columns) -> tuple[str, ...]:
    """Return the plots that columns of these kinds make sense in.

    Examples
    --------
    >>> suits((("time", "time"), ("comm", "text")))
    ('rate', 'top', 'timeline')
    """
    dated = any(kind == "time" for _, kind in found)
    return tuple(
        plot
        for plot in PLOTS
        if plot == "rate" or (default(plot, found) and (dated or plot not in _OVER_TIME))
    )  # fmt: skip


def stream(session: Session, look: Look) -> Events:
    """Return the stream that is looked at.

    Raises
    ------
    EbpflabError
        When the session has none of this name, or none at all.
    """
    streams = session.streams
    if look.stream in streams:
        return streams[look.stream]
    if look.stream:
        hint = did_you_mean(nearest(look.stream, list(streams))) or f"there are {', '.join(streams) or 'none'}"
        raise EbpflabError(f"there is no stream {look.stream!r}", hint=hint, stage="view")
    if not streams:
        hint = "define a map of type BPF_MAP_TYPE_RINGBUF, and send records to it"
        raise EbpflabError(f"{session.name} has no stream of events", hint=hint, stage="view")
    return next(iter(streams.values()))


def columns(frame: pd.DataFrame, events: Events) -> Columns:
    """Return the columns of a frame with their kinds; only the record types know which texts are stacks."""
    types = events.types.candidates
    stacks = {column.name for each in types for column in each.type.columns if column.rule.kind == "stack"}
    return tuple((each.name, "stack" if each.name in stacks else each.kind) for each in columns_of(frame))


def column(plot: str, wanted: str, found: Columns) -> str | list[str]:
    """Return what a plot draws: the wanted column if it can draw it or there is none of that name, else the default.

    Whoever goes from one plot to the next keeps the column, and sees what suits where it does not.

    Raises
    ------
    EbpflabError
        When no column suits.
    """
    kind = dict(found).get(wanted)
    if wanted and (kind is None or kind in _DRAWS[plot]):
        return wanted
    suiting = default(plot, found)
    if not suiting and found:
        raise EbpflabError(f"the events have no column for plot {plot!r}", hint=_hint(plot, found), stage="view")
    return suiting


def default(plot: str, found: Columns) -> str | list[str]:
    """Return the column that a plot draws where nobody chose one, the columns of a flame graph; empty if none suits."""
    fitting = [name for name, kind in found if kind in _DRAWS[plot]]
    if plot == "flame":
        return fitting[:2]
    if plot == "verdicts":
        return next((name for name in fitting if _VERDICT.search(name)), "")
    if plot == "top":
        texts = [name for name, kind in found if kind == "text"]
        return next((name for name in _NAMES if name in texts), [*texts, *fitting, ""][0])
    if plot == "timeline":
        return next((name for name in ("cpu", "pid", "tgid", "tid", "comm") if name in fitting), [*fitting, ""][0])
    measured = [name for name in fitting if is_measure(name, found)]
    durations = [name for name, kind in found if kind == "duration" and name in measured]
    return [*durations, *measured, *fitting, ""][0]


def is_measure(name: str, found: Columns) -> bool:
    """Whether a column holds numbers that can be added up, and not ids."""
    kind = dict(found).get(name)
    return kind == "duration" or (kind == "number" and not _ID.search(name))


def _hint(plot: str, found: Columns) -> str:
    if plot == "flame":
        return "declare a member as kernel_stack_t or user_stack_t, and fill it by bpf_get_stackid()"
    return f"plots that suit: {', '.join(suits(found))}"


def misfit(look: Look, found: Columns) -> EbpflabError | None:
    """Return what is wrong with a plot that somebody asked for by name: :func:`column` would draw another column."""
    kind = dict(found).get(look.column)
    if look.plot == "rate" or not found:
        return None
    if kind is not None and kind not in _DRAWS[look.plot]:
        others = [plot for plot in suits(found) if kind in _DRAWS[plot]]
        hint = f"plots that can: {', '.join(others)}" if others else _hint(look.plot, found)
        what = f"plot {look.plot!r} cannot draw {look.column}, a column of {_HOLDS.get(kind, f'{kind}s')}"
        return EbpflabError(what, hint=hint, stage="view")
    if not look.column and not default(look.plot, found):
        return EbpflabError(
            f"the events have no column for plot {look.plot!r}", hint=_hint(look.plot, found), stage="view"
        )
    return None
