from __future__ import annotations

import gc
import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import cells
import objects
import pytest

import ebpflab
from ebpflab.errors import EbpflabError, HookNotFoundError, SessionError, VerifierError

REFUSED = cells.GETPPID.replace("\tif (!e)\n\t\treturn 0;\n", "")
EVERYTHING = (
    cells.GETPPID
    + """\
u64 signals = 0;
SEC("tp_btf/signal_generate") int on_signal(void *ctx) { signals++; return 0; }
SEC("raw_tp/sched_process_exit") int on_exit(void *ctx) { return 0; }
SEC("uprobe/libc.so.6:getppid") int on_call(void *ctx) { return 0; }
SEC("iter/task") int on_task(void *ctx) { return 0; }
"""
)
LINKS = 5
# Without the uprobe, whose removal takes the kernel long.
QUICK = cells.GETPPID + 'SEC("tp_btf/signal_generate") int on_signal(void *ctx) { return 0; }\n'


def descriptors():
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.fixture
def unchanged():
    """Asserts, when called, that the kernel's lists are what they were at the start of the test."""
    before = objects.live()
    return lambda: objects.leaked_since(before) == set()


def test_our_reading_of_the_kernels_lists_is_bpftools(load):
    load(EVERYTHING)
    if objects.by_bpftool() is None:
        pytest.skip("there is no bpftool to compare with")
    # Other sessions of this machine come and go: equal once is enough.
    assert cells.wait_until(lambda: objects.live() == objects.by_bpftool())


def test_close_frees_every_program_map_and_link(unchanged):
    before = objects.live()
    session = ebpflab.load(EVERYTHING)
    ours = objects.held_by(os.getpid()) - before
    kinds = [kind for kind, _ in ours]
    assert (kinds.count("prog"), kinds.count("link")) == (LINKS, LINKS)
    assert kinds.count("map") >= 3  # the ring, .rodata and .bss
    assert ours <= objects.live()
    session.close()
    assert unchanged()


def test_a_context_manager_closes_also_when_its_block_fails(unchanged):
    with pytest.raises(ZeroDivisionError), ebpflab.load(EVERYTHING) as session:
        _ = 1 // 0
    assert session.state == "closed"
    assert ebpflab.sessions() == []
    assert unchanged()


def test_closing_twice_and_from_two_threads_is_harmless(unchanged):
    session = ebpflab.load(EVERYTHING)
    threads = [threading.Thread(target=session.close) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    session.close()
    assert unchanged()


def test_sessions_close_in_any_order(unchanged):
    for seed in range(3):
        sessions = [ebpflab.load(QUICK, vars={"only": os.getpid()}) for _ in range(4)]
        random.Random(seed).shuffle(sessions)
        while sessions:
            sessions.pop().close()
            for session in sessions:
                received = session.events.stats()["received"]
                cells.call_getppid(3)
                assert session.events.wait(received + 3, timeout=5)
    assert unchanged()


def test_close_all_leaves_nothing(unchanged):
    sessions = [ebpflab.load(cells.COUNTER) for _ in range(3)]
    ebpflab.close_all()
    assert {session.state for session in sessions} == {"closed"}
    assert ebpflab.sessions() == []
    assert unchanged()


def test_a_reader_that_waits_is_released_when_the_session_closes():
    session = ebpflab.load(cells.GETPPID, vars={"only": 1})
    answers = []
    reader = threading.Thread(target=lambda: answers.append(session.events.wait()))
    reader.start()
    session.close()
    reader.join(5)
    assert answers == [False]


def test_a_new_session_of_a_name_replaces_the_old_one(load):
    only = {"only": os.getpid()}
    old = load(cells.GETPPID, name="one", vars=only)
    cells.call_getppid(3)
    new = load(cells.GETPPID, name="one", vars=only)
    cells.call_getppid(5)
    assert new.events.wait(5, timeout=5)
    assert (old.state, new.state) == ("closed", "attached")
    assert ebpflab.sessions() == [new]
    assert len(old.events.df()) == old.events.stats()["received"] >= 3


def test_the_old_session_is_closed_only_after_the_new_one_is_attached(load):
    # Both count in the same place: were there a gap, a call would be in neither.
    only = {"only": os.getpid()}
    sessions = [load(cells.GETPPID, name="one", vars=only)]
    calls, stop = [0], threading.Event()

    def call():
        while not stop.is_set():
            os.getppid()
            calls[0] += 1

    caller = threading.Thread(target=call)
    caller.start()
    try:
        for _ in range(5):
            sessions.append(load(cells.GETPPID, name="one", vars=only))
    finally:
        stop.set()
        caller.join()
    sessions[-1].detach()
    assert [session.state for session in sessions[:-1]] == ["closed"] * 5
    seen = sum(session.events.stats()["received"] + session.events.stats()["lost"] for session in sessions)
    assert seen >= calls[0] > 0


@pytest.mark.parametrize("source", [REFUSED, cells.COUNTER.replace("getppid", "getpppid"), "int x;", " "])
def test_a_failed_reload_leaves_the_old_session_alive(load, source):
    old = load(cells.GETPPID, name="one", vars={"only": os.getpid()})
    with pytest.raises(EbpflabError):
        ebpflab.load(source, name="one")
    cells.call_getppid(7)
    assert old.events.wait(7, timeout=5)
    assert old.state == "attached"
    assert ebpflab.sessions() == [old]


def test_no_failure_leaves_an_object_a_descriptor_or_a_thread(unchanged):
    partly = cells.COUNTER + 'SEC("uprobe/libc.so.6:getpppid") int lost(void *ctx) { return 0; }'

    def fail():
        with pytest.raises(VerifierError):
            ebpflab.load(REFUSED)
        with pytest.raises(HookNotFoundError):
            ebpflab.load(cells.GETPPID + partly.replace("only", "alone").replace("seen", "counted"))

    fail()
    before, threads = descriptors(), threading.active_count()
    for _ in range(7):
        fail()
    assert descriptors() == before
    assert threading.active_count() == threads
    assert unchanged()


def test_31_rounds_of_load_and_close_leak_no_descriptor_and_no_thread(unchanged):
    with ebpflab.load(QUICK):
        pass
    before, threads = descriptors(), threading.active_count()
    for round_ in range(31):
        with ebpflab.load(QUICK, name=f"round{round_ % 3}") as session:
            session.events.df()
    del session
    assert descriptors() == before
    assert threading.active_count() == threads
    assert unchanged()


def test_a_forgotten_session_goes_on_until_it_is_closed_by_name():
    ebpflab.load(cells.GETPPID, name="forgotten", vars={"only": os.getpid()})
    gc.collect()
    (session,) = ebpflab.sessions()
    cells.call_getppid(7)
    assert session.events.wait(7, timeout=5)
    session.close()


def test_a_frame_keeps_its_data_when_its_session_is_gone():
    frame = _frame_of_a_session()
    gc.collect()
    with ebpflab.load(cells.GETPPID, vars={"only": os.getpid()}):
        cells.call_getppid(1000)
    assert set(frame["pid"]) == {os.getpid()}
    assert frame["ts"].is_monotonic_increasing


def _frame_of_a_session():
    with ebpflab.load(cells.GETPPID, vars={"only": os.getpid()}) as session:
        cells.call_getppid(100)
        session.events.wait(100, timeout=5)
        return session.events.df()


# How a process can end with a session that nobody closed. Each prints a line once it is attached.
ENDINGS = {
    "the end of the script": "pass",
    "sys.exit": "sys.exit(0)",
    "an exception": "raise RuntimeError('on purpose')",
    "os._exit": "os._exit(0)",
    "SIGKILL": "os.kill(os.getpid(), signal.SIGKILL)",
    "SIGTERM": "os.kill(os.getpid(), signal.SIGTERM)",
    "SIGINT": "os.kill(os.getpid(), signal.SIGINT); time.sleep(10)",
    "a thread that still loads": """
def again():
    while True:
        ebpflab.load(SOURCE, name="again")
threading.Thread(target=again, daemon=True).start()
while not any(session.name == "again" for session in ebpflab.sessions()):
    time.sleep(0.01)
""",
    "an exception while loading": """
import ebpflab.line
def fail(*arguments, **options): raise MemoryError("on purpose")
ebpflab.line.check = fail
ebpflab.load(SOURCE)
""",
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_however_a_process_ends_nothing_of_it_stays_in_the_kernel(unchanged, ending):
    process = start("s = ebpflab.load(SOURCE)\nprint('attached', flush=True)\nsys.stdin.readline()\n" + ENDINGS[ending])
    assert process.stdout.readline() == "attached\n", process.stderr.read()
    held = objects.held_by(process.pid)
    assert sum(kind == "link" for kind, _ in held) == LINKS
    _, errors = process.communicate("go on\n", timeout=30)
    assert "Fatal Python error" not in errors
    assert not (objects.live() & held) or cells.wait_until(lambda: not (objects.live() & held))
    assert unchanged()


def start(script):
    head = "import os, signal, sys, threading, time\nimport ebpflab\nSOURCE = " + repr(EVERYTHING) + "\n"
    return subprocess.Popen(
        [sys.executable, "-c", head + textwrap.dedent(script)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=cells.environment(),
    )


# What a forked child does with its parent's session, before it ends.
CHILDREN = {
    "nothing": "os._exit(0)",
    "sys.exit": "sys.exit(0)",
    "close": "s.close(); os._exit(0)",
    "close_all": "ebpflab.close_all(); os._exit(0)",
    "frames": "os._exit(0 if len(s.events.df()) == 5 else 3)",
    "a session of its own": "t = ebpflab.load(SOURCE); t.close(); os._exit(0)",
}


@pytest.mark.parametrize("deed", CHILDREN)
def test_a_forked_child_does_not_disturb_its_parents_session(unchanged, deed):
    process = start(f"""\
s = ebpflab.load(SOURCE, vars={{"only": os.getpid()}})
for _ in range(5):
    os.getppid()
assert s.events.wait(5, timeout=5)
child = os.fork()
if child == 0:
    {CHILDREN[deed]}
_, status = os.waitpid(child, 0)
assert os.waitstatus_to_exitcode(status) == 0, status
for _ in range(7):
    os.getppid()
assert s.events.wait(12, timeout=5), s.events.stats()
assert s.state == "attached"
s.close()
print(len(s.events.df()))
""")
    output, errors = process.communicate(timeout=30)
    relevant = [line for line in errors.splitlines() if "fork" not in line]
    assert process.returncode == 0, errors
    assert output == "12\n", relevant
    assert unchanged()


@pytest.mark.parametrize("ending", ["return 0", "return *(int *)(long)n"])
def test_an_interrupt_while_loading_is_not_lost_and_leaves_nothing(unchanged, ending):
    # The verifier walks every round, which takes long enough; it accepts the first program and refuses the second.
    slow = f"""
    int n = 0;
    SEC("raw_tp/sys_enter") int h(void *ctx) {{
        for (int i = 0; i < 100000; i++)
            n += bpf_get_prandom_u32();
        {ending};
    }}
    """
    before = objects.held_by(os.getpid())

    def interrupt():
        # Maps are made before the verifier runs.
        if cells.wait_until(lambda: objects.held_by(os.getpid()) - before, timeout=5):
            os.kill(os.getpid(), signal.SIGINT)

    other = threading.Thread(target=interrupt)
    other.start()
    with pytest.raises(KeyboardInterrupt):
        ebpflab.load(slow, attach=False)
    other.join()
    assert ebpflab.sessions() == []
    assert unchanged()


def test_using_a_session_while_another_thread_closes_it_is_a_session_error_at_worst():
    for _ in range(7):
        session = ebpflab.load(cells.GETPPID, vars={"only": os.getpid()})
        problems = []
        reader = threading.Thread(target=_use_until_closed, args=(session, problems))
        reader.start()
        cells.call_getppid(50)
        session.close()
        reader.join(5)
        assert problems == []


def _use_until_closed(session, problems):
    try:
        while session.state != "closed":
            session.events.stats()
            session.events.df()
            repr(session)
            session.vars["seen"]
            _ = session.programs
    except SessionError:
        return
    except Exception as error:  # noqa: BLE001 - whatever it is, the test shows it
        problems.append(repr(error))
