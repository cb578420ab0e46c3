"""Events per second as a live view counted them: the true rate of the last minutes, however few events are held."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from . import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from .style import Place

_LABELLED = 3  # the largest losses have their number written above them
_NARROWEST = 200  # part of the axes: a narrower loss would not be seen


class Flow(NamedTuple):
    """Events and losses per second, oldest first, in steps of `step` seconds; the last ended at `end`, UTC seconds."""

    rate: NDArray[Any]
    lost: NDArray[Any]
    step: float
    end: float

    @property
    def events(self) -> int:
        """How many events came in all."""
        return round(float(self.rate.sum(dtype=np.float64)) * self.step)

    @property
    def losses(self) -> int:
        """How many were lost."""
        return round(float(self.lost.sum(dtype=np.float64)) * self.step)

    def gaps(self) -> list[tuple[int, int, int]]:
        """Return from which step to which one records were lost without a break, and how many."""
        edges = np.flatnonzero(np.diff(np.concatenate([[False], self.lost > 0, [False]])))
        pairs = edges.reshape(-1, 2).tolist()
        sums = [float(self.lost[first:end].sum(dtype=np.float64)) * self.step for first, end in pairs]
        return [(first, end, round(lost)) for (first, end), lost in zip(pairs, sums, strict=True)]


def paint(ax: Place, flow: Flow, title: str = "events per second") -> Axes:
    """Draw the rate as an area of steps, and shade the time in which records were lost."""
    ax = style.axes(ax)
    count = len(flow.rate)
    if not count:
        return style.empty(ax, title)
    edges = (np.arange(count + 1) - count) * flow.step
    style.steps(ax, flow.rate, edges, color=style.PALETTE[0])
    ax.set_xlim(float(edges[0]), 0)
    ax.set_ylim(0, (float(flow.rate.max()) or 1.0) * (1.2 if flow.losses else 1.08))
    _x_axis(ax, flow)
    ax.set_ylabel("events/s")
    style.thousands(ax.yaxis)
    _gaps(ax, flow, edges)
    style.title(ax, title, f"{figures(flow)}, {_lost(flow)}")
    return ax


def figures(flow: Flow) -> str:
    """Return the rate in words: ``84 per second on average, highest 131``."""
    mean = flow.events / max(len(flow.rate) * flow.step, flow.step)
    return f"{_number(mean)} per second on average, highest {_number(float(flow.rate.max(initial=0)))}"


def words(flow: Flow) -> str:
    """Return the picture in a sentence: events, their rate, and losses."""
    seconds = style.duration(len(flow.rate) * flow.step * 1e9)
    return f"{style.events(flow.events)} in {seconds}, {figures(flow)}; {_lost(flow)}"


def _lost(flow: Flow) -> str:
    return f"{flow.losses:,} lost" if flow.losses else "none lost"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def _x_axis(ax: Axes, flow: Flow) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    ax.xaxis.set_major_locator(MaxNLocator(nbins=max(round(10 * style.room(ax)), 2), steps=[1, 2, 3, 5, 6, 10]))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda seconds, _: f"{abs(round(seconds, 6)):,.6g}"))
    ax.set_xlabel(f"seconds before {time.strftime('%Y-%m-%d %H:%M:%S', time.gmtime(flow.end))} UTC")


def _gaps(ax: Axes, flow: Flow, edges: NDArray[Any]) -> None:
    least = -edges[0] / _NARROWEST
    found = flow.gaps()
    spans = [(edges[first], max(edges[end] - edges[first], least)) for first, end, _ in found]
    if spans:
        look: dict[str, Any] = {"facecolor": style.LOST, "edgecolor": style.LOST, "alpha": 0.18, "linewidth": 0}
        ax.broken_barh(spans, (0, 1), transform=ax.get_xaxis_transform(), hatch="///", zorder=0.5, **look)
    for first, end, lost in sorted(found, key=lambda gap: -gap[2])[:_LABELLED]:
        at = min(max((edges[first] + edges[end]) / 2, edges[0] * 0.96), edges[0] * 0.04)
        ax.text(
            float(at), 0.97, f"{lost:,} lost", transform=ax.get_xaxis_transform(),
            ha="center", va="top", fontsize="small", color=style.LOST, fontweight="bold",
        )  # fmt: skip
