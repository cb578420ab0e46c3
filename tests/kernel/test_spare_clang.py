"""The clang that waits for the next cell: it is used, it changes nothing, and it never outlives its process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from forked import Child

from ebpflab.cell import Cell
from ebpflab.compile import compile_cell, spare

CELL = 'SEC("raw_tp/sys_enter") int h%d(void *ctx) { return 0; }'


@pytest.fixture(autouse=True)
def nobody_waits():
    spare.close()
    yield
    spare.close()


def children(pid):
    return [int(p) for task in Path(f"/proc/{pid}/task").iterdir() for p in (task / "children").read_text().split()]


def gone(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def until(condition, seconds=10):
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    return condition()


def test_a_second_cell_finds_clang_started_and_gives_the_same_object_as_a_fresh_one():
    compile_cell(Cell(CELL % time.monotonic_ns()))
    waiting = spare._waiting
    assert waiting is not None
    text, files = b"int x = 7;", {"cell": b"int x = 7;"}
    warm = waiting.compile(text, files)
    cold = spare._Clang(waiting.command).compile(text, files)
    assert warm == cold
    assert warm.object.startswith(b"\x7fELF")


def test_another_command_is_not_served_by_the_clang_that_waits_and_ends_it():
    compile_cell(Cell(CELL % time.monotonic_ns()))
    waiting = spare._waiting
    output = spare.compile_text((*waiting.command, "-DANSWER=42"), b"int x = ANSWER;", {})
    assert output.status == 0
    assert waiting._process.returncode is not None
    assert spare._waiting.command == (*waiting.command, "-DANSWER=42")


def test_a_clang_that_died_while_waiting_is_replaced():
    compile_cell(Cell(CELL % time.monotonic_ns()))
    os.kill(spare._waiting._process.pid, signal.SIGKILL)
    spare._waiting._process.wait()
    assert compile_cell(Cell(CELL % time.monotonic_ns())).object


@pytest.mark.parametrize("end", ["pass", "os._exit(3)", "os.kill(os.getpid(), 9)"])
def test_it_ends_with_its_process_however_that_ends(end):
    script = f"""
import os, sys
from ebpflab.cell import Cell
from ebpflab.compile import compile_cell, spare
compile_cell(Cell({CELL % time.monotonic_ns()!r}))
print(spare._waiting._process.pid, flush=True)
sys.stdin.readline()
{end}
"""
    process = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    clang = int(process.stdout.readline())
    assert clang in children(process.pid)
    process.communicate("go\n", timeout=20)
    assert until(lambda: gone(clang))


def test_its_start_is_over_before_the_programs_are_attached(load):
    source = Path(__file__).parents[2].joinpath("bpf_src/opensnoop.bpf.c").read_text()
    for number in range(7):
        session = load(f"{source}\n// {number} {time.monotonic_ns()}", name="opens")
        os.close(os.open("/dev/null", os.O_RDONLY))
        assert session.events.wait(1, timeout=5)
        session.detach()
        assert "clang" not in set(session.events.df()["comm"])


def test_a_forked_process_that_lives_on_does_not_keep_the_next_cell_from_compiling():
    compile_cell(Cell(CELL % time.monotonic_ns()))
    process = spare._waiting._process  # and nothing else of it: whoever holds the clang hides that nobody else does
    child = Child(lambda tell: (tell("here"), signal.pause()))  # has inherited clang's pipes
    try:
        assert child.line() == "here"
        started = time.monotonic()
        compile_cell(Cell(CELL % time.monotonic_ns()))
        assert time.monotonic() - started < 10
        assert process.returncode is not None, "the clang that waited was used"
    finally:
        child.end(kill=True)


def test_a_forked_process_compiles_with_a_clang_of_its_own():
    compile_cell(Cell(CELL % time.monotonic_ns()))
    waiting = spare._waiting

    def work(tell):
        compiled = compile_cell(Cell(CELL % time.monotonic_ns()))
        tell(f"{compiled.object[:4]!r} {spare._waiting.command == waiting.command}")
        spare.close()

    child = Child(work)
    assert child.line() == "b'\\x7fELF' True"
    assert child.end() == 0
    assert waiting.alive, "the parent's clang still waits"
    assert waiting.compile(b"int x = 7;", {"cell": b"int x = 7;"}).status == 0
