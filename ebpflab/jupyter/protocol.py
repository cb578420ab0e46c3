# Frames of the live view as messages: small things in the JSON of the content, long ones in binary buffers.
# The scripts in page/ read what is written here. A frame has one buffer for each of its parts, in order.

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..views import Look
    from ..views.code import Listing
    from ..views.entries import Entries
    from ..views.log import Line
    from ..views.monitor import History, Numbers
    from ..views.picture import Picture
    from ..views.rows import Rows

LARGEST = 50_000  # bytes of a frame, with all that belongs to its message
_ENVELOPE = 2_000  # headers and signature of the message, and the headers of what it answers
_MOST_COLUMNS = 64
_MOST_CHOICES = 10_000  # bytes of all lists to choose from
_ROW, _FIELD = "\x1e", "\x1f"
_NO_SEPARATORS = {0x1E: " ", 0x1F: " "}


@dataclass(frozen=True)
class Part:
    """One part of a frame: a few values, and bytes.

    Attributes
    ----------
    name
        What it is: ``history``, ``rows``, ``picture``, ``entries``, ``code`` or ``log``.
    meta
        Values for JSON.
    data
        The buffer; in a table, rows are apart by the separator of records (0x1E), cells by that of units (0x1F).
    """

    name: str
    meta: Mapping[str, Any]
    data: bytes = b""

    @property
    def size(self) -> int:
        """Bytes on the wire."""
        return len(self.data) + len(_json({"name": self.name, **self.meta})) + 2

    def fitted(self, room: int) -> Part:
        """Return as much of it as goes into `room` bytes: the first rows, of a log the last ones."""
        over = self.size - room
        if over <= 0:
            return self
        if self.name == "picture":
            return dataclasses.replace(self, data=b"", meta={**self.meta, "problem": "the picture is too large"})
        separator, keep = _ROW.encode(), max(0, len(self.data) - over)
        if self.name == "log":
            kept = self.data[len(self.data) - keep :].partition(separator)[2]
        else:
            kept = self.data[:keep].rpartition(separator)[0]
        return dataclasses.replace(self, data=kept, meta={**self.meta, **self._shortened(kept)})

    def _shortened(self, kept: bytes) -> dict[str, Any]:
        # What the meta says otherwise when so much of the table is kept.
        rows, left = _split(self.data), _split(kept)
        if self.name == "rows":
            return {"shown": len(left)}
        if self.name == "log":
            return {"first": self.meta["first"] + len(rows) - len(left)}
        if self.name == "code":
            return {"cut": self.meta["cut"] + sum(int(row.split(_FIELD.encode())[2]) for row in rows[len(left) :])}
        return {}


def frame(
    number: int, head: Mapping[str, Any], tiles: Any, look: Look, choices: Mapping[str, Any] | None, parts: list[Part]
) -> tuple[dict[str, Any], list[bytes]]:
    """Return the content and the buffers of a frame of at most :data:`LARGEST` bytes."""
    content: dict[str, Any] = {"kind": "frame", "number": number, "head": head, "tiles": tiles}
    content["look"] = dataclasses.asdict(look)
    if choices is not None:
        content["choices"] = choices
    room = LARGEST - _ENVELOPE - len(_json(content))
    fitted = []
    for part in parts:
        # A row count that gets shorter or longer by a digit must not matter.
        fitted.append(part.fitted(room - 16))
        room -= fitted[-1].size
    content["parts"] = [{"name": part.name, **part.meta} for part in fitted]
    return content, [part.data for part in fitted]


def head(numbers: Numbers, age: str, problem: str) -> dict[str, str]:
    """Say whose frame this is and how it is."""
    return {
        "name": _short(numbers.name, 60),
        "state": numbers.state,
        "tone": numbers.tone,
        "engine": _short(numbers.engine, 60),
        "age": age,
        "problem": _short(problem, 400),
    }


def tiles(numbers: Numbers) -> list[list[str]]:
    """Return the numbers as people read them."""
    return [[t.key, t.label, _short(t.value, 40), t.tone, _short(t.title, 400)] for t in numbers.tiles()]


def choices(**lists: Iterable[Any]) -> dict[str, list[Any]]:
    """Return what there is to choose from: all, or as much as leaves room for the rest of a frame."""
    made = {name: [_choice(value) for value in values] for name, values in lists.items()}
    while len(_json(made)) > _MOST_CHOICES:
        longest = max(made, key=lambda name: len(_json(made[name])))
        made[longest] = made[longest][: len(made[longest]) // 2]
    return made


def history(found: History) -> Part:
    """Pack the rates and the losses of the last minute."""
    import numpy as np

    both = np.concatenate([found.rate, found.lost]).astype("<f4")
    return Part("history", {"step": float(found.step), "n": len(found.rate)}, both.tobytes())


def rows(found: Rows, look: Look) -> Part:
    """Pack the rows of a table."""
    columns, problem = found.columns[:_MOST_COLUMNS], found.problem
    if len(found.columns) > _MOST_COLUMNS and not problem:
        problem = f"the first {_MOST_COLUMNS} of {len(found.columns)} columns are shown"
    meta = {
        "stream": found.stream,
        "columns": [[_short(c.name, 60), c.kind] for c in columns],
        "shown": len(found.cells),
        "matched": found.matched,
        "held": found.held,
        "looked": found.looked,
        "sort": look.sort,
        "descending": look.descending,
        "filter": look.filter,
        "problem": _short(problem, 400),
    }
    return Part("rows", meta, _table(row[:_MOST_COLUMNS] for row in found.cells))


def picture(found: Picture) -> Part:
    """Pack a plot."""
    meta = {"width": found.width, "height": found.height, "alt": _short(found.alt, 400)}
    return Part("picture", {**meta, "problem": _short(found.problem, 400)}, b"" if found.problem else found.png)


def entries(found: Entries) -> Part:
    """Pack the entries of a map, or the variables."""
    meta = {
        "map": found.map,
        "type": found.type,
        "columns": [[_short(c.name, 60), c.kind] for c in found.columns[:_MOST_COLUMNS]],
        "count": found.count,
        "editable": found.editable,
        "constants": [_short(name, 60) for name in found.constants],
        "problem": _short(found.problem, 400),
    }
    return Part("entries", meta, _table(row[:_MOST_COLUMNS] for row in found.cells))


def code(found: Listing) -> Part:
    """Pack a listing; ``cut`` says how many instructions are not in it."""
    listed = (
        ("" if row.line is None else str(row.line), _short(row.source, 400), str(row.insns), "\n".join(row.text))
        for row in found.rows
    )
    meta = {"program": found.program, "cut": found.cut, "problem": _short(found.problem, 400)}
    return Part("code", meta, _table(listed))


def log(lines: Sequence[Line]) -> Part:
    """Pack what happened; ``first`` is the number of the first line."""
    told = ((time.strftime("%H:%M:%S", time.gmtime(line.time)), line.tone, _short(line.text, 400)) for line in lines)
    return Part("log", {"first": lines[0].number if lines else 0}, _table(told))


def _table(table: Iterable[Iterable[str]]) -> bytes:
    text = _ROW.join(_FIELD.join(cell.translate(_NO_SEPARATORS) for cell in row) for row in table)
    return text.encode("utf-8", "replace")


def _split(table: bytes) -> list[bytes]:
    return table.split(_ROW.encode()) if table else []


def _choice(value: Any) -> Any:
    return _short(value, 60) if isinstance(value, str) else [_short(str(each), 60) for each in value]


def _short(text: str, most: int) -> str:
    # Names from the kernel need not be Unicode; JSON has to be.
    text = text.encode("utf-8", "replace").decode()
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")
