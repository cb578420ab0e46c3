"""Other processes that load and attach cells: to be seen, and to be killed.

They are forks of this one, which start at once also where Python takes its time. They hold what this process held
then, so open them before sessions of the test.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import ebpflab
from ebpflab.engines.attach.reap import reap


@contextlib.contextmanager
def holder(source: str, variables: dict[str, int], program: str, *targets: str) -> Iterator[int]:
    """The number of a process, in this thread's namespaces, that has attached a program; it is killed at the end."""

    def hold(say: Callable[[Any], None]) -> None:
        reap.cache_clear()  # as a process does that starts
        session = ebpflab.load(source, attach=False, vars=variables)
        for target in targets:
            session.attach(program, target=target)
        say("attached")
        signal.pause()

    with _child(hold) as (pid, answer):
        assert answer == "attached"
        yield pid


def in_child(function: Callable[[], Any]) -> Any:
    """What a function gives in a process of its own, which ends then; anything that JSON can hold."""
    with _child(lambda say: say([function()])) as (_, answer):
        assert answer, "the other process failed"  # and said why
        return answer[0]


@contextlib.contextmanager
def _child(work: Callable[[Callable[[Any], None]], None]) -> Iterator[tuple[int, Any]]:
    # The child's number, and the first thing that it says, or None if it ended without a word.
    answers, words = os.pipe()
    with warnings.catch_warnings():
        # Python 3.12 warns of threads, as numpy has some; none of ours lives between tests.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        try:
            work(lambda value: os.write(words, f"{json.dumps(value)}\n".encode()) and None)
        except BaseException:  # noqa: BLE001 - the fork must not go on with the tests
            traceback.print_exc(file=sys.__stderr__)
        finally:
            os._exit(0)
    os.close(words)
    with os.fdopen(answers, encoding="utf-8") as lines:
        try:
            yield pid, json.loads(lines.readline() or "null")
        finally:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
