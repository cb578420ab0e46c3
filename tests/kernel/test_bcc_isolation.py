"""Whatever a cell of BCC's dialect holds: this process lives, each cell gets its own result, errors stay short."""

from __future__ import annotations

import contextlib
import os
import signal
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cells
import pytest
from test_bcc_live import ABORTS

import ebpflab
from ebpflab.bcc import library, process, rewriter
from ebpflab.bcc.rewriter import RewriteError
from ebpflab.errors import EbpflabError, ToolMissingError

WRONG_LINES = (
    "BPF_HASH(h, u32);\nint f(void *c) {\n" + "".join(f"    nonsense{n}();\n" for n in range(10_007)) + "return 0;\n}\n"
)
SMALL = 350 << 20  # bytes of memory, enough for a small cell
LINES = 100  # of an error as it is shown


def doubling(times):
    """A cell whose last macro stands for two to that power times the first."""
    macros = "".join(f"#define A{n + 1} A{n} A{n}\n" for n in range(times))
    return f"BPF_HASH(h, u32);\n#define A0 x +\n{macros}int f(void *c) {{ int x = 1; return A{times} x; }}\n"


def counting(number):
    """A cell that was never compiled before, which counts what this process does."""
    return (
        f"// {time.time_ns()}\nBPF_ARRAY(own{number}, u64, {number + 3});\n"
        "TRACEPOINT_PROBE(syscalls, sys_enter_getppid) {\n"
        f"    if (bpf_get_current_pid_tgid() >> 32 != {os.getpid()}) return 0;\n"
        f"    own{number}.increment({number % 3}); return 0;\n}}\n"
    )


@pytest.fixture(autouse=True)
def bcc(monkeypatch, tmp_path):
    try:
        library.find_libbcc()
    except ToolMissingError as error:
        pytest.skip(str(error))
    process.close()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = Path.cwd()
    yield
    process.close()
    assert Path.cwd() == before
    assert compilers() == []
    assert list(tmp_path.glob("ebpflab-bcc-*")) == []


def compilers():
    """The processes of BCC's library that this one has started."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == os.getpid() and b"child.py" in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
    return found


def refusal(text):
    with pytest.raises(EbpflabError) as caught:
        ebpflab.load(text, engine="bcc", attach=False)
    assert len(str(caught.value).split("\n")) < LINES
    assert len(str(caught.value)) < 5000
    return caught.value


def test_eight_cells_at_once_and_bad_ones_among_them_get_each_its_own(capfd, monkeypatch):
    monkeypatch.setattr(rewriter, "_MEMORY", SMALL)
    bad = {5: (ABORTS, "crashed"), 6: (WRONG_LINES, "nonsense0"), 7: (doubling(30), "more memory")}
    begin = threading.Barrier(8)

    def one(number):
        begin.wait(timeout=60)
        try:
            return ebpflab.load(bad[number][0] if number in bad else counting(number), engine="bcc")
        except EbpflabError as error:
            return error

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(one, range(8)))
    sessions = found[:5]
    try:
        assert [list(session.maps) for session in sessions] == [[f"own{n}"] for n in range(5)]
        cells.call_getppid(23)
        assert [int(s.maps[f"own{n}"][n % 3]) for n, s in enumerate(sessions)] == [23] * 5
    finally:
        for session in sessions:
            session.close()
    for number, (_, what) in bad.items():
        assert what in str(found[number]), found[number]
        assert len(str(found[number]).split("\n")) < LINES
    assert capfd.readouterr() == ("", "")


def test_of_ten_thousand_wrong_lines_the_first_are_shown_and_all_that_was_said_is_kept(capfd):
    error = refusal(WRONG_LINES)
    assert (error.where.line, error.what.partition(":")[2][:26]) == (3, " implicit declaration of f")
    # clang itself stops after 20.
    assert [error.log.count(f"'nonsense{n}'") > 0 for n in (0, 1, 18, 30)] == [True, True, True, False]
    assert capfd.readouterr() == ("", "")


def test_one_line_of_a_hundred_thousand_letters_is_shown_around_its_error():
    brackets = "(" * 100_003 + "1" + ")" * 100_003
    error = refusal(f"BPF_HASH(h, u32);\nint f(void *c) {{ return {brackets}; }}\n")
    assert "nesting level" in error.what
    shown = str(error).split("\n")
    (caret,) = (line.index("^") for line in shown if line.strip(" |~") == "^")
    (text,) = (line for line in shown if line.startswith("    2 | "))
    assert text[caret] == "("
    assert len(text) < 400


def test_a_cell_that_grows_without_end_is_stopped_by_the_memory_that_it_gets(capfd, monkeypatch, load):
    monkeypatch.setattr(rewriter, "_MEMORY", SMALL)
    error = refusal(doubling(30))
    assert "more memory for this cell than the 350 MiB" in error.what
    assert "macro" in error.hint
    assert load(doubling(7), engine="bcc").state == "loaded"  # the same, and of a bearable size
    assert capfd.readouterr() == ("", "")


def test_a_cell_that_comes_to_no_end_is_stopped_in_time(capfd, monkeypatch):
    monkeypatch.setattr(rewriter, "_TIMEOUT", 1.0)
    monkeypatch.setattr(rewriter, "_MEMORY", 8 << 30)
    begin = time.monotonic()
    error = refusal(doubling(40))
    assert "did not come to an end within 1 s" in error.what
    assert time.monotonic() - begin < 15
    assert capfd.readouterr() == ("", "")


def test_a_header_that_includes_itself_is_an_error_in_the_cell(monkeypatch, tmp_path):
    folder = tmp_path / "cells"
    folder.mkdir()
    (folder / "again.h").write_text('#include "other.h"\nint again;\n')
    (folder / "other.h").write_text('#include "again.h"\n')
    monkeypatch.chdir(folder)
    error = refusal('#include "again.h"\nBPF_HASH(h, u32);\nint f(void *c) { return 0; }\n')
    assert "nested too deeply" in str(error)
    monkeypatch.undo()


def test_many_equal_lines_are_no_trouble(load):
    text = "BPF_HASH(h, u32);\nint f(void *c) { int x = 0;\n" + "    x++;\n" * 10_007 + "    return x;\n}\n"
    begin = time.monotonic()
    assert load(text, engine="bcc").state == "loaded"
    assert time.monotonic() - begin < 20


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_a_compiler_that_somebody_ends_is_an_error_and_the_next_cell_is_served(load, number):
    ended = []

    def end():
        ended.extend(cells.wait_until(compilers))
        time.sleep(0.5)
        for pid in ended:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    thread = threading.Thread(target=end)
    thread.start()
    try:
        error = refusal(doubling(30))
    finally:
        thread.join()
    assert isinstance(error, RewriteError)
    assert signal.Signals(number).name in error.what
    assert load(counting(1)).state == "attached"


def test_an_interrupt_ends_the_compiler_and_leaves_nothing(load):
    def interrupt():
        cells.wait_until(compilers)
        time.sleep(0.5)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        ebpflab.load(doubling(30), engine="bcc")
    thread.join()
    assert len(compilers()) <= 1  # the one that waits for the next cell
    assert load(counting(2)).state == "attached"


def test_what_a_cell_may_take_is_what_its_compiler_gets(monkeypatch):
    # /proc/PID/limits of a child at work, proc(5): address space in bytes, processor time in seconds, no core file.
    seen = []

    def look():
        def limits():
            texts = [Path(f"/proc/{pid}/limits").read_text() for pid in compilers()]
            return [text for text in texts if str(rewriter._MEMORY) in text]

        seen.extend(cells.wait_until(limits))

    monkeypatch.setattr(rewriter, "_TIMEOUT", 3.0)
    thread = threading.Thread(target=look)
    thread.start()
    refusal(doubling(40))
    thread.join()
    words = {line[:25].strip(): line[25:].split()[:2] for line in seen[0].split("\n")}
    assert words["Max address space"] == [str(2 << 30)] * 2
    assert words["Max cpu time"] == ["7", "7"]
    assert words["Max core file size"] == ["0", "0"]
