"""Types of the running kernel, held against bpftool's reading of the same BTF, the C compiler, and a live task."""

from __future__ import annotations

import ctypes
import os
import random
import shutil
import statistics
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import bpftool
import cells
import numpy as np
import pytest

import ebpflab
from ebpflab.inspectors.btf_source import open_btf
from ebpflab.inspectors.types import TypeInfo, type
from ebpflab.inspectors.types.python_types import source

SEED, MANY = 5, 199
# Has to be among them: unions, bitfields and anonymous members inside one another.
KNOWN = ("task_struct", "sk_buff", "file", "page", "tcp_sock", "bpf_insn", "iphdr", "perf_event_attr")
_QUALIFIERS = ("TYPEDEF", "CONST", "VOLATILE", "RESTRICT", "TYPE_TAG")

# One whole task, as the kernel has it in memory.
TASK = """\
struct event { u64 address; u8 task[SIZE]; };
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 18);
	__type(value, struct event); } events SEC(".maps");
const volatile u32 only = 0;
SEC("tp/syscalls/sys_enter_getppid")
int on_getppid(void *ctx)
{
	struct event *e;
	if ((bpf_get_current_pid_tgid() >> 32) != only)
		return 0;
	e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
	if (!e)
		return 0;
	e->address = bpf_get_current_task();
	bpf_probe_read_kernel(e->task, sizeof(e->task), (void *)e->address);
	bpf_ringbuf_submit(e, 0);
	return 0;
}
"""


@pytest.fixture(scope="module")
def dumped():
    """The kernel's types as bpftool reads them: id -> its JSON."""
    if bpftool.BPFTOOL is None:
        pytest.skip("bpftool is not installed")
    return {t["id"]: t for t in bpftool.run("btf", "dump", "file", "/sys/kernel/btf/vmlinux")["types"]}


@pytest.fixture(scope="module")
def vmlinux_h(tmp_path_factory):
    """All types of the running kernel as C, by bpftool."""
    if bpftool.BPFTOOL is None or shutil.which("clang") is None:
        pytest.skip("bpftool or clang is not installed")
    command = [bpftool.BPFTOOL, "btf", "dump", "file", "/sys/kernel/btf/vmlinux", "format", "c"]
    path = tmp_path_factory.mktemp("types") / "vmlinux.h"
    path.write_text(subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout)
    return path


@pytest.fixture(scope="module")
def picked(dumped):
    """Names of structs and unions of the kernel: known ones, and as many others as make a prime number."""
    names = Counter(t["name"] for t in dumped.values() if t["kind"] in ("STRUCT", "UNION") and t.get("members"))
    once = {name for name, count in names.items() if count == 1} - {"(anon)", *KNOWN}
    return [*KNOWN, *random.Random(SEED).sample(sorted(once), MANY - len(KNOWN))]


def core(dumped, type_id):
    while dumped[type_id]["kind"] in _QUALIFIERS:
        type_id = dumped[type_id]["type_id"]
    return dumped[type_id]


def flattened(dumped, t, base=0):
    # Members by bpftool's JSON: name, first bit, bits of a bitfield; anonymous structs and unions taken apart.
    for m in t["members"]:
        inner = core(dumped, m["type_id"]) if m["type_id"] else {"kind": "VOID"}
        if m["name"] != "(anon)":
            yield m["name"], base + m["bits_offset"], m.get("bitfield_size", 0)
        elif inner["kind"] in ("STRUCT", "UNION"):
            yield from flattened(dumped, inner, base + m["bits_offset"])


def check_with_clang(vmlinux_h, folder, lines):
    program = folder / "asserts.c"
    program.write_text(f'#include "{vmlinux_h}"\n' + "\n".join(lines))
    command = ["clang", "-target", "bpf", "-fsyntax-only", "-Wno-everything", str(program)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[:3000]


def test_members_are_where_bpftool_reads_them(dumped, picked):
    by_name = {t["name"]: t for t in dumped.values() if t["kind"] in ("STRUCT", "UNION")}
    seen = 0
    for name in picked:
        info, expected = type(name), by_name[name]
        assert info.size == expected["size"], name
        said = [(m.name, m.offset * 8 + m.bit, m.bits) for m in info.members]
        assert said == list(flattened(dumped, expected)), name
        seen += len(said)
    assert seen > 1000


def has_short_enum(dumped, t):
    # Bpftool's C spells an enum of 1 byte like any other, and so makes it one of 4.
    if t["kind"] == "ARRAY":
        return has_short_enum(dumped, core(dumped, t["type_id"]))
    if t["kind"] in ("STRUCT", "UNION"):
        return any(has_short_enum(dumped, core(dumped, m["type_id"])) for m in t["members"])
    return t["kind"] == "ENUM" and t["size"] != 4


def test_offsets_and_sizes_are_what_the_compiler_finds(dumped, vmlinux_h, picked, tmp_path):
    asserts = []
    by_name = {t["name"]: t for t in dumped.values() if t["kind"] in ("STRUCT", "UNION")}
    spelled = [name for name in picked if not has_short_enum(dumped, by_name[name])]
    assert len(spelled) > 0.9 * len(picked)
    for name in spelled:
        info = type(name)
        asserts.append(f'_Static_assert(sizeof({info.c_type}) == {info.size}, "{name}");')
        for m in info.members:
            if not m.bits:
                place = f"{info.c_type}, {m.name}"
                asserts.append(f'_Static_assert(__builtin_offsetof({place}) == {m.offset}, "{place}");')
                asserts.append(f'_Static_assert(sizeof((({info.c_type} *)0)->{m.name}) == {m.size}, "{place}");')
    check_with_clang(vmlinux_h, tmp_path, asserts)


def test_ctypes_and_numpy_have_the_members_where_btf_has_them(dumped, picked):
    by_name = {t["name"]: t for t in dumped.values() if t["kind"] in ("STRUCT", "UNION")}
    whole_bytes = bits = 0
    for name in picked:
        info = type(name)
        made, shape = info.ctypes(), info.dtype()
        assert ctypes.sizeof(made) == shape.itemsize == by_name[name]["size"], name
        for member, first, width in flattened(dumped, by_name[name]):
            if width:
                assert written_bits(made, member) == (first, width), (name, member)
                bits += 1
            else:
                assert getattr(made, member).offset == first // 8, (name, member)
                whole_bytes += 1
            if member in shape.fields:
                assert shape.fields[member][1] == first // 8, (name, member)
    assert bits > 50
    assert whole_bytes > 1000


def written_bits(made, member):
    # Which bits of the struct change as a bitfield is filled: the first one, and how many.
    sample = made()
    setattr(sample, member, -1)
    number = int.from_bytes(bytes(sample), sys.byteorder)
    return (number & -number).bit_length() - 1, number.bit_count()


def test_every_struct_of_the_kernel_has_both_forms():
    opened = open_btf()
    names = [t.id for t in opened.btf if t.kind.name in ("STRUCT", "UNION")]
    for type_id in random.Random(SEED).sample(names, 1009):
        info = TypeInfo.of(opened, type_id)
        assert ctypes.sizeof(info.ctypes()) == info.dtype().itemsize == info.size


def test_a_module_of_python_has_the_sizes_of_the_kernel(picked):
    opened = open_btf()
    text = source(opened.btf, [opened.find(name) for name in picked])
    names = {}
    exec(compile(text, "kernel_types", "exec", dont_inherit=True), names)
    for name in picked:
        info = type(name)
        assert ctypes.sizeof(names[name]) == names[f"{name}_dtype"].itemsize == info.size


def test_a_live_task_is_read_as_proc_tells_it(load):
    task, calls = type("task_struct"), 7
    session = load(TASK.replace("SIZE", str(task.size)), vars={"only": os.getpid()})
    cells.call_getppid(calls)
    assert session.events.wait(calls, timeout=5)
    frame = session.events.df()
    assert len(frame) == calls
    status = Path("/proc/self/status").read_text()
    comm = Path("/proc/thread-self/comm").read_bytes().rstrip(b"\n")
    for address, raw in zip(frame["address"], frame["task"], strict=True):
        raw = bytes(raw)
        made = task.ctypes().from_buffer_copy(raw)
        assert (made.tgid, made.comm) == (os.getpid(), comm)
        assert f"NoNewPrivs:\t{made.atomic_flags & 1}\n" in status  # PFA_NO_NEW_PRIVS
        row = np.frombuffer(raw, task.dtype())[0]
        assert (row["tgid"], row["comm"]) == (os.getpid(), comm)
        # A list is a circle, so the task's own is not empty, and its leader is itself.
        assert made.group_leader == row["group_leader"] == address


def test_find_leads_from_a_task_to_its_executable(vmlinux_h, tmp_path):
    task = type("task_struct")
    found = task.find("exe_file")
    assert found["path"].tolist()[0] == "mm.exe_file"
    assert found.set_index("path").loc["mm.exe_file"].to_dict() == {
        "type": "struct file *",
        "offset": next(m.offset for m in task.expand("mm") if m.name == "exe_file"),
        "dereferences": 1,
    }
    # What is found can be written in C, with its type, and path() takes it.
    lines = ["static void check(struct task_struct *task)", "{"]
    rows = [row for pattern in ("exe_file", "i_ino", "/^s_/") for row in task.find(pattern).itertuples()]
    for row in random.Random(SEED).sample(rows, min(MANY, len(rows))):
        path = task.path(row.path)
        assert path.dereferences == row.dereferences
        lines.append(f"\t(void)sizeof(char[__builtin_types_compatible_p(__typeof__(task->{path.text}),")
        lines.append(f"\t\t__typeof__(*({declared(task, row)})0)) ? 1 : -1]);")
    assert len(lines) > 100
    check_with_clang(vmlinux_h, tmp_path, [*lines, "}"])


def declared(task, row):
    # A pointer to the type of a path, as C spells it.
    *outer, last = row.path.split(".")
    member = next(m for m in task.expand(".".join(outer)) if m.name == last)
    return task.source.btf.c_type(member.type_id, "*")


def test_find_is_quick_enough_to_type_with():
    task = type("task_struct")
    took = []
    for _ in range(5):
        start = time.perf_counter()
        assert len(task.find("exe_file", depth=3))
        took.append(time.perf_counter() - start)
    assert statistics.median(took) < 0.300, took


def test_the_task_is_shown_with_a_bound():
    task = type("task_struct")
    shown, html = repr(task), task._repr_html_()
    assert (
        f"... {len(task.members) - sum(1 for line in shown.splitlines()[2:42] if '(hole)' not in line)} more members"
        in shown
    )
    assert 10_000 < len(html) < 200_000
    for m in task.members:
        assert f" {m.name}" in html or f"*{m.name}" in html or f"({m.name}" in html, m.name


def test_types_can_be_named_as_c_names_them():
    assert type("struct file").kind == "struct"
    assert type("enum pid_type").values[0] == ("PIDTYPE_PID", 0)
    assert (type("u64").kind, type("u64").size) == ("typedef", 8)
    with pytest.raises(ebpflab.errors.TypeNotFoundError) as caught:
        type("tsk_struct")
    assert "task_struct" in caught.value.nearest
