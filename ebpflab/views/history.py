"""How fast events came over the last minutes, in steps of equal length however irregularly somebody looked."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

STEP = 0.2  # seconds
LONGEST = 600.0  # seconds that are kept
_STEPS = round(LONGEST / STEP)
_BARS = "▁▂▃▄▅▆▇█"


@dataclass(frozen=True, eq=False)
class History:
    """Events and losses per second, oldest first.

    Attributes
    ----------
    rate, lost
        Events received, and records lost, per second: float32, shape (steps,).
    step
        Seconds from one value to the next.
    end
        UTC seconds at which the last step ended.
    """

    rate: NDArray[np.float32]
    lost: NDArray[np.float32]
    step: float
    end: float

    def spark(self, width: int = 24) -> str:
        """Return the rate as a line of at most `width` bars, the highest as high as can be; ``▁`` is no event.

        Examples
        --------
        >>> monitor.history(10).spark(12)
        '▁▁▂▅▇█▆▅▅▅▃▁'
        """
        size = -(-len(self.rate) // max(width, 1)) or 1
        # Groups begin at the same moments whenever this is called: a bar moves to the left, and keeps its height.
        ahead = round(self.end / self.step) % size
        starts = np.arange(len(self.rate) - (ahead or size), -size, -size)[::-1].clip(0)[-width:]
        if not len(self.rate):
            return ""
        ends = np.append(starts[1:], len(self.rate))
        sums = np.add.reduceat(self.rate, starts, dtype=np.float64)
        means = sums / (ends - starts)
        if not means.any():
            return _BARS[0] * len(means)
        heights = np.ceil(means / means.max() * (len(_BARS) - 1)).astype(int)
        return "".join(_BARS[height] for height in heights)


class Past:
    """Takes counts down as they are told, and gives them back as a :class:`History`; from any thread.

    What was received between two moments is spread evenly over the time between: nothing is lost or made up,
    ``sum(rate * step)`` is what came. Memory is that of ten minutes from the beginning.

    Parameters
    ----------
    at, utc
        Now, in seconds of a steady clock, and in UTC seconds.

    Examples
    --------
    >>> past = Past(0.0, utc=1_700_000_000.0)
    >>> past.add(1.0, received=17, lost=0)
    >>> past.history(60).rate.sum() * STEP
    17.0
    """

    def __init__(self, at: float, *, utc: float) -> None:
        self._lock = threading.Lock()
        self._began, self._utc, self._until = at, utc, at
        self._counts = np.zeros((2, _STEPS + 1))  # a ring: step k is in column k % its length

    def add(self, at: float, *, received: int, lost: int) -> None:
        """Note what came since the last call, or since the beginning; `at` is now, in seconds of the same clock."""
        with self._lock:
            # In steps since the beginning; what is longer ago than the ring holds is left out, with its share.
            first, last = ((moment - self._began) / STEP for moment in (self._until, at))
            if last <= first:  # two looks in the same tick of the clock: the next one takes it along
                last = np.nextafter(first, np.inf)
            edges = np.arange(max(int(first), int(last) - _STEPS), int(last) + 2, dtype=np.float64)
            shares = np.diff(edges.clip(first, last)) / (last - first)
            places = edges[:-1].astype(np.int64) % self._counts.shape[1]
            fresh = places[edges[:-1] > int(first)]
            self._counts[:, fresh] = 0
            self._counts[:, places] += np.outer((received, lost), shares)
            self._until = max(self._until, at)

    def end(self) -> None:
        """Close the last step, so that it is part of the history: nothing more is to be noted."""
        with self._lock:
            steps = int(np.ceil((self._until - self._began) / STEP))
            self._until = max(self._until, self._began + (steps + 1e-3) * STEP)  # whatever floats make of a whole one

    def history(self, seconds: float = 60.0) -> History:
        """Return the last `seconds`, as far as they are known: whole steps only, so that their values stay."""
        with self._lock:
            stop = int((self._until - self._began) / STEP)
            start = max(0, stop - min(round(seconds / STEP), _STEPS))
            columns = np.arange(start, stop) % self._counts.shape[1]
            rate, lost = (self._counts[:, columns] / STEP).astype(np.float32)
            return History(rate, lost, STEP, self._utc + stop * STEP)
