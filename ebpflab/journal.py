# What no file descriptor holds, and so outlives us when we are killed: an entry is written before it is made, and
# removed once it is undone. The next start undoes what a dead process left.
#
# An entry is a small JSON file, whole or not there at all, in a folder that only its user can write to: what it
# says is acted on.

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from . import cache
from .errors import EbpflabError

Facts = dict[str, Any]  # whatever JSON can hold

_RUN = Path("/run/ebpflab/journal")  # goes with the machine, as does what it tells of
_FORMAT = 1
_LOCK = "lock"
_LOCK_WAIT = 10.0  # seconds; whoever undoes needs milliseconds each, unless it was stopped
_STALE = 60.0  # seconds after which a file that never got its name belongs to nobody
_FIRST_PID_NAMESPACE = 0xEFFFFFFC  # PROC_PID_INIT_INO, include/linux/proc_ns.h: whoever is in it sees all processes


class Owner(NamedTuple):
    # A process, told apart from a later one of the same number by when it started (proc(5), /proc/PID/stat).
    boot: str
    namespace: int
    pid: int
    started: int

    @property
    def alive(self) -> bool:
        # Also when that cannot be known, in a namespace that we do not see into.
        if self.boot != _boot():
            return False
        ours = _namespace("self")
        if self.namespace == ours:
            return _started(self.pid) == self.started
        everyone = Path("/proc").glob("[0-9]*")
        return ours != _FIRST_PID_NAMESPACE or any(self._is(process.name) for process in everyone)

    def _is(self, pid: str) -> bool:
        return _started(pid) == self.started and _namespace(pid) == self.namespace


@dataclass
class Entry:
    # One thing that is to be undone. `facts` are what undoing it takes.
    kind: str
    facts: Facts
    owner: Owner
    path: Path
    time: float = field(default_factory=time.time)
    _pid: int = field(default_factory=os.getpid)

    @property
    def ours(self) -> bool:
        # A forked child has a copy of this object, and must neither undo its parent's thing nor remove the entry.
        return self._pid == os.getpid()

    def update(self, **facts: Any) -> None:
        # Raises EbpflabError when it cannot be written; then the file is as it was.
        changed = {**self.facts, **facts}
        if self.ours:
            _write(self.path, _text(self.kind, changed, self.owner, self.time))
        self.facts = changed

    def done(self) -> None:
        # It is undone; harmless when repeated.
        if self.ours:
            self.path.unlink(missing_ok=True)


class Reaped(NamedTuple):
    # What became of something that a dead process left; `warning` says why it could not be undone, or is "".
    kind: str
    facts: Facts
    warning: str = ""


def record(kind: str, /, **facts: Any) -> Entry:
    # Write down what is about to be made. Raises EbpflabError when that is impossible: then do not make it.
    entry = Entry(kind, facts, _self(), _folder() / f"{os.getpid()}-{os.urandom(8).hex()}.json")
    _write(entry.path, _text(kind, facts, entry.owner, entry.time))
    return entry


def entries() -> list[Entry]:
    # All of them, the living processes' too, oldest first. What is no entry is passed over.
    found = [entry for path in _files() if (entry := _read(path)) is not None]
    return sorted(found, key=lambda entry: entry.time)


def orphans() -> Iterator[Entry]:
    # What dead processes left. After a reboot it is gone without our doing, and so is its entry.
    for entry in entries():
        if entry.owner.boot != _boot():
            entry.path.unlink(missing_ok=True)
        elif not entry.owner.alive:
            yield entry


def reap(undo: Mapping[str, Callable[[Facts], None]]) -> list[Reaped]:
    # Undo what dead processes left; nothing of it is raised. An entry whose undoing fails stays for the next start.
    try:
        if not _files():
            return []
        with _locked() as mine:
            if not mine:
                return [Reaped("journal", {}, "another process has been undoing what earlier runs left for too long")]
            return [*_set_aside(), *(_undo(entry, undo) for entry in orphans())]
    except (OSError, EbpflabError) as error:
        return [Reaped("journal", {}, f"the journal of what earlier runs left cannot be read: {error}")]


def _undo(entry: Entry, undo: Mapping[str, Callable[[Facts], None]]) -> Reaped:
    if entry.kind not in undo:
        return Reaped(entry.kind, entry.facts, f"{entry.path}: this version cannot undo a {entry.kind!r}")
    try:
        undo[entry.kind](entry.facts)
    except Exception as error:  # noqa: BLE001 - facts of an older version may surprise, and starting comes first
        words = error.what if isinstance(error, EbpflabError) else f"{type(error).__name__}: {error}"
        return Reaped(entry.kind, entry.facts, f"{entry.path}: a {entry.kind} of a dead process is left: {words}")
    entry.path.unlink(missing_ok=True)
    return Reaped(entry.kind, entry.facts)


def _set_aside() -> Iterator[Reaped]:
    # Files that are no entries would be looked at for ever, and may be of use to whoever finds out why.
    for path in _files():
        if _read(path) is None and path.exists():
            aside = path.with_suffix(".broken")
            path.rename(aside)
            yield Reaped("journal", {}, f"{aside}: no entry of the journal, set aside")


def _files() -> list[Path]:
    folder = _existing()
    return [path for path in folder.iterdir() if path.suffix == ".json"] if folder else []


def _folder() -> Path:
    # Where entries are written. Raises EbpflabError.
    if os.geteuid() == 0:
        with contextlib.suppress(OSError):  # /run is read-only in some containers
            for folder in (_RUN.parent, _RUN):
                folder.mkdir(mode=0o700, exist_ok=True)
            if cache.is_private(_RUN):
                return _RUN
    return cache.directory("journal")


def _existing() -> Path | None:
    # The same, without making anything in /run; None where there is no such folder.
    if os.geteuid() == 0 and _RUN.is_dir() and cache.is_private(_RUN):
        return _RUN
    try:
        return cache.directory("journal")
    except EbpflabError:
        return None  # and so nothing was ever written there


@contextlib.contextmanager
def _locked() -> Iterator[bool]:
    # Two that start at once must not undo the same thing twice: the second waits, and finds nothing left to do.
    folder = _folder()
    handle = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        mine = _lock(handle)
        if mine:
            _forget_unfinished(folder)
        yield mine
    finally:
        os.close(handle)


def _lock(handle: int) -> bool:
    deadline = time.monotonic() + _LOCK_WAIT
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.01)
        else:
            return True


def _forget_unfinished(folder: Path) -> None:
    for path in folder.glob(".*.json.*"):
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_mtime < time.time() - _STALE:
                path.unlink()


def _text(kind: str, facts: Facts, owner: Owner, when: float) -> bytes:
    content = {"format": _FORMAT, "kind": kind, "facts": facts, "owner": owner._asdict(), "time": when}
    return json.dumps(content).encode()


def _read(path: Path) -> Entry | None:
    # None if it is no entry, or has gone meanwhile.
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(handle, "rb") as file:
            content = json.loads(file.read())
        if content["format"] != _FORMAT:
            return None
        boot, *numbers = (content["owner"][name] for name in Owner._fields)
        owner = Owner(str(boot), *map(int, numbers))
        return Entry(str(content["kind"]), dict(content["facts"]), owner, path, float(content["time"]), _pid=0)
    except (OSError, ValueError, TypeError, KeyError, ArithmeticError, RecursionError):
        return None


def _write(path: Path, content: bytes) -> None:
    # Without fsync(2), which takes long on a busy disk: if the machine goes down, so does what the entry is about.
    try:
        cache.write(path, content)
    except OSError as error:
        raise EbpflabError(
            f"cannot write down in {path.parent} what would outlive this process: {error.strerror}",
            hint="make room there: without that note, nothing would undo it if this process were killed",
            stage="attach",
        ) from error


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _namespace(pid: int | str) -> int:
    # The PID namespace of a process, 0 if there is no such process.
    try:
        return Path(f"/proc/{pid}/ns/pid").stat().st_ino
    except OSError:
        return 0


def _started(pid: int | str) -> int | None:
    # When a process started, in clock ticks after boot. None if it is dead; a zombie only waits for its parent.
    fields = _fields(pid)
    return int(fields[19]) if fields and fields[0] not in "ZXx" else None


def _fields(pid: int | str) -> list[str]:
    # /proc/PID/stat from its third field on; the second is the name, which may hold anything.
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return []


def _self() -> Owner:
    # The number that /proc knows us by is not getpid()'s where /proc is of another namespace.
    pid = int(Path("/proc/self").readlink().name)
    started = _started(pid)
    assert started is not None
    return Owner(_boot(), _namespace("self"), pid, started)
