"""The widgets, driven as a browser drives them: a value is set, a button is clicked, a row is chosen."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any

import pytest
import small_kernel

from ebpflab.errors import CellError
from ebpflab.inspectors import types
from ebpflab.inspectors.templating import template
from ebpflab.jupyter import widgets
from ebpflab.jupyter.widgets import HookSearch, TypeTree, hook_search, type_tree

RECORDS = Path(__file__).parent / "data/btf/records.bpfel.BTF"
BLANK = "\N{NO-BREAK SPACE}"


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> small_kernel.Machine:
    return small_kernel.make(tmp_path, monkeypatch)


def lines(widget: HookSearch) -> list[list[str]]:
    """Return the rows of the list as words."""
    return [re.split(f"{BLANK}{{2,}}", label) for label, _ in widget.rows.options]


def words(page: str) -> str:
    """Return what a reader sees of a page."""
    text = re.sub(r"<style>.*?</style>", "", page, flags=re.DOTALL)
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", text)).split())


# --- the search for hooks ----------------------------------------------------------------------------------------


@pytest.mark.usefixtures("machine")
def test_each_key_lists_what_is_found() -> None:
    widget = hook_search()
    for typed in ("s", "sc", "sched_s", "sched_switch"):
        widget.pattern.value = typed
    assert lines(widget) == [
        ["tracepoint", "sched:sched_switch", "tp/sched/sched_switch"],
        ["raw_tracepoint", "sched_switch", "raw_tp/sched_switch"],
        ["tp_btf", "sched_switch", "tp_btf/sched_switch"],
    ]
    assert re.match(r"3 hooks [\d.]+ ms", words(widget.status.value))
    widget.kind.value = "tp_btf"
    assert [row[0] for row in lines(widget)] == ["tp_btf"]
    assert words(widget.status.value).startswith("1 hook ")
    widget.pattern.value = "no such thing"
    assert lines(widget) == []
    assert words(widget.status.value).startswith("0 hooks")


@pytest.mark.usefixtures("machine")
def test_only_the_first_50_rows_are_sent_and_all_are_counted() -> None:
    widget = hook_search(kind="tracepoint")
    assert len(widget.rows.options) == 50
    assert f"{len(widget.frame):,} hooks" in words(widget.status.value)
    assert "the first 50 shown" in words(widget.status.value)
    assert len(widget.frame) == len((small_kernel.FORMATS / "available_events").read_text().split())


@pytest.mark.usefixtures("machine")
def test_a_row_shows_its_context_and_nothing_is_chosen_before_that() -> None:
    widget = hook_search("sched_switch", "tracepoint")
    assert widget.section is None
    assert "choose a hook" in words(widget.detail.value)
    widget.rows.index = 0
    assert widget.section == "tp/sched/sched_switch"
    for word in ("prev_comm", "char[16]", "next_prio"):
        assert word in words(widget.detail.value)
        assert word in repr(widget)
    widget.pattern.value = "sched_switc"
    assert widget.section is None
    assert "prev_comm" not in widget.detail.value


def test_what_cannot_be_used_says_why_and_is_dimmed(machine: small_kernel.Machine) -> None:
    (machine.event_sources / "kprobe").rmdir()
    widget = hook_search("vfs_read")
    assert lines(widget)[:2] == [
        ["kprobe", name, "not now: this kernel was built without kprobes (CONFIG_KPROBES)".replace(" ", BLANK)]
        for name in ("vfs_read", "vfs_readv")
    ]
    dimmed = re.findall(r"option:nth-child\((\d+)\)", widget.status.value)
    assert dimmed == [str(n) for n, free in enumerate(widget.frame["available"], 1) if not free]
    assert "jp-ui-font-color3" in widget.status.value
    widget.rows.index = 0
    assert "cannot be used now: this kernel was built without kprobes" in words(widget.detail.value)


def program_line(widget: HookSearch) -> str:
    """Return the first line of the cell that is shown."""
    return str(widget.cell.value).partition("\n")[0]


@pytest.mark.usefixtures("machine")
def test_the_button_shows_the_cell_of_the_row_to_be_copied() -> None:
    widget = hook_search("sched_switch", "tracepoint")
    assert widget.show.disabled
    widget.show.click()
    assert widget.cell.value == ""
    assert hidden(widget)
    widget.rows.index = 0
    assert hidden(widget)
    widget.show.click()
    assert widget.cell.value == template("tp/sched/sched_switch").cell.rstrip("\n")
    assert not hidden(widget)
    assert not widget.cell.disabled  # a browser may not let one copy from a field that is
    assert "run: %bpf template tp/sched/sched_switch" in words(widget.hint.value)
    assert "prev_comm" in words(widget.detail.value)
    for text in (repr(widget), words(widget._repr_mimebundle_()["text/html"])):
        assert 'SEC("tp/sched/sched_switch")' in text
    widget.pattern.value = "sched"
    assert hidden(widget)
    assert widget.cell.value == ""


@pytest.mark.usefixtures("machine")
def test_the_button_can_be_clicked_only_when_all_is_said_of_the_row() -> None:
    # Kernels with subshells may answer the click while the choice is still being answered in another thread.
    widget = hook_search("sched_switch", "tracepoint")
    widget.show.observe(lambda change: change["new"] or widget.show.click(), "disabled")
    widget.rows.index = 0
    assert widget.cell.value
    assert not hidden(widget)
    assert "prev_comm" in words(widget.detail.value)


def hidden(widget: HookSearch) -> bool:
    assert widget.cell.layout.display == widget.insert.layout.display
    return bool(widget.cell.layout.display == "none")


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize(
    ("kind", "name", "target"),
    [
        ("perf_event", "page-faults", "on_sample=page-faults"),
        ("netfilter", "ipv6:forward", "on_packet=ipv6:forward"),
        ("xdp", "lo", "on_packet=lo"),
        ("tc", "lo", "on_packet=lo"),
        ("socket_filter", "lo", "on_packet=lo"),
    ],
)
def test_the_cell_is_that_of_the_row_where_several_share_a_section(kind: str, name: str, target: str) -> None:
    widget = hook_search(kind=kind)
    widget.rows.index = widget.frame["name"].tolist().index(name)
    widget.show.click()
    words = shlex.split(program_line(widget))
    assert words[-2:] == ["--attach", target]
    assert f"%bpf template {widget.section}:{name}" in unescape(widget.hint.value)


@pytest.mark.parametrize("kind", ["cgroup_device", "cgroup_skb", "lsm_cgroup"])
def test_the_cell_attaches_to_the_cgroup_of_the_row_whatever_its_name(machine: small_kernel.Machine, kind: str) -> None:
    (machine.cgroup2 / "it's my slice").mkdir()
    widget = hook_search(kind=kind)
    widget.rows.index = widget.frame["name"].tolist().index("/it's my slice")
    widget.show.click()
    words = shlex.split(program_line(widget))
    assert words[-2] == "--attach"
    assert words[-1].endswith("=/it's my slice")


def test_a_hook_that_no_template_has_says_so_and_offers_no_cell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(small_kernel.STRUCTS, "bpf_struct_ops_other_ops", ("common", "data"))
    small_kernel.make(tmp_path, monkeypatch)
    widget = hook_search("_ops", "struct_ops")
    names = widget.frame["name"].tolist()
    widget.rows.index = names.index("tcp_congestion_ops")
    widget.show.click()
    assert "struct tcp_congestion_ops" in widget.cell.value
    widget.rows.index = names.index("other_ops")
    widget.show.click()
    assert "only template of struct_ops is for tcp_congestion_ops" in words(widget.detail.value)
    assert "only template of struct_ops is for tcp_congestion_ops" in repr(widget)
    assert hidden(widget)


@pytest.mark.usefixtures("machine")
def test_a_wrong_pattern_is_said_and_the_rows_stay() -> None:
    widget = hook_search("sched_switch")
    before = lines(widget)
    widget.pattern.value = "/(/"
    assert "is not a regular expression" in words(widget.status.value)
    assert lines(widget) == before
    assert ".ebpflab-list select" in widget.status.value  # the letters of the list
    for page in (repr(widget), words(widget._repr_mimebundle_()["text/html"])):
        assert "is not a regular expression" in page
        assert "tp/sched/sched_switch" in page
    widget.pattern.value = "sched_switch"
    assert "3 hooks" in words(widget.status.value)
    assert "is not a regular expression" not in repr(widget)
    with pytest.raises(CellError, match="cannot be searched by kind"):
        hook_search("x", "kprobes")


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize("kind", ["uprobe", "usdt"])
def test_what_another_kind_had_goes_when_the_search_of_this_one_fails(kind: str) -> None:
    widget = hook_search(kind="ksyscall")
    assert lines(widget)
    widget.rows.index = 0
    widget.show.click()
    assert widget.cell.value
    widget.kind.value = kind
    assert lines(widget) == []
    assert len(widget.frame) == 0
    assert widget.section is None
    assert widget.show.disabled
    widget.show.click()
    assert widget.cell.value == ""
    for page in (words(widget.status.value), repr(widget), words(widget._repr_mimebundle_()["text/html"])):
        assert f"a search for {kind} has to name a binary" in page
        assert "ksyscall" not in page
        assert "0 hooks" not in page
    widget.kind.value = "ksyscall"
    assert lines(widget)
    assert "has to name a binary" not in repr(widget)


def test_a_kind_that_cannot_be_read_is_a_row_that_cannot_be_put(
    machine: small_kernel.Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ebpflab.inspectors.tracefs.tracefs_path", lambda: None)
    widget = hook_search(kind="tracepoint")
    widget.rows.index = 0
    assert widget.show.disabled
    assert "mount -t tracefs" in words(widget.detail.value)
    assert machine.root.exists()


@pytest.mark.usefixtures("machine")
def test_names_are_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    hostile = '<script>alert("x")</script>'
    monkeypatch.setattr("socket.if_nameindex", lambda: [(7, hostile)])
    widget = hook_search(kind="xdp")
    assert lines(widget)[0][1] == hostile  # the browser puts a list's labels in as text
    widget.rows.index = 0
    pages = [widget.status.value, widget.detail.value, widget._repr_mimebundle_()["text/html"]]
    assert all("<script>" not in page for page in pages)
    assert hostile in words(pages[-1])


@pytest.mark.usefixtures("machine")
def test_the_twins_of_the_search_say_the_same() -> None:
    widget = hook_search("sched_switch")
    bundle = widget._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in bundle
    for row in lines(widget):
        assert all(cell in bundle["text/plain"] for cell in row)
        assert all(cell in words(bundle["text/html"]) for cell in row)
    assert BLANK not in bundle["text/plain"]


# --- the tree of a type ------------------------------------------------------------------------------------------


@pytest.fixture
def tree() -> TypeTree:
    return type_tree(types.type("event", RECORDS))


def labels(tree: TypeTree) -> list[str]:
    return [button.description.replace(BLANK, " ").strip() for button in tree.tree.children]


def button(tree: TypeTree, name: str) -> Any:
    [found] = [b for b in tree.tree.children if re.search(rf"(^|[{BLANK}▸▾ ]){re.escape(name)} ", b.description)]
    return found


def test_members_come_in_chunks(tree: TypeTree) -> None:
    total = len(tree.info.members)
    assert len(labels(tree)) == 41
    assert labels(tree)[-1] == f"… {total - 40} more"
    tree.tree.children[-1].click()
    assert len(labels(tree)) == total
    assert [re.split(r"[ :]", label.removeprefix("▸ "))[0] for label in labels(tree)] == [
        m.name for m in tree.info.members
    ]


def test_chunk_after_chunk_comes_into_the_same_tree(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(widgets, "_CHUNK", 7)
    tree = type_tree(types.type("event", RECORDS))
    total = len(tree.info.members)
    for shown in range(7, total, 7):
        assert labels(tree)[-1] == f"… {total - shown} more"
        tree.tree.children[-1].click()
    assert len(labels(tree)) == total
    assert not any("more" in label for label in labels(tree))


def test_a_row_opens_and_closes_and_shows_how_to_read_it(tree: TypeTree) -> None:
    before = labels(tree)
    at = next(n for n, label in enumerate(before) if label.startswith("▸ shape "))
    button(tree, "shape").click()
    assert labels(tree)[at].startswith("▾ shape  struct shape  at ")
    assert labels(tree)[at + 1 : at + 3] == ["▸ at  struct point[2]  at 0, 8 bytes", "name  char[6]  at 8, 6 bytes"]
    assert tree.tree.children[at + 1].layout.padding != tree.tree.children[at].layout.padding
    tree.tree.children[at + 2].click()
    assert tree.path == "shape.name"
    assert tree.info.path("shape.name").c() in unescape(re.sub(r"<[^>]*>", "", tree.detail.value))
    button(tree, "shape").click()
    assert labels(tree) == before


def test_one_byte_is_not_bytes(tree: TypeTree) -> None:
    assert button(tree, "a").description.endswith("  s8  at 32, 1 byte")
    assert button(tree, "c").description.endswith("  s16  at 34, 2 bytes")


def test_what_is_behind_a_pointer_is_marked_and_opened_when_asked(tree: TypeTree) -> None:
    tree.tree.children[-1].click()  # the rest of the members
    pointer = button(tree, "pointer")
    assert " → " in pointer.description
    asked: list[str] = []
    expand = tree.info.expand
    object.__setattr__(tree.info, "expand", lambda path="": asked.append(path) or expand(path))
    pointer.click()
    pointer.click()
    pointer.click()
    assert asked == ["pointer"]
    at = tree.tree.children.index(pointer)
    assert [label.split()[0] for label in labels(tree)[at + 1 : at + 3]] == ["x", "y"]
    tree.tree.children[at + 2].click()
    assert "BPF_CORE_READ(event, pointer, y)" in repr(tree)


def test_the_search_lists_paths_and_a_path_shows_how_to_read_it(tree: TypeTree) -> None:
    assert tree.found.layout.display == "none"
    tree.find.value = "y"
    paths = [path for _, path in tree.found.options]
    assert paths == tree.info.find("y", tree.depth.value)["path"].tolist()
    assert "pointer.y" in paths
    assert tree.found.layout.display is None
    assert tree.path == ""
    tree.found.index = paths.index("pointer.y")
    assert tree.path == "pointer.y"
    assert "BPF_CORE_READ" in words(tree.detail.value)
    tree.depth.value = 0
    assert "pointer.y" not in [path for _, path in tree.found.options]
    tree.find.value = "/(/"
    assert "is not a regular expression" in words(tree.status.value)
    tree.find.value = ""
    assert tree.found.layout.display == "none"


def test_the_twins_of_the_tree_say_the_same(tree: TypeTree) -> None:
    button(tree, "shape").click()
    bundle = tree._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in bundle
    for label in labels(tree):
        assert label in bundle["text/plain"]
        assert " ".join(label.split()) in words(bundle["text/html"])
    assert "struct event" in bundle["text/plain"]
    assert BLANK not in bundle["text/plain"]


def test_a_type_without_members_is_a_tree_without_rows() -> None:
    tree = type_tree(types.type("comm_t", RECORDS))
    assert labels(tree) == []
    assert "comm_t" in repr(tree)


@pytest.fixture(autouse=True)
def no_widget_is_left() -> Iterator[None]:
    yield
    import ipywidgets

    ipywidgets.Widget.close_all()
