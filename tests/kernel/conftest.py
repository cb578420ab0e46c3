"""Tests on the running kernel: one gate with one reason, and a check that the kernel is left as it was.

``EBPFLAB_REQUIRE_KERNEL=1`` turns skips into failures, but for tests marked ``hook(kind)`` of a kind that this
kernel was built without: those say so, and tests/data/hook_matrix.json holds which kinds have to work where.
``EBPFLAB_HOOK_REPORT=FILE`` writes down which kinds worked; the table in docs/hooks.md is made from such files.
"""

from __future__ import annotations

import functools
import json
import os
from pathlib import Path

import cells
import kernel_has
import objects
import pytest
from cgroups import group  # noqa: F401 (a fixture of many tests)
from netns import netns, wire  # noqa: F401 (fixtures of many tests)
from tool_runs import tool  # noqa: F401 (a fixture of many tests)

import ebpflab

_KERNEL = os.environ.get("EBPFLAB_VM") or os.uname().release
_MATRIX = json.loads((Path(__file__).parents[1] / "data" / "hook_matrix.json").read_text())
_ABSENT = "not in this kernel: "
_outcomes: dict[str, dict[str, object]] = {}
_REQUIRED = os.environ.get("EBPFLAB_REQUIRE_KERNEL", "") not in ("", "0")


@functools.cache
def why_not() -> str | None:
    # Nothing of ebpflab is asked here: a bug of its own must not look like a kernel that cannot.
    tracefs = [Path(folder) for folder in ("/sys/kernel/tracing", "/sys/kernel/debug/tracing")]
    try:
        objects.live()
    except OSError as error:
        return f"bpf(2) refuses to list objects ({error.strerror}): run as root, or with CAP_BPF and CAP_SYS_ADMIN"
    if not os.access("/sys/kernel/btf/vmlinux", os.R_OK):
        return "the kernel has no readable BTF in /sys/kernel/btf/vmlinux"
    if not any(os.access(folder / "events/syscalls", os.R_OK) for folder in tracefs):
        return "tracefs is not mounted, or has no tracepoints of system calls"
    return None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    # The switch is about every skip, also those that a test or a fixture decides on later.
    report = yield
    for mark in item.iter_markers("hook"):
        _record(mark.args[0], report)
    if _REQUIRED and report.skipped and _ABSENT not in report.longrepr[2]:
        report.outcome = "failed"
        report.longrepr = f"EBPFLAB_REQUIRE_KERNEL is set, and this test was skipped: {report.longrepr[2]}"
    return report


def _record(kind, report):
    row = _outcomes.setdefault(kind, {"passed": 0, "failed": 0, "absent": ""})
    if report.skipped:
        row["absent"] = kernel_has.absent(kind) or ""
    elif report.failed:
        row["failed"] += 1
    elif report.when == "call" and report.passed:
        row["passed"] += 1


def pytest_sessionfinish():
    path = os.environ.get("EBPFLAB_HOOK_REPORT")
    if path and _outcomes:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(json.dumps({"kernel": _KERNEL, "release": os.uname().release, "kinds": _outcomes}))


def _gate(kind):
    reason = kernel_has.absent(kind)
    if reason is not None and _MATRIX.get(_KERNEL, {}).get(kind) == "works":
        pytest.fail(f"{kind} worked on {_KERNEL} when the table was made, and now: {reason}", pytrace=False)
    if reason is not None:
        pytest.skip(f"{_ABSENT}{reason}")


def pytest_runtest_setup(item):
    reason = why_not()
    if reason is not None and _REQUIRED:
        pytest.fail(f"EBPFLAB_REQUIRE_KERNEL is set, and {reason}", pytrace=False)
    if reason is not None:
        pytest.skip(reason)
    for mark in item.iter_markers("hook"):
        _gate(mark.args[0])


@pytest.fixture(autouse=True)
def kernel_left_as_it_was(no_leftovers):
    before = objects.live()
    yield
    ebpflab.close_all()
    assert objects.leaked_since(before) == set(), "the test left objects in the kernel"


@pytest.fixture
def load():
    """``ebpflab.load`` whose sessions are closed at the end of the test."""
    made = []

    def loading(*arguments, **options):
        session = ebpflab.load(*arguments, **options)
        made.append(session)
        return session

    yield loading
    for session in made:
        session.close()


@pytest.fixture
def bystander(load):
    """A session that ran before; call it to see that it still receives exactly what is sent."""
    session = load(cells.GETPPID, name="bystander", vars={"only": os.getpid()})

    def still_receives():
        before = session.events.stats()["received"]
        cells.call_getppid(7)
        assert session.events.wait(before + 7, timeout=5)
        frame = session.events.df(last=7)
        assert session.state == "attached"
        assert session.events.stats()["received"] == before + 7
        assert frame["pid"].tolist() == [os.getpid()] * 7

    still_receives()
    return still_receives
