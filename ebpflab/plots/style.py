"""How plots look: a palette that colour-blind people can tell apart, and axes that read well."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

    # Where to draw: on these axes, on those that this makes, as high as the plot wants them, or on a new figure.
    Place = Axes | Callable[[float], Axes] | None

# Okabe and Ito, "Color Universal Design" (2008), without black: that is the text, or the dark ground.
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#F0E442")
OTHERS = "#999999"
LOST = "#D55E00"
ON_COLOUR = "#111111"  # words on a coloured box, whatever the ground is
MAP = "viridis"
SIZE = (10.0, 3.2)  # inches: the width of a notebook
GRID: dict[str, Any] = {"alpha": 0.3, "linewidth": 0.6}

_LONGEST = 44  # characters of a label; paths are elided in the middle
_EXACT = 1e15  # a float has no more digits than a number of this size
_TOLD = 3  # of the largest amounts, in a sentence
_RELATIVE = 60_000_000_000  # nanoseconds: shorter plots count from their start, longer ones show the clock
_LEAST = 10_000  # nanoseconds of a time axis: a date of matplotlib tells times apart that differ by 0.3 us
_TIME = ((1, "ns"), (1000, "us"), (1_000_000, "ms"), (1_000_000_000, "s"))
_POWERS = ("", "K", "M", "G", "T", "P", "E")


def axes(ax: Place, height: float = SIZE[1]) -> Axes:
    """Return the axes to draw on: the user's, or those of a new figure of this height in inches."""
    if ax is not None:
        return ax(height) if callable(ax) else ax
    import matplotlib.pyplot as plt

    return dress(plt.subplots(figsize=(SIZE[0], height), layout="constrained")[1])


def dress(ax: Axes) -> Axes:
    """Give new axes our lines and colours; what is not set here, such as the colours of text and ground, is the user's.

    rcParams are not touched: they belong to the whole process, and the live view draws in a thread of its own while
    the user draws, too.
    """
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(visible=True, axis="y", **GRID)
    ax.set_axisbelow(True)
    ax.set_prop_cycle(color=PALETTE)
    return ax


def room(ax: Axes) -> float:
    """Return how wide axes are, where those of a figure of ours are 1: so much more or less fits in."""
    width = ax.get_window_extent().width / ax.figure.dpi
    return float(width / (SIZE[0] * 0.775))  # what matplotlib leaves of a figure before it is laid out


def title(ax: Axes, text: str, detail: str = "") -> None:
    """Write what is drawn above the axes, and a smaller line about it."""
    # Only ticks above would move a title; looking for them at every drawing takes a tenth of it.
    y = 1.0 if ax.xaxis.get_ticks_position() == "bottom" else None
    ax.set_title(text, loc="left", y=y, pad=20 if detail else 6, fontsize="medium", fontweight="bold")
    if detail:
        corner: dict[str, Any] = {"xycoords": "axes fraction", "textcoords": "offset points"}
        ax.annotate(detail, (0, 1), xytext=(0, 6), fontsize="small", alpha=0.75, **corner)


def empty(ax: Axes, text: str, why: str = "no events yet") -> Axes:
    """Turn axes into a titled, empty picture that says why."""
    title(ax, text)
    ax.set_xticks([])
    ax.set_yticks([])
    ax.grid(visible=False)
    ax.text(0.5, 0.5, why, transform=ax.transAxes, ha="center", va="center", alpha=0.6, fontsize="large")
    return ax


def steps(ax: Axes, values: Any, edges: Any, base: Any = 0, **look: Any) -> Any:
    """Draw an area of steps as :meth:`matplotlib.axes.Axes.stairs` does, on axes whose limits are set.

    So the limits need not be found: that takes longer than to draw it.
    """
    from matplotlib.patches import StepPatch

    return ax.add_artist(StepPatch(values, edges, baseline=base, fill=True, linewidth=0, **look))


def colours(count: int, others: bool = False) -> list[Any]:
    """Return a colour for each of `count` groups; the last is grey if it stands for the others."""
    own = count - others
    if own <= len(PALETTE):
        found: list[Any] = list(PALETTE[:own])
    else:
        import matplotlib as mpl

        found = list(mpl.colormaps[MAP](np.linspace(0, 0.95, own)))
    return found + [OTHERS] * others


def legend(ax: Axes, handles: Sequence[Any], labels: Sequence[str], heading: str = "") -> None:
    """Put a legend beside the axes, where it hides nothing."""
    from matplotlib.collections import PathCollection

    shown = [elided(label, 32) for label in labels]
    beside: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (1.0, 1.02), "frameon": False}
    drawn = ax.legend(handles, shown, title=heading or None, fontsize="small", **beside)
    drawn.set_alignment("left")
    points: list[Any] = [handle for handle in drawn.legend_handles if isinstance(handle, PathCollection)]
    for handle in points:  # those of a scatter plot are too small to tell colours
        handle.set_sizes([80])
        handle.set_linewidths(3 * handle.get_linewidths())


def elided(text: str, longest: int = _LONGEST) -> str:
    """Return a text in at most that many characters, without its middle: no markup, and nothing that no font has."""
    text = plain(text, longest).replace("$", r"\$")
    if text.isascii():
        return text
    faces = _faces()
    return "".join(c if any(face.get_char_index(ord(c)) for face in faces) else "�" for c in text)


def _faces() -> list[Any]:
    # The fonts that words are drawn in, the user's own if there are some. matplotlib warns of every letter that they
    # all lack, and names of commands and files may have any.
    from matplotlib.font_manager import FontProperties, findfont, get_font

    found = []
    for family in FontProperties().get_family():
        with contextlib.suppress(ValueError):  # no such font is here
            found.append(get_font(findfont(FontProperties(family=[family]), fallback_to_default=False)))
    return found


def plain(text: str, longest: int = _LONGEST) -> str:
    """Return a text in at most that many printable characters, without its middle."""
    if len(text) > longest:
        text = f"{text[: longest // 2 - 1]}…{text[-(longest // 2) :]}"
    return "".join(c if c.isprintable() else "�" for c in text)


def largest(names: Sequence[str], amounts: Sequence[str], count: int) -> str:
    """Return the first three of `count` names in words, each with its amount: ``bash 53, ls 7, sh 5, 2 more``."""
    pairs = zip(names[:_TOLD], amounts, strict=False)
    told = [f"{plain(name, 32)} {amount}".rstrip() for name, amount in pairs]
    return ", ".join([*told, *([f"{count - len(told):,} more"] if count > len(told) else [])])


def thousands(axis: Axis) -> None:
    """Write the numbers of an axis with thousands separators."""
    from matplotlib.ticker import FuncFormatter

    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))


def dates(nanoseconds: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return times, nanoseconds UTC, as what matplotlib draws."""
    from matplotlib.dates import date2num

    return np.asarray(date2num(nanoseconds.astype("datetime64[ns]")), np.float64)  # type: ignore[no-untyped-call]


def time_axis(ax: Axes, start: int, end: int, origin: int | None = None) -> None:
    """Make x an axis of times from `start` to `end`, nanoseconds UTC, and give it a label.

    A minute or more shows the clock, less than that the time since `origin` (default: the start).
    """
    from matplotlib.ticker import FuncFormatter

    ax.xaxis_date()
    origin = start if origin is None else origin
    end = max(end, start + _LEAST)
    low, high, zero = dates(np.array([start, end, origin]))
    ax.set_xlim(low, high)
    day = f"{np.datetime64(origin, 'ns').astype('datetime64[ms]')}".replace("T", " ")
    if end - start >= _RELATIVE:
        _clock(ax)
        ax.set_xlabel(f"time (UTC), from {day[:19]}")
        return
    scale, unit = time_unit((end - start) / 2)
    per_day, digits = 86_400e9 / scale, {"s": 6, "ms": 3}.get(unit, 0)
    ax.xaxis.set_major_locator(_from_start(zero, per_day, room(ax)))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{round((x - zero) * per_day, digits) + 0.0:,.6g}"))
    ax.set_xlabel(f"{unit} since {day} UTC")


def _clock(ax: Axes) -> None:
    from matplotlib import dates as mdates

    most = max(round(12 * room(ax)), 3)
    least = 2 if most >= 5 else 1  # it has no interval between 30 s and 1 min, nor between 12 h and 1 day
    locator = mdates.AutoDateLocator(minticks=least, maxticks=most)  # type: ignore[no-untyped-call]
    shown = mdates.ConciseDateFormatter(locator, show_offset=False)  # type: ignore[no-untyped-call]
    shown.formats = ["%Y", "%b", "%d %b", "%H:%M", "%H:%M", "%H:%M:%S"]
    shown.zero_formats = ["", "%Y", "%b", "%d %b", "%H:%M", "%H:%M:%S"]
    ax.xaxis.set_major_locator(locator)
    ax.xaxis.set_major_formatter(shown)


def _from_start(zero: float, per_day: float, width: float) -> Any:
    # Ticks at round distances from the start: a date has no round numbers of microseconds.
    from matplotlib.ticker import MaxNLocator

    class FromStart(MaxNLocator):
        def tick_values(self, vmin: float, vmax: float) -> Any:
            ticks = super().tick_values((vmin - zero) * per_day, (vmax - zero) * per_day)
            return np.asarray(ticks) / per_day + zero

    return FromStart(nbins=max(round(10 * width), 2), steps=[1, 2, 5, 10])


def time_unit(nanoseconds: float) -> tuple[int, str]:
    """Return the largest unit of time that is no longer than this, at least ns: its nanoseconds and its name."""
    fitting = [unit for unit in _TIME if unit[0] <= nanoseconds]
    return fitting[-1] if fitting else _TIME[0]


def unit_of(largest: float, kind: str) -> tuple[int, str]:
    """Return in which unit to draw amounts up to this: how many of the column's own it is, and its name."""
    if kind == "time":
        return time_unit(largest)
    if kind != "bytes":
        return 1, ""
    power = max(min(int(np.log2(max(largest, 1))) // 10, len(_POWERS) - 1), 0)
    return 1 << 10 * power, f"{_POWERS[power]}iB" if power else "bytes"


def events(count: int) -> str:
    """Return how many events: ``1 event``, ``1,009 events``."""
    return f"{count:,} event{'' if count == 1 else 's'}"


def duration(nanoseconds: float) -> str:
    """Return a duration in three digits: ``12.3 ms``."""
    scale, unit = time_unit(abs(nanoseconds))
    value = nanoseconds / scale
    return f"{value:,.0f} {unit}" if abs(value) >= 100 else f"{value:.3g} {unit}"


def binary(value: float) -> str:
    """Return a number in powers of 1024, as bpftrace labels its buckets: 512, 1K, 2M."""
    power = 0
    while abs(value) >= 1024 and power < len(_POWERS) - 1:
        value, power = value / 1024, power + 1
    return f"{value:.3g}{_POWERS[power]}" if power else f"{value:.4g}"


def amount(value: float, kind: str = "") -> str:
    """Return a number with its unit; `kind` is ``time`` (nanoseconds), ``bytes`` or empty."""
    if kind == "time":
        return duration(value)
    if kind == "bytes":
        text = binary(value)
        return f"{text[:-1]} {text[-1]}iB" if text[-1].isalpha() else f"{text} B"
    if not abs(value) < _EXACT:
        return f"{value:.3g}"
    return f"{value:,.0f}" if value == round(value) else f"{value:,.4g}"
