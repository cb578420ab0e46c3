"""The plots of a map: its histogram, and those of the frame of its entries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..plots import Plots

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd
    from matplotlib.axes import Axes


class MapPlots(Plots):
    """The plots of one map: called, its log2 slots as a histogram; by name, those of :class:`ebpflab.plots.Plots`.

    Examples
    --------
    >>> s.maps["latency"].plot(units="us")
    >>> s.maps["bytes"].plot.top("comm", weight="bytes")
    """

    def __init__(self, frame: Callable[[], pd.DataFrame], histogram: Callable[[str, Any, Axes | None], Axes]) -> None:
        super().__init__(frame)
        self._histogram = histogram

    def __repr__(self) -> str:
        return super().__repr__().replace("plots of events: ", "plots of a map: plot() of log2 slots, ")

    def __call__(self, *, units: str = "", key: Any = None, ax: Axes | None = None) -> Axes:
        """Draw a map of log2 slots (see :meth:`ebpflab.maps.bpfmap.BpfMap.hist`) as a histogram.

        Parameters
        ----------
        units
            What was measured, such as ``us``; for the label.
        key
            The entry to draw; the default is the sum of all. Where the slot is in the key, it is left out.
        ax
            Where to draw; the default is a figure of its own.

        Raises
        ------
        MapError
            The map holds no histogram.
        """
        return self._histogram(units, key, ax)
