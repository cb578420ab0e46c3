"""Reading a cell in BCC's C that is not finished, and BCC's words without BCC: no kernel is asked."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ebpflab.authoring import bcc_words
from ebpflab.authoring.bcc_heads import table_of
from ebpflab.authoring.source import read
from ebpflab.bcc import library
from ebpflab.errors import HookNotFoundError, ToolMissingError
from ebpflab.inspectors import bcc_names
from ebpflab.program_types import parse_section

CELL = """
#include <linux/sched.h>
struct key_t { u32 pid; char comm[16]; };
BPF_PERF_OUTPUT(events);
BPF_HASH(counts, struct key_t, u64, 4096);
BPF_TABLE("lru_hash", u32, struct key_t, recent, 1024);
static inline int helps(struct pt_regs *ctx) { return 0; }
TRACEPOINT_PROBE(syscalls, sys_enter_openat) { struct key_t key = {}; counts.increment(key); return 0; }
KRETFUNC_PROBE(vfs_open, struct path *path, struct file *file, int ret) { return 0; }
int kprobe__vfs_read(struct pt_regs *ctx, struct file *file) { return 0; }
int on_packet(struct xdp_md *ctx) { return XDP_PASS; }
"""


@pytest.fixture
def no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without BCC."""

    def missing(_name: str) -> str:
        raise ToolMissingError("libbcc was not found")

    monkeypatch.setattr(library, "header", missing)


def test_tables_and_programs_are_what_bccs_macros_and_names_declare() -> None:
    source = read(CELL)
    assert source.bcc
    assert {name: table.settings["type"] for name, table in source.maps.items()} == {
        "events": "BPF_MAP_TYPE_PERF_EVENT_ARRAY",
        "counts": "BPF_MAP_TYPE_HASH",
        "recent": "BPF_MAP_TYPE_LRU_HASH",
    }
    assert source.maps["counts"].types["key"].base == "struct key_t"
    assert source.maps["recent"].types["value"].base == "struct key_t"
    assert (table_of(source, "events"), table_of(source, "key_t")) == ("BPF_PERF_OUTPUT", "")
    assert [(f.name, f.section) for f in source.programs] == [
        ("tracepoint__syscalls__sys_enter_openat", "tp/syscalls/sys_enter_openat"),
        ("kretfunc__vfs_open", "fexit/vfs_open"),
        ("kprobe__vfs_read", "kprobe/vfs_read"),
        ("on_packet", "xdp"),
    ]
    assert [p.name for p in source.programs[1].parameters] == ["ctx", "path", "file", "ret"]
    assert source.programs[0].parameters[0].type.base == "struct tracepoint__syscalls__sys_enter_openat"
    assert list(source.locals_before(source.programs[0], CELL.index("counts.increment"))) == ["args", "key"]


def test_a_cell_of_libbpfs_c_is_none_of_bccs_whatever_its_functions_are_called() -> None:
    source = read('SEC("kprobe/vfs_read") int kprobe__vfs_read(struct pt_regs *ctx) { return 0; } int f() {}')
    assert not source.bcc
    assert [f.section for f in source.functions] == ["kprobe/vfs_read", ""]


@given(st.integers(0, len(CELL)))
def test_a_cell_that_is_cut_anywhere_can_be_read(end: int) -> None:
    source = read(CELL[:end])
    assert all(name in CELL[:end] and re.search(rf"\b{name}", "events counts recent") for name in source.maps)


@pytest.mark.usefixtures("no_library")
def test_without_the_library_all_words_that_we_know_are_there() -> None:
    assert set(bcc_words.TABLES) | set(bcc_words.PROBES) <= set(bcc_words.macros())
    for name, table in bcc_words.TABLES.items():
        assert tuple(bcc_words.methods(name)) == table.methods
    assert bcc_words.has_helper("bpf_get_current_comm")
    assert bcc_words.definition("BPF_HASH") == ""


def test_words_that_the_installed_header_does_not_have_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "header", lambda _name: "#define BPF_HASH(x) \\\n  int (*lookup) (int);\n")
    assert set(bcc_words.macros()) == {"BPF_HASH"}
    assert list(bcc_words.methods("BPF_HASH")) == ["lookup"]
    assert not bcc_words.has_helper("bpf_get_current_comm")
    assert bcc_words.definition("BPF_HASH").endswith("int (*lookup) (int);")


def test_the_words_that_we_know_are_in_the_header_of_the_library_that_is_installed() -> None:
    try:
        text = library.header("helpers.h")
    except ToolMissingError as error:
        pytest.skip(str(error))
    defined = set(re.findall(r"^#define (\w+)", text, re.MULTILINE))
    assert set(bcc_words.TABLES) | set(bcc_words.PROBES) <= defined
    declared = set(re.findall(r"\(\*\s*(\w+)\)\s*\(", text)) | {"sock_map_update"}  # which its macro is given
    newer = {"ringbuf_query"}
    assert set(bcc_words.METHODS) - declared <= newer


@pytest.mark.parametrize(
    ("section", "spelled", "head"),
    [
        ("tp/sched/sched_switch", "TRACEPOINT_PROBE(sched, sched_switch)", "TRACEPOINT_PROBE(sched, sched_switch)"),
        ("raw_tp/sched_switch", "RAW_TRACEPOINT_PROBE(sched_switch)", "RAW_TRACEPOINT_PROBE(sched_switch)"),
        ("kprobe/vfs_read", "kprobe__vfs_read", "int kprobe__vfs_read(struct pt_regs *ctx)"),
        ("kretsyscall/openat", "kretprobe__sys_openat", "int kretprobe__sys_openat(struct pt_regs *ctx)"),
        ("fexit/vfs_read", "KRETFUNC_PROBE(vfs_read)", "KRETFUNC_PROBE(vfs_read)"),
        ("kprobe/vfs_*", "--attach NAME=kprobe:vfs_*", "int NAME(struct pt_regs *ctx)"),
        ("kprobe/do_x.isra.0", "--attach NAME=kprobe:do_x.isra.0", "int NAME(struct pt_regs *ctx)"),
        ("uretprobe/libc.so.6:malloc", "--attach NAME=uretprobe:libc.so.6:malloc", "int NAME(struct pt_regs *ctx)"),
        ("tc/egress", "--attach NAME=tc/egress:INTERFACE", "int NAME(struct __sk_buff *ctx)"),
        ("cgroup/connect4", "--attach NAME=cgroup/connect4:CGROUP", "int NAME(struct bpf_sock_addr *ctx)"),
        ("tp_btf/sched_switch", "", ""),
        ("fentry.s/vfs_read", "", ""),
        ("xdp.frags", "", ""),
    ],
)
def test_hooks_are_spelled_as_bcc_names_them(section: str, spelled: str, head: str) -> None:
    found = parse_section(section)
    assert (bcc_names.spelled(found), bcc_names.head(found)) == (spelled, head)


@pytest.mark.parametrize(
    ("said", "section"),
    [
        ("kprobe__vfs_read", "kprobe/vfs_read"),
        ("kretprobe__vfs_read", "kretprobe/vfs_read"),
        ("syscall__openat", "ksyscall/openat"),
        ("kretprobe__sys_openat", "kretsyscall/openat"),
        ("raw_tracepoint__sched_switch", "raw_tp/sched_switch"),
        ("TRACEPOINT_PROBE(sched, sched_switch)", "tp/sched/sched_switch"),
        ("KFUNC_PROBE(vfs_read, struct file *file", "fentry/vfs_read"),
        ("kretfunc/vfs_read", "fexit/vfs_read"),
        ("lsm__file_open", "lsm/file_open"),
        ("BPF_ITER(task) {", "iter/task"),
        ("tracepoint:syscalls:sys_enter_openat", "tp/syscalls/sys_enter_openat"),
        ("kfunc:vfs_read", "fentry/vfs_read"),
        ("uprobe:libc.so.6:malloc", "uprobe/libc.so.6:malloc"),
        ("sched:sched_switch", "sched:sched_switch"),
        ("xdp:lo", "xdp:lo"),
        ("tp/sched/sched_switch", "tp/sched/sched_switch"),
        ("/^sys_/", "/^sys_/"),
    ],
)
def test_bccs_words_for_a_hook_are_understood(said: str, section: str) -> None:
    assert bcc_names.section_of(said) == section


def test_another_engine_is_none() -> None:
    with pytest.raises(HookNotFoundError, match="no C of an engine 'gcc'"):
        bcc_names.check_engine("gcc")
