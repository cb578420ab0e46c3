"""A recording as a session: :func:`replay`."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NoReturn

from .. import line, registry
from ..engines.replay import ReplayEngine, ReplayHandle, refuse
from ..errors import CellError
from ..keep import Keep
from ..maps import BpfMap, Maps, Variables
from ..session import Session, Stage
from .layout import Facts
from .playback import Playback
from .reader import Recording

if TYPE_CHECKING:
    import pandas as pd


class ReplaySession(Session):
    """A session whose events come from a recording; made by :func:`ebpflab.replay`.

    What needs the kernel (attach, detach, test_run, global variables) raises SessionError.
    """

    def __init__(self, recording: Recording, name: str, *, speed: float | None, keep: Keep) -> None:
        facts, start = recording.about.facts, time.perf_counter()
        handle = ReplayHandle(facts.btf, facts.programs)
        super().__init__(line.Prepared(b"", ReplayEngine(), None, {}), name, handle, [])
        self.source = facts.source
        self.vars, self.maps = _NoVariables(), _NoMaps(handle, self._btf)
        self._facts_recorded = facts
        self._playback = playback = Playback(recording, name=name, speed=speed, keep=keep)
        self._buffers = playback
        self.streams = playback.streams
        for events in self.streams.values():
            events.facts, events.live = self._facts, self.view
        when = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(recording.about.started / 1e9))
        where = f"Linux {facts.kernel}" if facts.kernel else "a machine that it does not name"
        took = (time.perf_counter() - start) * 1000
        self._stages.append(Stage("replay", took, f"{recording.rows:,} events of {where}, {when}"))

    @property
    def state(self) -> str:
        """``replaying`` (more is to come), ``replayed`` (everything is there), or ``closed``."""
        if self._state == "closed":
            return self._state
        return "replaying" if self._playback.playing else "replayed"

    @property
    def links(self) -> pd.DataFrame:
        """The links as they were: program, hook, target, state."""
        import pandas as pd

        rows = [(k.program, k.hook, k.target, "recorded") for k in self._facts_recorded.links]
        return pd.DataFrame(rows, columns=["program", "hook", "target", "state"])

    def _facts(self) -> Facts:
        return replace(self._facts_recorded, session=self.name)

    def attach(self, program: str | None = None, **options: Any) -> NoReturn:  # noqa: ARG002 - the face of a session
        """Raise SessionError: a recording has no programs to attach."""
        refuse("attach programs")

    def detach(self) -> NoReturn:
        """Raise SessionError: a recording has no programs to detach."""
        refuse("detach programs")

    def iterate(self, program: str | None = None) -> NoReturn:  # noqa: ARG002 - the face of a session
        """Raise SessionError: a recording has no iterators."""
        refuse("run an iterator")

    def iterate_df(self, program: str | None = None, **options: Any) -> NoReturn:  # noqa: ARG002 - the same
        """Raise SessionError: a recording has no iterators."""
        refuse("run an iterator")

    def test_run(self, program: str | None = None, *arguments: Any, **options: Any) -> NoReturn:  # noqa: ARG002
        """Raise SessionError: a recording has no programs to run."""
        refuse("run a program")


class _NoMaps(Maps):
    # The maps of a program that is not there.
    def __getitem__(self, name: str) -> BpfMap:
        refuse(f"look into the map {name}")


class _NoVariables(Variables):
    # The global variables of a program that is not there.
    def __init__(self) -> None:
        pass

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        refuse(f"tell the global variable {name}")

    def __getitem__(self, name: str) -> Any:
        refuse(f"tell the global variable {name}")

    def __setitem__(self, name: str, value: Any) -> None:
        refuse(f"set the global variable {name}")

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0

    def __repr__(self) -> str:
        return "<no global variables: a recording holds events>"

    def close(self) -> None:
        pass


def replay(
    path: str | os.PathLike[str],
    *,
    speed: float | str | None = 1.0,
    name: str | None = None,
    keep: str | float | None = None,
) -> Session:
    """Open a recording as a session: its events arrive again, without a kernel, privileges or Linux.

    Parameters
    ----------
    path
        What ``s.events.record(path)`` wrote: a file, or the folder that a killed process left.
    speed
        1 plays in the original time, 10 ten times as fast; None or ``"max"`` has all events there when the call
        returns.
    name
        A name for the session; a live session of the same name is closed. Default: the recorded one, with a number if
        a live session has it.
    keep
        History to keep: rows (``1e6``), bytes (``"200MB"``) or seconds of the recording (``"60s"``). Default: what the
        recorded session kept.

    Returns
    -------
    Session
        With the face of a live one. What needs the kernel, such as ``attach()``, raises SessionError.

    Raises
    ------
    EbpflabError
        When there is no recording, or it is damaged.
    CellError
        When `speed` or `keep` cannot be read.

    Examples
    --------
    >>> with ebpflab.replay("opens.parquet", speed=None) as s:
    ...     frame = s.events.df()
    """
    pace = _speed(speed)
    recording = Recording(path)
    history = recording.about.keep if keep is None else Keep.parse(keep)
    label = name or _free(recording.about.facts.session or recording.about.stream)
    session = ReplaySession(recording, label, speed=pace, keep=history)
    registry.add(session)
    return session


def _speed(speed: float | str | None) -> float | None:
    if speed is None or speed == "max":
        return None
    try:
        number = float(speed)
    except (TypeError, ValueError):
        number = 0.0
    if not number > 0:
        raise CellError(f"cannot replay at speed {speed!r}", hint='1 is the original time, 10 ten times as fast, "max"')
    return None if math.isinf(number) else number


def _free(name: str) -> str:
    taken = {session.name for session in registry.sessions()}
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name}_{number}"
    return free
