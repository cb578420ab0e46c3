"""The live view where there is little room or nobody looks, and what keys and failures do to the notebook around it."""

from __future__ import annotations

import time

import pytest
from lab import SCREENSHOTS
from watched import cause, causing, window

SCROLLED = "ebpflabScrolled"
TOP = f"[{SCROLLED}.scrollTop, {SCROLLED}.querySelector('tbody tr').cells[1].textContent]"


def read_far_below(watched):
    """Show 100 rows, scroll down in them, and return where that is."""
    cause(97)
    watched.choose("[id$=-table] .ebpflab-view-choice:not([hidden]) select", "100")
    watched.until("ebpflabView.rows().length === 97")
    watched.get(f"(window.{SCROLLED} = ebpflabView.one('[id$=-table] [role=region]')).scrollTop = 400")
    time.sleep(0.3)
    return watched.get(TOP)


def test_rows_that_somebody_reads_stay_while_the_notebook_is_in_the_background(watch, opened_lab):
    watched = watch()
    before = read_far_below(watched)
    assert before == [400, "97"]
    front = watched.get("jupyterapp.shell.currentWidget.id")
    with causing(3, every=0.1):
        time.sleep(1)
        opened_lab.run("launcher:create")
        time.sleep(2)
        watched.get("jupyterapp.shell.currentWidget.close()")
        watched.get("id => jupyterapp.shell.activateById(id)", front)
        watched.until("!!ebpflabViews()[0]")
        time.sleep(1)
    assert watched.get(TOP) == before


def test_a_view_that_is_scrolled_out_of_sight_is_sent_nothing_until_it_is_scrolled_to(watch):
    watched = watch(*["\n".join(["print(1)"] * 40)] * 6)
    cause(5)
    watched.received(5)
    watched.get("""(() => {
        window.ebpflabFrames = 0;
        const count = (_, { content }) => (ebpflabFrames += content.data?.content?.kind === "frame");
        jupyterapp.shell.currentWidget.sessionContext.iopubMessage.connect(count);
    })()""")
    scroll = "to => document.querySelector('.jp-WindowedPanel-outer').scrollTo({ top: to })"
    with causing(3, every=0.1):
        watched.get(scroll, 100_000)
        time.sleep(2)  # it says goodbye after one
        watched.get("window.ebpflabFrames = 0")
        time.sleep(2)  # ten frames' time, in which none may come
        assert watched.get("ebpflabFrames") == 0
        watched.get(scroll, 0)
        watched.get("ebpflabViews()[0].scrollIntoView()")
        watched.until("ebpflabFrames > 3")
    count = watched.get("ebpflabView.tile('received')")
    assert int(count) > 50


@pytest.mark.parametrize("modifiers", [{"shift": True}, {"control": True}])
def test_enter_in_a_field_never_runs_the_cell(watch, modifiers):
    watched = watch()
    cause(5)
    watched.received(5)
    counts = "jupyterapp.shell.currentWidget.content.widgets.map(cell => cell.model.executionCount)"
    before = watched.get(counts)
    watched.click("[type=search]")
    watched.page.press("Enter", **modifiers)
    watched.tab("maps")
    watched.until("ebpflabView.all('[id$=-maps] input').length === 5")
    watched.get("ebpflabView.one('[id$=-maps] input').focus()")
    watched.page.press("F2")
    watched.page.press("Enter", **modifiers)
    assert watched.get("document.activeElement.readOnly") is False  # still being edited
    time.sleep(1.0)  # in which a cell that was run again would show
    assert watched.get(counts) == before
    watched.page.press("Escape")


CUT_OFF = """() => {
    const { right } = ebpflabViews()[0].getBoundingClientRect();
    return ebpflabView.all("button, select, input").filter(each => each.checkVisibility())
        .filter(each => each.getBoundingClientRect().right > right && !each.closest("[role=region]"))
        .map(each => each.textContent);
}"""


def test_nothing_is_cut_off_where_the_output_is_narrow(watch, opened_lab):
    with window(opened_lab.page, 1600):
        watched = watch()
        cause(5)
        watched.received(5)
        for width in (560, 360, 260):
            watched.get("width => (ebpflabViews()[0].parentElement.style.width = `${width}px`)", width)
            assert watched.get(f"({CUT_OFF})()") == []
            watched.tab("code")
            line = "ebpflabView.all('.ebpflab-view-code code').find(each => each.textContent.includes('getppid'))"
            watched.until(f"!!{line}")
            assert watched.get(f"{line}.clientWidth") > width / 3
            assert watched.get(f"{line}.title === {line}.textContent")
            watched.get("ebpflabViews()[0].scrollIntoView()")
            watched.page.screenshot(SCREENSHOTS / f"view-narrow-{width}.png", clip=".jp-Notebook .ebpflab-view")
            watched.tab("table")


def test_a_panel_that_cannot_draw_says_so_once_and_leaves_the_others(watch):
    watched = watch()
    cause(5)
    watched.received(5)
    watched.get("ebpflabView.one('[id$=-table] thead tr').replaceChildren()")  # as nothing of ours does
    watched.get("""(() => {
        const note = ebpflabView.one(".ebpflab-view-note");
        window.ebpflabSaid = [];
        new MutationObserver(() => ebpflabSaid.push(note.textContent)).observe(note, { childList: true });
    })()""")
    for sent, received in ((8, 13), (10, 23)):
        cause(sent)
        watched.received(received)
        time.sleep(0.5)
    (said,) = watched.get("ebpflabSaid")
    assert said.startswith("rows cannot be shown: ")
    watched.tab("log")
    watched.until("ebpflabView.text('.ebpflab-view-log').includes('attach')")
