from __future__ import annotations

import contextlib
import ctypes as ct
import ctypes.util
import functools
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ebpflab.errors import AttachError, EbpflabError, HookNotFoundError
from ebpflab.program_types import (
    BY_KIND,
    PROGRAM_TYPES,
    NetfilterHook,
    PerfEvent,
    Target,
    UprobeTarget,
    kprobe_target,
    netfilter_target,
    parse_section,
    parse_target,
    perf_event_names,
    perf_event_target,
    tracepoint_target,
    uprobe_target,
    usdt_target,
)

SECTIONS = [section for row in PROGRAM_TYPES for section in row.sections]


@functools.lru_cache(maxsize=1)
def libbpf() -> ct.CDLL:
    name = ctypes.util.find_library("bpf")
    if name is None:
        pytest.skip("libbpf is not installed: apt install libbpf1")
    return ct.CDLL(name)


def libbpf_accepts(section: str) -> bool:
    kind, attach = ct.c_int(), ct.c_int()
    return libbpf().libbpf_prog_type_by_name(section.encode(), ct.byref(kind), ct.byref(attach)) == 0


@functools.lru_cache(maxsize=1)
def libbpf_sections() -> tuple[str, ...]:
    """Return all that libbpf knows: its debug output lists them when it is asked for an unknown one."""
    heard: list[str] = []
    printer = ct.CFUNCTYPE(ct.c_int, ct.c_int, ct.c_char_p, ct.c_void_p)

    def hear(_level: int, text: bytes, arguments: int) -> int:
        buffer = ct.create_string_buffer(1 << 16)
        size = ct.CDLL(None).vsnprintf(buffer, len(buffer), text, ct.c_void_p(arguments))
        heard.append(buffer.value.decode())
        return size

    library, callback = libbpf(), printer(hear)
    library.libbpf_set_print.restype = ct.c_void_p
    before = library.libbpf_set_print(callback)
    try:
        assert not libbpf_accepts("no such section")
    finally:
        library.libbpf_set_print(ct.c_void_p(before))
    return tuple(heard[-1].split(" are:")[1].split())


def test_every_section_of_the_installed_libbpf_is_in_the_table_as_libbpf_spells_it() -> None:
    assert len(libbpf_sections()) > 50
    assert set(libbpf_sections()) - set(SECTIONS) == set()


def test_no_section_and_no_kind_is_in_the_table_twice() -> None:
    kinds = [row.kind for row in PROGRAM_TYPES]
    assert len(set(SECTIONS)) == len(SECTIONS)
    assert len(set(kinds)) == len(kinds)


def test_sections_are_accepted_exactly_where_libbpf_accepts_them() -> None:
    newer = {section.rstrip("+") for section in set(SECTIONS) - set(libbpf_sections())}
    names = [section.rstrip("+") for section in libbpf_sections()]
    endings = ("", "/", "/x", "/x/y", "x", ".s", ".s/x", "+", " ")
    texts = [name + ending for name in names for ending in endings]
    for text in texts:
        if text in newer or text.partition("/")[0] in newer:
            continue
        try:
            accepted = bool(parse_section(text))
        except HookNotFoundError:
            accepted = False
        assert accepted == libbpf_accepts(text), text


@pytest.mark.parametrize(
    ("name", "kind", "target", "sleepable"),
    [
        ("tp/syscalls/sys_enter_openat", "tracepoint", "syscalls/sys_enter_openat", False),
        ("tracepoint/sched/sched_switch", "tracepoint", "sched/sched_switch", False),
        ("tp", "tracepoint", "", False),
        ("raw_tp/sys_enter", "raw_tracepoint", "sys_enter", False),
        ("raw_tp.w/nbd_send_request", "raw_tracepoint", "nbd_send_request", False),
        ("tp_btf/sched_switch", "tp_btf", "sched_switch", False),
        ("uprobe//bin/bash:readline", "uprobe", "/bin/bash:readline", False),
        ("uprobe.s/libc.so.6:malloc", "uprobe", "libc.so.6:malloc", True),
        ("uretprobe/libc.so.6:malloc", "uretprobe", "libc.so.6:malloc", False),
        ("iter.s/task", "iter", "task", True),
        ("syscall", "syscall", "", True),
        ("xdp/devmap", "xdp", "", False),
        ("cgroup/connect4", "cgroup_sock_addr", "", False),
    ],
)
def test_a_section_says_its_kind_and_target(name: str, kind: str, target: str, sleepable: bool) -> None:
    section = parse_section(name)
    assert (section.kind, section.target, section.sleepable) == (kind, target, sleepable)
    assert section.autoload
    assert not parse_section(f"?{name}").autoload
    assert parse_section(f"?{name}").target == target


def test_every_kind_has_a_way_to_run_or_says_what_to_do() -> None:
    for row in PROGRAM_TYPES:
        section = parse_section(row.sections[0].rstrip("+"))
        assert section.attachable == (section.reason == "")
        assert row.supported == (row.attach is not None)
        assert row.returns or row.verdicts, row.kind
    assert [row.kind for row in PROGRAM_TYPES if row.attach == "run"] == ["syscall"]
    assert "never attached" in parse_section("syscall").reason


def test_options_follow_a_target_after_commas() -> None:
    row = BY_KIND["perf_event"]
    assert parse_target(row, "cpu-clock, freq=99,pid=7") == Target("cpu-clock", {"freq": "99", "pid": "7"})
    assert str(parse_target(row, "cpu-clock,freq=99,pid=7")) == "cpu-clock,freq=99,pid=7"
    assert parse_target(row, "cpu-clock,pid=0x10").number("pid", -1) == 16
    assert parse_target(row, "cpu-clock,pid=-1").number("pid", 5) == -1
    assert parse_target(BY_KIND["uprobe"], "/a:f(int, char),pid=3").place == "/a:f(int, char)"
    with pytest.raises(AttachError, match="no option 'frq'") as caught:
        parse_target(row, "cpu-clock,frq=99")
    assert "freq" in str(caught.value.hint)
    with pytest.raises(AttachError, match="is not a number"):
        parse_target(row, "cpu-clock,pid=me").number("pid", -1)


def test_perf_events_have_the_numbers_of_the_kernel_s_header() -> None:
    text = Path("/usr/include/linux/perf_event.h").read_text()
    for name, kind, constant in (
        ("cpu-cycles", 0, "PERF_COUNT_HW_CPU_CYCLES"),
        ("ref-cycles", 0, "PERF_COUNT_HW_REF_CPU_CYCLES"),
        ("cpu-clock", 1, "PERF_COUNT_SW_CPU_CLOCK"),
        ("bpf-output", 1, "PERF_COUNT_SW_BPF_OUTPUT"),
    ):
        number = int(re.search(rf"{constant}\s*= (\d+)", text)[1])
        assert perf_event_target(name) == PerfEvent(kind, number)
    assert perf_event_target("raw:0x1c2") == PerfEvent(4, 0x1C2)
    with pytest.raises(AttachError) as caught:
        perf_event_target("cpu-clok")
    assert "cpu-clock" in str(caught.value.hint)


def test_the_events_of_a_type_are_listed_by_name() -> None:
    assert "cpu-cycles" in perf_event_names(0)
    assert "context-switches" in perf_event_names(1)
    for kind in (0, 1):
        assert all(perf_event_target(name).type == kind for name in perf_event_names(kind))


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("vfs_read", ("vfs_read", 0)),
        (" vfs_read+0x10 ", ("vfs_read", 16)),
        ("vfs_read+010", ("vfs_read", 8)),
        ("do_one.isra.0+4", ("do_one.isra.0", 4)),
        ("nf_conntrack:nf_conntrack_in", ("nf_conntrack:nf_conntrack_in", 0)),
    ],
)
def test_a_kprobe_target_is_a_function_and_an_offset(text: str, place: tuple[str, int]) -> None:
    assert kprobe_target(text) == place


@pytest.mark.parametrize(
    "text",
    [
        "",
        "vfs_read+",
        "vfs_read+ten",
        f"vfs_read+{1 << 64}",
        "vfs_read+" + "9" * 5000,
        "+4",
        "vfs read",
        "vfs_*",
        "a:b:c",
    ],
)
def test_another_kprobe_target_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(AttachError, match="does not name a function") as caught:
        kprobe_target(text)
    assert "vfs_read+0x10" in (caught.value.hint or "")


def test_a_kretprobe_takes_no_offset_into_its_function() -> None:
    with pytest.raises(AttachError, match="no offset") as caught:
        kprobe_target("vfs_read+4", returns=True)
    assert caught.value.hint == "write vfs_read"
    assert kprobe_target("vfs_read", returns=True) == ("vfs_read", 0)


def test_netfilter_hooks_go_by_the_kernel_s_and_by_iptables_names() -> None:
    assert netfilter_target("ipv4:local_in") == netfilter_target("IPv4:INPUT") == NetfilterHook(2, 1)
    assert netfilter_target("ipv6:post-routing") == NetfilterHook(10, 4)
    for text in ("", "local_in", "ipv4:", "ipx:local_in"):
        with pytest.raises(AttachError, match="no netfilter hook"):
            netfilter_target(text)


def test_a_usdt_target_has_three_parts() -> None:
    assert usdt_target("libc.so.6:libc:setjmp") == ("libc.so.6", "libc", "setjmp")
    for text in ("", "libc.so.6", "libc.so.6:setjmp", "a:b:c:d"):
        with pytest.raises(AttachError, match="USDT"):
            usdt_target(text)


def test_verdicts_have_the_names_of_the_kernel_s_headers() -> None:
    assert BY_KIND["xdp"].verdict(2) == "XDP_PASS"
    assert BY_KIND["tc"].verdict(0xFFFFFFFF) == BY_KIND["tc"].verdict(-1) == "TC_ACT_UNSPEC"
    assert BY_KIND["cgroup_device"].verdict(1) == "allow"
    assert BY_KIND["xdp"].verdict(99) == ""
    texts = "".join(Path(f"/usr/include/linux/{name}.h").read_text() for name in ("bpf", "pkt_cls", "netfilter"))
    named = [v for row in PROGRAM_TYPES for v in row.verdicts if v.name and not v.name.startswith("NETKIT")]
    unknown = {v.name for v in named if not re.search(rf"\b{v.name}\b", texts)}
    assert unknown <= {"BPF_FLOW_DISSECTOR_CONTINUE"}  # newer than Debian 12's headers


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("tpp/a/b", "tp"),
        ("traceponit/syscalls/sys_enter_openat", "tracepoint"),
        ("kprob/do_nanosleep", "kprobe"),
        ("cgroup/conect4", "cgroup/connect4"),
    ],
)
def test_an_unknown_section_offers_the_nearest_ones(name: str, nearest: str) -> None:
    with pytest.raises(HookNotFoundError) as caught:
        parse_section(name)
    assert caught.value.nearest[0] == nearest
    assert nearest in str(caught.value.hint)


def test_a_section_that_takes_no_target_says_so() -> None:
    with pytest.raises(HookNotFoundError, match="takes nothing after it"):
        parse_section("xdp/eth0")


def test_a_tracepoint_target_is_written_with_a_slash_or_a_colon() -> None:
    assert tracepoint_target("syscalls/sys_enter_openat") == ("syscalls", "sys_enter_openat")
    assert tracepoint_target(" sched:sched_switch ") == ("sched", "sched_switch")


@pytest.mark.parametrize("text", ["", "sys_enter_openat", "a/b/c", "a/", "/b", "a b/c"])
def test_another_tracepoint_target_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(AttachError, match="write category/event"):
        tracepoint_target(text)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("/bin/bash:readline", UprobeTarget("/bin/bash", "readline")),
        ("libc.so.6:malloc", UprobeTarget("libc.so.6", "malloc")),
        ("libc.so.6:malloc+16", UprobeTarget("libc.so.6", "malloc", 16)),
        ("libc.so.6:malloc+0x10", UprobeTarget("libc.so.6", "malloc", 16)),
        ("libc.so.6:malloc+020", UprobeTarget("libc.so.6", "malloc", 16)),
        ("libc.so.6:malloc+0", UprobeTarget("libc.so.6", "malloc", 0)),
        ("/opt/app:0x1234", UprobeTarget("/opt/app", None, 4660)),
        ("/opt/app:4660", UprobeTarget("/opt/app", None, 4660)),
        ("/opt/app:operator+", UprobeTarget("/opt/app", "operator+")),
        ("/opt/app:ns::call+x", UprobeTarget("/opt/app", "ns::call+x")),
        ("/opt/app:memcpy@GLIBC_2.14", UprobeTarget("/opt/app", "memcpy@GLIBC_2.14")),
    ],
)
def test_a_uprobe_target_names_a_place_in_a_binary(text: str, place: UprobeTarget) -> None:
    assert uprobe_target(text) == place


@pytest.mark.parametrize("text", ["", "/bin/bash", "/bin/bash:", ":readline", "/bin/bash:0xzz", "a:09", "a:1x"])
def test_another_uprobe_target_is_refused_with_a_hint(text: str) -> None:
    with pytest.raises(AttachError) as caught:
        uprobe_target(text)
    assert caught.value.hint


def test_a_uretprobe_takes_no_offset_into_its_function() -> None:
    assert uprobe_target("libc.so.6:malloc+0", returns=True) == UprobeTarget("libc.so.6", "malloc")
    with pytest.raises(AttachError, match="takes no offset"):
        uprobe_target("libc.so.6:malloc+4", returns=True)


@given(st.one_of(st.text(max_size=60), st.sampled_from(SECTIONS).map(lambda s: f"{s.rstrip('+')}/x:1+2")))
def test_any_text_is_understood_or_refused_with_an_error_of_ours(text: str) -> None:
    for parse in (parse_section, tracepoint_target, uprobe_target, usdt_target, perf_event_target, netfilter_target):
        with contextlib.suppress(EbpflabError):
            assert parse(text)
