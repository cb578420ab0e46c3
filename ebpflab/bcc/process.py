# Child processes with BCC's library: one for each program, and one that has been started ahead of time and waits.
#
# More than half of the time that a small program takes is the loading of LLVM, so beside each child at work the next
# one is started. It waits for its input; when this process ends, however it ends, the input ends too, and the child
# with it.

from __future__ import annotations

import atexit
import functools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import cache
from ..compile import vmlinux

_CHILD = Path(__file__).with_name("child.py")
_KALLSYMS = Path("/proc/kallsyms")


@dataclass(frozen=True)
class Outcome:
    # What a child answered, None if it gave no answer; all that BCC printed; whether the library could be loaded; and
    # how the child ended: the signal that ended it, or 0, and whether it was stopped for taking too long.
    answer: dict[str, Any] | None
    printed: bytes
    loaded: bool
    signal: int
    late: bool


def ask(library: Path, question: dict[str, Any], timeout: float) -> Outcome:
    # Have one program rewritten, within so many seconds.
    child = _take(library) or _Child(library)
    try:
        following = _keep(library)
        outcome = child.ask(json.dumps(question), timeout)
    finally:
        child.close()
    if following is not None:
        following.settle()
    return outcome


@functools.cache
def _symbols() -> Path:
    # The lines of /proc/kallsyms that BCC looks for: it chooses the helper that reads kernel memory by them.
    path = cache.directory("bcc") / f"{vmlinux.btf_hash()}.symbols"
    if not path.exists() and _KALLSYMS.exists():
        with _KALLSYMS.open("rb") as file:
            cache.write(path, b"".join(line for line in file if b" bpf_probe_read" in line))
    return path


class _Child:
    # One process with BCC's library, good for one program; and the empty folder that it works in.
    def __init__(self, library: Path) -> None:
        self.library = library
        self._settling = threading.Lock()
        self._settled = self._loaded = False
        self._folder = Path(tempfile.mkdtemp(prefix="ebpflab-bcc-"))
        try:
            self._printed = (self._folder / "printed").open("w+b")
            (self._folder / "empty").mkdir()
            # A session of its own: an interrupt of the notebook is not for it.
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(_CHILD), str(library), str(_symbols())],
                cwd=self._folder / "empty",
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._printed,
                start_new_session=True,
            )
        except BaseException:
            shutil.rmtree(self._folder)
            raise
        # Reaped as soon as it ends, as those of compile/spare.py are.
        threading.Thread(target=self._process.wait, name="bcc", daemon=True).start()
        _running.add(self)

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def settle(self) -> None:
        # Wait until the library is loaded, so that its start is not seen by programs about to be attached. Another
        # thread may have taken the child by now, and waits as well.
        with self._settling:
            if not self._settled and self._process.stdout is not None:
                self._loaded = self._process.stdout.readline() != b""
                self._settled = True

    def ask(self, question: str, timeout: float) -> Outcome:
        self.settle()
        late = False
        try:
            answer, _ = self._process.communicate(question.encode(), timeout)
        except subprocess.TimeoutExpired:
            late = True
            self._process.kill()
            answer, _ = self._process.communicate()
        self._printed.seek(0)
        answered = answer.decode() if self._process.returncode == 0 else ""
        signal = 0 if late else max(-self._process.returncode, 0)
        return Outcome(json.loads(answered or "null"), self._printed.read(), self._loaded, signal, late)

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()
        self._printed.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def disown(self) -> None:
        # In a forked child: BCC's process ends with its input, so no copy of the pipe may stay open here.
        for pipe in (self._process.stdin, self._process.stdout, self._printed):
            if pipe is not None:
                pipe.close()
        self._process.returncode = 0  # or Popen would warn that it is still running


_running: weakref.WeakSet[_Child] = weakref.WeakSet()
_lock = threading.Lock()
_waiting: _Child | None = None


def _take(library: Path) -> _Child | None:
    global _waiting
    with _lock:
        child, _waiting = _waiting, None
    if child is not None and not (child.library == library and child.alive):
        child.close()
        return None
    return child


def _keep(library: Path) -> _Child | None:
    # Start the next one, unless another thread just did.
    global _waiting
    with _lock:
        if _waiting is not None:
            return None
        _waiting = _Child(library)
        return _waiting


def close() -> None:
    # End the child that waits, if one does.
    global _waiting
    with _lock:
        child, _waiting = _waiting, None
    if child is not None:
        child.close()


def _forked() -> None:
    # A forked process leaves its parent's children alone. The lock may have been held by a thread that it has not.
    global _waiting, _lock
    _waiting, _lock = None, threading.Lock()
    for child in list(_running):
        child.disown()
    _running.clear()


os.register_at_fork(after_in_child=_forked)
atexit.register(close)
