"""A map over time: read again and again on a thread of its own."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import EbpflabError, MapError
from ..plots import style
from ..worker import Worker
from ._entries import Entries

if TYPE_CHECKING:
    from types import TracebackType

    import pandas as pd
    from matplotlib.axes import Axes

_NS = 1_000_000_000
_SOONEST = 0.001  # seconds: reading any faster is nothing but load
_MOST_LINES = 8  # of a plot


class _Sample(NamedTuple):
    at: int  # CLOCK_MONOTONIC, nanoseconds
    entries: Entries


class Watch:
    """Readings of a map at equal intervals; made by :meth:`BpfMap.watch`, and a context manager that stops itself.

    Readings are on a grid of the monotonic clock: they do not drift, and one that comes too late is left out.

    Attributes
    ----------
    interval : float
        Seconds between readings.
    error : EbpflabError or None
        What ended it, other than :meth:`stop`.

    Examples
    --------
    >>> w = s.maps["counts"].watch(0.5, for_=10)
    >>> w.wait().rate()
    """

    def __init__(
        self,
        name: str,
        read: Callable[[], Entries],
        show: Callable[[Entries], pd.DataFrame],
        interval: float,
        for_: float | None,
        keep: int,
    ) -> None:
        if not interval >= _SOONEST or keep < 1 or (for_ is not None and not for_ >= 0):
            raise MapError(
                f"watch(interval={interval}, for_={for_}, keep={keep}) of {name} cannot be",
                hint=f"interval is at least {_SOONEST} s, for_ at least 0 s, keep at least 1",
            )
        self.name, self.interval = name, interval
        self.error: EbpflabError | None = None
        self._read, self._show, self._for = read, show, for_
        self._samples: deque[_Sample] = deque(maxlen=keep)
        self._offset = time.time_ns() - time.monotonic_ns()
        self._stop = threading.Event()
        self._worker = Worker(self._run, f"ebpflab-watch-{name}")

    @property
    def running(self) -> bool:
        """Whether more readings are to come."""
        return self._worker.running

    def stop(self) -> None:
        """End it; what was read stays. Harmless when repeated."""
        self._stop.set()
        self._worker.wait()

    def wait(self, timeout: float | None = None) -> Watch:
        """Wait until it has ended (``for_``, or the session), at most `timeout` seconds; returns itself."""
        self._worker.wait(timeout)
        return self

    def __len__(self) -> int:
        return len(self._samples)

    def __enter__(self) -> Watch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def df(self) -> pd.DataFrame:
        """Return all readings one after another: time (UTC), then the columns of the map's own ``df()``."""
        import pandas as pd

        samples = list(self._samples)
        frames = [self._show(sample.entries) for sample in samples]
        if not frames:
            return pd.DataFrame({"time": pd.DatetimeIndex([], tz="UTC")})
        joined = pd.concat(frames, ignore_index=True)
        joined.attrs = frames[-1].attrs
        times = np.repeat([s.at + self._offset for s in samples], [len(frame) for frame in frames])
        joined.insert(0, "time", pd.DatetimeIndex(times.astype("M8[ns]"), tz="UTC"))
        return joined

    def rate(self) -> pd.DataFrame:
        """Return how fast each number changed from one reading of its entry to the next, per second.

        The columns are those of :meth:`df`; the numbers are float64. An entry that was made or deleted between two
        readings has no rate there.
        """
        samples = list(self._samples)
        frame = self.df()
        numeric = self._numeric(frame)
        if not numeric or len(frame) != sum(len(s.entries.keys) for s in samples):  # a stack has a row per address
            raise MapError(f"{self.name} has no numbers to make rates of", hint="df() has the readings themselves")
        seconds = np.repeat([s.at for s in samples], [len(s.entries.keys) for s in samples])
        before = _before(samples)
        has = before >= 0
        rates = frame.loc[has].reset_index(drop=True)
        elapsed = (seconds[has] - seconds[before[has]]) / _NS
        for name in numeric:
            rates[name] = _difference(frame[name].to_numpy(), has, before) / elapsed
        return rates

    def plot(self, column: str | None = None, *, rate: bool = False, ax: Axes | None = None) -> Axes:
        """Draw a number over time, a line for each entry; of many entries the largest.

        Parameters
        ----------
        column
            Which one; the default is the first.
        rate
            Its rate per second instead.
        ax
            Where to draw; the default is a figure of its own.
        """
        frame = self.rate() if rate else self.df()
        numeric = self._numeric(frame)
        if not numeric or (column is not None and column not in numeric):
            raise MapError(f"{self.name} has no number {column or ''}", hint=f"it has {', '.join(numeric) or 'none'}")
        name = column or numeric[0]
        ax = style.axes(ax)
        if not len(frame):
            return style.empty(ax, self.name, "too few readings yet")
        keys = self._key_columns(frame)
        lines = list(frame.groupby(keys, observed=True, sort=False)) if keys else [((), frame)]
        lines.sort(key=lambda line: -float(line[1][name].max()))
        for key, line in lines[:_MOST_LINES]:
            ax.plot(line["time"], line[name], label=", ".join(map(str, key if isinstance(key, tuple) else (key,))))
        times = frame["time"].astype("int64")
        style.time_axis(ax, int(times.min()), int(times.max()))
        style.thousands(ax.yaxis)
        ax.set_ylabel(f"{name} per second" if rate else name)
        style.title(ax, self.name, f"{len(self):,} readings")
        if len(lines) > 1:
            style.legend(ax, *ax.get_legend_handles_labels())
        return ax

    def __repr__(self) -> str:
        state = "running" if self.running else f"ended: {self.error.what}" if self.error else "ended"
        return f"<watch of {self.name}: {len(self)} readings, every {self.interval:g} s, {state}>"

    def _run(self) -> None:
        begin = time.monotonic_ns()
        step, tick = int(self.interval * _NS), 0
        last = None if self._for is None else begin + int(self._for * _NS)
        try:
            while not self._stop.is_set():
                now = time.monotonic_ns()
                self._samples.append(_Sample(now, self._read()))
                tick = max(tick + 1, (time.monotonic_ns() - begin) // step + 1)
                due = begin + tick * step
                if last is not None and due > last:
                    return
                self._stop.wait(max(0.0, (due - time.monotonic_ns()) / _NS))
        except EbpflabError as error:
            self.error = error

    def _numeric(self, frame: pd.DataFrame) -> list[str]:
        from pandas.api.types import is_bool_dtype, is_numeric_dtype, is_timedelta64_dtype

        own = [name for name in frame.columns if name not in self._key_columns(frame) and name != "time"]
        return [
            name
            for name in own
            if (is_numeric_dtype(frame[name]) or is_timedelta64_dtype(frame[name])) and not is_bool_dtype(frame[name])
        ]

    def _key_columns(self, frame: pd.DataFrame) -> list[str]:
        return [name for name in frame.attrs.get("key", []) if name in frame.columns]


def _before(samples: list[_Sample]) -> NDArray[np.int64]:
    # For each row of all samples, the row of the same key in the sample before; -1 if it has none.
    found: list[int] = []
    earlier: dict[bytes, int] = {}
    start = 0
    for sample in samples:
        keys = [key.tobytes() for key in sample.entries.keys]
        found += [earlier.get(key, -1) for key in keys]
        earlier = {key: start + i for i, key in enumerate(keys)}
        start += len(keys)
    return np.array(found, np.int64)


def _difference(values: NDArray[Any], has: NDArray[np.bool_], before: NDArray[np.int64]) -> NDArray[np.float64]:
    # Integers are subtracted as such: as floats, large counters would lose their last digits.
    later, earlier = values[has], values[before[has]]
    if values.dtype.kind == "f":
        exact: NDArray[np.float64] = np.subtract(later, earlier, dtype=np.float64)
        return exact
    return np.subtract(later.astype(np.int64), earlier.astype(np.int64)).astype(np.float64)
