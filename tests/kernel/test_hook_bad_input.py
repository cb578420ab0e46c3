"""Every kind of hook got wrong: the error's class, what it says, the nearest names, and that nothing is left."""

from __future__ import annotations

from pathlib import Path

import cells
import kernel_has
import pytest
from cells_names import CELLS, TARGETS

import ebpflab
from ebpflab.errors import (
    AttachError,
    EbpflabError,
    HookNotFoundError,
    KernelSupportError,
    PrivilegeError,
    VerifierError,
)
from ebpflab.program_types import PROGRAM_TYPES, parse_section

# Of each section in CELLS: the error's class, a word of what happened, and the nearest name or a word of the hint.
WRONG = {
    "kprobe/vfs_reed": (HookNotFoundError, "'vfs_reed'", "vfs_read"),
    "kretprobe/vfs_reed": (HookNotFoundError, "'vfs_reed'", "vfs_read"),
    "kprobe.multi/vfs_reeed*": (HookNotFoundError, "'vfs_reeed*'", "vfs_read"),
    "kprobe.session/vfs_reeed*": (HookNotFoundError, "'vfs_reeed*'", "vfs_read"),
    "ksyscall/opennat": (HookNotFoundError, "'opennat'", "openat"),
    "fentry/vfs_reed": (HookNotFoundError, "'vfs_reed'", "vfs_read"),
    "fexit/vfs_reed": (HookNotFoundError, "'vfs_reed'", "vfs_read"),
    "fsession/vfs_reed": (HookNotFoundError, "'vfs_reed'", "vfs_read"),
    "fmod_ret/security_file_opn": (HookNotFoundError, "'security_file_opn'", "security_file_open"),
    "lsm/file_opn": (HookNotFoundError, "'file_opn'", "file_open"),
    "lsm_cgroup/socket_conect": (HookNotFoundError, "'socket_conect'", "socket_connect"),
    "uprobe/libc.so.6:maloc": (HookNotFoundError, "'maloc'", "malloc"),
    "uretprobe/libc.so.6:maloc": (HookNotFoundError, "'maloc'", "malloc"),
    "uprobe.multi/libc.so.6:maloc*": (HookNotFoundError, "'maloc*'", "malloc"),
    "uprobe.session/libc.so.6:maloc*": (HookNotFoundError, "'maloc*'", "malloc"),
    "usdt/libstdc++.so.6:libstdcxx:thorw": (HookNotFoundError, "libstdcxx:thorw", "libstdcxx:throw"),
    "perf_event": (AttachError, "'cpu-clokc'", "cpu-clock"),
    "xdp": (HookNotFoundError, "'loo'", "lo"),
    "tc": (HookNotFoundError, "'loo'", "lo"),
    "tcx/egress": (HookNotFoundError, "'loo'", "lo"),
    "socket": (HookNotFoundError, "'loo'", "lo"),
    "netkit/primary": (HookNotFoundError, "'loo'", "lo"),
    "netfilter": (AttachError, "ipv4:local_on", "local_in"),
    "flow_dissector": (HookNotFoundError, "nowhere-at-all", "namespace"),
    "sk_lookup": (HookNotFoundError, "nowhere-at-all", "namespace"),
    "sk_reuseport": (HookNotFoundError, "999999", "socket"),
    "lwt_in": (HookNotFoundError, "'loo'", "lo"),
    "lwt_out": (HookNotFoundError, "'loo'", "lo"),
    "lwt_xmit": (HookNotFoundError, "'loo'", "lo"),
    "lwt_seg6local": (HookNotFoundError, "'loo'", "lo"),
    "sockops": (HookNotFoundError, "nowhere-at-all", "find"),
    "cgroup/skb": (HookNotFoundError, "nowhere-at-all", "find"),
    "cgroup/sock_create": (HookNotFoundError, "nowhere-at-all", "find"),
    "cgroup/connect4": (HookNotFoundError, "nowhere-at-all", "find"),
    "cgroup/sysctl": (HookNotFoundError, "nowhere-at-all", "find"),
    "cgroup/setsockopt": (HookNotFoundError, "nowhere-at-all", "find"),
    "cgroup/dev": (HookNotFoundError, "nowhere-at-all", "find"),
    "lirc_mode2": (HookNotFoundError, "/dev/lirc77", ""),
}  # fmt: skip

# A right target of each kind that a kernel may be built without.
RIGHT = {
    "kprobe": "kprobe/vfs_read",
    "kretprobe": "kretprobe/vfs_read",
    "kprobe.multi": "kprobe.multi/vfs_read",
    "kprobe.session": "kprobe.session/vfs_read",
    "ksyscall": "ksyscall/openat",
    "uprobe": "uprobe/libc.so.6:malloc",
    "uprobe.multi": "uprobe.multi/libc.so.6:malloc",
    "uprobe.session": "uprobe.session/libc.so.6:malloc",
    "fentry": "fentry/vfs_read",
    "fexit": "fexit/vfs_read",
    "fsession": "fsession/vfs_read",
    "fmod_ret": "fmod_ret/security_file_open",
    "lsm": "lsm/file_open",
    "lsm_cgroup": "lsm_cgroup/socket_connect",
}

REFUSED = """
    import sys
    sys.path.insert(0, {tests!r})
    import cells, ebpflab
    from cells_names import CELLS
    import ebpflab.loading
    cells.keep_only_capabilities({mask})
    try:
        ebpflab.load(CELLS[{section!r}], targets={{"h": {target!r}}} if {target!r} else None)
    except ebpflab.EbpflabError as error:
        print(type(error).__name__, error, error.hint, sep="\\n")
"""
CAPABILITIES = {"dac_read_search": 2, "net_admin": 12, "sys_admin": 21, "perfmon": 38, "bpf": 39}


def cases(sections):
    return [pytest.param(section, marks=pytest.mark.hook(parse_section(section).kind)) for section in sections]


def refused(section, target, **options):
    with pytest.raises(EbpflabError) as caught:
        ebpflab.load(CELLS[section], targets={"h": target} if target else None, **options)
    error = caught.value
    assert ebpflab.sessions() == []
    assert error.hint, error
    assert "libbpf" not in str(error)
    assert error.__context__ is None or error.__suppress_context__ or error.__cause__ is not None
    return error


@pytest.mark.parametrize("section", cases(WRONG))
def test_a_hook_that_does_not_exist_is_named_with_the_nearest_that_do(section):
    kind, word, near = WRONG[section]
    error = refused(section, TARGETS[section])
    assert type(error) is kind, error
    assert word in error.what
    assert near in error.hint
    assert len(str(error).splitlines()) <= 5


@pytest.mark.parametrize("section", cases(s for s in WRONG if not (parse_section(s).place or parse_section(s).target)))
def test_a_section_that_leaves_its_target_open_is_told_what_to_give(section):
    error = refused(section, "")
    assert type(error) is AttachError
    assert "does not say where to attach" in error.what
    assert f"--attach h={parse_section(section).type.target}" in error.hint


@pytest.mark.parametrize("section", cases(s for s in WRONG if TARGETS[s]))
def test_an_option_that_a_kind_does_not_have_is_named_with_those_it_has(section):
    row = parse_section(section).type
    error = refused(section, f"{TARGETS[section]},colour=red")
    assert type(error) is AttachError
    assert "no option 'colour'" in error.what
    for option in row.options:
        assert option.name in error.hint or "did you mean" in error.hint


@pytest.mark.parametrize("section", cases(["fmod_ret/vfs_read"]))
def test_a_function_whose_result_may_not_be_changed_is_refused_with_the_reason(section):
    error = refused(section, "")
    assert isinstance(error, (VerifierError, HookNotFoundError))
    assert "vfs_read" in str(error)


@pytest.mark.parametrize("section", cases(["kprobe/vfs_read"]))
def test_a_function_on_the_blacklist_is_said_to_be_there_and_not_to_be_probed(section):
    lines = Path("/sys/kernel/debug/kprobes/blacklist").read_text().splitlines()
    name = next(word for word in (line.split()[1] for line in lines) if word.isidentifier())
    error = refused(section, name)
    assert type(error) is HookNotFoundError
    assert f"{name!r}, but it may not be probed" in error.what


@pytest.mark.parametrize("section", cases(["perf_event"]))
def test_a_counter_that_the_machine_does_not_have_is_said_to_be_missing(section):
    if list(Path("/sys/bus/event_source/devices").glob("*/events/cpu*cycles")):
        return  # a machine with counters
    error = refused(section, "cpu-cycles")
    assert type(error) is KernelSupportError
    assert "cpu-cycles" in error.what
    assert "cpu-clock" in error.hint


def test_what_this_kernel_was_built_without_is_said_with_what_to_do_instead():
    absent = {kind: section for kind, section in RIGHT.items() if kernel_has.absent(kind)}
    for section in absent.values():
        error = refused(section, TARGETS[section])
        assert type(error) is KernelSupportError, error
        assert any(word in error.what for word in ("CONFIG_", "came with Linux", "ftrace answers EPERM")), error
        assert len(str(error).splitlines()) <= 4


@pytest.mark.hook("uprobe")
def test_a_process_that_does_not_exist_is_named():
    error = refused("uprobe/libc.so.6:malloc", "libc.so.6:malloc,pid=4194305")  # one more than there can be
    assert type(error) is AttachError
    assert "no process 4194305" in error.what


@pytest.mark.parametrize(
    ("section", "kept", "lacking"),
    [
        pytest.param("xdp", "bpf perfmon", "CAP_NET_ADMIN", marks=pytest.mark.hook("xdp")),
        pytest.param("xdp", "perfmon net_admin", "CAP_BPF", marks=pytest.mark.hook("xdp")),
        pytest.param("tc", "bpf perfmon", "CAP_NET_ADMIN", marks=pytest.mark.hook("tc")),
        pytest.param("sk_skb/verdict", "bpf", "CAP_NET_ADMIN", marks=pytest.mark.hook("sk_skb")),
        pytest.param("netfilter", "bpf perfmon", "CAP_NET_ADMIN", marks=pytest.mark.hook("netfilter")),
        pytest.param("cgroup/dev", "bpf perfmon", "CAP_NET_ADMIN", marks=pytest.mark.hook("cgroup_device")),
        pytest.param("raw_tp/sys_enter", "bpf", "CAP_PERFMON", marks=pytest.mark.hook("raw_tracepoint")),
        pytest.param("perf_event", "bpf net_admin", "CAP_PERFMON", marks=pytest.mark.hook("perf_event")),
        pytest.param("uprobe/libc.so.6:malloc", "bpf perfmon", "CAP_SYS_ADMIN", marks=pytest.mark.hook("uprobe")),
        pytest.param("kprobe/vfs_read", "bpf", "CAP_PERFMON", marks=pytest.mark.hook("kprobe")),
        pytest.param("fentry/vfs_read", "bpf", "CAP_PERFMON", marks=pytest.mark.hook("fentry")),
        pytest.param("lsm/file_open", "bpf", "CAP_PERFMON", marks=pytest.mark.hook("lsm")),
    ],
)
def test_a_process_without_a_capability_is_told_which_one_the_kind_takes(section, kept, lacking):
    right = {"xdp": "lo", "tc": "lo", "netfilter": "ipv4:local_in", "cgroup/dev": "/", "perf_event": "cpu-clock"}
    mask = sum(1 << CAPABILITIES[name] for name in kept.split())
    tests = str(Path(__file__).parent)
    script = REFUSED.format(tests=tests, mask=mask, section=section, target=right.get(section, ""))
    done = cells.python(script, timeout=200)
    kind, _, text = done.stdout.partition("\n")
    assert kind == PrivilegeError.__name__, done.stdout + done.stderr
    assert lacking in text
    assert done.stderr == ""


def test_there_is_a_wrong_target_for_every_kind_that_takes_one():
    elsewhere = {"tracepoint", "raw_tracepoint", "tp_btf", "iter"}  # tests/kernel/test_bad_input.py
    of_the_cell = {"sk_skb", "sk_msg", "struct_ops", "freplace", "syscall"}
    tried = {parse_section(section).kind for section in WRONG}
    assert tried == {row.kind for row in PROGRAM_TYPES} - elsewhere - of_the_cell
