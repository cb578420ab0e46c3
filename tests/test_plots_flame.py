"""Flame graphs: the tree against a Counter of prefixes, the pictures as drawn, the SVG as a browser runs it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from collections import Counter
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

mpl.use("Agg")
import matplotlib.pyplot as plt

from ebpflab.errors import EbpflabError
from ebpflab.plots import flame
from ebpflab.plots.flame_tree import walk

SVG = "{http://www.w3.org/2000/svg}"
EVIL = '</title><script>alert("1")</script>&amp;\x01\ud800\u202e$x$'
CHROMIUM = shutil.which("chromium")
QUIET = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync")
OFFLINE = ("--disable-background-networking", "--disable-component-update")


@pytest.fixture(autouse=True)
def closed_figures():
    yield
    plt.close("all")


def texts(ax):
    return [text.get_text() for text in ax.texts]


def stacks(count=997):
    rng = np.random.default_rng(29)
    names = ["read", "write", "poll", "open", "vfs_read", "futex"]

    def some(root, distinct):
        made = [";".join([root, *rng.choice(names, rng.integers(0, 7))]) for _ in range(distinct)]
        return pd.Categorical(rng.choice(made, count))

    user, kernel = some("_start", 43), some("entry_SYSCALL_64;do_syscall_64", 31)
    took = pd.to_timedelta(rng.lognormal(10, 2, count).astype(np.int64), unit="ns")
    return pd.DataFrame({"user": user, "kernel": kernel, "took": took})


def prefixes(paths, weights):
    found = Counter()
    for path, weight in zip(paths, weights, strict=True):
        for end in range(len(path) + 1):
            found[path[:end]] += weight
    return found


def by_path(frame, above=()):
    yield above, frame.total
    for child in frame.children:
        yield from by_path(child, (*above, child.name))


@pytest.mark.parametrize("weight", [None, "took"])
def test_folded_stacks_are_those_of_a_counter_of_prefixes(weight):
    frame = stacks()
    paths = [(*u.split(";"), *k.split(";")) for u, k in zip(frame["user"], frame["kernel"], strict=True)]
    weights = [1] * 997 if weight is None else frame["took"].to_numpy("m8[ns]").astype(int).tolist()
    assert dict(by_path(flame.fold(frame, ["user", "kernel"], weight))) == prefixes(paths, weights)


def test_the_parts_of_every_function_add_up_and_stand_in_alphabetical_order():
    root = flame.fold(stacks(), ["kernel", "user"], "took")
    for each in walk(root):
        assert each.total == each.own + sum(child.total for child in each.children)
        assert [child.name for child in each.children] == sorted(child.name for child in each.children)
    assert [child.name for child in root.children] == ["_start"]  # the user's below, though named last


def test_boxes_lie_within_their_parents_side_by_side():
    root = flame.fold(stacks(), ["user", "kernel"])
    drawn, omitted = flame.boxes(root, least=0)
    assert (len(drawn), omitted) == (sum(1 for _ in walk(root)), 0)
    place = {box.frame.at: box for box in drawn}
    for box in drawn:
        left = box.left
        for child in (place[child.at] for child in box.frame.children):
            assert (child.row, child.left, child.right) == (box.row + 1, left, left + child.frame.total)
            left = child.right
        assert left + box.frame.own == box.right


def test_narrow_functions_are_left_out_with_all_that_they_call_and_said_so():
    frame = pd.DataFrame({"stack": ["main;rare;a;b"] + ["main;often"] * 1009})
    drawn, omitted = flame.boxes(flame.fold(frame, "stack"))
    assert [box.frame.name for box in drawn] == ["all", "main", "often"]
    assert omitted == 3
    assert "1,010 events, 3 functions below 0.1 % not drawn" in texts(flame.draw(frame, "stack"))
    assert "3 functions below 0.1 % not drawn" in flame.svg(frame, "stack")


def test_missing_stacks_are_unknown_and_missing_sides_leave_the_other():
    frame = pd.DataFrame({
        "user": ["main", "[EFAULT]", None, None, "main"],
        "kernel": ["[EFAULT]", "kthread", "kthread", "[EFAULT]", "do_syscall_64"],
    })  # fmt: skip
    both = flame.fold(frame, ["user", "kernel"])
    assert [(c.name, c.space, c.total, c.own) for c in both.children] == [
        ("[unknown]", "", 1, 1), ("kthread", "kernel", 2, 2), ("main", "user", 2, 1)
    ]  # fmt: skip
    alone = flame.fold(frame, "user")
    assert [(c.name, c.total) for c in alone.children] == [("[EFAULT]", 1), ("[unknown]", 2), ("main", 2)]


def test_functions_without_a_name_that_call_each_other_are_one():
    frame = pd.DataFrame({"user": ["main;f;f;[unknown];[unknown];[a.so];[a.so];[unknown];g;[a.so]"]})
    below = [each.name for each in walk(flame.fold(frame, "user"))]
    assert below == ["all", "main", "f", "f", "[unknown]", "[a.so]", "[unknown]", "g", "[a.so]"]


@pytest.mark.parametrize(
    ("column", "root", "space"),
    [
        ("kernel", "x", "kernel"), ("kstack", "x", "kernel"), ("user_stack", "x", "user"), ("stack", "_start", "user"),
        ("stack", "entry_SYSCALL_64_after_hwframe", "kernel"), ("stack", "ret_from_fork_asm", "kernel"),
    ],
)  # fmt: skip
def test_the_space_is_told_by_the_columns_name_or_else_by_where_stacks_begin(column, root, space):
    tree = flame.fold(pd.DataFrame({column: [f"{root};a;b"]}), column)
    assert tree.children[0].space == space


def test_what_a_flame_graph_cannot_draw_is_said():
    frame = pd.DataFrame({"stack": list("abc"), "pid": [1, 2, 3], "change": [1, -1, 0]})
    with pytest.raises(EbpflabError, match="did you mean stack"):
        flame.draw(frame, "stak")
    with pytest.raises(EbpflabError, match="'pid' holds no stacks"):
        flame.svg(frame, "pid")
    with pytest.raises(EbpflabError, match="goes down to -1"):
        flame.svg(frame, "stack", weight="change")
    with pytest.raises(EbpflabError, match="holds no numbers"):
        flame.svg(frame, "stack", weight="stack")


def test_ten_thousand_distinct_stacks_are_folded_within_a_second():
    rng = np.random.default_rng(31)
    depth = np.sort(rng.integers(2, 31, 10_007))
    made = [";".join(f"f{n}" for n in rng.geometric(0.4, d)) + f";leaf{i}" for i, d in enumerate(depth)]
    frame = pd.DataFrame({"kernel": made})

    def seconds():
        start = time.perf_counter()
        root = flame.fold(frame, "kernel")
        took = time.perf_counter() - start
        assert root.total == 10_007
        return took

    assert min(seconds() for _ in range(3)) < 1


def test_a_drawn_flame_graph_has_a_polygon_for_each_box_and_names_where_they_fit():
    frame = stacks()
    ax = flame.draw(frame, ["user", "kernel"])
    drawn, _ = flame.boxes(flame.fold(frame, ["user", "kernel"]))
    assert len(ax.collections[0].get_paths()) == len(drawn)
    assert {"all", "_start"} <= set(texts(ax))
    assert ax.get_title("left") == "flame graph of user and kernel"
    assert (ax.get_xlim(), ax.get_xlabel()) == ((0, 997), "events")
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["user", "kernel"]
    ax.figure.canvas.draw()
    assert "took" in flame.draw(frame, "user", weight="took").get_xlabel()


def test_a_flame_graph_goes_on_axes_that_are_given():
    _, (left, right) = plt.subplots(1, 2)
    assert flame.draw(stacks(), "user", ax=right) is right
    assert not left.collections


def rects(svg):
    boxes = ElementTree.fromstring(svg).findall(f"{SVG}g/{SVG}g")
    return [
        (g.get("data-name"), int(g.get("data-row")), g.find(f"{SVG}title").text, g.find(f"{SVG}rect")) for g in boxes
    ]


def test_the_svg_has_a_rectangle_and_a_tooltip_for_each_box():
    frame = pd.DataFrame({"kernel": ["a;b"] * 3 + ["a;c"] * 2 + ["a"]})
    found = rects(flame.svg(frame, "kernel"))
    assert [(name, row) for name, row, *_ in found] == [("all", 0), ("a", 1), ("b", 2), ("c", 2)]
    assert found[1][2] == "a (kernel)\n6 events, 100.00 %, 1 event in itself"
    assert found[3][2] == "c (kernel)\n2 events, 33.33 %"
    b, c = found[2][3], found[3][3]
    assert float(b.get("width")) == pytest.approx(1180 * 3 / 6 - 0.5, abs=0.01)
    assert float(c.get("x")) == pytest.approx(10 + 1180 * 3 / 6, abs=0.01)
    assert int(b.get("y")) > int(found[0][3].get("y"))  # the root is on top


def test_weights_that_are_durations_have_their_unit_in_tooltips():
    frame = pd.DataFrame({"kernel": ["a", "b"], "took": pd.to_timedelta([3, 1], unit="ms")})
    assert rects(flame.svg(frame, "kernel", weight="took"))[1][2] == "a (kernel)\n3 ms, 75.00 %"


def test_names_cannot_break_out_of_the_svg():
    frame = pd.DataFrame({"user": pd.Series([EVIL], dtype=object)})
    svg = flame.svg(frame, "user", title=EVIL)
    assert svg.count("<script>") == 1  # ours
    assert "alert" in rects(svg)[1][0]  # as text; and what XML cannot hold is gone, or this would not parse
    svg.encode()
    flame.draw(frame, "user").figure.canvas.draw()


def test_the_script_of_the_svg_reads_the_same_as_xml_and_as_html_and_needs_no_network():
    svg = flame.svg(stacks(), "user")
    script = re.search("<script>(.*)</script>", svg, re.DOTALL)[1]
    assert not set("<&") & set(script)
    assert "http" not in svg.replace("http://www.w3.org/", "")
    assert svg._repr_html_() == svg


ACT = """
<pre id="result"></pre><script>
const svg = document.querySelector("svg"), boxes = [...svg.querySelectorAll(".box")], out = [];
const shown = () => boxes.filter(g => g.style.display !== "none").map(g => g.dataset.name).join(" ");
const field = svg.querySelector("input");
out.push("first: " + shown());
boxes.find(g => g.dataset.name === "b").dispatchEvent(new MouseEvent("click"));
out.push("zoomed: " + shown());
out.push("width: " + boxes.find(g => g.dataset.name === "b").querySelector("rect").getAttribute("width"));
field.value = "^[cd]$"; field.dispatchEvent(new Event("input"));
out.push("hits: " + [...svg.querySelectorAll(".hit")].map(g => g.dataset.name).join(" "));
out.push("note: " + svg.querySelector(".note").textContent);
field.value = "a("; field.dispatchEvent(new Event("input"));
out.push("bad pattern: " + svg.querySelector(".note").textContent);
svg.querySelector(".button").dispatchEvent(new MouseEvent("click"));
out.push("again: " + shown());
document.getElementById("result").textContent = out.join("\\n");
</script>
"""


# What keys do, from box to box; and that the notebook around hears only those that the picture has no use for.
PRESS = """
<pre id="result"></pre><script>
const svg = document.querySelector("svg"), boxes = [...svg.querySelectorAll(".box")], out = [], heard = [];
document.addEventListener("keydown", e => heard.push(e.key));
const press = key => document.activeElement.dispatchEvent(new KeyboardEvent("keydown", {key, bubbles: true}));
const shown = () => boxes.filter(g => g.style.display !== "none").map(g => g.dataset.name).join(" ");
const now = () => document.activeElement.dataset.name + document.activeElement.getAttribute("aria-level");
const stops = () => boxes.filter(g => g.getAttribute("tabindex") === "0").map(g => g.dataset.name).join(" ");
out.push("stop: " + stops());
boxes[0].focus();
out.push("walk: " + ["ArrowDown", "ArrowDown", "ArrowRight", "ArrowRight", "ArrowRight", "ArrowLeft", "ArrowUp",
  "ArrowDown", "ArrowDown", "Home", "ArrowUp", "ArrowDown"].map(key => (press(key), now())).join(" "));
press("Enter"); out.push("zoomed: " + shown());
press("ArrowRight"); out.push("still: " + now());
press("Escape"); out.push("again: " + shown() + ", at " + now() + ", stop " + stops());
svg.querySelector(".button").focus(); press("Tab"); press("x");
out.push("heard: " + heard.join(" "));
document.getElementById("result").textContent = out.join("\\n");
</script>
"""

# As @jupyterlab/rendermime does it: markup that came as a string runs no scripts, so they are put in once more.
INSERT = """
<div id="output"></div><script>
const output = document.getElementById("output");
output.innerHTML = %s;
for (const script of Array.from(output.querySelectorAll("script"))) {
  const again = document.createElement("script");
  again.textContent = script.textContent;
  script.parentNode.replaceChild(again, script);
}
</script>
"""


def ran(page, tmp_path):
    path = tmp_path / "page.html"
    path.write_text(f"<!DOCTYPE html><meta charset='utf-8'>{page}")
    done = subprocess.run(
        [CHROMIUM, *QUIET, *OFFLINE, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", path.as_uri()],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    return re.search('<pre id="result">(.*?)</pre>', done.stdout, re.DOTALL)[1].splitlines()


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
@pytest.mark.parametrize("notebook", [False, True])
def test_a_browser_zooms_searches_and_shows_all_again(tmp_path, notebook):
    frame = pd.DataFrame({"kernel": ["a;b;d"] * 5 + ["a;c"] * 3 + ["c;d"] * 2})
    svg = str(flame.svg(frame, "kernel"))
    shown = INSERT % json.dumps(svg).replace("</", r"<\/") if notebook else svg
    assert ran(shown + ACT, tmp_path) == [
        "first: all a c b c d d",
        "zoomed: all a b d",
        "width: 1179.5",
        "hits: c c d d",
        "note: 4 boxes, 100.0 % of all",
        "bad pattern: 0 boxes, 0.0 % of all",
        "again: all a c b c d d",
    ]


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
def test_keys_walk_from_box_to_box_zoom_and_show_all_again(tmp_path):
    frame = pd.DataFrame({"kernel": ["a;b;d"] * 5 + ["a;c"] * 3 + ["c;d"] * 2})
    # Whether a browser draws the ring depends on whether its window has the focus, which no test has.
    assert re.search(r":focus-visible[^{}]*\{[^}]*outline", str(flame.svg(frame, "kernel")))
    assert ran(str(flame.svg(frame, "kernel")) + PRESS, tmp_path) == [
        "stop: all",
        "walk: a2 b3 c3 d3 d3 c3 a2 b3 d4 all1 all1 a2",
        "zoomed: all a b c d",
        "still: a2",
        "again: all a c b c d d, at a2, stop a",
        "heard: Tab x",
    ]


def test_boxes_are_the_items_of_a_tree_with_their_level_and_a_name():
    frame = pd.DataFrame({"kernel": ["a;b"] * 3 + ["a;c"] * 2 + ["a"]})
    svg = ElementTree.fromstring(flame.svg(frame, "kernel"))
    assert (svg.get("role"), svg.get("aria-label")) == ("group", "flame graph of kernel, 6 events")
    (tree,) = svg.findall(f"{SVG}g")
    assert tree.get("role") == "tree"
    assert [(box.get("role"), box.get("aria-level")) for box in tree] == [
        ("treeitem", str(level)) for level in (1, 2, 3, 3)
    ]  # fmt: skip
    assert all(box.find(f"{SVG}title").text for box in tree)  # which is the name of an item of SVG
