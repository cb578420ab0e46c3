"""Loads that the kernel or libbpf refuse, each provoked for real: what the machine lacks is named, with the way out."""

from __future__ import annotations

import errno
import subprocess
from dataclasses import replace
from pathlib import Path

import cells
import pytest

import ebpflab
from ebpflab.engines import _causes
from ebpflab.errors import KernelSupportError, LoadError
from ebpflab.inspectors import map_refusals
from ebpflab.inspectors._ways import enumerators
from ebpflab.inspectors.layout import vmlinux
from ebpflab.program_types import parse_section

RAW = 'SEC("raw_tp/sys_enter") int h(u64 *ctx) {{ {} }}\n'


def refused(text):
    with pytest.raises(LoadError) as caught:
        ebpflab.load(text)
    assert type(caught.value) is LoadError
    assert "libbpf:" not in str(caught.value)
    return caught.value


def test_a_program_that_is_too_long_is_told_how_long_it_is():
    error = refused(RAW.format('asm volatile(".rept 1000003\\n r0 = 0\\n .endr" ::: "r0"); return 0;'))
    assert error.errno == errno.E2BIG
    length = int(error.what.split()[2].replace(",", ""))
    assert 1_000_003 < length <= 1_000_010
    assert error.what == f"h has {length:,} instructions, and the kernel takes 1,000,000 of a program here"
    assert "bpf_tail_call()" in error.hint


@pytest.mark.parametrize(
    ("text", "what", "hint"),
    [
        (
            "extern struct task_struct *bpf_taks_acquire(struct task_struct *p) __ksym;\n"
            'SEC("tp_btf/sched_switch") int h(u64 *ctx) { bpf_taks_acquire((void *)ctx[1]); return 0; }\n',
            "this kernel has no function 'bpf_taks_acquire' for BPF programs to call (kfunc)",
            "bpf_task_acquire",
        ),
        (
            "extern const int runqeues __ksym;\n" + RAW.format("return (long)&runqeues;"),
            "this kernel has no variable 'runqeues' whose type is known",
            "runqueues",
        ),
        (
            "extern int CONFIG_HZZ __kconfig;\n" + RAW.format("return CONFIG_HZZ;"),
            "this kernel's configuration does not set CONFIG_HZZ",
            "CONFIG_HZ",
        ),
        (
            "extern int LINUX_KERNEL_VERSIO __kconfig;\n" + RAW.format("return LINUX_KERNEL_VERSIO;"),
            "libbpf knows no 'LINUX_KERNEL_VERSIO'",
            "LINUX_KERNEL_VERSION",
        ),
        (
            'SEC("struct_ops/init") int BPF_PROG(init) { return 0; }\n'
            "struct tcp_congestion_op { int (*init)(void); };\n"
            'SEC(".struct_ops") struct tcp_congestion_op ops = { .init = (void *)init };\n',
            "this kernel has no struct tcp_congestion_op that programs can implement",
            "tcp_congestion_ops",
        ),
        (
            "extern int twice(int);\n" + RAW.format("return twice(1);"),
            "the cell declares twice, and nothing defines it",
            "__ksym",
        ),
    ],
)
def test_what_a_program_asks_for_and_the_machine_does_not_have_is_named_with_the_nearest(text, what, hint):
    error = refused(text)
    assert error.what == what
    assert hint in error.hint


ONE_MAP = """\
struct {{ __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, {}); __type(key, int); __type(value, long);
	__uint(pinning, LIBBPF_PIN_BY_NAME); }} kept_here SEC(".maps");
SEC("raw_tp/sys_enter") int h(u64 *ctx) {{ int k = 0; bpf_map_lookup_elem(&kept_here, &k); return 0; }}
"""
FIRST, OTHER = ONE_MAP.format(3), ONE_MAP.format(5)


IN_MOUNTS_OF_ITS_OWN = """
    import ctypes, json, sys
    import ebpflab
    libc = ctypes.CDLL(None)
    kind = sys.argv[1].encode()
    assert libc.unshare(0x20000) == 0  # CLONE_NEWNS
    assert libc.mount(None, b"/", None, ctypes.c_ulong(0x44000), None) == 0  # MS_PRIVATE | MS_REC
    assert libc.mount(kind, b"/sys/fs/bpf", kind, ctypes.c_ulong(0), None) == 0
    for text in sys.argv[2:]:
        try:
            ebpflab.load(text, attach=False).close()
            print("loaded")
        except ebpflab.EbpflabError as error:
            print(error.what, error.hint, sep=" | ")
"""


def pinning(filesystem, *texts):
    # What is said of each cell in a process that has such a filesystem at /sys/fs/bpf, for itself alone.
    done = cells.python(IN_MOUNTS_OF_ITS_OWN, filesystem, *texts)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_map_that_cannot_be_pinned_is_told_what_is_missing():
    [said] = pinning("tmpfs", FIRST)
    assert "is to be pinned at /sys/fs/bpf/kept_here, and that is in no BPF filesystem | " in said
    assert "mount -t bpf bpf /sys/fs/bpf" in said


def test_a_pinned_map_of_another_size_is_named_and_the_same_again_is_taken():
    first, other, again = pinning("bpf", FIRST, OTHER, FIRST)
    assert first == again == "loaded"
    assert other.startswith("a map of another type, size or flags is pinned at /sys/fs/bpf/kept_here | ")
    assert "rm /sys/fs/bpf/kept_here" in other


def test_a_kind_that_the_kernel_does_not_have_is_told_from_a_program_that_is_wrong():
    # The kernel is asked for real, about a type that none has and one that all have.
    socket = parse_section("socket")
    config = replace(socket.type, type=997, config=("CONFIG_BPF", "CONFIG_NOT_OF_THIS_WORLD"))
    for section, found in ((socket, None), (replace(socket, type=config), "this kernel has no socket_filter programs")):
        cause = _causes.find("load", _causes.Failure("loading h failed", errno.EINVAL, "h", section))
        assert (cause is None) == (found is None)
        if cause:
            assert cause.what.startswith(f"h: {found}")
            if Path("/proc/config.gz").exists():
                assert cause.what.endswith("it was built without CONFIG_NOT_OF_THIS_WORLD")


def test_on_a_kernel_without_btf_maps_are_explained_just_as_well(monkeypatch):
    def nothing():
        raise KernelSupportError("this kernel carries no BTF")

    monkeypatch.setattr(map_refusals, "vmlinux", nothing)
    hash_of = (1, 4, 8, 5, 1 << 10)  # BPF_MAP_TYPE_HASH with BPF_F_MMAPABLE
    what, hint = map_refusals.explain("m", errno.EINVAL, hash_of)
    assert "BPF_MAP_TYPE_HASH does not take the flag BPF_F_MMAPABLE" in what
    what, hint = map_refusals.explain("m", errno.EINVAL, (27, 0, 0, 5, 0))
    assert "5 bytes are no size of a ring buffer" in what
    what, hint = map_refusals.explain("m", errno.EINVAL, (997, 4, 4, 5, 0))
    assert "no maps of type 997" in what
    assert "features()" in hint


def test_the_types_of_maps_have_the_numbers_that_this_kernel_gives_them():
    known = enumerators(vmlinux(), "bpf_map_type", "BPF_MAP_TYPE_")
    numbered = dict(enumerate(map_refusals._TYPES))
    here = {name: number for name, number in known.items() if number < len(numbered) and name in numbered.values()}
    assert len(here) >= 28
    assert {name: list(numbered.values()).index(name) for name in here} == here


def test_an_object_file_is_told_the_same_as_a_cell(tmp_path):
    head = '#define SEC(name) __attribute__((section(name), used))\nchar _license[] SEC("license") = "GPL";\n'
    source, made = tmp_path / "other.bpf.c", tmp_path / "other.bpf.o"
    source.write_text(f'{head}extern int missing_here(void) SEC(".ksyms");\n{CALLS}')
    subprocess.run(["clang", "-g", "-O2", "-target", "bpf", "-c", source, "-o", made], check=True, timeout=60)
    error = refused(str(made))
    assert error.what == "this kernel has no function 'missing_here' for BPF programs to call (kfunc)"


CALLS = 'SEC("raw_tp/sys_enter") int h(void *ctx) { return missing_here(); }\n'
