"""Plots of events, one call each, on matplotlib axes that people go on from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pandas as pd
    from matplotlib.axes import Axes

    from .flame_svg import Svg


class Plots:
    """The plots of one stream of events: ``s.events.plot``.

    Each draws the events held at the call. A frame without events gives empty axes that say so.

    Parameters
    ----------
    frame
        Returns the events, with the attrs of :meth:`ebpflab.events.Events.df`.
    live
        Opens the live view of the session that they are of, for this stream.

    Examples
    --------
    >>> s.events.plot.rate(by="comm")
    >>> Plots(lambda: frame).hist("latency")
    """

    def __init__(self, frame: Callable[[], pd.DataFrame], live: Callable[..., Any] | None = None) -> None:
        self._frame, self._live = frame, live

    def __repr__(self) -> str:
        names = [name for name in vars(Plots) if not name.startswith("_")]
        return f"<plots of events: {', '.join(f'{name}()' for name in names)}>"

    def rate(
        self, by: str | None = None, every: str | float | None = None, top: int = 5, *, ax: Axes | None = None
    ) -> Axes:
        """Draw events per second over time, with the gaps in which records were lost shaded.

        Parameters
        ----------
        by
            A column whose most frequent values are told apart.
        every
            Width of the bins: seconds, or a text such as ``"100ms"``; default: up to 100 bins of a round width.
        top
            How many values are told apart; the rest is ``others``.
        ax
            Where to draw; default: a new figure.

        Raises
        ------
        EbpflabError
            When a column is not there, or `every` cannot be read or gives more than 10,000 bins.

        Examples
        --------
        >>> s.events.plot.rate(by="comm", every="100ms")
        """
        from . import rate

        return rate.draw(self._frame(), by=by, every=every, top=top, ax=ax)

    def hist(
        self,
        column: str,
        by: str | None = None,
        log2: bool | str = "auto",
        bins: int | None = None,
        *,
        top: int = 5,
        ax: Axes | None = None,
    ) -> Axes:
        """Draw the histogram of a column of numbers or durations.

        Parameters
        ----------
        column
            Its name; numbers in columns such as ``latency_us`` are durations, those in ``bytes`` or ``size`` sizes.
        by
            A column whose `top` most frequent values are told apart.
        log2
            Whether buckets are powers of two; ``"auto"``: where the values differ widely.
        bins
            How many equal buckets; default: about 40 of a round width.
        ax
            Where to draw; default: a new figure.

        Raises
        ------
        EbpflabError
            When a column is not there or holds no numbers, or `log2` or `bins` is none of what they may be.

        Examples
        --------
        >>> s.events.plot.hist("latency", by="comm")
        """
        from . import histogram

        return histogram.draw(self._frame(), column, by=by, log2=log2, bins=bins, top=top, ax=ax)

    def top(self, column: str, n: int = 10, weight: str | None = None, *, ax: Axes | None = None) -> Axes:
        """Draw the `n` most frequent values of a column, or those with the largest sums of `weight`, as bars.

        Raises
        ------
        EbpflabError
            When a column is not there, the weight holds no numbers, or `n` is less than 1.

        Examples
        --------
        >>> s.events.plot.top("comm", weight="bytes")
        """
        from . import top

        return top.draw(self._frame(), column, n=n, weight=weight, ax=ax)

    def timeline(self, y: str | None = None, colour: str | None = None, *, ax: Axes | None = None) -> Axes:
        """Draw every event as a point over time.

        Of more than 100,000 events those are left out that lie behind another one, and where that is not enough, others
        at even steps; the line under the title says so.

        Parameters
        ----------
        y
            The column that tells events apart; default: ``cpu``, or else ``pid`` or ``comm``.
        colour
            A column whose five most frequent values have a colour each.
        ax
            Where to draw; default: a new figure.

        Raises
        ------
        EbpflabError
            When a column is not there.

        Examples
        --------
        >>> s.events.plot.timeline("pid", colour="comm")
        """
        from . import timeline

        return timeline.draw(self._frame(), y, colour=colour, ax=ax)

    def heatmap(self, column: str, *, bins: int = 100, ax: Axes | None = None, **options: Any) -> Axes:
        """Draw the values of a column over time: the colour of a cell is the number of events in it.

        Parameters
        ----------
        column
            A column of numbers or durations.
        bins
            How many bins of time.
        ax
            Where to draw; default: a new figure.
        **options
            ``scale`` (``"log2"`` or ``"linear"``), and what :meth:`matplotlib.axes.Axes.pcolormesh` takes.

        Raises
        ------
        EbpflabError
            When the column is not there or holds no numbers.

        Examples
        --------
        >>> s.events.plot.heatmap("latency")
        """
        from . import heatmap

        return heatmap.draw(self._frame(), column, bins=bins, ax=ax, **options)

    def flame(self, column: str | Sequence[str], weight: str | None = None, *, ax: Axes | None = None) -> Axes:
        """Draw the stacks of events as a flame graph.

        Parameters
        ----------
        column
            A column of stacks, or those of user space and of the kernel.
        weight
            A column whose sum is the width of a box; default: the number of events.
        ax
            Where to draw; default: a new figure.

        Raises
        ------
        EbpflabError
            When there is no such column, or it holds no stacks or no weights.

        Examples
        --------
        >>> s.events.plot.flame(["user", "kernel"])
        """
        from . import flame

        return flame.draw(self._frame(), column, weight=weight, ax=ax)

    def flame_svg(self, column: str | Sequence[str], weight: str | None = None, *, title: str = "") -> Svg:
        """Return the flame graph as SVG that can be searched and zoomed: a text that a notebook shows as a picture.

        Parameters
        ----------
        column, weight
            As for :meth:`flame`.
        title
            The line above it.

        Raises
        ------
        EbpflabError
            When there is no such column, or it holds no stacks or no weights.

        Examples
        --------
        >>> Path("flame.svg").write_text(s.events.plot.flame_svg("kernel"))
        """
        from . import flame

        return flame.svg(self._frame(), column, weight=weight, title=title)

    def verdicts(
        self, column: str = "verdict", packets: str | None = None, size: str | None = None, *, ax: Axes | None = None
    ) -> Axes:
        """Draw packets by what a program decided about them.

        Parameters
        ----------
        column
            A column of verdicts, names or numbers.
        packets
            A column that tells how many packets an event stands for; default: one.
        size
            A column of bytes, to be added up.
        ax
            Where to draw; default: a new figure.

        Raises
        ------
        EbpflabError
            When there is no such column, or `packets` or `size` holds no numbers.

        Examples
        --------
        >>> s.events.plot.verdicts("action")
        """
        from . import verdicts

        return verdicts.draw(self._frame(), column, packets=packets, size=size, ax=ax)

    def live(self, plot: str = "rate", column: str = "", by: str = "", **options: Any) -> Any:
        """Open the session's live view on a plot of this stream, which follows the events as they come.

        Parameters
        ----------
        plot
            ``rate``, ``hist``, ``top``, ``heatmap``, ``timeline``, ``flame`` or ``verdicts``.
        column
            What it is of, as for the method of that name; default: a column that suits.
        by
            The column whose most frequent values are told apart; of ``top``, ``flame`` and ``verdicts`` the numbers
            that are added up.
        **options
            What else to look at, see :class:`ebpflab.views.Look`.

        Returns
        -------
        View
            As :meth:`ebpflab.session.Session.view` does.

        Raises
        ------
        EbpflabError
            When there is no such plot, or these events are of no session.

        Examples
        --------
        >>> s.events.plot.live("hist", "latency", by="comm")
        """
        from ..errors import EbpflabError

        if self._live is None:
            hint = f"plot.{plot}() draws what is held; a session's own events, s.events, can be followed"
            raise EbpflabError("these events are of no session that could be followed", hint=hint, stage="plot")
        return self._live(plot=plot, column=column, by=by, **options)
