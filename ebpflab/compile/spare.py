# A clang that has been started ahead of time and waits for its source.
#
# More than half of the time that a small cell takes to compile is clang's own start: the loader relocates 120 MB
# of LLVM (27 of 47 ms, clang 14 on 2 cores). So beside each compile the next clang is started with the same
# flags; it stands there reading its input, and the next cell finds it warm. When this process ends, however it
# ends, the input ends too, and clang with it. Its start must not be seen by the programs that are about to be
# attached, so a compile ends only once the next clang has come to rest.

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import tempfile
import threading
import time
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_SETTLED_WITHIN = 0.2  # seconds


@dataclass(frozen=True)
class Output:
    status: int
    object: bytes
    messages: str


class _Clang:
    # One process and the folder it works in; good for one source.
    def __init__(self, command: tuple[str, ...]) -> None:
        self.command = command
        self._folder = Path(tempfile.mkdtemp(prefix="ebpflab-"))
        try:
            self._process = subprocess.Popen(
                [*command, "-x", "c", "-c", "-", "-o", "-"],
                cwd=self._folder,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
        except BaseException:
            shutil.rmtree(self._folder)
            raise
        # Reaped as soon as it ends, whoever ends it: a Jupyter kernel that shuts down waits for its children.
        threading.Thread(target=self._process.wait, name="clang", daemon=True).start()
        _running.add(self)

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def compile(self, text: bytes, files: Mapping[str, bytes]) -> Output:
        try:
            for name, data in files.items():
                (self._folder / name).parent.mkdir(parents=True, exist_ok=True)
                (self._folder / name).write_bytes(data)
            data, messages = self._process.communicate(text)
            return Output(self._process.returncode, data, messages.decode("utf-8", "replace"))
        finally:
            self.close()

    def settle(self) -> None:
        # Wait until it sleeps, reading its input: field 3 of /proc/PID/stat, proc(5). Twice, as it may doze before.
        deadline = time.monotonic() + _SETTLED_WITHIN
        asleep = 0
        while asleep < 2 and time.monotonic() < deadline and self.alive:
            try:
                state = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()[0]
            except (FileNotFoundError, ProcessLookupError):
                return  # another thread took it meanwhile, and it is done and reaped
            asleep = asleep + 1 if state == "S" else 0
            time.sleep(0.0005)

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()
        shutil.rmtree(self._folder, ignore_errors=True)

    def disown(self) -> None:
        # In a forked child: clang ends with its input, and so no copy of the pipe may stay open here.
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()
        self._process.returncode = 0  # or Popen would warn that it is still running


_running: weakref.WeakSet[_Clang] = weakref.WeakSet()
_lock = threading.Lock()
_waiting: _Clang | None = None


def compile_text(command: tuple[str, ...], text: bytes, files: Mapping[str, bytes]) -> Output:
    # Compile `text` in a folder that holds `files`, with a clang that waits for this very command if there is one.
    clang = _take(command) or _Clang(command)
    following = _keep(command)
    output = clang.compile(text, files)
    if following is not None:
        following.settle()
    return output


def _take(command: tuple[str, ...]) -> _Clang | None:
    global _waiting
    with _lock:
        clang, _waiting = _waiting, None
    if clang is None:
        return None
    if clang.command == command and clang.alive:
        return clang
    clang.close()
    return None


def _keep(command: tuple[str, ...]) -> _Clang | None:
    # Start the next one, unless another thread just did.
    global _waiting
    with _lock:
        if _waiting is not None:
            return None
        _waiting = _Clang(command)
        return _waiting


def close() -> None:
    # End the clang that waits, if one does.
    global _waiting
    with _lock:
        clang, _waiting = _waiting, None
    if clang is not None:
        clang.close()


def _forked() -> None:
    # A forked child leaves its parent's clangs alone. The lock may have been held by a thread that it has not.
    global _waiting, _lock
    for clang in list(_running):  # before the one that waits is forgotten: nothing else may hold it
        clang.disown()
    _running.clear()
    _waiting, _lock = None, threading.Lock()


os.register_at_fork(after_in_child=_forked)
atexit.register(close)
