"""Cells made for a hook, from captured format files and from types written by hand: no kernel is asked."""

from __future__ import annotations

import builtins
import dataclasses
import keyword
import re
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_btf import Types

from ebpflab.btf import Btf, Kind
from ebpflab.errors import CellError, EbpflabError, HookNotFoundError, KernelSupportError
from ebpflab.inspectors import tracefs
from ebpflab.inspectors.templating import Template, template
from ebpflab.inspectors.templating.formats import of_tracepoint, print_hints
from ebpflab.inspectors.templating.parts import Column, Program, comment, event_cell, handler, variable
from ebpflab.inspectors.templating.typed import members
from ebpflab.inspectors.templating.user import _OPERAND

_ONE_FIELD = """name: up
ID: 7
format:
	field:int common_pid;	offset:4;	size:4;	signed:1;

	field:u32 how;	offset:8;	size:4;	signed:0;

print fmt: "how=%s", {}
"""
EVENTS = Path(__file__).parent / "data/formats/events"


@pytest.fixture(autouse=True)
def no_btf(monkeypatch):
    """A kernel without BTF, so that the running one has no say in what is expected."""

    def refuse():
        raise KernelSupportError("this kernel carries no BTF")

    monkeypatch.setattr("ebpflab.inspectors.templating.formats.vmlinux", refuse)


def captured(name, text=None):
    category, _, event = name.partition(":")
    form = tracefs.parse_format(text or (EVENTS / category / event / "format").read_text())
    return dataclasses.replace(form, category=category)


def a_field(declaration, size, signed=0, print_fmt='""', category="made"):
    """The columns of a tracepoint that has one field."""
    common = "field:int common_pid;\toffset:4;\tsize:4;\tsigned:1;"
    own = f"field:{declaration};\toffset:8;\tsize:{size};\tsigned:{signed};"
    text = f"name: up\nID: 7\nformat:\n\t{common}\n\n\t{own}\n\nprint fmt: {print_fmt}\n"
    return [(c.declaration, c.fill) for c in of_tracepoint(captured(f"{category}:up", text)).columns]


def declared(cell):
    """The members of a cell's struct event."""
    body = re.search(r"struct event \{\n(.*?)\n\};", cell, re.DOTALL)[1]
    return [line.strip().partition(";")[0] for line in body.split("\n")]


def btf_of(types):
    body, strings = b"".join(types._types), types._strings
    header = struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(body), len(body), len(strings))
    return Btf.parse(header + body + strings)


def test_the_record_of_openat_has_the_types_of_its_parameters_and_the_file_as_text():
    made = event_cell(of_tracepoint(captured("syscalls:sys_enter_openat")), "openat")
    assert declared(made.source)[:6] == [
        "ktime_t time",
        "u32 pid",
        "char comm[16]",
        "s32 dfd",
        "char filename[128]",
        "s32 flags",
    ]
    assert "bpf_probe_read_user_str(e->filename, sizeof(e->filename), ctx->filename);" in made.source
    assert "__syscall_nr" not in made.source
    assert made.source.startswith("// A row for each openat(2), as it begins.\n// The rows: openat.events.df()\n")
    assert made.section == "tp/syscalls/sys_enter_openat"


def test_the_end_of_a_system_call_has_its_result_and_its_error():
    made = event_cell(of_tracepoint(captured("syscalls:sys_exit_openat")), "x")
    assert declared(made.source)[3:] == ["s64 ret", "errno_t error"]
    assert "e->error = ctx->ret < 0 ? ctx->ret : 0;" in made.source


def test_addresses_in_the_process_are_numbers_with_the_type_they_point_to():
    made = event_cell(of_tracepoint(captured("syscalls:sys_enter_execve")), "x")
    assert "u64 argv; /* const char *const *, in the process */" in made.source


def test_a_field_named_as_a_column_of_every_row_gets_a_prefix():
    made = event_cell(of_tracepoint(captured("sched:sched_process_exec")), "x")
    assert declared(made.source)[3:] == ["char filename[64]", "s32 hook_pid", "s32 old_pid"]
    assert "e->hook_pid = ctx->pid;" in made.source
    assert "TP_DATA_LOC_STR(e->filename, sizeof(e->filename), ctx, filename);" in made.source


def test_addresses_are_found_by_the_print_format_and_ports_stay_numbers():
    made = event_cell(of_tracepoint(captured("fib:fib_table_lookup")), "x")
    columns = declared(made.source)
    assert {"ipv4_t src", "ipv4_t dst", "ipv4_t gw4", "ipv6_t gw6", "u16 sport", "char name[16]"} <= set(columns)
    assert "__builtin_memcpy(&e->src, ctx->src, sizeof(e->src));" in made.source
    assert "__builtin_memcpy(e->gw6, ctx->gw6, sizeof(e->gw6));" in made.source


def test_a_row_has_at_most_sixteen_columns_of_its_own_and_says_which_are_missing():
    made = event_cell(of_tracepoint(captured("net:net_dev_start_xmit")), "x")
    assert len(declared(made.source)) == 3 + 16
    assert made.notes == ("gso_type: there are 16 columns already",)
    assert "// Left out: gso_type: there are 16 columns already.\n" in made.source


@pytest.mark.parametrize(
    ("declaration", "size", "signed", "print_fmt", "expected"),
    [
        ("u8 n", 1, 0, '""', [("u8 @", "@ = ctx->n;")]),
        ("loff_t n", 8, 1, '""', [("s64 @", "@ = ctx->n;")]),
        ("bool n", 1, 0, '""', [("bool @", "@ = ctx->n;")]),
        ("enum hue n", 4, 0, '""', [("u32 @", "@ = ctx->n;")]),
        ("void * ip", 8, 0, '"%pS", REC->ip', [("ksym_t @", "@ = (u64)ctx->ip;")]),
        ("unsigned long ip", 8, 0, '"%ps", (void *)REC->ip', [("ksym_t @", "@ = ctx->ip;")]),
        ("__be32 a", 4, 0, '"%pI4", &REC->a', [("ipv4_t @", "@ = ctx->a;")]),
        ("u8 mac[6]", 6, 0, '"%pM", REC->mac', [("mac_t @", "__builtin_memcpy(@, ctx->mac, sizeof(@));")]),
        ("const char * op", 8, 0, '"%s", REC->op',
         [("char @[64]", "bpf_probe_read_kernel_str(@, sizeof(@), ctx->op);")]),
        ("unsigned long a[16]", 128, 0, '""', [("u64 @[8]", "__builtin_memcpy(@, ctx->a, sizeof(@));")]),
        ("int register", 4, 1, '""', [("s32 @", "@ = ctx->register_;")]),
        ("__data_loc u64[] many", 4, 0, '""', []),
        ("struct three by_value", 12, 0, '""', []),
    ],
)  # fmt: skip
def test_a_field_becomes_a_column_of_the_type_that_says_most(declaration, size, signed, print_fmt, expected):
    assert a_field(declaration, size, signed, print_fmt) == expected


def test_a_socket_address_is_two_columns_of_which_one_holds():
    columns = a_field("__u8 saddr[28]", 28, 0, '"%pISpc", REC->saddr')
    assert [declaration for declaration, _ in columns] == ["ipv4_t @", "ipv6_t @"]
    assert "ctx->saddr + 4" in columns[0][1]
    assert "ctx->saddr + 8" in columns[1][1]


def test_a_string_whose_place_counts_from_its_own_end_is_read_from_there():
    [(declaration, fill)] = a_field("__rel_loc char[] name", 4)
    assert declaration == "char @[64]"
    assert "(void *)(&ctx->__rel_loc_name + 1) + (ctx->__rel_loc_name & 0xffff)" in fill


def test_conversions_are_told_apart_also_with_widths_percents_and_strings_in_two_parts():
    text = '"%5d%% of " "%-*s at %#llx: %pI6c", REC->n, 16, REC->name, (unsigned long long)REC->at, REC->who'
    assert print_hints(text) == {"n": "d", "name": "s", "at": "x", "who": "pI6c"}
    assert print_hints('"%d %d", REC->only_one') == {}
    assert print_hints("no format") == {}


def test_names_of_values_stand_beside_the_field_that_holds_them():
    form = captured("made:up", _ONE_FIELD.format('__print_symbolic(REC->how, { 1, "EAGER" }, { 2, "LAZY" })'))
    [line] = [line for line in event_cell(of_tracepoint(form), "x").source.split("\n") if "u32 how;" in line]
    assert line == "\tu32 how; /* enum: 1=EAGER, 2=LAZY */"


@given(st.text())
def test_any_text_can_stand_where_a_print_format_is_expected(text):
    print_hints(text)


def test_a_comment_beside_a_member_fits_the_line_and_ends_where_it_is_cut():
    long = ", ".join(f"{n} VALUE_{n}" for n in range(99))
    made = event_cell(Program("A row.", "tp/x/y", "int on_y(void *ctx)", (Column("n", "u32 @", "@ = 1;", long),)), "x")
    [line] = [line for line in made.source.split("\n") if line.startswith("\tu32 n;")]
    assert len(line.expandtabs(8)) <= 100
    assert line.endswith(" ... */")
    assert max(map(len, comment("word " * 99).split("\n"))) <= 100


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("sched_switch", "sched_switch"),
        ("open", "opens"),
        ("import", "imports"),
        ("vfs_*dir", "vfs_dir"),
        ("operator new", "operator_new"),
        ("9p_open", "on_9p_open"),
        ("???", "events"),
    ],
)
def test_the_variables_name_is_the_hooks_and_hides_nothing(text, name):
    assert variable(text) == name


@given(st.text())
def test_the_variables_name_is_one_that_python_takes(text):
    name = variable(text)
    assert name.isidentifier()
    assert not keyword.iskeyword(name)
    assert not hasattr(builtins, name)
    assert re.fullmatch(r"on_\w*", handler(text), re.ASCII)


def test_the_first_line_has_the_name_and_the_targets_in_quotes_where_needed():
    made = Template("routes", "lwt_out", "int x;\n", {"on_packet": "10.9.9.0/24 dev lo"})
    assert made.cell == "%%bpf routes --attach 'on_packet=10.9.9.0/24 dev lo'\nint x;\n"
    assert Template("x", "xdp/devmap", "", attach=False).cell.startswith("%%bpf x --no-attach\n")


def test_a_template_shows_the_same_as_text_and_as_html():
    made = Template("x", "xdp", "int a = 1 < 2;\n", notes=("said <b>twice</b>",))
    assert repr(made).splitlines()[0] == 'x [SEC("xdp")]'
    assert "int a = 1 < 2;" in repr(made)
    assert "said <b>twice</b>" in repr(made)
    assert "int a = 1 &lt; 2;" in re.sub("</?span[^>]*>", "", made._repr_html_())
    assert "said &lt;b&gt;twice&lt;/b&gt;" in made._repr_html_()


@pytest.mark.parametrize("name", ["two words", "class", "", "1st"])
def test_a_name_that_cannot_be_a_variable_is_refused(name):
    with pytest.raises(CellError, match="cannot be a variable name"):
        template("xdp", name=name)


def test_of_an_unknown_struct_the_first_numbers_and_texts_become_columns():
    types = Types()
    byte, number = types.integer("char", 1), types.integer("unsigned int", 4)
    name = types.array(byte, 16)
    plain = [(f"n{i}", number, 16 + 4 * i) for i in range(7)]
    types.struct("thing", 64, ("name", name, 0), *plain)
    btf = btf_of(types)
    found = list(members(btf, btf.find("thing", Kind.STRUCT), "thing", 5))
    assert [c.name for c in found] == ["name", "n0", "n1", "n2", "n3"]
    assert found[0].fill == "BPF_CORE_READ_STR_INTO(&@, thing, name);"
    assert found[1].fill == "@ = BPF_CORE_READ(thing, n0);"


def test_arguments_of_a_static_probe_have_a_size_and_a_sign():
    text = "-4@%esi 8@-8(%rbp) 8f@%xmm0 -1@$5 4@global(%rip)"
    assert _OPERAND.findall(text) == [("-", "4", ""), ("", "8", ""), ("", "8", "f"), ("-", "1", ""), ("", "4", "")]


@pytest.mark.parametrize("call", ["socket", "time", "select", "signal"])
def test_a_session_hides_no_module(call):
    assert variable(call) == f"{call}s"


@pytest.mark.parametrize("hook", ["struct_ops/bpf_dummy_ops", "struct_ops/nothing"])
def test_there_is_no_template_for_structs_of_functions_but_one(hook):
    with pytest.raises(HookNotFoundError, match="tcp_congestion_ops"):
        template(hook)


@pytest.mark.parametrize("hook", ["perf_event:nope", "netfilter:nope", "xdp:no-such-interface"])
def test_a_place_that_does_not_exist_is_refused(hook):
    with pytest.raises(EbpflabError):
        template(hook)
