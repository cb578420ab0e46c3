# What the buttons of a live view do to its session. Each returns a sentence for the person who pressed it.

from __future__ import annotations

import itertools
import re
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import EbpflabError
from ..similar import did_you_mean, nearest

if TYPE_CHECKING:
    from ..session import Session
    from ..views import Look

_LONGEST = 300  # characters of what a page sends
_WHOLE = ("rows", "width")


def act(session: Session, look: Look, asked: Mapping[str, Any]) -> str:
    """Do what a page asks for; returns what to tell.

    Raises
    ------
    EbpflabError
        When there is no such action, or it cannot be done.
    """
    name = _text(asked, "do")
    if name in _ON_SESSIONS:
        return _ON_SESSIONS[name](session)
    if name == "save":
        return _told(session, _save(session, look))
    if name == "set":
        shown = _text(asked, "shown") if "shown" in asked else ""
        return _told(session, _set(session, _text(asked, "map"), _text(asked, "key"), _text(asked, "value"), shown))
    if name == "delete":
        return _told(session, _delete(session, _text(asked, "map"), _text(asked, "key")))
    names = [*_ON_SESSIONS, "save", "set", "delete"]
    hint = did_you_mean(nearest(name, names)) or f"there are {', '.join(names)}"
    raise EbpflabError(f"there is no action {name!r}", hint=hint, stage="view")


def looked(look: Look, options: Mapping[str, Any]) -> Look:
    """Return a look changed by what a page sends.

    Raises
    ------
    EbpflabError
        When an option is unknown or of the wrong kind.
    """
    values: dict[str, Any] = {}
    for name, value in options.items():
        if isinstance(value, str) and len(value) > _LONGEST:
            raise EbpflabError(f"{name} has {len(value)} characters", hint=f"{_LONGEST} are enough", stage="view")
        # JavaScript has one kind of number.
        values[name] = round(value) if name in _WHOLE and isinstance(value, float) else value
    return look.changed(**values)


def _pause(session: Session) -> str:
    from ..views import log

    for events in _flowing(session, "paused"):
        events.pause()
    return f"paused: {log.waits(session)}"


def _resume(session: Session) -> str:
    for events in _flowing(session, "resumed"):
        events.resume()
    return "the recording goes on" if session.engine == "replay" else "events are taken again"


def _stop(session: Session) -> str:
    if session.state == "closed":
        return f"{session.name} was stopped before"
    session.close()
    return f"{session.name} is stopped; its events stay readable"


def _clear(session: Session) -> str:
    rows = sum(map(len, _streams(session)))
    for events in _streams(session):
        events.clear()
    return _told(session, f"cleared {rows:,} row{'' if rows == 1 else 's'}; the counters go on")


_ON_SESSIONS = {"pause": _pause, "resume": _resume, "stop": _stop, "clear": _clear}


def _save(session: Session, look: Look) -> str:
    import pyarrow.parquet

    parquet: Any = pyarrow.parquet  # its functions have no types
    streams = _streams(session)
    events = session.streams[look.stream] if look.stream else streams[0]
    stem = session.name if len(streams) == 1 else f"{session.name}-{events.name}"
    stem = f"{re.sub(r'[^-.+ 0-9A-Za-z]', '_', stem)}-{time.strftime('%Y%m%d-%H%M%S')}"
    part = Path(f"{stem}.parquet.part-{uuid.uuid4().hex[:8]}")
    try:
        try:
            events.to_parquet(part)
            rows = parquet.read_metadata(part).num_rows
            path = _placed(part, stem)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        why = error.strerror or str(error)
        raise EbpflabError(
            f"{stem}.parquet cannot be written: {why}", hint=f"the folder is {Path.cwd()}", stage="view"
        ) from error
    return f"saved {rows:,} row{'' if rows == 1 else 's'} to {path}"


def _placed(part: Path, stem: str) -> Path:
    # Under a name that nobody has: what was saved before, in this second or by another view, stays. A reader never
    # sees half a file.
    for number in itertools.count(1):
        path = Path(f"{stem}{'' if number == 1 else f'-{number}'}.parquet")
        try:
            path.touch(exist_ok=False)
        except FileExistsError:
            continue
        return part.replace(path)
    raise AssertionError("numbers do not end")


def _set(session: Session, table: str, key: str, value: str, shown: str) -> str:
    from ..views import entries

    entries.write(session, table, key, value, shown)
    return f"{table}[{key}] is {value}"


def _delete(session: Session, table: str, key: str) -> str:
    from ..views import entries

    entries.delete(session, table, key)
    return f"{table}[{key}] is deleted"


def _told(session: Session, text: str) -> str:
    # The log sees by itself what happens to a session, but not what is done with its data.
    from ..views import log

    log.note(session, text)
    return text


def _flowing(session: Session, what: str) -> list[Any]:
    # The streams, if there is anything in them to be paused.
    if session.state in ("closed", "replayed"):
        over = "all of the recording was played" if session.state == "replayed" else f"{session.name} is closed"
        raise EbpflabError(f"{over}: there is nothing to be {what}", hint="its events stay readable", stage="view")
    return _streams(session)


def _streams(session: Session) -> list[Any]:
    if not session.streams:
        raise EbpflabError(f"{session.name} has no stream of events", stage="view")
    return list(session.streams.values())


def _text(asked: Mapping[str, Any], name: str) -> str:
    value = asked.get(name)
    if not isinstance(value, str) or len(value) > _LONGEST:
        raise EbpflabError(f"{name} has to be a text of at most {_LONGEST} characters", stage="view")
    return value
