"""The maps of a bpftrace program: what it printed of them, last and over time."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from ..errors import MapError
from ..similar import nearest
from . import drawing, messages, script, tables
from .messages import Message

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

_MOST_PRINTS = 100_000


class Maps(Mapping[str, "PrintedMap"]):
    """The maps of a program by name, with or without the ``@``: ``t.maps["@reads"]``.

    Examples
    --------
    >>> t.maps["@reads"].df()
    """

    def __init__(self, text: str, ask: Callable[[PrintedMap], None]) -> None:
        self._maps = {name: PrintedMap(name, use, ask) for name, use in script.maps(text).items()}

    def __getitem__(self, name: str) -> PrintedMap:
        found = self._maps.get(name, self._maps.get(f"@{name}"))
        if found is None:  # an empty map is falsy
            near = nearest(str(name), self._maps) or tuple(self._maps)
            raise KeyError(f"the program has no map {name!r}" + (f"; did you mean {', '.join(near)}?" if near else ""))
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._maps)

    def __len__(self) -> int:
        return len(self._maps)

    def _ipython_key_completions_(self) -> list[str]:
        return list(self._maps)

    def _take(self, at: int, message: Message) -> None:
        if message.name not in self._maps:  # its name came from a macro
            self._maps[message.name] = PrintedMap(message.name, script.MapUse(), lambda _: None)
        self._maps[message.name]._take(at, message)


class PrintedMap:
    """One map of a program, as bpftrace prints it: when the program says so, when it is asked, and at its end.

    Attributes
    ----------
    name : str
        With its ``@``.

    Examples
    --------
    >>> t.maps["@bytes"].df().nlargest(5, "sum")
    """

    def __init__(self, name: str, use: script.MapUse, ask: Callable[[PrintedMap], None]) -> None:
        self.name = name
        self._use, self._ask = use, ask
        self._prints: deque[tuple[int, Message]] = deque(maxlen=_MOST_PRINTS)
        self._new = threading.Event()

    def df(self) -> pd.DataFrame:
        """Return what the map holds; while the program runs, bpftrace is asked for it.

        Returns
        -------
        pandas.DataFrame
            The columns of its key, called as in the program, and one that is called after the function that fills it
            (``count``, ``sum``; ``value`` if none). Of ``stats()``: count, average, total. Of ``hist()`` and
            ``lhist()`` a row for each bucket: low, high (both belong to it; the ends of int64 where it is open),
            count. Empty while nothing is in it.

        Raises
        ------
        DecodeError
            When bpftrace printed it in another form than expected.

        Examples
        --------
        >>> t.maps["@reads"].df()
        """
        self._ask(self)
        if not self._prints:
            return tables.frame(Message("map", self.name, {}), script.MapUse(self._use.keys or ("key",)))
        return tables.frame(self._prints[-1][1], self._use)

    def over_time(self) -> pd.DataFrame:
        """Return all that was printed of the map: the columns of :meth:`df` after ``time`` (UTC, when it was read).

        A program with ``interval:s:1 { print(@n); }`` gives one step a second; each :meth:`df` of one that runs
        is a step as well, and so is the end.

        Examples
        --------
        >>> t.maps["@n"].over_time().groupby("time")["count"].sum()
        """
        import pandas as pd

        steps = []
        for at, message in list(self._prints):
            frame = tables.frame(message, self._use)
            time = "time" if "time" not in frame else "time.read"
            frame.insert(0, time, pd.DatetimeIndex([at] * len(frame), dtype="datetime64[ns, UTC]"))
            steps.append(frame)
        return pd.concat(steps, ignore_index=True) if steps else self.df()

    def plot(self, *, units: str = "", ax: Axes | None = None) -> Axes:
        """Draw a histogram, or the largest entries of another map as bars.

        Parameters
        ----------
        units
            What the values are counted in, as ``ns``, ``us`` or ``bytes``.
        ax
            Where to draw; default: a new figure.

        Raises
        ------
        MapError
            When it is a map of one value, which has no picture.

        Examples
        --------
        >>> t.maps["@latency"].plot(units="ns")
        """
        frame = self.df()
        if {"low", "high", "count"} <= set(frame.columns):
            return drawing.histogram(frame, self.name, units=units, ax=ax)
        if frame.shape[1] < 2:
            raise MapError(f"{self.name} is one value", hint="df() has it; a map with a key or a histogram is drawn")
        return drawing.top(frame, self.name, ax=ax)

    def __len__(self) -> int:
        data = self._prints[-1][1].data if self._prints else {}
        return len(data) if isinstance(data, dict) else 1

    def __repr__(self) -> str:
        return self._last().to_string()

    def _repr_html_(self) -> str:
        return str(self._last()._repr_html_())  # type: ignore[operator]

    def _last(self) -> pd.DataFrame:
        # Without asking: a display asks nothing of the kernel.
        if not self._prints:
            return tables.frame(Message("map", self.name, {}), script.MapUse(self._use.keys or ("key",)))
        return tables.frame(self._prints[-1][1], self._use)

    def _take(self, at: int, message: Message) -> None:
        self._prints.append((at, message))
        self._new.set()


def is_table(message: Message) -> bool:
    """Tell whether a message is about a map."""
    return message.kind in messages.TABLES
