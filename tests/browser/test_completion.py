"""The kernel answers while C is typed in JupyterLab: completion on Tab, help on Shift-Tab."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from lab import refuse

TRACEFS = ("/sys/kernel/tracing", "/sys/kernel/debug/tracing")
FORMATS = [Path(folder, "events/syscalls/sys_enter_openat/format") for folder in TRACEFS]
PROGRAM = """\
%%bpf opens
struct event {
\tu32 pid;
\tchar path[128];
};

struct {
\t__uint(type, BPF_MAP_TYPE_RINGBUF);
\t__uint(max_entries, 1 << 20);
\t__type(value, struct event);
} events SEC(".maps");

SEC("tp/syscalls/sys_enter_openat")
int on_open(struct tracepoint__syscalls__sys_enter_openat *ctx)
{
\tstruct event *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);

\tif (!e)
\t\treturn 0;
\tbpf_probe_read_user_str(e->path, sizeof(e->path), """
_SHOWN = ".jp-Completer:not(.lm-mod-hidden) .jp-Completer-match"
ITEMS = f"[...document.querySelectorAll('{_SHOWN}')].map(each => each.textContent)"
TOOLTIP = "document.querySelector('.jp-Tooltip')?.innerText"


@pytest.fixture
def fields():
    """The fields of openat's context, as the kernel lists them."""
    path = next((path for path in FORMATS if os.access(path, os.R_OK)), None)
    if path is None:
        refuse("the format of sys_enter_openat cannot be read in tracefs: run as root")
    declared = [line.split(";")[0].split()[-1] for line in path.read_text().splitlines() if "field:" in line]
    return [name for name in declared if not name.startswith("common_")]


@pytest.fixture
def book(fields, notebook):
    opened = notebook("%load_ext ebpflab", PROGRAM, kernel=True)
    opened.run(0)
    return opened


def test_tab_offers_the_fields_of_the_context_and_enter_takes_one(book, fields):
    book.type(1, "ctx->")
    book.page.press("Tab")
    offered = book.page.wait_for(f"(found => found.length && found)({ITEMS})")
    book.screenshot("completion")
    assert "filename" in fields
    assert set(fields) <= set(offered)
    book.page.type("filen")
    book.page.wait_for(f"{ITEMS}.join() === 'filename'")
    book.page.press("Enter")
    book.page.wait_for("ebpflabTest.view(1).state.doc.toString().endsWith('ctx->filename')")
    book.page.type(");")
    assert book.text(1) == PROGRAM + "ctx->filename);"
    assert book.language(1) == "bpf"


def test_tab_offers_the_members_of_a_struct_of_the_cell(book):
    book.type(1, "0);\ne->")
    book.page.press("Tab")
    assert book.page.wait_for(f"(found => found.length && found)({ITEMS})") == ["path", "pid"]
    book.page.press("Escape")


def test_shift_tab_explains_a_helper(book):
    book.edit(1, at="bpf_ringbuf_res")
    book.page.press("Tab", shift=True)
    text = book.page.wait_for(TOOLTIP)
    book.screenshot("help")
    assert "bpf_ringbuf_reserve(" in text
    assert "flags" in text
    book.page.press("Escape")
