"""What stack ids and addresses stood for, noted while recording and told again in a replay."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from ..rules import Lookup, Space
    from ..shown import Array


class Note(NamedTuple):
    """One number and its text; ``process`` is None where the record does not say."""

    what: str  # "stack" or "address"
    space: str
    process: int | None
    number: int
    text: str


class NotingLookup:
    """Asks another lookup and keeps what it says.

    Parameters
    ----------
    lookup
        The live one.
    """

    def __init__(self, lookup: Lookup) -> None:
        self.machine = lookup.machine
        self._lookup = lookup
        self._notes: dict[tuple[str, str, int | None, int], str] = {}
        self._given = 0

    def stacks(self, space: Space, ids: Array, pids: Array | None) -> Sequence[str]:
        """Return folded stacks, and note them."""
        return self._noted("stack", space, ids, pids, self._lookup.stacks(space, ids, pids))

    def addresses(self, space: Space, values: Array, pids: Array | None) -> Sequence[str]:
        """Return symbols, and note them."""
        return self._noted("address", space, values, pids, self._lookup.addresses(space, values, pids))

    def remember(self, space: Space, ids: Array, pids: Array | None) -> None:
        """Pass it on."""
        self._lookup.remember(space, ids, pids)

    def all(self) -> list[Note]:
        """Return everything noted so far."""
        return [Note(*key, text) for key, text in self._notes.items()]

    def fresh(self) -> list[Note]:
        """Return what was noted since the last call."""
        notes = self.all()[self._given :]
        self._given += len(notes)
        return notes

    def _noted(self, what: str, space: str, numbers: Array, pids: Array | None, texts: Sequence[str]) -> Sequence[str]:
        for key, text in zip(_keys(what, space, numbers, pids), texts, strict=True):
            self._notes.setdefault(key, text)
        return texts


class RecordedLookup:
    """Tells what was noted; a number without a note is shown as a number.

    Parameters
    ----------
    notes
        What a :class:`NotingLookup` noted.
    machine
        The architecture that the recording was made on.
    """

    def __init__(self, notes: Iterable[Note], machine: str) -> None:
        self.machine = machine
        self._texts = {note[:4]: note.text for note in notes}

    def stacks(self, space: Space, ids: Array, pids: Array | None) -> Sequence[str]:
        """Return folded stacks as they were."""
        return [self._texts.get(key, str(key[3])) for key in _keys("stack", space, ids, pids)]

    def addresses(self, space: Space, values: Array, pids: Array | None) -> Sequence[str]:
        """Return symbols as they were."""
        return [self._texts.get(key, f"{key[3]:#x}") for key in _keys("address", space, values, pids)]

    def remember(self, space: Space, ids: Array, pids: Array | None) -> None:
        """Do nothing: what there is to remember is in the recording."""


def _keys(what: str, space: str, numbers: Array, pids: Array | None) -> list[tuple[str, str, int | None, int]]:
    processes: list[int | None] = [None] * len(numbers) if pids is None else pids.tolist()
    return [(what, space, process, number) for process, number in zip(processes, numbers.tolist(), strict=True)]
