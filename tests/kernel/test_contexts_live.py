"""Contexts of every kind of program, held against clang and bpftool's dump of the kernel's types."""

from __future__ import annotations

import os
import re
import shutil
import subprocess

import pytest

import ebpflab
from ebpflab.errors import HookNotFoundError
from ebpflab.program_types import PROGRAM_TYPES

STRUCTS = [
    row.kind
    for row in PROGRAM_TYPES
    if row.context.startswith("struct ") and not re.search("NAME|CATEGORY|pt_regs", row.context)
]


def bpftool(*arguments):
    path = shutil.which("bpftool", path=f"{os.environ['PATH']}:/usr/sbin")
    if path is None:
        pytest.skip("bpftool is not installed")
    return subprocess.run([path, *arguments], check=True, capture_output=True, text=True, timeout=60).stdout


@pytest.fixture(scope="module")
def kernel_types(tmp_path_factory):
    """All types of the running kernel as C, by bpftool."""
    text = bpftool("btf", "dump", "file", "/sys/kernel/btf/vmlinux", "format", "c")
    path = tmp_path_factory.mktemp("types") / "vmlinux.h"
    path.write_text(text)
    return path


def test_the_offsets_and_sizes_of_context_structs_are_what_the_compiler_finds(kernel_types, tmp_path):
    asserts = []
    for kind in [*STRUCTS, "iter/task", "iter/bpf_map_elem"]:
        found = ebpflab.context(kind)
        struct = found.c_type.removesuffix("*").strip()
        for field in found.members:
            place = f"{struct}, {field.name}"
            asserts.append(f'_Static_assert(__builtin_offsetof({place}) == {field.offset}, "{place}");')
            asserts.append(f'_Static_assert(sizeof((({struct} *)0)->{field.name}) == {field.size}, "{place}");')
    assert len(asserts) > 400
    source = tmp_path / "asserts.c"
    source.write_text(f'#include "{kernel_types}"\n' + "\n".join(asserts))
    command = ["clang", "-target", "bpf", "-fsyntax-only", "-Wno-everything", str(source)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[:3000]


@pytest.mark.parametrize("kind", [row.kind for row in PROGRAM_TYPES])
def test_every_kind_shows_its_context_as_text_and_as_html(kind):
    found = ebpflab.context(kind)
    row = next(row for row in PROGRAM_TYPES if row.kind == kind)
    shown = repr(found)
    assert shown.startswith(f'{kind} [SEC("{found.section}")]')
    assert row.capabilities[0] in shown
    assert all(verdict.meaning in shown for verdict in row.verdicts)
    assert found.returns["value"].tolist() == [verdict.value for verdict in row.verdicts]
    assert list(found.fields.columns) == ["field", "type", "offset", "size", "read"]
    assert "<table" in found._repr_html_() or not found.members
    assert found.c()


def test_arguments_of_a_function_are_those_of_bpftools_dump():
    dump = bpftool("btf", "dump", "file", "/sys/kernel/btf/vmlinux")
    for function in ("vfs_read", "vfs_fallocate"):
        proto = re.search(rf"^\[\d+\] FUNC '{function}' type_id=(\d+)", dump, re.MULTILINE)[1]
        body = re.search(rf"^\[{proto}\] FUNC_PROTO .*\n((?:\t.*\n)*)", dump, re.MULTILINE)[1]
        names = re.findall(r"\t'(\w+)'", body)
        assert ebpflab.context(f"fentry/{function}").fields["field"].tolist() == names
        assert ebpflab.context(f"fexit/{function}").fields["field"].tolist() == [*names, "ret"]
        assert ebpflab.context(f"kprobe/{function}").fields["field"].tolist() == names
    offsets = ebpflab.context("fentry/vfs_read").fields["offset"].tolist()
    assert offsets == [8 * n for n in range(len(offsets))]


def test_a_tracepoint_s_context_is_its_format():
    found = ebpflab.context("sched:sched_switch")
    assert found.fields["field"].tolist() == ebpflab.format("sched:sched_switch").fields["field"].tolist()
    assert found.c() == ebpflab.format("sched:sched_switch").c()
    assert found.read("prev_pid") == "ctx->prev_pid"


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("xpd", "xdp"),
        ("cgroup/conect4", "cgroup/connect4"),
        ("fentry/vfs_raed", "vfs_read"),
        ("tp_btf/sched_swich", "sched_switch"),
        ("lsm/file_opn", "file_open"),
        ("sched:sched_swich", "sched_switch"),
    ],
)
def test_a_misspelt_kind_or_hook_gets_the_nearest_ones(wrong, right):
    with pytest.raises(HookNotFoundError) as caught:
        ebpflab.context(wrong)
    assert any(right in name for name in caught.value.nearest)
    assert right in caught.value.hint


def test_a_misspelt_field_gets_the_nearest_one():
    with pytest.raises(HookNotFoundError) as caught:
        ebpflab.context("xdp").read("ingres_ifindex")
    assert caught.value.nearest[0] == "ingress_ifindex"
