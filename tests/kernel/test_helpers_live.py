"""Helpers and kfuncs of the running kernel, held against its own list and bpftool."""

from __future__ import annotations

import subprocess

import bpftool
import pytest

from ebpflab import tables
from ebpflab.btf import Kind
from ebpflab.errors import TypeNotFoundError
from ebpflab.inspectors.helpers import helpers, kfunc, kfunc_names, reference
from ebpflab.inspectors.layout import vmlinux


def ids():
    values = vmlinux().find("bpf_func_id", Kind.ENUM).values
    found = {value.name.replace("BPF_FUNC_", "bpf_"): value.value for value in values if value.value}
    return {name: number for name, number in found.items() if "MAX_ID" not in name}


def test_the_table_has_the_helpers_of_this_kernel_in_the_same_order():
    known = list(tables.helpers())
    assert known[: len(ids())] == list(ids())


def test_numbers_are_those_of_the_kernel():
    kernel = ids()
    both = {found.name: found.number for found in helpers() if found.name in kernel}
    assert len(both) > 150
    assert both == {name: kernel[name] for name in both}


def test_declarations_of_all_kfuncs_compile_against_the_kernels_types(tmp_path):
    types = subprocess.run(
        [bpftool.BPFTOOL, "btf", "dump", "file", "/sys/kernel/btf/vmlinux", "format", "c"],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    ).stdout
    found = [kfunc(name) for name in kfunc_names()]
    # Each is declared as what it is in BTF: __typeof__ of a second declaration has to agree.
    lines = [f"extern {one.signature};" for one in found]
    source = tmp_path / "kfuncs.c"
    source.write_text("\n".join([types, *lines]))
    command = ["clang", "-target", "bpf", "-fsyntax-only", "-Wno-everything", str(source)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[:3000]


def test_parameters_of_kfuncs_are_those_that_bpftool_shows():
    types = {one["id"]: one for one in bpftool.run("btf", "dump", "file", "/sys/kernel/btf/vmlinux")["types"]}
    tagged = {one["type_id"] for one in types.values() if one["kind"] == "DECL_TAG" and one["name"] == "bpf_kfunc"}
    if not tagged:
        pytest.skip("not in this kernel: its BTF does not mark kfuncs")
    expected = {}
    for number in tagged:
        proto = types[types[number]["type_id"]]
        expected[types[number]["name"]] = [parameter["name"] for parameter in proto["params"]]
    found = {name: [p.name for p in kfunc(name).parameters] for name in kfunc_names() if name in expected}
    assert found == expected
    assert len(found) > 100


def test_a_word_is_looked_up_in_helpers_macros_and_kfuncs():
    kinds = {word: reference(word).kind for word in ("bpf_map_lookup_elem", "BPF_CORE_READ", "bpf_rcu_read_lock")}
    assert kinds == {"bpf_map_lookup_elem": "helper", "BPF_CORE_READ": "macro", "bpf_rcu_read_lock": "kfunc"}
    assert reference("main") is None
    with pytest.raises(TypeNotFoundError, match="no kfunc of this kernel") as caught:
        kfunc("bpf_rcu_read_lokc")
    assert "bpf_rcu_read_lock" in caught.value.nearest
