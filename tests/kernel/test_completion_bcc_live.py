"""Completion and help in cells of BCC's C, from the running kernel and the library that is installed."""

from __future__ import annotations

import re
import statistics
import time

import pytest
from test_completion_live import format_fields

from ebpflab import authoring
from ebpflab.bcc import library
from ebpflab.errors import ToolMissingError

CELL = """\
%%bpf x
struct data_t { u32 pid; char comm[16]; };
BPF_PERF_OUTPUT(events);
BPF_RINGBUF_OUTPUT(ring, 8);
BPF_HASH(counts, u32, struct data_t);
HERE
"""
IN_PROGRAM = "int kprobe__vfs_read(struct pt_regs *ctx, struct file *file) { HERE }"


def at_bar(piece):
    text = CELL.replace("HERE", piece)
    offset = text.index("|")
    return text[:offset] + text[offset + 1 :], offset


def offered(piece):
    return [item.text for item in authoring.complete(*at_bar(piece)).items]


def said(piece):
    found = authoring.explain(*at_bar(piece))
    return found.text if found else ""


def inside(code):
    return IN_PROGRAM.replace("HERE", code)


@pytest.fixture(params=["library", "none"])
def helpers(request, monkeypatch):
    """BCC's header, once as it is installed and once as if it were not."""
    if request.param == "none":

        def missing(_name):
            raise ToolMissingError("libbcc was not found")

        monkeypatch.setattr(library, "header", missing)
        return ""
    try:
        return library.header("helpers.h")
    except ToolMissingError as error:
        pytest.skip(str(error))


def test_a_table_offers_the_methods_of_its_kind(helpers):
    keyed = ["lookup", "lookup_or_try_init", "lookup_or_init", "update", "insert", "delete"]
    assert offered(inside("counts.|")) == [*keyed, "increment", "atomic_increment"]
    assert offered(inside("events.|")) == ["perf_submit", "perf_submit_skb"]
    buffered = [f"ringbuf_{name}" for name in ("output", "reserve", "submit", "discard")]
    assert [each for each in offered(inside("ring.|")) if each != "ringbuf_query"] == buffered
    assert ("ringbuf_query" in offered(inside("ring.|"))) == (not helpers or "(*ringbuf_query)" in helpers)
    assert offered(inside("counts.inc|")) == ["increment"]


def test_args_offers_the_fields_of_the_tracepoint_of_the_probe():
    expected = [name for name, _, _ in format_fields("syscalls", "sys_enter_openat")]
    assert offered("TRACEPOINT_PROBE(syscalls, sys_enter_openat) { args->|") == expected
    named = "int tracepoint__syscalls__sys_enter_openat(struct tracepoint__syscalls__sys_enter_openat *args) { args->|"
    assert offered(named) == expected
    exec_ = "TRACEPOINT_PROBE(sched, sched_process_exec) { "
    assert "data_loc_filename" in offered(exec_ + "args->|")
    assert offered(exec_ + "char b[9]; TP_DATA_LOC_READ_STR(&b, |") == ["filename"]


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (inside("file->f_pa|"), "f_path"),
        (inside("file->f_path.dentry->|"), "d_name"),
        (inside("struct task_struct *t = (struct task_struct *)bpf_get_current_task(); t->real_par|"), "real_parent"),
        (inside("struct data_t *p = counts.lookup(&k); p->|"), "comm"),
        (inside("PT_REGS_P|"), "PT_REGS_PARM1"),
        (inside("bpf_usdt|"), "bpf_usdt_readarg"),
        (inside("bpf_get_curr|"), "bpf_get_current_comm"),
        ("int on_packet(struct xdp_md *ctx) { ctx->|", "data_end"),
        ("RAW_TRACEPOINT_PROBE(sched_switch) { ctx->|", "args"),
        ("BPF_ITER(task) { ctx->|", "meta"),
        ("KFUNC_PROBE(vfs_open, struct path *path) { path->|", "dentry"),
        ("BPF_HIST|", "BPF_HISTOGRAM"),
        ("TRACEPOINT_P|", "TRACEPOINT_PROBE"),
        ("TRACEPOINT_PROBE(sys|", "syscalls"),
        ("TRACEPOINT_PROBE(sched, sched_sw|", "sched_switch"),
        ("RAW_TRACEPOINT_PROBE(sched_sw|", "sched_switch"),
        ("KFUNC_PROBE(vfs_rea|", "vfs_read"),
        ("KFUNC_PROBE(vfs_read, |", "struct file *file"),
        ("LSM_PROBE(file_op|", "file_open"),
        ("BPF_ITER(tas|", "task"),
        ("int kprob|", "kprobe__"),
        ("int kprobe__vfs_rea|", "kprobe__vfs_read"),
        ("int tracepoint__sched__sched_sw|", "tracepoint__sched__sched_switch"),
    ],
)  # fmt: skip
def test_what_bccs_c_has_is_offered(helpers, code, expected):
    assert expected in offered(code)


def test_what_only_libbpfs_c_has_is_not_offered_in_bccs():
    assert "SEC" not in offered("SE|")
    assert not [name for name in offered(inside("BPF_CORE|")) if name.startswith("BPF_CORE_READ")]
    assert "counts" in offered(inside("coun|"))


def test_a_cell_with_no_program_yet_is_offered_the_words_of_both():
    text = "%%bpf x\nBPF_"
    found = [item.text for item in authoring.complete(text, len(text)).items]
    assert {"BPF_HASH", "BPF_PROG"} <= set(found)


def test_helpers_that_the_installed_library_does_not_declare_are_not_offered():
    try:
        declared = set(re.findall(r"\(\*(bpf_\w+)\)\(", library.header("helpers.h")))
    except ToolMissingError as error:
        pytest.skip(str(error))
    found = {name for name in offered(inside("bpf_get_current_|")) if not name.startswith("BPF")}
    assert found == {name for name in found if name in declared}
    assert len(found) > 5


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (inside("counts.look|up(&key)"), "struct data_t *lookup(u32 *key);"),
        (inside("events.perf_sub|mit(ctx, &d, 4)"), "int perf_submit(void *ctx, void *data, u32 size);"),
        (inside("coun|ts"), "methods: lookup, lookup_or_try_init"),
        (inside("file->f_p|os"), "loff_t f_pos = file->f_pos;"),
        ("BPF_HA|SH(x)", "(name, key_type=u64, leaf_type=u64, size=10240)"),
        ("TRACEPOINT_PROBE(sched, sched_sw|itch) { }", "args->prev_comm"),
        ("TRACEPOINT_PROBE(sched, sched_switch) { args->prev_p|id", "args->prev_pid"),
        ("int kprobe__vfs_re|ad(struct pt_regs *ctx) { }", "PT_REGS_PARM3(ctx)"),
        ("KFUNC_PROBE(vfs_re|ad, struct file *file) { }", "KFUNC_PROBE(vfs_read, struct file *file, char *buf"),
        (inside("PT_REGS_R|C(ctx)"), "PT_REGS_RC"),
    ],
)
def test_shift_tab_explains_bccs_words(code, expected):
    assert expected in said(code)


def test_a_completion_is_there_within_60_ms():
    places = [
        inside("counts.|"),
        "TRACEPOINT_PROBE(sched, sched_switch) { args->|",
        inside("file->f_path.dentry->|"),
        inside("PT_REGS_|"),
        "BPF_|",
        "KFUNC_PROBE(vfs_|",
        "int kprobe__vfs_|",
    ]
    for piece in places:
        offered(piece)  # reads what is read once
        taken = []
        for number in range(9):
            text, offset = at_bar(piece)
            changed = text.replace("struct data_t {", f"struct data_t {{ u64 n{number};")  # nothing is remembered
            began = time.perf_counter()
            authoring.complete(changed, offset + len(changed) - len(text))
            taken.append(time.perf_counter() - began)
        assert statistics.median(taken) < 0.060, (piece, taken)
