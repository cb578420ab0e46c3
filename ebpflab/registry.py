"""The live sessions of this process; all are closed when it exits."""

from __future__ import annotations

import atexit
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .session import Session

_live: dict[str, Session] = {}
_lock = threading.Lock()


class Sessions(list["Session"]):
    """The live sessions, oldest first, shown as a table."""

    def __repr__(self) -> str:
        from .formatting import text
        from .summary import sessions_document

        return text(sessions_document(self))

    def _repr_html_(self) -> str:
        from .formatting import html
        from .summary import sessions_document

        return html(sessions_document(self))


def add(session: Session) -> None:
    """Take a session in; one that had its name is closed."""
    with _lock:
        old = _live.pop(session.name, None)
        _live[session.name] = session
    if old is not None:
        old.close()


def named(name: str) -> Session | None:
    """Return the live session of this name, if there is one."""
    with _lock:
        return _live.get(name)


def forget(session: Session) -> None:
    """Let a closed session go; harmless when another one has taken its name."""
    with _lock:
        if _live.get(session.name) is session:
            del _live[session.name]


def sessions() -> Sessions:
    """Return the live sessions, oldest first; the list shows itself as a table.

    Examples
    --------
    >>> [s.name for s in ebpflab.sessions()]
    ['opens']
    """
    with _lock:
        return Sessions(_live.values())


def close_all() -> None:
    """Close every live session.

    Examples
    --------
    >>> ebpflab.close_all()
    >>> ebpflab.sessions()
    no live sessions
    """
    for session in sessions():
        session.close()


atexit.register(close_all)
