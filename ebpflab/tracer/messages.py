r"""One line of bpftrace's JSON as a message; what several versions write differently is made alike here.

Known of the versions: 0.17 writes the result of ``strftime()`` without quotes, and bytes above 0x7f as ``\uffffffc3``;
since 0.24 ``attached_probes`` and ``lost_events`` say their number twice, as ``count`` and in ``data``, and whole
numbers that a double cannot hold are texts.
"""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

TABLES = ("map", "hist", "stats", "tseries")
COMPLAINTS = ("helper_error", "runtime_error", "warnf", "errorf")
_NUMBERS = {"attached_probes": "probes", "lost_events": "events"}
_BYTES = re.compile(r"((?:\\uffffff[89a-f][0-9a-f])+)|\\.")
_BARE = re.compile(r'"(?:\\.|[^"\\])*"|[^\s"\[\]{}:,][^"\[\]{},]*')
_LITERAL = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][-+]?\d+)?\s*|true\s*|false\s*|null\s*")


class Message(NamedTuple):
    """What a line says: its kind, the map it is about ("" if none), and the data.

    The data of ``attached_probes`` and ``lost_events`` is a number; that of a complaint is a sentence. A line that is
    no message is of the kind ``unreadable``, and its data is the line.
    """

    kind: str
    name: str
    data: Any


def parse(line: bytes) -> Message:
    """Read one line; nothing is raised, whatever it holds.

    Examples
    --------
    >>> parse(b'{"type": "map", "data": {"@n": {"bash": 17}}}')
    Message(kind='map', name='@n', data={'bash': 17})
    """
    text = line.decode("utf-8", "replace").strip()
    found = _loaded(text)
    kind = found.get("type") if isinstance(found, dict) else None
    if not isinstance(kind, str):
        return Message("unreadable", "", text)
    if kind in COMPLAINTS:
        return Message(kind, "", _complaint(found))
    data = found.get("data")
    if kind in _NUMBERS:
        number = data.get(_NUMBERS[kind]) if isinstance(data, dict) else found.get("count")
        return Message(kind, "", number) if isinstance(number, int) else Message("unreadable", "", text)
    if kind in TABLES:
        if not isinstance(data, dict) or len(data) != 1:
            return Message("unreadable", "", text)
        ((name, data),) = data.items()
        return Message(kind, name, data)
    return Message(kind, "", data)


def _loaded(text: str) -> Any:
    if "\\uffffff" in text:
        text = _BYTES.sub(_character, text)
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    try:
        return json.loads(_BARE.sub(_quoted, text))
    except (ValueError, RecursionError):
        return None


def _character(match: re.Match[str]) -> str:
    if match[1] is None:
        return match[0]
    return bytes.fromhex(match[1].replace("\\uffffff", "")).decode("utf-8", "replace")


def _quoted(match: re.Match[str]) -> str:
    token = match[0]
    return token if token.startswith('"') or _LITERAL.fullmatch(token) else json.dumps(token)


def _complaint(found: dict[str, Any]) -> str:
    what = str(found.get("msg") or f"error {found.get('retcode', '')}".strip()).strip()
    helper, line = found.get("helper"), found.get("line")
    where = f" (line {line})" if line else ""
    return f"{helper}: {what}{where}" if helper else f"{what}{where}"
