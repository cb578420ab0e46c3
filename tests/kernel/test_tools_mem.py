"""The tools that look at memory and at programs' functions: exact counts of what a process does that is told to.

Sizes and numbers of pieces are those that the child's C says; page faults are held against getrusage(2).
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import cells
import matplotlib.pyplot as plt
import pytest
import workloads_mem

import ebpflab
from ebpflab.toolbox import shelf

LEFT = {  # by function of the child: how many pieces it keeps, and of how many bytes
    "known_leak": (23, 23 * 101),
    "known_calloc": (13, 13 * 77),
    "known_aligned": (5, 5 * 192),
    "known_memalign": (3, 3 * 59),
    "known_anew": (17, 17 * 67),
    "known_growth": (7, 7 * 200003),
    "known_failure": (2, 2 * 37),
}
TOUCHED, READ, EVENTS = 101, 53, 59
LIBRARY_READER = """
import ctypes
readline = ctypes.CDLL("libreadline.so.8").readline
readline.restype = ctypes.c_char_p
while readline(b"ready> ") is not None:
    pass
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    found = workloads_mem.compiled(tmp_path_factory.mktemp("child"))
    if found is None:
        pytest.skip("these tests compile a C program, and there is no compiler")
    return found


@pytest.fixture
def start(program):
    with_end = []

    def starting(what=workloads_mem.Child, *arguments):
        with_end.append(what(*(arguments or ([program] if what is workloads_mem.Child else []))))
        return with_end[-1]

    yield starting
    for each in with_end:
        each.end()


def drawn(session):
    """Draw a tool's picture; what is written in it."""
    axes = session.plot()
    assert axes.patches or axes.collections
    texts = [text.get_text() for text in axes.texts]
    plt.close("all")
    return texts


def by_function(rows, columns):
    """Sums of columns by the function of the child that is in the stack."""
    names = rows["user"].astype(str).str.extract(r"(known_\w+)")[0]
    sums = rows[columns].groupby(names).sum()
    return {name: tuple(int(value) for value in row) for name, row in zip(sums.index, sums.to_numpy(), strict=True)}


def test_memleak_has_what_was_not_given_back_by_the_code_that_asked(tool, start):
    child, other = start(), start()
    session = tool("memleak", vars={"pid": child.pid})
    child.do("lcapngxrs")
    other.do("l")
    session.detach()
    rows = session.rows()
    assert set(rows["pid"]) == {child.pid}
    assert set(rows["comm"]) == {"memchild"}
    assert by_function(rows, ["count", "bytes"]) == LEFT
    assert rows["count"].sum() == sum(count for count, _ in LEFT.values())
    assert rows["bytes"].is_monotonic_decreasing
    assert session.vars["too_many"] == 0
    assert {"main", "known_growth"} <= set(drawn(session))


def test_memleak_forgets_what_is_given_back_later(tool, start):
    child = start()
    session = tool("memleak", vars={"pid": child.pid, "min_bytes": 68})
    child.do("nl")
    assert by_function(session.rows(), ["count", "bytes"]) == {"known_leak": LEFT["known_leak"]}
    child.do("fc")
    assert by_function(session.rows(), ["count", "bytes"]) == {"known_calloc": LEFT["known_calloc"]}


def test_memleak_can_wait_before_it_calls_something_left_over(tool, start):
    child = start()
    session = tool("memleak", vars={"pid": child.pid, "min_age_ms": 1500})
    asked = time.time()
    child.do("l")
    early = session.rows()
    looked = time.time()
    assert cells.wait_until(lambda: not session.rows().empty, timeout=20)
    later = session.rows()
    assert looked - asked > 1.4 or early.empty
    assert time.time() - asked >= 1.5
    assert by_function(later, ["count", "bytes"]) == {"known_leak": LEFT["known_leak"]}
    assert asked - 0.1 <= later["oldest"].min().timestamp() <= looked


def test_mallocs_puts_each_size_into_its_bucket(tool, start):
    child, other = start(), start()
    session = tool("mallocs", vars={"pid": child.pid})
    child.do("sc")  # calloc() is not malloc()
    other.do("sss")
    session.detach()
    hist = session.rows()
    found = hist[hist["count"] > 0]
    assert set(found["pid"]) == {child.pid}
    assert set(found["comm"]) == {"memchild"}
    assert found[["low", "high", "count"]].to_numpy().tolist() == [
        [0, 1, 11],
        [512, 1023, 29],
        [1024, 2047, 31],
        [1 << 20, (1 << 21) - 1, 3],
    ]
    drawn(session)


def by_perf_event():
    """The source of pagefaults without its first way, as for a kernel that lacks those tracepoints."""
    return shelf.find("pagefaults").path.read_text().replace("?tp_btf/page_fault", "?tp_btf/no_page_fault")


@pytest.mark.parametrize("way", ["tracepoints", "perf event"])
def test_pagefaults_counts_as_getrusage_does_and_knows_the_code(tool, load, start, way):
    child, other = start(), start()
    if way == "tracepoints":
        session = tool("pagefaults", vars={"pid": child.pid})
    else:
        everywhere = {"on_fault__perf_event": "page-faults,period=1"}
        session = load(by_perf_event(), vars={"pid": child.pid}, targets=everywhere)
    child.do("")  # the first of these after the other process touched what they share
    before = child.do("")
    counted = session.maps["processes"].df()[["user", "kernel"]].sum()
    after = child.do("tk")
    other.do("tk")
    session.detach()
    processes, places = session.maps["processes"].df(), session.maps["places"].df()
    assert processes["pid"].tolist() == [child.pid]
    assert processes["comm"].tolist() == ["memchild"]
    more = processes[["user", "kernel"]].sum() - counted
    assert more.sum() == after - before
    assert more["user"] >= TOUCHED
    assert more["kernel"] >= READ
    assert places["count"].sum() == processes["user"].iloc[0] + processes["kernel"].iloc[0]
    in_the_program = places["kernel"].astype(str) == "[EFAULT]"
    assert places.loc[in_the_program, "count"].sum() == processes["user"].iloc[0]
    reading = places["kernel"].astype(str).str.contains("vfs_read|read_iter|read_zero")
    assert by_function(places[in_the_program], ["count"])["known_touch"][0] in range(TOUCHED, TOUCHED + 3)
    assert places.loc[reading, "count"].sum() == READ
    if way == "tracepoints":
        assert session.rows()["pid"].tolist() == [child.pid]
        assert {"main", "known_touch"} <= set(drawn(session))


def test_kmemtop_has_the_functions_that_a_system_call_asks_for_memory_in(tool, start):
    python, other = start(workloads_mem.Python), start(workloads_mem.Python)
    make = f"import os; files = [os.eventfd(0) for _ in range({EVENTS})]"
    python.run(make)
    session = tool("kmemtop", vars={"pid": python.pid})
    for each in (python, other):
        each.run(make)
    session.detach()
    rows = session.rows()
    sites = rows["site"].astype(str)
    contexts, files = rows[sites.str.contains("eventfd")], rows[sites.str.contains("alloc_(?:empty_)?file")]
    assert contexts["count"].tolist() == [EVENTS]
    assert contexts["cache"].tolist() == ["kmalloc"]
    # What the allocator itself says of the memory that an open file takes.
    size = int(Path("/sys/kernel/slab/filp/slab_size").read_text())
    assert files[["count", "bytes"]].to_numpy().tolist() == [[EVENTS, EVENTS * size]]
    assert set(files["cache"]) <= {"filp", "kmem_cache_alloc"}
    assert rows["bytes"].is_monotonic_decreasing
    drawn(session)


def test_bashreadline_has_what_is_typed_and_nothing_else(tool, start):
    shell, other = start(workloads_mem.Shell), start(workloads_mem.Shell)
    session = tool("bashreadline", vars={"pid": shell.pid})
    lines = [*(f"true {number}" for number in range(7)), "", "echo 'käse' > /dev/null", f": {'x' * 300}"]
    for line in lines:
        shell.type(line)
        other.type("true other")
    shell.type("eval true eval; sh -c true")
    assert session.events.wait(len(lines) + 1, timeout=10)
    frame = session.rows()
    assert frame["line"].tolist() == [*(line.encode()[:255].decode() for line in lines), "eval true eval; sh -c true"]
    assert set(frame["pid"]) == {shell.pid}
    assert set(frame["uid"]) == {os.getuid()}
    assert set(frame["comm"]) == {"bash"}
    assert frame["time"].is_monotonic_increasing
    drawn(session)


def test_bashreadline_goes_by_the_library_where_bash_has_no_readline_inside(load, start):
    text = shelf.find("bashreadline").path.read_text().replace("//bin/bash:", "//bin/bash:no_such_")
    if ebpflab.hooks("libreadline.so.8:readline", kind="uprobe").empty:
        pytest.skip("not in this kernel: it is libreadline.so.8 that is missing")
    reader = start(workloads_mem.Shell, (sys.executable, "-c", LIBRARY_READER))
    session = load(text, vars={"pid": reader.pid})
    assert session.links["target"].tolist() == ["libreadline.so.8:readline_internal_teardown"]
    for number in range(7):
        reader.type(f"line {number}")
    assert session.events.wait(7, timeout=10)
    assert session.events.df()["line"].tolist() == [f"line {number}" for number in range(7)]


@pytest.fixture
def modules(tmp_path):
    """A folder with modules: a slow one that imports others, and one that cannot be imported."""
    for number in range(6):
        (tmp_path / f"quick{number}.py").touch()
    (tmp_path / "slow.py").write_text("import time, quick0, quick1\ntime.sleep(0.2)\n")
    (tmp_path / "broken.py").write_text("import no_such_module\n")
    if ebpflab.hooks(f"{workloads_mem.PYTHON}:python:import*", kind="usdt").empty:
        pytest.skip(f"{workloads_mem.PYTHON} was built without probes")
    return tmp_path


def test_pyimports_has_each_module_that_is_looked_for_and_how_long_it_took(tool, start, modules):
    python = start(workloads_mem.Python, modules)
    session = tool("pyimports", targets=workloads_mem.python_probes(python.pid))
    python.run("sys.path.insert(0, '.')")
    python.run("import slow, quick2, quick3, quick4")
    python.run("import slow, quick5")
    python.run(r"exec('try:\n import broken\nexcept ImportError: pass')")
    assert session.events.wait(9, timeout=10)
    session.detach()
    frame = session.rows().query("module.str.match('quick|slow|broken|no_such')")
    found = ["quick0", "quick1", "slow", "quick2", "quick3", "quick4", "quick5"]
    assert frame["module"].tolist() == [*found, "no_such_module", "broken"]
    assert frame["found"].tolist() == [True] * 7 + [False] * 2
    assert set(frame["pid"]) == {python.pid}
    assert set(frame["comm"]) == {"python3"}
    assert frame["took"].dt.total_seconds().iloc[2] >= 0.2
    drawn(session)


def test_pyimports_can_leave_out_other_processes_and_quick_imports(tool, start, modules):
    if b"BPF_FUNC_get_attach_cookie" not in Path("/sys/kernel/btf/vmlinux").read_bytes():
        pytest.skip("not in this kernel: USDT probes of all processes")
    python, other = start(workloads_mem.Python, modules), start(workloads_mem.Python, modules)
    session = tool("pyimports", vars={"pid": python.pid, "min_ms": 100})
    for each in (python, other):
        each.run("sys.path.insert(0, '.')")
        each.run("import slow, quick2, quick3")
    assert session.events.wait(1, timeout=10)
    session.detach()
    slow = session.rows()
    assert slow["module"].tolist().count("slow") == 1
    assert set(slow["pid"]) == {python.pid}
    assert (slow["took"].dt.total_seconds() >= 0.1).all()
