"""The widgets in JupyterLab: the search for hooks gives its cell away, and both can be read in either theme."""

from __future__ import annotations

import contextlib
import json

import pytest
from lab import ROOT

THEMES = ("JupyterLab Light", "JupyterLab Dark")
BUTTONS = """label => [...document.querySelectorAll(".jp-Notebook .jupyter-button")].find(
    each => each.innerText.trim() === label && each.offsetParent && !each.disabled)"""
SEARCH = "import ebpflab\nfrom ebpflab.jupyter.widgets import hook_search\nhook_search('task-clock', 'perf_event')"
TREE = """\
import ebpflab
from ebpflab.jupyter.widgets import type_tree
tree = type_tree(ebpflab.type("event", %r))
tree.find.value = "y"
tree"""
CHOOSE = """(() => {
    const list = document.querySelector(".ebpflab-list select");
    list.selectedIndex = 0;
    list.dispatchEvent(new Event("change", { bubbles: true }));
})()"""
SHOWN = "document.querySelector('.ebpflab-cell textarea')?.value"
VISIBLE = "document.querySelector('.ebpflab-insert')?.offsetParent != null"

# A row is known by its path: while a member opens, the rows below it are drawn again, and their places change.
ROW = "path => [...document.querySelectorAll('.ebpflab-tree button')].find(each => each.title === path)"


@pytest.fixture
def book(notebook):
    opened = notebook("", SEARCH, "x = 23", kernel=True)
    opened.run(1)
    opened.page.wait_for("document.querySelectorAll('.ebpflab-list option').length === 1")
    return opened


def click(book, label):
    book.page.wait_for(f"label => !!({BUTTONS})(label)", label)
    book.page.evaluate(f"label => ({BUTTONS})(label).click()", label)


def show(book):
    """Choose the row, and have its cell shown; return the cell."""
    book.page.evaluate(CHOOSE)
    click(book, "Show its cell")
    return book.page.wait_for(SHOWN)


def press_row(book, path, label):
    """Press the row of a member as soon as it is there and has its label."""
    script = f"""(path, label) => {{
        const row = ({ROW})(path);
        const there = row?.innerText.trim().startsWith(label) ?? false;
        if (there) row.click();
        return there;
    }}"""
    assert book.page.wait_for(script, path, label)


def choose_row(book, path, label):
    """Press a row until it shows how to read its member: pressed while it is drawn again, it does not hear it."""
    shown = f"document.querySelector('.jp-OutputArea').innerText.includes({json.dumps(path)})"
    for _ in range(5):
        press_row(book, path, label)
        with contextlib.suppress(TimeoutError):
            book.page.wait_for(shown, timeout=5)
            return
    raise AssertionError(book.page.evaluate("document.querySelector('.jp-OutputArea').innerText"))


def test_a_click_puts_the_cell_of_the_hook_below_the_search(book, opened_lab):
    shown = show(book)
    assert shown.startswith("%%bpf task_clock --attach on_sample=task-clock\n")
    for theme in THEMES:
        opened_lab.theme(theme)
        book.screenshot(f"hook-search-{theme.split()[-1].lower()}")
    opened_lab.theme(THEMES[0])
    click(book, "Put it below")
    book.page.wait_for("ebpflabTest.cell(2)?.editor?.editor.contentDOM.dataset.language === 'bpf'")
    assert [book.text(cell) for cell in range(4)] == ["", SEARCH, shown, "x = 23"]
    assert book.page.evaluate("jupyterapp.shell.currentWidget.content.activeCellIndex") == 2
    book.page.wait_for("ebpflabTest.view(2).hasFocus")
    book.page.type("// mine")  # and it is the one that is typed into
    assert "// mine" in book.text(2)


def test_what_was_changed_is_what_is_put_below(book):
    show(book)
    changed = """text => {
        const area = document.querySelector(".ebpflab-cell textarea");
        area.value = text;
        area.dispatchEvent(new Event("input", { bubbles: true }));
    }"""
    book.page.evaluate(changed, "%%bpf mine\nint x;")
    click(book, "Put it below")
    book.page.wait_for("ebpflabTest.cell(2)?.editor?.editor.contentDOM.dataset.language === 'bpf'")
    assert book.text(2) == "%%bpf mine\nint x;"


def test_the_button_is_only_there_where_the_extension_is(book):
    show(book)
    assert book.page.wait_for(VISIBLE)
    book.page.evaluate("document.body.classList.remove('ebpflab-lab')")
    try:
        assert book.page.evaluate(VISIBLE) is False
        assert book.page.evaluate("document.querySelector('.ebpflab-cell textarea').offsetParent != null")
    finally:
        book.page.evaluate("document.body.classList.add('ebpflab-lab')")


def test_the_tree_of_a_type_opens_in_place_and_shows_how_to_read_a_member(notebook, opened_lab):
    book = notebook(TREE % str(ROOT / "tests/data/btf/records.bpfel.BTF"), kernel=True)
    book.run(0)
    book.page.wait_for("document.querySelectorAll('.ebpflab-tree button').length > 20")
    press_row(book, "shape", "▸ shape")
    book.page.wait_for(f"({ROW})('shape')?.innerText.trim().startsWith('▾ shape')")
    choose_row(book, "shape.name", "name")
    for theme in THEMES:
        opened_lab.theme(theme)
        book.screenshot(f"type-tree-{theme.split()[-1].lower()}")
    opened_lab.theme(THEMES[0])
