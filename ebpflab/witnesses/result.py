"""What the witnesses say, side by side."""

from __future__ import annotations

import shlex
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from ..formatting import Fold, Head, Note, Part, Table, html, milliseconds, text

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Count:
    """What one witness counted; ``counted`` is None when it could not, and ``note`` says why.

    ``started_ms`` and ``ready_ms`` are milliseconds since the check began. ``runs`` and ``ns_per_run`` are what the
    kernel measured of its programs while the events came, those among them that left an event out; None where the
    kernel does not tell.
    """

    witness: str
    counted: int | None
    started_ms: float
    ready_ms: float | None
    runs: int | None
    ns_per_run: float | None
    text: str
    note: str = ""


@dataclass(frozen=True, repr=False)
class Check:
    """The same count by three witnesses; made by :func:`ebpflab.check`.

    Attributes
    ----------
    hook
        The hook, as a section.
    events
        Whose events were counted, in words.
    counts
        What each witness says.
    expected
        How many events the workload makes, where that is known.
    tolerance
        By how many events the counts may differ: 0, but for a window of time.
    command
        The command that was the workload; empty if there was none.
    status
        Its exit status, or the number of the signal that ended it, below zero.
    output
        The end of what it wrote.
    notes
        What else there is to know.

    Examples
    --------
    >>> ebpflab.check("tp/syscalls/sys_enter_getppid").agree
    True
    """

    hook: str
    events: str
    counts: tuple[Count, ...]
    expected: int | None = None
    tolerance: int = 0
    command: tuple[str, ...] = ()
    status: int | None = None
    output: str = ""
    notes: tuple[str, ...] = ()

    @property
    def agree(self) -> bool | None:
        """Whether all counts are the same, within the tolerance, and the expected one; None of fewer than two."""
        counts = [each.counted for each in self.counts if each.counted is not None]
        if len(counts) < 2:
            return None
        known = [*counts, self.expected] if self.expected is not None else counts
        return max(known) - min(known) <= self.tolerance

    @property
    def texts(self) -> dict[str, str]:
        """What each witness ran, by its name."""
        return {each.witness: each.text for each in self.counts}

    @property
    def frame(self) -> pd.DataFrame:
        """A row for each witness: witness, counted, started_ms, ready_ms, runs, ns_per_run, note, text."""
        import pandas as pd

        columns = ["witness", "counted", "started_ms", "ready_ms", "runs", "ns_per_run", "note", "text"]
        frame = pd.DataFrame([asdict(each) for each in self.counts], columns=columns)
        kinds = {"counted": "Int64", "runs": "Int64", "ready_ms": "float64", "ns_per_run": "float64"}
        return frame.astype(kinds)

    def to_dict(self) -> dict[str, object]:
        """Return all of it as plain values, for JSON."""
        return {**asdict(self), "agree": self.agree}

    def __repr__(self) -> str:
        return text(self._document())

    def _repr_html_(self) -> str:
        ran = (Fold(f"what {witness} ran", source) for witness, source in self.texts.items())
        return html([*self._document(), *ran])

    def _document(self) -> list[Part]:
        states = {True: ("agree", "ok"), False: ("differ", "error"), None: ("not compared", "warning")}
        parts: list[Part] = [Head(self.hook, *states[self.agree], self.events), self._table()]
        if self.tolerance:
            what = f"counts of a window of time may differ by {self.tolerance:,}: one event for each end and processor"
            parts.append(Note(what))
        parts += [Note(each.note, "muted" if each.counted is not None else "warning", each.witness)
                  for each in self.counts if each.note]  # fmt: skip
        parts += [Note(note, "warning") for note in self.notes]
        if self.status:
            parts.append(Note(f"{shlex.join(self.command)} ended with status {self.status}", "warning"))
            parts += [Fold("the end of what it wrote", self.output)] if self.output else []
        return parts

    def _table(self) -> Table:
        rows = tuple(
            (each.witness, each.counted, _span(each), each.runs, each.ns_per_run and round(each.ns_per_run))
            for each in self.counts
        )
        tones = [(row, 1, "error") for row in range(len(rows))] if self.agree is False else []
        return Table(
            ("witness", "counted", "ready in", "runs", "ns a run"), rows, tones=tuple(tones), right=(1, 2, 3, 4)
        )


def _span(each: Count) -> str:
    return "-" if each.ready_ms is None else milliseconds(each.ready_ms - each.started_ms)
