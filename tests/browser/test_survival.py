"""What stays of a live view when its kernel is gone: our renderer in JupyterLab, with a small widget made by hand."""

from __future__ import annotations

import json

import pytest
from survival import (
    close,
    nothing_thrown,
    record,
    recorded,
    reload,
    reopen,
    restart,
    run,
    save,
    seen,
    shut_down,
    wait_for_text,
)

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAoAAAAKCAYAAACNMs+9AAAAFUlEQVR42mNk+M9Qz0AEYBxVSF+FABJADveWkH6oAAAAAElFTkSuQmCC"
WIDGET, VIEW = "application/vnd.jupyter.widget-view+json", "application/vnd.ebpflab.view+json"
# A widget that says how often it was drawn, and the bundle that a live view publishes.
MADE = f"""\
import anywidget, traitlets
from IPython.display import display, update_display

class Small(anywidget.AnyWidget):
    _esm = '''export default {{ render({{ model, el }}) {{
        window.drawn = (window.drawn ?? 0) + 1;
        const told = el.appendChild(document.createElement("p"));
        el.dataset.live = "yes";
        const tell = () => (told.textContent = `live ${{model.get("n")}}`);
        model.on("change:n", tell);
        tell();
    }} }}'''
    n = traitlets.Int(0).tag(sync=True)

def bundle(n, widget=True, live=True):
    made = {{"text/plain": f"text {{n}}", "text/html":
        f"<style>.x {{{{ color: red }}}}</style><table><tbody><tr><td>twin</td><td>{{n}}</td></tr></tbody></table>"
        f'<img src="data:image/png;base64,{PIXEL}" alt="plot {{n}}">'}}
    if live:
        made["{VIEW}"] = {{"model_id": small.model_id}}
    if widget:
        made["{WIDGET}"] = {{"model_id": small.model_id, "version_major": 2, "version_minor": 1}}
    return made

def publish(n, **kinds):
    small.n = n
    update_display(bundle(n, **kinds), raw=True, display_id=small.model_id)

small = Small()
display(bundle(0), raw=True, display_id=small.model_id);
"""
SAID = "[...document.querySelectorAll('.ebpflab-live-view [role=status]')].map(e => e.textContent).filter(t => t)"
LIVE = "document.querySelector('[data-live]')"


def path_of(book):
    return book.page.evaluate("jupyterapp.shell.currentWidget.context.path")


@pytest.fixture
def book(notebook):
    """A notebook whose first cell shows the widget; the second is for what the test runs."""
    opened = notebook(MADE, "publish(23, widget=False)", kernel=True)
    opened.page.evaluate("window.drawn = 0")
    record(opened)
    opened.run(0)
    wait_for_text(opened, "live 0")
    return opened


def test_the_widget_is_shown_at_once_and_nothing_else_before_it(book):
    assert recorded(book) == ["", "live 0"]
    assert seen(book)["rows"] == []


def test_an_update_changes_what_is_kept_and_leaves_the_widget_alone(book):
    book.page.evaluate(f"{LIVE}.dataset.mine = 'yes'")
    book.run(1)
    wait_for_text(book, "live 23")
    (kept,) = save(book)
    assert "<td>23</td>" in kept["text/html"]
    assert kept["text/plain"] == "text 23"
    assert WIDGET not in kept
    assert book.page.evaluate(f"[{LIVE}.dataset.mine, window.drawn]") == ["yes", 1]


@pytest.mark.parametrize("end", [shut_down, restart])
def test_the_last_update_takes_the_place_of_the_widget_when_the_kernel_goes(book, end):
    book.run(1)
    wait_for_text(book, "live 23")
    record(book)
    end(book)
    found = wait_for_text(book, "twin")
    assert found["rows"] == [["twin", "23"]]
    assert found["pictures"] == ["plot 23"]
    assert book.page.evaluate(SAID) == ["The kernel ended: this is what the view showed last."]
    assert recorded(book) == ["live 23", found["text"].strip()]
    assert book.page.evaluate(f"{LIVE} === null")


def test_a_cell_that_runs_again_after_a_restart_is_live_again(book):
    restart(book)
    wait_for_text(book, "twin")
    book.run(0)
    assert wait_for_text(book, "live 0")["rows"] == []
    assert book.page.evaluate(SAID) == []


def test_an_update_without_the_types_of_widgets_shows_the_html(book):
    run(book, 1, "publish(29, widget=False, live=False)")
    assert wait_for_text(book, "twin")["rows"] == [["twin", "29"]]
    assert book.page.evaluate(f"{LIVE} === null")


def test_a_widget_that_is_closed_leaves_its_html(book):
    run(book, 1, "publish(31, widget=False)\nsmall.close()")
    assert wait_for_text(book, "twin")["rows"] == [["twin", "31"]]
    assert book.page.evaluate(SAID) == []  # its kernel goes on
    (kept,) = save(book)
    assert "<td>31</td>" in kept["text/html"]


@pytest.mark.parametrize("kernel", [False, True])
def test_a_notebook_that_is_opened_without_its_kernel_shows_what_was_saved_while_it_was_live(book, kernel):
    book.run(1)
    wait_for_text(book, "live 23")
    save(book)
    path = path_of(book)
    shut_down(book)
    close(book)
    again = reopen(book.lab, path, 2, kernel=kernel)
    found = wait_for_text(again, "twin")
    if kernel:  # a fresh one, that has no such widget
        again.run(1)
    assert seen(again)["rows"] == found["rows"] == [["twin", "23"]]
    assert "model not found" not in found["text"]
    assert "The kernel ended" not in found["text"]  # not while somebody looked


def test_the_widget_comes_back_when_the_page_is_loaded_again_and_is_saved_as_it_goes_on(book):
    save(book)
    path = path_of(book)
    opened = reload(book.lab)
    record(again := reopen(opened, path, 2, kernel=True))
    wait_for_text(again, "live 0")
    assert {text.split()[0] for text in recorded(again) if text} <= {"twin", "live"}
    # JupyterLab itself gives no update to an output that it has from the file.
    again.run(1)
    wait_for_text(again, "live 23")
    again.page.wait_for("jupyterapp.shell.currentWidget.context.model.dirty")
    (kept,) = save(again)
    assert "<td>23</td>" in kept["text/html"]
    shut_down(again)
    assert wait_for_text(again, "twin")["rows"] == [["twin", "23"]]


def test_a_notebook_that_is_not_trusted_shows_the_html_without_its_style(book, server):
    book.run(1)
    wait_for_text(book, "live 23")
    save(book)
    saved = json.loads((server.notebooks / path_of(book)).read_text())
    saved["cells"][1]["source"] = "# not what was signed"
    (server.notebooks / "untrusted.ipynb").write_text(json.dumps(saved))
    shut_down(book)
    close(book)
    with nothing_thrown(book.page):
        again = reopen(book.lab, "untrusted.ipynb", 2)
        found = wait_for_text(again, "twin")
    assert again.page.evaluate("ebpflabTest.cell(0).model.trusted") is False
    assert (found["rows"], found["pictures"], found["styles"]) == ([["twin", "23"]], ["plot 23"], 0)
