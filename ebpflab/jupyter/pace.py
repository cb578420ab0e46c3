# When a live view sends what: never faster than a page can draw, nor than drawing is cheap. Clocks are injected.

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

Clock = Callable[[], float]

MOST_MESSAGES = 10  # in any second
BUSY_SECONDS = 0.2  # between frames while something changes
IDLE_SECONDS = 1.0  # while only the age does
SLOWEST_SECONDS = 30.0
AWAY_SECONDS = 60.0  # without an answer, until nobody is thought to be there
UNSEEN_FRAMES = 25  # so many more without an answer double the interval
COST_FACTOR = 8  # drawing takes at most an eighth of a core
FAILED_COST = 1 / COST_FACTOR  # what could not be drawn is tried again a second later
LEAST_SECONDS = {"picture": 0.5, "entries": 1.0, "code": 1.0}
# At display, when the first rows may be there, and from then on.
TWIN_FIRST = (0.4, 1.6)
TWIN_SECONDS = 5.0  # twice as long each time, while nothing but counters changes: a notebook keeps what it had too
TWIN_SLOWEST_SECONDS = 60.0
PLOT_SECONDS = 4.0  # the age of a plot that is too old for a twin


class Budget:
    """At most so many messages in any one second, whoever sends them."""

    def __init__(self, most: int = MOST_MESSAGES, clock: Clock = time.monotonic) -> None:
        self._most, self._clock = most, clock
        self._sent: deque[float] = deque(maxlen=most)
        self._lock = threading.Lock()

    def wait(self, spare: int = 0) -> float:
        """Return the seconds until a message may be sent that leaves `spare` for others; 0 for now."""
        with self._lock:
            return self._wait(spare)

    def take(self, spare: int = 0) -> float:
        """Return what :meth:`wait` does; when that is 0, the message counts as sent."""
        with self._lock:
            seconds = self._wait(spare)
            if not seconds:
                self._sent.append(self._clock())
            return seconds

    def spend(self) -> None:
        """Count a message that cannot wait."""
        with self._lock:
            self._sent.append(self._clock())

    def _wait(self, spare: int) -> float:
        # The one that has to be a second old is the `most - spare`th, counted from the newest.
        allowed = self._most - spare
        if len(self._sent) < allowed:
            return 0.0
        # A little more than a second: times are compared on the other side of a socket.
        return max(0.0, self._sent[-allowed] + 1.02 - self._clock())


class Pace:
    """When the next frame is due, and which of its parts."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._next: dict[str, float] = {}
        self._last = float("-inf")
        self._sent = self._seen = 0
        self._waits = 0.0  # since when for an answer, while frames are unseen

    def frame(self) -> int:
        """Count a frame as sent; returns its number."""
        self._last = self._clock()
        if self._sent == self._seen:
            self._waits = self._last
        self._sent += 1
        return self._sent

    def seen(self, number: int) -> None:
        """Note that a page has drawn a frame."""
        self._seen = min(max(self._seen, number), self._sent)
        self._waits = self._clock()

    def arrived(self) -> None:
        """Note that somebody is there, whatever was answered before."""
        self._seen = self._sent

    @property
    def interval(self) -> float:
        """Seconds between frames; longer when nobody answers, but never for ever.

        A front end without subshells cannot answer while a cell runs, and must still see frames.
        """
        doublings = (self._sent - self._seen) // UNSEEN_FRAMES
        return float(min(BUSY_SECONDS * 2 ** min(doublings, 16), SLOWEST_SECONDS))

    @property
    def away(self) -> bool:
        """Whether frames go unanswered for so long that there is hardly anybody to see them."""
        return self._sent > self._seen and self._clock() - self._waits >= AWAY_SECONDS

    def until_frame(self, changing: bool) -> float:
        """Return the seconds until the next frame; 0 for now."""
        interval = self.interval if changing else max(self.interval, IDLE_SECONDS)
        return max(0.0, self._last + interval - self._clock())

    def due(self, part: str) -> bool:
        """Say whether a part may be drawn again."""
        return self._clock() >= self._next.get(part, float("-inf"))

    def drawn(self, part: str, cost: float) -> None:
        """Note that a part was drawn, and the processor time in seconds that it took."""
        self._next[part] = self._clock() + max(LEAST_SECONDS.get(part, 0.0), COST_FACTOR * cost)

    def ask(self) -> None:
        """Make every part due."""
        self._next.clear()


class TwinPace:
    """When the output that stays in the notebook is brought up to date."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._times: deque[float] = deque()
        self._gap = TWIN_SECONDS

    def shown(self) -> None:
        """Note that it was displayed just now, or that something else is shown in it."""
        self._times = deque(self._clock() + seconds for seconds in TWIN_FIRST)
        self._gap = TWIN_SECONDS

    def until(self) -> float:
        """Return the seconds until it is due; 0 for now."""
        return max(0.0, self._times[0] - self._clock()) if self._times else 0.0

    def looked(self) -> None:
        """Note that it was due and somebody looked whether there was something new."""
        now = self._clock()
        while self._times and self._times[0] <= now:
            self._times.popleft()
        if not self._times:
            self._times.append(now + self._gap)
            self._gap = min(2 * self._gap, TWIN_SLOWEST_SECONDS)
