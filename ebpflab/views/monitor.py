"""The numbers of a session as they are now: events, losses, memory, and what its programs cost."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from ..formatting import number
from ..summary import _TONES
from . import log
from .history import History, Past
from .overhead import Cost, Overhead

if TYPE_CHECKING:
    from ..session import Session

__all__ = ["Cost", "Flow", "History", "Monitor", "Numbers", "Tile"]

_TONE = {**_TONES, "paused": "warning"}
_OVER = ("closed", "detached", "replayed")
_FINAL = ("closed", "replayed")
_FLOWING = ("attached", "loaded", "replaying")
_SMOOTH = 1.0  # seconds that rates are means of
_SHORTEST = 0.2  # seconds: over less than that, a rate is noise


class Tile(NamedTuple):
    """One number as people see it: a key for programs, a label, the value, its tone, and a sentence about it."""

    key: str
    label: str
    value: str
    tone: str  # ok, warning, muted, error; empty for plain
    title: str


class Flow(NamedTuple):
    """One stream: records received, lost (None: nobody counts), evicted, and received per second."""

    name: str
    received: int
    lost: int | None
    evicted: int
    rate: float


@dataclass(frozen=True)
class Numbers:
    """A session at one moment; what is None is not known or not measured.

    Attributes
    ----------
    name, engine, state
        Of the session; the state is ``paused`` while all its streams are.
    tone
        ``ok``, ``warning``, ``muted`` or ``error``, for the state.
    age
        Seconds since it began, until it was closed.
    rate
        Events per second over the last second; when it is over, of the whole run.
    received, lost, evicted, discarded, pending, held
        Records of all streams, see :meth:`ebpflab.events.Events.stats`.
    nbytes
        Bytes of memory behind the records held.
    runs_per_s, ns_per_run, core_share
        What all programs cost together; 0.01 is one per cent of one core.
    per_program, per_stream
        The same for each.
    problem
        A sentence when something cannot be shown; empty otherwise.
    """

    name: str
    engine: str
    state: str
    tone: str
    age: float
    rate: float
    received: int
    lost: int | None
    evicted: int
    discarded: int
    pending: int
    held: int
    nbytes: int
    runs_per_s: float | None
    ns_per_run: float | None
    core_share: float | None
    per_program: tuple[Cost, ...]
    per_stream: tuple[Flow, ...]
    problem: str

    def tiles(self) -> tuple[Tile, ...]:
        """Return the numbers as texts, in the order in which they are shown.

        Examples
        --------
        >>> [tile.label for tile in monitor.look().tiles()][:3]
        ['events/s', 'received', 'lost']
        """
        over = self.state in _OVER
        mean = "mean of the whole run" if over else "mean of the last second"
        measured = "measured while this view is open" if self.runs_per_s is not None else self.problem or "not measured"
        memory = f"{self.held:,} records held"
        if self.pending:
            memory += f", {self.pending:,} still in the buffer"
        lost = "records that a full buffer refused" if self.lost is not None else "nobody counts the losses here"
        return (
            Tile("rate", "events/s", number(self.rate), "", mean),
            Tile("received", "received", number(self.received), "", f"{self.discarded:,} more discarded by programs"),
            Tile("lost", "lost", number(self.lost), "error" if self.lost else "", lost),
            Tile("evicted", "evicted", number(self.evicted), "", "the oldest records, pushed out of the history"),
            Tile("runs", "runs/s", number(self.runs_per_s), "", measured),
            Tile("ns", "ns per run", number(self.ns_per_run), "", f"mean run time of the programs; {measured}"),
            Tile("core", "share of a core", _percent(self.core_share), "", f"time spent in the programs; {measured}"),
            Tile("memory", "memory", _bytes(self.nbytes), "", memory),
        )


class Monitor:
    """Watches one session for a view: call :meth:`look` at every tick; from any thread, at any time.

    It costs the same at any rate of events, and asks the kernel nothing but the counters of its programs, twice a
    second at most and only while they are measured.

    Parameters
    ----------
    session
        A session, live, closed or replayed. Events seen before this moment are not part of the history.

    Examples
    --------
    >>> monitor = Monitor(session)
    >>> monitor.measure(True)
    >>> monitor.look().rate
    1009.0
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._lock = threading.RLock()
        self._overhead = Overhead(session)
        at, counts = time.monotonic(), _counts(session)
        self._past = Past(at, utc=time.time())
        self._recent = deque([(at, {name: stats["received"] for name, stats in counts.items()})])
        self._received, self._lost = _sum(counts, "received") or 0, _sum(counts, "lost") or 0
        self._final = self._closed = False  # whether nothing more will come, and whether nobody may measure any more
        with session._lock:
            session._guests.add(self)

    def look(self) -> Numbers:
        """Return the numbers as of now."""
        with self._lock:
            return self._look()

    def measure(self, on: bool) -> None:
        """Have the kernel count the runs of programs, or not; it stops at the latest when the session is closed.

        Where this is not permitted, ``Numbers.problem`` says so.
        """
        with self._lock:
            self._overhead.measure(on and not self._closed, time.monotonic())

    def history(self, seconds: float = 60.0) -> History:
        """Return events and losses per second of the last `seconds`, at most of ten minutes."""
        return self._past.history(seconds)

    def close(self) -> None:
        """Stop measuring; what was seen stays. Sessions call it when they are closed. Harmless when repeated."""
        with self._lock:
            self._closed = True
            self._overhead.measure(False, time.monotonic())

    def _look(self) -> Numbers:
        session, at = self._session, time.monotonic()
        state, counts = _state(session), _counts(session)
        log.observe(session)
        over = state in _OVER
        received, lost = _sum(counts, "received") or 0, _sum(counts, "lost")
        if not self._final:
            self._past.add(at, received=received - self._received, lost=(lost or 0) - self._lost)
            self._final = state in _FINAL
            if self._final:  # from here on the past stands still, with its last minutes
                self._past.end()
        self._received, self._lost = received, lost or 0
        flows = self._flows(at, counts, over)
        self._closed = self._closed or state == "closed"
        if self._closed:
            self._overhead.measure(False, at)
        self._overhead.look(at)
        costs = self._overhead.costs(over=state == "closed")
        runs_per_s, ns_per_run, core_share = _together(costs)
        return Numbers(
            name=session.name,
            engine=session.engine,
            state=state,
            tone=_TONE.get(state, "warning"),
            age=max(0.0, (session._ended or time.time()) - session._began),
            rate=sum(flow.rate for flow in flows),
            received=received,
            lost=lost,
            evicted=_sum(counts, "evicted") or 0,
            discarded=_sum(counts, "discarded") or 0,
            pending=_sum(counts, "pending") or 0,
            held=_sum(counts, "rows") or 0,
            nbytes=sum(events.nbytes for events in session.streams.values()),
            runs_per_s=runs_per_s,
            ns_per_run=ns_per_run,
            core_share=core_share,
            per_program=costs,
            per_stream=flows,
            problem=self._overhead.problem,
        )

    def _flows(self, at: float, counts: dict[str, dict[str, Any]], over: bool) -> tuple[Flow, ...]:
        self._recent.append((at, {name: stats["received"] for name, stats in counts.items()}))
        while len(self._recent) > 2 and at - self._recent[1][0] >= _SMOOTH:
            self._recent.popleft()
        since, before = self._recent[0]
        seconds = max(at - since, _SHORTEST)
        return tuple(
            Flow(
                name,
                stats["received"],
                stats["lost"],
                stats["evicted"],
                stats["rate"] if over else (stats["received"] - before.get(name, 0)) / seconds,
            )
            for name, stats in counts.items()
        )


def _state(session: Session) -> str:
    state = session.state
    streams = list(session.streams.values())
    paused = bool(streams) and all(events.paused for events in streams)
    return "paused" if paused and state in _FLOWING else state


def _counts(session: Session) -> dict[str, dict[str, Any]]:
    return {name: events.counts() for name, events in session.streams.items()}


def _sum(counts: dict[str, dict[str, Any]], key: str) -> int | None:
    # None only if no stream knows.
    known = [stats[key] for stats in counts.values() if stats[key] is not None]
    return sum(known) if known else None


def _together(costs: tuple[Cost, ...]) -> tuple[float | None, float | None, float | None]:
    measured = [cost for cost in costs if cost.runs_per_s is not None and cost.core_share is not None]
    if not measured:
        return None, None, None
    runs, share = sum(c.runs_per_s or 0.0 for c in measured), sum(c.core_share or 0.0 for c in measured)
    if runs:
        return runs, share * 1e9 / runs, share
    # Nothing ran just now: a run is as long as it last was, by how often each ran.
    known = [(c.runs, c.ns_per_run) for c in measured if c.ns_per_run is not None and c.runs]
    total = sum(count for count, _ in known)
    return runs, sum(count * ns for count, ns in known) / total if total else None, share


def _percent(share: float | None) -> str:
    if share is None:
        return number(None)
    return "<0.01 %" if 0 < share < 0.0001 else f"{number(share * 100.0)} %"


def _bytes(count: int) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{number(count / size)} {unit}"
    return f"{count} B"
