"""What the kernel refuses to make or to load, for real: one sentence with the cause found here, one with the way out.

Hooks that are taken (XDP, tc, cgroups, netfilter) are in the tests of these hooks, those that do not exist in
test_hook_bad_input.py.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import mmap
import os
import struct

import cells
import forked
import pytest

import ebpflab
from ebpflab import _probes
from ebpflab.errors import EbpflabError, LoadError, PrivilegeError

PROGRAM = """\
SEC("raw_tp/sys_enter") int h(void *ctx)
{
	__u32 key = 0;
	bpf_map_lookup_elem(&m, &key);
	return 0;
}
"""
INT, LONG = "__type(key, int);", "__type(value, long);"
# A map's type and the rest of its definition; the kernel's number, words of what is wrong, words of the way out.
MAPS = {
    "no key": (
        "HASH", "__uint(max_entries, 5); __uint(key_size, 0);" + LONG, errno.EINVAL,
        "its key has no size", "__type(key, __u32)",
    ),
    "no value": (
        "HASH", "__uint(max_entries, 5); __uint(value_size, 0);" + INT, errno.EINVAL,
        "its value has no size", "__type(value, __u64)",
    ),
    "no entries": ("HASH", INT + LONG, errno.EINVAL, "max_entries is 0 or missing", "__uint(max_entries, 1024)"),
    "an array's key": (
        "ARRAY", "__uint(max_entries, 5); __type(key, long);" + LONG, errno.EINVAL,
        "its key has 8 bytes", "BPF_MAP_TYPE_ARRAY takes 4: __type(key, __u32)",
    ),
    "two things wrong": (
        "LPM_TRIE", "__uint(max_entries, 5);" + INT + LONG, errno.EINVAL,
        "its key has 4 bytes; BPF_MAP_TYPE_LPM_TRIE needs the flag BPF_F_NO_PREALLOC", "prefixlen",
    ),
    "a flag": (
        "HASH", "__uint(max_entries, 5); __uint(map_flags, BPF_F_MMAPABLE);" + INT + LONG, errno.EINVAL,
        "does not take the flag BPF_F_MMAPABLE", "leave BPF_F_MMAPABLE out",
    ),
    "a flag without a name": (
        "HASH", "__uint(max_entries, 5); __uint(map_flags, 0x80000000);" + INT + LONG, errno.EINVAL,
        "does not take the flag 0x80000000", "leave 0x80000000 out",
    ),
    "too many entries": (
        "HASH", "__uint(max_entries, 0xffffffff); __uint(value_size, 65536);" + INT, errno.E2BIG,
        "4,294,967,295 entries need 256 TiB, more than the kernel makes one map of", "lower max_entries",
    ),
    "more than there is memory": (
        "ARRAY", "__uint(max_entries, 0xffffffff); __uint(value_size, 65536);" + INT, errno.ENOMEM,
        "entries need 256 TiB, and", "lower max_entries",
    ),
    "a type that nobody has": (
        "", "__uint(type, 997); __uint(max_entries, 5);" + INT + LONG, errno.EINVAL,
        "no maps of type 997", "features()",
    ),
}  # fmt: skip


def refused(type_name, rest):
    kind = f"__uint(type, BPF_MAP_TYPE_{type_name});" if type_name else ""
    with pytest.raises(LoadError) as caught:
        ebpflab.load(f'struct {{ {kind} {rest} }} m SEC(".maps");\n{PROGRAM}')
    assert ebpflab.sessions() == []
    return caught.value


@pytest.mark.parametrize("case", MAPS)
def test_of_a_map_that_the_kernel_does_not_make_the_wrong_property_is_named(case):
    type_name, rest, number, wrong, way_out = MAPS[case]
    error = refused(type_name, rest)
    assert error.errno == number
    assert error.what.startswith("the kernel cannot make the map 'm': ")
    assert wrong in error.what
    assert way_out in error.hint


def test_the_largest_value_is_found_out_by_asking_the_kernel():
    error = refused("PERCPU_ARRAY", f"__uint(max_entries, 5); {INT} __uint(value_size, {1 << 20});")
    most = int(error.what.rpartition(" ")[2].replace(",", ""))
    percpu_array = _probes.Map(6)
    assert _probes.create(percpu_array._replace(value_size=most)).errno == 0
    assert _probes.create(percpu_array._replace(value_size=most + 1)).errno == errno.E2BIG
    assert most >= mmap.PAGESIZE


def outcome(prepare, cell='SEC("raw_tp/sys_enter") int h(void *ctx) { return 0; }\n'):
    # Load a cell, by default the smallest program, in a process that was made ready for the refusal; what it was told.
    def work(tell):
        prepare()
        try:
            ebpflab.load(cell).close()
        except EbpflabError as error:
            kind, cause = type(error).__name__, getattr(error, "cause", "")
            tell(json.dumps([kind, error.what, cause, error.hint, list(error.details)]))
        else:
            tell(json.dumps(["loaded"]))

    return json.loads(forked.told(work))


def forbid(number, answer):
    # A seccomp filter of four instructions: this system call gets an errno, all others pass (seccomp(2)).
    load, jump, give = 0x20, 0x15, 0x06
    refuse, allow = 0x00050000 | answer, 0x7FFF0000
    code = struct.pack("=HBBI", load, 0, 0, 0) + struct.pack("=HBBI", jump, 0, 1, number)
    code += struct.pack("=HBBI", give, 0, 0, refuse) + struct.pack("=HBBI", give, 0, 0, allow)
    buffer = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("=HxxxxxxQ", 4, ctypes.addressof(buffer))
    libc = ctypes.CDLL(None, use_errno=True)
    zero = ctypes.c_ulong(0)
    assert libc.prctl(38, ctypes.c_ulong(1), zero, zero, zero) == 0  # PR_SET_NO_NEW_PRIVS
    assert libc.prctl(22, ctypes.c_ulong(2), ctypes.c_char_p(program), zero, zero) == 0  # PR_SET_SECCOMP


NUMBERS = {"x86_64": (321, 161), "aarch64": (280, 51)}  # bpf(2), chroot(2)
PERF_EVENT_OPEN = {"x86_64": 298, "aarch64": 241}
TRACEPOINT = 'SEC("tp/syscalls/sys_enter_getppid") int h(void *ctx) { return 0; }\n'


@pytest.mark.parametrize("answer", [errno.EPERM, errno.EACCES, errno.ENOSYS])
def test_a_seccomp_filter_that_refuses_bpf_is_named_for_certain(answer):
    bpf, _ = NUMBERS[ebpflab.inspectors.kernel.facts().machine]
    kind, _what, cause, hint, details = outcome(lambda: forbid(bpf, answer))
    assert (kind, cause) == (PrivilegeError.__name__, "a seccomp filter refuses bpf(2) to this process")
    assert "allow bpf" in hint
    assert not any("ruled out" in line for line in details)


def test_a_seccomp_filter_that_lets_bpf_pass_is_not_blamed():
    _, other = NUMBERS[ebpflab.inspectors.kernel.facts().machine]

    def prepare():
        cells.keep_only_capabilities(1 << 39)  # CAP_BPF
        forbid(other, errno.EPERM)

    kind, _what, cause, hint, _details = outcome(prepare)
    assert kind == PrivilegeError.__name__
    assert "lacks CAP_PERFMON" in cause
    assert "seccomp" not in hint


@pytest.mark.parametrize("answer", [errno.EPERM, errno.ENOSYS])
def test_a_seccomp_filter_that_refuses_only_perf_event_open_is_named_as_such(answer):
    ebpflab.load(TRACEPOINT, attach=False).close()  # compiled
    number = PERF_EVENT_OPEN[ebpflab.inspectors.kernel.facts().machine]
    kind, what, cause, hint, _details = outcome(lambda: forbid(number, answer), TRACEPOINT)
    assert (kind, cause) == (PrivilegeError.__name__, "a seccomp filter refuses perf_event_open(2) to this process")
    assert "attach h" in what
    assert "allow bpf and perf_event_open" in hint


def test_a_kernel_that_refuses_perf_events_to_the_unprivileged_is_not_taken_for_a_filter():
    # Without any capability, and with a filter that lets these calls pass: what paranoid kernels say is their own.
    _, other = NUMBERS[ebpflab.inspectors.kernel.facts().machine]

    def work(tell):
        cells.keep_only_capabilities(0)
        forbid(other, errno.EPERM)
        tell(json.dumps(_probes.filtered()))

    assert json.loads(forked.told(work)) == []


@pytest.mark.parametrize("kind", ["SOCKMAP", "SOCKHASH", "DEVMAP"])
def test_a_map_that_takes_a_capability_names_itself_and_the_capability(kind):
    made = f"__uint(type, BPF_MAP_TYPE_{kind}); __uint(max_entries, 3); __type(key, int); __type(value, int);"
    cell = f'struct {{ {made} }} m SEC(".maps");\nSEC("socket") int h(void *ctx) {{ return 0; }}\n'
    ebpflab.load(cell, attach=False).close()  # compiled
    error, what, cause, _hint, _details = outcome(lambda: cells.keep_only_capabilities(1 << 39), cell)  # CAP_BPF
    assert error == PrivilegeError.__name__
    assert what.startswith("the kernel refused to make the map 'm': EPERM")
    assert "lacks CAP_NET_ADMIN" in cause


def test_missing_capabilities_are_named_with_the_command_that_gives_them():
    kind, what, cause, hint, _details = outcome(lambda: cells.keep_only_capabilities(0))
    assert kind == PrivilegeError.__name__
    assert "EPERM" in what
    assert "lacks CAP_BPF and CAP_PERFMON" in cause
    assert "cap_perfmon,cap_bpf+ep" in hint or "--cap-add PERFMON --cap-add BPF" in hint


ELEVEN = "".join(
    f'struct {{ __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); {INT} {LONG} }} m{n} SEC(".maps");\n'
    for n in range(11)
)


def test_a_process_with_too_many_files_open_is_told_so():
    uses = "".join(f"\tbpf_map_lookup_elem(&m{n}, &key);\n" for n in range(11))
    cell = ELEVEN + PROGRAM.replace("\tbpf_map_lookup_elem(&m, &key);\n", uses)
    ebpflab.load(cell).close()  # compiled

    def prepare():
        opened = []
        with contextlib.suppress(OSError):
            while True:
                opened.append(os.open("/dev/null", os.O_RDONLY))
        for fd in opened[-7:]:
            os.close(fd)

    kind, _what, _cause, hint, _details = outcome(prepare, cell)
    assert kind == LoadError.__name__
    assert "ulimit -n" in hint
