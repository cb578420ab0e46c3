# A process that waits until all witnesses are ready, and the UTS namespace by which its events are known.
#
# What runs in that namespace is the command and all that it starts, however deep; nobody else does, and nobody gets
# out of it by forking, by a new session or by another name. It goes with the last process in it, so nothing has to be
# taken away afterwards, also when this process is killed.

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from .. import _syscalls
from ..errors import EbpflabError, PrivilegeError

_CHILD = Path(__file__).with_name("child.py")
_CLONE_NEWUTS = 0x04000000  # include/uapi/linux/sched.h
_ENDING = 2.0  # seconds that killed processes may take to go
_TAIL = 4096  # bytes of a command's output that are kept


class Held:
    # A context manager. `what` is ("run", PATH, ARGUMENT...) or ("call", NAME, COUNT); nothing begins before run().
    def __init__(self, what: Sequence[str]) -> None:
        self._what = list(what)
        self.namespace = 0  # its inode, which is what the kernel calls it

    def __enter__(self) -> Held:
        with contextlib.ExitStack() as undo:
            self._output = undo.enter_context(tempfile.TemporaryFile())
            self._door, theirs = socket.socketpair()
            undo.callback(self._door.close)
            with theirs:
                head = [sys.executable, "-I", "-S", str(_CHILD), str(os.getpid()), str(theirs.fileno())]
                self._child = subprocess.Popen(
                    [*head, *self._what],
                    stdin=subprocess.DEVNULL,
                    stdout=self._output,
                    stderr=self._output,
                    pass_fds=[theirs.fileno()],
                    start_new_session=True,  # an interrupt of the notebook is not for it
                )
            undo.callback(self._end)
            if not self._door.recv(1):
                raise self._refused()
            self.namespace = Path(f"/proc/{self._child.pid}/ns/uts").stat().st_ino
            self._undo = undo.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self._kill_all()
        self._undo.close()

    def run(self) -> int:
        # Let it begin, and wait until it has ended; returns its status, that of a signal below zero.
        with contextlib.suppress(BrokenPipeError):  # somebody killed it meanwhile, as its status will say
            self._door.send(b"b")
        return self._child.wait()

    @contextlib.contextmanager
    def joined(self) -> Iterator[None]:
        # This thread, and what it starts meanwhile, counts as well.
        own = Path("/proc/thread-self/ns/uts")
        with own.open("rb") as home, Path(f"/proc/{self._child.pid}/ns/uts").open("rb") as here:
            try:
                _enter(here.fileno())
                yield
            finally:
                _enter(home.fileno())

    def others(self) -> list[int]:
        # The processes in the namespace but the one that was started first.
        found = []
        for path in Path("/proc").glob("[0-9]*/ns/uts"):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError, PermissionError):
                if path.stat().st_ino == self.namespace:
                    found.append(int(path.parts[2]))
        return [pid for pid in found if pid not in (self._child.pid, os.getpid())]

    def output(self) -> str:
        # The end of what it wrote.
        size = self._output.seek(0, os.SEEK_END)
        self._output.seek(max(0, size - _TAIL))
        return self._output.read().decode("utf-8", "replace")

    def _end(self) -> None:
        if self._child.poll() is None:
            self._child.kill()
        self._child.wait()

    def _kill_all(self) -> None:
        # Until none is left: one may start another while we look, and none ends at once.
        self._end()
        deadline = time.monotonic() + _ENDING
        while (others := self.others()) and time.monotonic() < deadline:
            for pid in others:
                self._kill(pid)
            time.sleep(0.005)

    def _kill(self, pid: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            process = os.pidfd_open(pid)
            try:
                if pid in self.others():  # and no other process by now
                    signal.pidfd_send_signal(process, signal.SIGKILL)
            finally:
                os.close(process)

    def _refused(self) -> EbpflabError:
        self._child.wait()
        said = self.output().strip()
        if "not permitted" in said:
            hint = "run as root, or with CAP_SYS_ADMIN"
            what = "the process that is to be counted cannot have a namespace of its own"
            return PrivilegeError(what, cause=said, hint=hint, stage="attach")
        return EbpflabError(f"the process that is to be counted did not start: {said}", stage="attach")


def _enter(namespace: int) -> None:
    try:
        _syscalls.setns(namespace, _CLONE_NEWUTS)
    except OSError as error:
        raise EbpflabError(f"this thread cannot change its UTS namespace: {error.strerror}", stage="attach") from error
