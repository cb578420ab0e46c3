# bpftrace as a child process, and the threads that read what it prints.
#
# The thread that reads its output starts it, too: the kernel ends a child whose parent's death it waits for when the
# *thread* that started it ends, and this one lives as long as the child.

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from ..worker import Worker

_CHILD = Path(__file__).with_name("child.py")
# bpftrace says "attached_probes" before it has attached (until 0.24); this makes it say when it has. It is what its own
# tests wait for; src/bpftrace.cpp, standard error until 0.22, standard output since.
_NOTIFY = "__BPFTRACE_NOTIFY_PROBES_ATTACHED"
_PAUSE = 0.002  # seconds
_NUDGE = 0.15


class Process:
    # In the reading thread `received` gets every line of output and its time, UTC nanoseconds; `over` is called last.
    def __init__(
        self, path: Path, text: str, label: str, received: Callable[[int, bytes], None], over: Callable[[], None]
    ) -> None:
        self._label, self._received, self._over = label, received, over
        self._command = [sys.executable, "-I", "-S", str(_CHILD), str(os.getpid()), str(path)]
        self._command += ["-f", "json", "-B", "line", "-"]
        self._text = text.encode("utf-8", "surrogateescape")
        self._child: subprocess.Popen[bytes] | None = None
        self._failure: OSError | None = None
        self._errors: list[str] = []
        self._started = threading.Event()
        self._attached = threading.Event()
        self.attached_at = 0.0  # time.perf_counter()
        self._worker: Worker | None = None

    def start(self) -> None:
        self._worker = Worker(self._run, f"ebpflab-bpftrace-{self._label}")
        self._started.wait()
        if self._failure is not None:
            raise self._failure

    @property
    def pid(self) -> int:
        return self._child.pid if self._child else 0

    @property
    def attached(self) -> bool:
        return self._attached.is_set()

    @property
    def ended(self) -> bool:
        return self._worker is None or not self._worker.running

    @property
    def status(self) -> int | None:
        return self._child.returncode if self._child else None

    @property
    def errors(self) -> list[str]:
        # What it wrote to its standard error so far.
        return list(self._errors)

    def wait_attached(self, timeout: float) -> bool:
        # Until it has attached or ended.
        deadline = time.monotonic() + timeout
        while not (self.attached or self.ended) and time.monotonic() < deadline:
            time.sleep(_PAUSE)
        return self.attached or self.ended

    def wait(self, timeout: float | None) -> bool:
        return self._worker is None or self._worker.wait(timeout)

    def send(self, number: int) -> None:
        if self._child is not None and not self.ended:
            with contextlib.suppress(ProcessLookupError):  # it may end at this moment
                self._child.send_signal(number)

    def stop(self, patience: float) -> bool:
        # Let it print its maps and end; whether it did so by itself.
        if self._worker is not None:
            self._started.wait()  # an interrupt may come before there is somebody to tell
        if not self.attached:
            patience = 0.0
        self.send(signal.SIGINT)
        deadline = time.monotonic() + patience
        # It looks at that only when a signal breaks its wait for events, and misses one that comes while it reads some
        # (BPFtrace::poll_perf_events() of 0.17, src/bpftrace.cpp). A second SIGINT could cost it what END prints; this
        # one, by which it is asked for its maps, does no harm.
        while not (in_time := self.wait(_NUDGE)) and time.monotonic() < deadline:
            self.send(signal.SIGUSR1)
        if not in_time:
            self.send(signal.SIGKILL)
            self.wait(None)
        return in_time

    def _run(self) -> None:
        try:
            child = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={**os.environ, _NOTIFY: "1"},
                start_new_session=True,  # an interrupt of the notebook is not for it
            )
        except OSError as error:
            self._failure = error
            return
        else:
            self._child = child
        finally:
            self._started.set()
        complaints = threading.Thread(target=self._read_errors, args=(child,), name="ebpflab-bpftrace", daemon=True)
        complaints.start()
        try:
            self._feed(child)
            for line in _lines(child):
                self._take(line)
        finally:
            complaints.join()
            child.wait()
            self._over()

    def _feed(self, child: subprocess.Popen[bytes]) -> None:
        assert child.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it ended without reading: its words say why
            child.stdin.write(self._text)
        with contextlib.suppress(BrokenPipeError):
            child.stdin.close()

    def _take(self, line: bytes) -> None:
        if line.startswith(_NOTIFY.encode()):
            self._note_attached()
        elif line.strip():
            self._received(time.time_ns(), line)

    def _read_errors(self, child: subprocess.Popen[bytes]) -> None:
        assert child.stderr is not None
        with child.stderr:
            for raw in child.stderr:
                line = raw.decode("utf-8", "replace").rstrip("\n")
                if line.startswith(_NOTIFY):
                    self._note_attached()
                else:
                    self._errors.append(line)

    def _note_attached(self) -> None:
        self.attached_at = time.perf_counter()
        self._attached.set()


def _lines(child: subprocess.Popen[bytes]) -> Iterator[bytes]:
    assert child.stdout is not None
    with child.stdout:
        yield from child.stdout
