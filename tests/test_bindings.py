"""Bindings as people ask for them: names, stubs, languages, what is shown and what is refused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import ebpflab
from ebpflab.btf_writer import definition
from ebpflab.errors import CellError, EbpflabError, TypeNotFoundError
from ebpflab.inspectors.btf_source import open_btf
from ebpflab.toolchain import find_clang

RECORDS = Path(__file__).parent / "data" / "btf" / "records.bpfel.BTF"


def bindings(*names, **options):
    return ebpflab.bindings(*names, source=RECORDS, **options)


@pytest.fixture(scope="module")
def event():
    return bindings("event")


def test_bindings_are_text_that_can_be_saved_and_compared(event, tmp_path):
    assert isinstance(event, str)
    path = event.save(tmp_path / "event.h")
    assert path.read_text() == event == str(event)
    assert event.names == ("struct event",)
    assert event.lang == "c"
    assert event.source.name == str(RECORDS)


@pytest.mark.parametrize("compiler", [("-target", "bpf"), ("-m64",)], ids=["bpf", "host"])
def test_the_header_compiles_alone_with_its_own_checks(event, tmp_path, compiler):
    source = tmp_path / "check.c"
    source.write_text(event + event.checks())
    command = [str(find_clang()), *compiler, "-Wall", "-Werror", "-fsyntax-only", str(source)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert event.checks().count("_Static_assert") > 80


def test_a_check_fails_where_an_offset_is_wrong(event, tmp_path):
    source = tmp_path / "check.c"
    source.write_text(event.replace("\tktime_t when;\n", "\tktime_t when;\n\tint more;\n") + event.checks())
    command = [str(find_clang()), "-Wall", "-fsyntax-only", str(source)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert "struct event: took" in done.stderr


def test_types_say_why_they_are_there(event):
    found = event.types.set_index("type")
    assert list(event.types.columns) == ["type", "kind", "size", "why"]
    assert found.loc["struct event", "why"] == "asked"
    assert found.loc["struct shape"].tolist() == ["struct", 14, "in struct event"]
    assert found.loc["union address", "kind"] == "union"
    assert found.loc["__u64" if "__u64" in found.index else "u64", "kind"] == "typedef"
    assert event.types["type"].is_unique


def test_only_what_is_needed_is_there():
    made = bindings("struct shape", "enum level")
    assert set(made.types["type"]) == {"struct shape", "struct point", "s16", "enum level"}
    source = open_btf(RECORDS)
    assert definition(source.btf, source.find("shape")) in made
    assert 0 < bindings("point").share < made.share < 1


def test_a_name_asked_twice_is_there_once():
    assert bindings("point", "struct point").names == ("struct point",)


def test_a_summary_is_shown_and_the_text_is_printed(event):
    shown = repr(event)
    assert "struct event" in shown
    assert f"{event.count(chr(10)):,} lines" in shown
    assert len(shown.split("\n")) < 30 < event.count("\n")
    html = event._repr_html_()
    assert "struct event" in html
    assert "<details><summary>all" in html
    assert "<script" not in bindings("point", stub="struct shape *s; // <script>")._repr_html_()


STUB = """
#include <vmlinux.h>
/* struct nothing */
struct own { int number; };
int handle(struct event *e)
{
	struct own mine = { .number = BUSY };
	return e->pointer->x + sizeof(comm_t) + mine.number;  // enum nothing
}
"""


@pytest.mark.parametrize("as_file", [False, True])
def test_a_stub_asks_for_what_it_names(tmp_path, as_file):
    path = tmp_path / "stub.c"
    path.write_text(STUB)
    made = bindings(stub=path if as_file else STUB)
    assert set(made.names) == {"struct event", "comm_t", "enum state", "struct point"}
    assert made == bindings(stub=str(path))


def test_python_text_defines_the_same_sizes(tmp_path):
    made = bindings("shape", lang="python")
    path = made.save(tmp_path / "shape_types.py")
    assert made.lang == "python"
    code = f"import ctypes, sys; sys.path.insert(0, {str(path.parent)!r}); import shape_types as t"
    code += "; print(ctypes.sizeof(t.shape))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("14\n", "")
    with pytest.raises(CellError, match="for C only"):
        made.checks()


@pytest.mark.parametrize(
    ("ask", "kind", "says"),
    [
        (lambda: bindings("evnt"), TypeNotFoundError, "event"),
        (lambda: bindings("union event"), TypeNotFoundError, "no type 'union event'"),
        (lambda: bindings(stub="struct evnt *e;"), TypeNotFoundError, "event"),
        (lambda: bindings(), CellError, "no type is asked for"),
        (lambda: bindings(stub="int main(void) { return 0; }"), CellError, "no type is asked for"),
        (lambda: bindings("event", lang="pyton"), CellError, "did you mean python"),
        (lambda: bindings("event", stub="/nowhere/stub.c"), CellError, "cannot read the stub"),
        (lambda: bindings("event").save("/nowhere/event.h"), CellError, "cannot write"),
        (lambda: ebpflab.bindings("event", source="/nowhere/x.btf"), EbpflabError, "cannot read"),
    ],
)
def test_what_cannot_be_made_is_said(ask, kind, says):
    with pytest.raises(kind, match=says):
        ask()


@pytest.mark.parametrize(
    "text",
    [
        "struct __attribute__((packed)) mine { int a; }; void f(struct event *e, struct mine *m);",
        "struct mine; int f(struct mine *m, struct event *e);",
        "char c = '\"'; struct event *e; char d = '\"';",
        "#define X \\\n struct nosuch\nstruct event *e;",
        "struct tracepoint__sched__sched_switch *ctx; struct event *e;",
    ],
)
def test_a_stub_is_ordinary_c(text):
    assert bindings(stub=text).names == ("struct event",)


def test_names_may_be_a_list():
    assert bindings(["event"]) == bindings("event")
