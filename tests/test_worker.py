"""Threads of ours that are waited for when the stop button is pressed."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from ebpflab.worker import Worker

OPENS = Path(__file__).parents[1] / "notebooks" / "recordings" / "00_quickstart" / "opens.parquet"
# A signal comes while the main thread waits, as the stop button's does.
INTERRUPTED = """
import signal, sys, threading, time

def interrupted(wait):
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    try:
        wait()
    except KeyboardInterrupt:
        return
    raise AssertionError("nothing interrupted it")
"""


def after(script, *arguments):
    """What a script prints that may interrupt itself."""
    text = INTERRUPTED + textwrap.dedent(script)
    done = subprocess.run(
        [sys.executable, "-c", text, *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_worker_that_was_waited_for_and_interrupted_still_runs():
    script = """
    from ebpflab.worker import Worker
    go = threading.Event()
    worker = Worker(go.wait, "test")
    interrupted(lambda: worker.wait(20))
    interrupted(worker.wait)
    print(worker.running, worker.wait(0.01))
    go.set()
    print(worker.wait(), worker.running)
    """
    assert after(script) == "True False\nTrue False"


def test_a_watch_that_was_waited_for_and_interrupted_goes_on_until_it_is_stopped():
    script = """
    from ebpflab.maps.watch import Watch
    reads = []
    watch = Watch("m", lambda: reads.append(1), None, 0.005, None, 100)
    interrupted(lambda: watch.wait(20))
    before = len(reads)
    time.sleep(0.1)
    print(watch.running, len(reads) > before)
    watch.stop()
    after = len(reads)
    time.sleep(0.05)
    print(watch.running, len(reads) == after > 0)
    """
    assert after(script) == "True True\nFalse True"


def test_a_recorder_whose_stop_was_interrupted_is_waited_for_by_the_next(tmp_path):
    script = """
    import ebpflab
    from ebpflab.recording import writer
    finish, slow = writer.Recorder._finish, threading.Event()
    writer.Recorder._finish = lambda self: (slow.wait(), finish(self))  # a disk that takes its time
    with ebpflab.replay(sys.argv[1], speed=None) as session:
        recorder = session.events.record(sys.argv[2])
        interrupted(recorder.stop)
        print(recorder.running)
        threading.Timer(0.2, slow.set).start()
        recorder.stop()
        print(recorder.running, ebpflab.replay(sys.argv[2], speed=None).events.stats()["received"] == recorder.rows > 0)
    """
    assert after(script, OPENS, tmp_path / "again.parquet") == "True\nFalse True"


def test_a_recording_that_plays_and_is_waited_for_ends_with_its_session():
    script = """
    import ebpflab
    session = ebpflab.replay(sys.argv[1], speed=0.001)
    interrupted(session._buffers._worker.wait)
    print(session.state, session._buffers._worker.running)
    session.close()
    print(session.state, session._buffers._worker.running)
    """
    assert after(script, OPENS) == "replaying True\nclosed False"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_worker_does_not_wait_for_itself_and_ends_when_it_fails():
    answers, go = [], threading.Event()

    def work():
        go.wait()
        answers.append(worker.wait())
        raise RuntimeError("this worker fails")

    worker = Worker(work, "test")
    go.set()
    assert worker.wait(10)
    assert answers == [False]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_process_has_none_of_its_parents_workers():
    script = """
    import os
    from ebpflab.worker import Worker
    go = threading.Event()
    worker = Worker(go.wait, "test")
    child = os.fork()
    if child == 0:
        os._exit(17 if worker.wait() and not worker.running else 1)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), worker.running)
    """
    assert after(script) == "17 True"
