"""A real JupyterLab and a real browser for all tests: one of each, with folders of their own, on loopback only.

``EBPFLAB_REQUIRE_KERNEL=1`` turns skips into failures, as for the tests on the kernel. Screenshots are kept in
``build/screenshots``.
"""

from __future__ import annotations

import os

import cdp
import lab
import pytest
import watched

from tests.kernel import bpftool

# What JupyterLab reports when a kernel ends before it answered, and ipywidgets of notebooks that have no kernel.
NOT_OURS = ("Canceled future", "jupyterlab-manager")


@pytest.fixture(scope="session")
def server(tmp_path_factory, private_cache):
    """A running JupyterLab: its address, its token and the folder of its notebooks."""
    with lab.serving(tmp_path_factory.mktemp("lab")) as running:
        yield running


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    if cdp.executable() is None:
        lab.refuse("there is no chromium on PATH: apt-get install chromium")
    with cdp.chromium(tmp_path_factory.mktemp("browser")) as page:
        yield page


@pytest.fixture(scope="session")
def opened_lab(browser, server):
    return lab.Lab(browser, server)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    report = yield
    page = item.funcargs.get("browser")
    if report.failed and report.when != "teardown" and page is not None:
        page.screenshot(lab.SCREENSHOTS / "failed" / f"{item.name}.png")
    return report


@pytest.fixture
def notebook(opened_lab, request):
    """Open a notebook of the given cells: ``notebook("%%bpf ...", "import os")``. It is closed after the test."""
    opened = []

    def opening(*cells, kernel=False):
        name = f"{request.node.name.split('[')[0]}.ipynb"
        opened.append(opened_lab.open(name, cells, kernel))
        return opened[-1]

    yield opening
    for each in opened:
        each.close()
    errors, opened_lab.page.errors = opened_lab.page.errors, []
    assert [error for error in errors if not any(word in error for word in NOT_OURS)] == [], "the page reported errors"


@pytest.fixture
def watch(notebook):
    """Run a cell with --watch, and return its view; further cells may follow."""
    if os.geteuid() != 0:
        lab.refuse("programs cannot be loaded: run as root")
    if bpftool.BPFTOOL is None:
        lab.refuse("bpftool is not installed")

    def starting(*cells):
        book = notebook("%load_ext ebpflab", watched.CELL, *cells, kernel=True)
        book.run(0)
        book.run(1)
        view = watched.Watched(book)
        view.state("attached")
        view.until("!!ebpflabView.text('.ebpflab-view-empty')")
        return view

    return starting
