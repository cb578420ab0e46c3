"""Playing a recording into a stream, in its own time or faster: what feeds a session where no kernel does."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from ..errors import EbpflabError
from ..events import Events
from ..keep import Keep
from ..losses import Gap, Losses
from ..store import RecordStore
from ..worker import Worker

if TYPE_CHECKING:
    from .columns import Batch
    from .reader import Recording


class Playback:
    """The streams of a replayed session: a thread plays the recording into them, until its end or :meth:`close`.

    Parameters
    ----------
    recording
        What to play.
    name
        The session's name.
    speed
        How many times as fast as it was recorded; None plays everything before the constructor returns.
    keep
        The history to keep.

    Raises
    ------
    EbpflabError
        When the recording is damaged, if `speed` is None; else the stream's methods raise it.
    """

    def __init__(self, recording: Recording, *, name: str, speed: float | None, keep: Keep) -> None:
        self._recording, tally = recording, recording.tally
        self._pace = _Pace(speed)
        self._store = _Store(keep, self._pace.seconds, before=tally.before + tally.missed)
        self._losses = _RecordedLosses(recording)
        self._feed = _Feed(self._pace, recording.about.size)
        stream = Events(
            recording.about.stream, self._store, self._feed, recording.types, self._losses, recording.lookup
        )
        self.streams = {stream.name: stream}
        self._stream = stream
        stream.begin(tally.span[0] or None)
        self._worker: Worker | None = None
        if speed is None:
            self._play()
            self._feed.flush(0)
        else:
            self._worker = Worker(self._play, f"ebpflab-replay-{name}")

    @property
    def playing(self) -> bool:
        """Whether there is more to come."""
        return not self._store.closed

    def begin(self) -> None:
        """Do nothing: a recording knows when its programs were attached."""

    def end(self) -> None:
        """Do nothing: a recording knows when its programs were detached."""

    def close(self) -> None:
        """Stop playing; the stream stays readable."""
        self._pace.stop()
        if self._worker is not None:
            self._worker.wait()
        for events in self.streams.values():
            events.finish()

    def _play(self) -> None:
        try:
            started = self._recording.about.started
            for batch in self._recording.batches():
                if not self._pace.wait((batch.arrived - started) / 1e9):
                    break
                self._pour(batch)
            else:
                self._wind_up()
        except EbpflabError as error:
            self._feed.error = error
        finally:
            self._stream.end(self._ended())
            self._store.close()

    def _wind_up(self) -> None:
        # What the counters said in the end, which may be more than with the last row.
        tally, started = self._recording.tally, self._recording.about.started
        if self._pace.wait((tally.taken - started) / 1e9 if tally.complete else 0.0):
            self._losses.ended(tally.lost)
            self._store.commit(0, 0, 0, self._pace.seconds(), discarded=tally.discarded)

    def _ended(self) -> float:
        reached, ended = self._recording.about.started / 1e9 + self._pace.seconds(), self._recording.tally.span[1]
        return min(ended, reached) if self._pace.stopped else ended

    def _pour(self, batch: Batch) -> None:
        # As a drain does: what is reserved is filled, as far as it goes, again and again.
        ends = np.concatenate([[0], np.cumsum(batch.lengths, dtype=np.int64)])
        now, done = self._pace.seconds(), 0
        self._losses.reached(batch.lost)
        while done < len(batch.lengths):
            out, lengths = self._store.reserve(int(batch.lengths[done]))
            fitting = int(np.searchsorted(ends, ends[done] + len(out), "right")) - 1
            stop = min(fitting, done + len(lengths))
            nbytes = int(ends[stop] - ends[done])
            out[:nbytes] = batch.data[ends[done] : ends[stop]]
            lengths[: stop - done] = batch.lengths[done:stop]
            self._store.commit(stop - done, nbytes, batch.clock, now)
            done = stop


class _Store(RecordStore):
    # A store whose first rows came and went before the recording began, or unseen by it.
    def __init__(self, keep: Keep, clock: Callable[[], float], *, before: int) -> None:
        super().__init__(keep, clock=clock)
        self._received = self._evicted = before


class _RecordedLosses(Losses):
    # The losses as they were by the last row that was played.
    def __init__(self, recording: Recording) -> None:
        self._recording = recording
        self._lost: int | None = None if recording.tally.lost is None else 0
        self._received = 0
        super().__init__(self.per_cpu)

    def reached(self, lost: int | None) -> None:
        self._lost = lost

    def ended(self, lost: int | None) -> None:
        self._lost = lost
        self._received = self._recording.received

    def look(self, received: int) -> None:
        self._received = max(self._received, received)

    def total(self) -> int | None:
        return self._lost

    def per_cpu(self) -> tuple[int, ...]:
        return tuple(map(sum, zip(*(gap.lost for gap in self.gaps()), strict=True)))

    def gaps(self) -> list[Gap]:
        gaps = [Gap(*gap) for gap in self._recording.tally.gaps]
        return [gap for gap in gaps if gap.row <= self._received]


class _Feed:
    # A recording as a stream sees what fills it: nothing ever waits in a buffer.
    pending_bytes = 0

    def __init__(self, pace: _Pace, size: int) -> None:
        self.size = size
        self.error: EbpflabError | None = None
        self._pace = pace

    def pending_records(self) -> int:
        return 0

    def flush(self, timeout: float) -> bool:  # noqa: ARG002 - a live buffer has something to wait for
        if self.error is not None:
            raise self.error
        return True

    def pause(self) -> None:
        self._pace.pause()

    def resume(self) -> None:
        self._pace.resume()


class _Pace:
    # A clock that counts the seconds of the recording, `speed` for each of ours; it can stand still.

    def __init__(self, speed: float | None) -> None:
        self._speed = speed
        self._turn = threading.Condition()
        self._base, self._since = 0.0, time.monotonic()  # it showed _base at _since, and went on from there
        self._paused = False
        self._limit = 0.0  # never ahead of what was waited for: rows do not age while nothing is played
        self.stopped = False

    def seconds(self) -> float:
        return self._limit

    def wait(self, seconds: float) -> bool:
        # Until the clock shows so much; False if it was stopped before.
        with self._turn:
            while not self.stopped and (self._paused or not self._due(seconds)):
                self._turn.wait(None if self._paused else self._left(seconds))
            self._limit = self._limit if self.stopped else max(self._limit, seconds)
            return not self.stopped

    def pause(self) -> None:
        with self._turn:
            if not self._paused:
                self._base, self._paused = self._shown(), True

    def resume(self) -> None:
        with self._turn:
            if self._paused:
                self._since, self._paused = time.monotonic(), False
                self._turn.notify_all()

    def stop(self) -> None:
        with self._turn:
            self.stopped = True
            self._turn.notify_all()

    def _due(self, seconds: float) -> bool:
        return self._speed is None or self._shown() >= seconds

    def _shown(self) -> float:
        return self._base + (time.monotonic() - self._since) * (self._speed or 1.0)

    def _left(self, seconds: float) -> float:
        return max(0.0, (seconds - self._shown()) / (self._speed or 1.0))
