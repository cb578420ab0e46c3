"""The live view in JupyterLab: real sessions, events that the test causes, and what a person sees and presses."""

from __future__ import annotations

import json
import time

import cdp
import pytest
from lab import SCREENSHOTS
from watched import CONTRAST, HOSTILE, NAMED, PROGRAM, cause, causing, names, programs, window

from tests.kernel import bpftool

THEMES = ("JupyterLab Light", "JupyterLab Dark")
TABS = ("table", "plot", "maps", "code", "log")


# --- events, and what is done to them


def test_rows_appear_and_grow_within_a_second_of_the_events(watch):
    watched = watch()
    assert "as soon as a program sends one" in watched.get("ebpflabView.text('.ebpflab-view-empty')")
    for sent, rows in ((5, 5), (8, 13)):
        start = time.monotonic()
        cause(sent)
        watched.until("n => ebpflabView.rows().length === n", rows)
        took = time.monotonic() - start
        print(f"{rows} rows after {took * 1000:.0f} ms")
        assert took < 1.0
    watched.received(13)
    assert watched.get("ebpflabView.column('number')") == [str(n) for n in range(13, 0, -1)]
    assert watched.get("ebpflabView.text('[id$=-table] .ebpflab-view-status')") == "newest 13 of 13 held"


def test_pause_freezes_resume_goes_on_and_stop_leaves_the_last_rows(watch):
    watched = watch()
    cause(23)
    watched.received(23)
    watched.click("[data-do=pause]")
    watched.state("paused")
    rows = watched.get("ebpflabView.rows()")
    cause(7)
    time.sleep(1.0)  # five frames' time, in which nothing may move
    assert watched.get("ebpflabView.rows()") == rows
    assert watched.get("ebpflabView.tile('received')") == "23"
    watched.click("[data-do=resume]")
    watched.received(30)
    watched.state("attached")
    assert programs() == [PROGRAM]
    watched.click("[data-do=stop]")
    watched.state("closed")
    cdp.wait_for(lambda: programs() == [], "the kernel to let the program go")
    assert watched.get("ebpflabView.column('number')") == [str(n) for n in range(30, 10, -1)]
    usable = watched.get("ebpflabView.all('[data-do]').map(each => [each.dataset.do, !each.disabled])")
    assert usable == [["pause", False], ["clear", False], ["save", True], ["stop", False]]
    watched.click("[data-column='1'] button")  # of a session that is over, the kernel still sorts
    watched.until("ebpflabView.one('[data-column=\"1\"]').ariaSort === 'descending'")
    watched.click("[data-column='1'] button")
    watched.until("ebpflabView.column('number')[0] === '1'")


def test_clear_takes_the_rows_and_save_says_where_they_are(watch, server):
    watched = watch()
    cause(11)
    watched.received(11)
    watched.click("[data-do=save]")
    note = watched.until("(text => text.startsWith('saved') && text)(ebpflabView.text('.ebpflab-view-note'))")
    assert note.startswith("saved 11 rows to seen-")
    assert (server.notebooks / note.split()[-1]).stat().st_size > 0
    watched.click("[data-do=clear]")
    watched.until("ebpflabView.rows().length === 0")
    assert watched.get("ebpflabView.tile('received')") == "11"


def test_another_cell_runs_while_the_table_moves(watch):
    watched = watch("import time\ntime.sleep(3)\nprint('slept')")
    running = "ebpflabTest.cell(2).model.executionCount === null"
    seen = set()
    with causing(7, every=0.05):
        watched.book.edit(2)
        watched.page.press("Enter", shift=True)
        deadline = time.monotonic() + 30
        while watched.get(running):
            assert time.monotonic() < deadline, "the cell does not end"
            seen.add(watched.get("ebpflabView.tile('received')"))
            time.sleep(0.05)
    assert len(seen) >= 6, f"while the cell ran, the view showed {seen}"
    watched.until("ebpflabTest.cell(2).outputArea.node.innerText.includes('slept')")


# --- the table


def test_columns_are_sorted_and_rows_filtered(watch):
    watched = watch()
    cause(29)
    watched.received(29)
    assert watched.get("ebpflabView.one('[data-column=\"1\"] button').title") == "number: number"
    watched.get("ebpflabView.one('[data-column=\"1\"] button').focus()")
    for order, first in (("descending", "29"), ("ascending", "1"), ("none", "29")):
        watched.page.press("Enter")
        watched.until("order => ebpflabView.one('[data-column=\"1\"]').ariaSort === order", order)
        watched.until("first => ebpflabView.column('number')[0] === first", first)
    watched.click("[type=search]")
    watched.page.type("number>=23")
    watched.until("ebpflabView.rows().length === 7")
    status = "ebpflabView.text('[id$=-table] .ebpflab-view-status')"
    assert watched.get(status) == "newest 7 of 7 that match, of 29 held"
    watched.page.type(" nobody")
    watched.until("ebpflabView.text('.ebpflab-view-empty').includes('matches the filter')")
    watched.get("ebpflabView.one('[type=search]').select()")
    watched.page.type("numbr>=23")
    problem = watched.until("ebpflabView.text('[role=alert]')")
    assert "numbr" in problem
    described = "document.getElementById(ebpflabView.one('[type=search]').getAttribute('aria-describedby')).textContent"
    assert watched.get(described) == problem
    assert watched.get("ebpflabView.one('[type=search]').ariaInvalid") == "true"


def test_what_is_selected_or_scrolled_to_stays_in_its_place(watch):
    watched = watch()
    cause(23)
    watched.received(23)
    before = watched.get("ebpflabView.rows()")
    watched.get("document.getSelection().selectAllChildren(ebpflabView.one('[id$=-table] tbody tr').cells[1])")
    cause(7)
    watched.received(30)
    assert watched.get("String(document.getSelection())").strip() == "23"
    assert watched.get("ebpflabView.rows()") == before
    watched.click(".ebpflab-view-push button")
    watched.until("ebpflabView.column('number')[0] === '30'")
    watched.choose("[id$=-table] .ebpflab-view-choice:not([hidden]) select", "100")
    watched.until("ebpflabView.rows().length === 30")
    watched.get("ebpflabView.one('[id$=-table] [role=region]').scrollTop = 60")
    cause(11)
    watched.received(41)
    assert watched.get("ebpflabView.one('[id$=-table] [role=region]').scrollTop") == 60
    assert watched.get("ebpflabView.column('number')[0]") == "30"
    watched.get("ebpflabView.one('[id$=-table] [role=region]').scrollTop = 0")
    watched.until("ebpflabView.column('number')[0] === '41'")


def test_rows_are_the_same_elements_from_frame_to_frame(watch):
    watched = watch()
    cause(23)
    watched.received(23)
    watched.get("(window.ebpflabRows = ebpflabView.all('[id$=-table] tbody tr')).length")
    cause(7)
    watched.until("ebpflabView.column('number')[0] === '30'")
    assert watched.get("ebpflabView.all('[id$=-table] tbody tr').every((row, i) => row === ebpflabRows[i])")


def test_hostile_strings_stay_text(watch):
    watched = watch()
    cause(3)
    watched.received(3)
    assert watched.get("ebpflabView.column('note')") == [HOSTILE] * 3
    watched.click("[type=search]")
    watched.page.type("note:<img")
    watched.until("ebpflabView.text('[id$=-table] .ebpflab-view-status').includes('match')")
    for name in TABS[1:]:
        watched.tab(name)
    assert watched.get("ebpflabView.all('img[src=x]').length") == 0
    assert watched.get("window.pwned === undefined")


# --- the other tabs


def test_the_tabs_are_walked_by_keyboard(watch):
    watched = watch()
    watched.click("[data-tab=table]")
    active = "jupyterapp.shell.currentWidget.content.activeCellIndex"
    before = watched.get(active)
    chosen = "document.activeElement.ariaSelected === 'true' && document.activeElement.dataset.tab"
    walk = [
        *[("ArrowRight", name) for name in (*TABS[1:], "table")],
        ("ArrowLeft", "log"),
        ("Home", "table"),
        ("End", "log"),
    ]
    for key, name in walk:
        watched.page.press(key)
        watched.until(f"name => {chosen} === name", name)
        panel = watched.get(
            "document.getElementById(document.activeElement.getAttribute('aria-controls')).offsetHeight"
        )
        assert panel > 0
        assert watched.get("ebpflabView.all('[role=tab]').filter(each => each.tabIndex === 0).length") == 1
    watched.until("ebpflabView.text('.ebpflab-view-log').includes('attach')")
    watched.page.press("ArrowUp")  # where the notebook hears it, it chooses the cell above
    assert watched.get(active) == before == 1


def test_an_entry_of_a_map_is_edited_in_place_and_deleted(watch):
    watched = watch(
        "import re\nprint(re.search(r'map_id:\\s*(\\d+)',"
        " open(f'/proc/self/fdinfo/{seen.maps[\"counts\"].fd}').read())[1])"
    )
    number = watched.run(2).split()[-1]

    def counts():
        return {
            entry["formatted"]["key"]: entry["formatted"]["value"] for entry in bpftool.run("map", "dump", "id", number)
        }

    cause(13)
    watched.received(13)
    assert counts() == {0: 2, 1: 3, 2: 3, 3: 3, 4: 2}
    watched.tab("maps")
    field = "key => ebpflabView.all('[id$=-maps] input').find(each => each.dataset.key === key)"
    watched.until(f"({field})('3')?.value === '3'")
    watched.get(f"({field})('3').focus()")
    watched.page.press("F2")
    watched.page.type("1009")
    watched.page.press("Escape")
    assert watched.get(f"({field})('3').value") == "3"
    watched.page.press("Enter")
    watched.page.type("1009")
    watched.page.press("Enter")
    cdp.wait_for(lambda: counts()[3] == 1009, "the kernel's map to hold the value")
    watched.until(f"({field})('3').value === '1009'")
    assert watched.get("document.activeElement.dataset.key") == "3"
    watched.page.press("Delete")
    cdp.wait_for(lambda: 3 not in counts(), "the entry to be gone")
    watched.until(f"!({field})('3')")
    watched.click("[data-key='4']", times=2)
    watched.page.type("no number\n")
    watched.until("ebpflabView.one('.ebpflab-view-note').className.includes('error')")
    assert counts()[4] == 2
    assert watched.get(f"({field})('4').value") == "2"


def test_a_plot_has_a_text_and_old_pictures_are_given_back(watch):
    watched = watch()
    watched.get("""(() => {
        window.ebpflabBlobs = new Set();
        const { createObjectURL, revokeObjectURL } = URL;
        URL.createObjectURL = blob => {
            const url = createObjectURL.call(URL, blob);
            if (blob.type === "image/png") { ebpflabBlobs.add(url); ebpflabBlobs.made = (ebpflabBlobs.made || 0) + 1; }
            return url;
        };
        URL.revokeObjectURL = url => (ebpflabBlobs.delete(url), revokeObjectURL.call(URL, url));
    })()""")
    with causing(7, every=0.05):
        watched.tab("plot")
        watched.until("ebpflabBlobs.made >= 5", timeout=30)
    assert watched.get("ebpflabBlobs.size") <= 2
    alt = watched.get("ebpflabView.one('.ebpflab-view-picture img').alt")
    assert "event" in alt
    width, room = watched.get(
        "(img => [img.getBoundingClientRect().width, img.parentNode.clientWidth])(ebpflabView.one('img'))"
    )
    assert room * 0.9 <= width <= room
    usable = "ebpflabView.all('[id$=-plot] select').map(each => !each.disabled)"
    assert watched.get(usable) == [True, False, True]  # a rate has no column of its own
    watched.choose("[id$=-plot] select", "hist")
    watched.until(f"({usable})[1]")
    watched.until("alt => ebpflabView.one('img').alt !== alt", alt)


# --- several views, and the end


@pytest.fixture
def high_page(opened_lab):
    with window(opened_lab.page, 2600):
        yield


def test_two_views_of_a_session_show_the_same(high_page, watch):
    watched = watch("seen.view()")
    watched.run(2)
    watched.until("ebpflabViews().length === 2")
    cause(17)
    watched.until("[0, 1].every(n => ebpflabView.rows(n).length === 17)")
    watched.click("[data-do=pause]", n=1)
    watched.until("[0, 1].every(n => ebpflabView.text('.ebpflab-view-pill', n) === 'paused')")


def test_a_view_in_the_background_is_sent_nothing_until_it_is_seen_again(watch, opened_lab):
    watched = watch()
    cause(5)
    watched.received(5)
    received = "ebpflabHidden.querySelector('[data-key=received] dd').textContent"
    front = watched.get("(window.ebpflabHidden = ebpflabViews()[0], jupyterapp.shell.currentWidget.id)")
    opened_lab.run("launcher:create")
    watched.until("!ebpflabHidden.offsetParent")
    time.sleep(1.5)  # who comes back within a second was never away; and what was under way arrives
    cause(8)
    time.sleep(1.5)
    assert watched.get(received) == "5"
    watched.get("jupyterapp.shell.currentWidget.close()")
    watched.get("id => jupyterapp.shell.activateById(id)", front)
    watched.until(f"{received} === '13'")


# --- for everybody: names, contrast, both themes


@pytest.mark.parametrize("theme", THEMES)
def test_every_tab_can_be_read_and_named_in_both_themes(watch, opened_lab, theme):
    opened_lab.theme(theme)
    try:
        with window(opened_lab.page, 1100):  # the whole view fits on the page
            look_at_every_tab(watch(), theme.split()[-1].lower())
    finally:
        opened_lab.theme(THEMES[0])


def look_at_every_tab(watched, shade):
    watched.until("dark => ebpflabViews()[0].classList.contains('ebpflab-view-dark') === dark", shade == "dark")
    for number in (97, 31, 211, 53):  # a curve worth a look
        cause(number)
        time.sleep(0.45)
    watched.received(392)
    full = {
        "table": "ebpflabView.rows().length === 20",
        "plot": "ebpflabView.one('img')?.naturalWidth > 0",
        "maps": "ebpflabView.all('[id$=-maps] input').length === 5",
        "code": "ebpflabView.all('.ebpflab-view-code button').length > 3",
        "log": "ebpflabView.all('.ebpflab-view-log li').length > 2",
    }
    for name in TABS:
        watched.tab(name)
        watched.until(full[name])
        contrast = watched.get(f"({CONTRAST})()")
        assert len(contrast) > 8
        assert {text: round(ratio, 2) for text, ratio in contrast.items() if ratio < 4.5} == {}
        found = names(watched.page)
        assert {role for role, _ in found} >= {"button", "tab", "tablist", "tabpanel"}
        assert [role for role, label in found if role in NAMED and not label.strip()] == []
        watched.get("ebpflabViews()[0].scrollIntoView()")
        watched.page.screenshot(SCREENSHOTS / f"view-{name}-{shade}.png", clip=".jp-Notebook .ebpflab-view")
    assert json.dumps(names(watched.page)).count("live view of seen") == 1
