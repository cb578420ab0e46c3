"""LSM programs that refuse, functions of a program replaced by others, and sections that libbpf is too old for."""

from __future__ import annotations

import ctypes
import functools
import os
import re
import socket
import struct
import subprocess
from pathlib import Path

import cells
import forked
import netns as net
import pytest
from cells_control import CELLS, UNKNOWN_SECTIONS

import ebpflab
from ebpflab.engines.attach import control
from ebpflab.errors import AttachError, HookNotFoundError, KernelSupportError, PrivilegeError
from ebpflab.program_types import ATTACH_TYPES

PORT, OTHER_PORT = 4243, 4253
CAP_NET_ADMIN, CAP_PERFMON, CAP_BPF = 12, 38, 39  # include/uapi/linux/capability.h
TYPES = Path("/sys/kernel/btf/vmlinux")
XDP_PASS, XDP_REDIRECT = 2, 4
ON_EVERY_KERNEL = ("tc/ingress", "tc/egress", "sk_skb/verdict")
FRAME = bytes(12) + b"\x08\x00" + bytes(50)

# include/uapi/linux/bpf.h: what the program of each section is for.
ENUMERATORS = {
    "netfilter": "BPF_NETFILTER",
    "sk_skb/verdict": "BPF_SK_SKB_VERDICT",
    "tc/ingress": "BPF_TCX_INGRESS",
    "tc/egress": "BPF_TCX_EGRESS",
    "tcx/ingress": "BPF_TCX_INGRESS",
    "tcx/egress": "BPF_TCX_EGRESS",
    "uprobe.multi": "BPF_TRACE_UPROBE_MULTI",
    "uprobe.multi.s": "BPF_TRACE_UPROBE_MULTI",
    "uretprobe.multi": "BPF_TRACE_UPROBE_MULTI",
    "uretprobe.multi.s": "BPF_TRACE_UPROBE_MULTI",
    "cgroup/connect_unix": "BPF_CGROUP_UNIX_CONNECT",
    "cgroup/sendmsg_unix": "BPF_CGROUP_UNIX_SENDMSG",
    "cgroup/recvmsg_unix": "BPF_CGROUP_UNIX_RECVMSG",
    "cgroup/getpeername_unix": "BPF_CGROUP_UNIX_GETPEERNAME",
    "cgroup/getsockname_unix": "BPF_CGROUP_UNIX_GETSOCKNAME",
    "netkit/primary": "BPF_NETKIT_PRIMARY",
    "netkit/peer": "BPF_NETKIT_PEER",
    "kprobe.session": "BPF_TRACE_KPROBE_SESSION",
    "uprobe.session": "BPF_TRACE_UPROBE_SESSION",
    "uprobe.session.s": "BPF_TRACE_UPROBE_SESSION",
    "fsession": "BPF_TRACE_FSESSION",
    "fsession.s": "BPF_TRACE_FSESSION",
}


def links(session):
    return [(link.program, link.hook, link.target) for link in session._links]


class Secret:
    """A file in memory, which no filesystem in between opens once more."""

    def __init__(self):
        self.fd = os.memfd_create("ebpflab_secret")
        self.path = f"/proc/self/fd/{self.fd}"
        made = os.fstat(self.fd)
        # Numbers of inodes are unique on one device only, whose number the kernel writes in another way.
        self.inode, self.device = made.st_ino, os.major(made.st_dev) << 20 | os.minor(made.st_dev)

    def open(self, times=1):
        """Open it; returns how often that was refused."""
        refused = 0
        for _ in range(times):
            try:
                os.close(os.open(self.path, os.O_RDONLY))
            except PermissionError:
                refused += 1
        return refused


def guarding(secret, process, **more):
    """Values for the cell that refuses a file to a process."""
    return {"only": process, "device": secret.device, "secret": secret.inode, **more}


@pytest.fixture
def secret():
    made = Secret()
    yield made
    os.close(made.fd)


@pytest.fixture
def harmless():
    made = Secret()
    yield made
    os.close(made.fd)


@pytest.mark.hook("lsm")
def test_an_lsm_program_refuses_exactly_the_17_opens_of_one_file_to_one_process(load, secret, harmless):
    session = load(CELLS["lsm"], vars=guarding(secret, os.getpid(), harmless=harmless.inode))
    assert links(session) == [("guard", "lsm", "file_open"), ("hold", "lsm", "socket_connect")]
    assert secret.open(17) == 17
    assert harmless.open(13) == 0
    # Another process is none of the program's business.
    there = f"/proc/{os.getpid()}/fd/{secret.fd}"
    assert subprocess.run(["cat", there], check=False, capture_output=True, timeout=60).returncode == 0
    assert (session.vars["refused"], session.vars["allowed"]) == (17, 13)
    session.detach()
    assert secret.open(3) == 0
    assert session.vars["refused"] == 17


@pytest.mark.hook("lsm")
def test_an_lsm_program_refuses_connections_to_one_port(load, netns):
    with socket.create_server(("127.0.0.1", PORT)), socket.create_server(("127.0.0.1", OTHER_PORT)):
        session = load(CELLS["lsm"], vars={"only": os.getpid(), "closed_port": PORT})
        for _ in range(11):
            with pytest.raises(PermissionError), socket.create_connection(("127.0.0.1", PORT), timeout=30):
                pass
        for _ in range(5):
            socket.create_connection(("127.0.0.1", OTHER_PORT), timeout=30).close()
        assert session.vars["unconnected"] == 11
        session.close()
        socket.create_connection(("127.0.0.1", PORT), timeout=30).close()


@pytest.mark.hook("lsm")
def test_an_lsm_program_that_may_sleep_reads_the_path_of_a_file(load, secret):
    if b"\0bpf_lsm_is_sleepable_hook\0" not in TYPES.read_bytes():
        pytest.skip("not in this kernel: LSM programs that may sleep")
    session = load(CELLS["lsm_sleepable"], vars=guarding(secret, os.getpid()))
    assert secret.open(7) == 0
    assert session.vars["seen"] == 7
    assert session.vars["path"] == str(Path(secret.path).readlink())
    session.detach()
    secret.open(3)
    assert session.vars["seen"] == 7


@pytest.mark.hook("lsm")
def test_a_killed_process_refuses_nothing_any_more(secret):
    constants = guarding(secret, os.getpid())
    with forked.holding(lambda: ebpflab.load(CELLS["lsm"], vars=constants)):
        assert secret.open(3) == 3
    assert cells.wait_until(lambda: secret.open() == 0, timeout=30)


@pytest.mark.hook("lsm")
def test_a_misspelt_lsm_hook_gets_the_nearest_one():
    with pytest.raises(HookNotFoundError) as error:
        ebpflab.load(CELLS["lsm_misspelt"])
    assert error.value.nearest[0] == "file_open"


@pytest.mark.hook("lsm")
def test_an_lsm_program_stays_at_the_hook_that_it_was_verified_for(load):
    session = load(CELLS["lsm"], attach=False, targets={"guard": "file_ioctl"})
    with pytest.raises(AttachError, match="verified for file_ioctl and cannot move to file_open"):
        session.attach("guard", target="file_open")
    session.attach("guard")
    assert links(session) == [("guard", "lsm", "file_ioctl")]


@pytest.mark.hook("lsm")
def test_where_the_list_of_lsms_cannot_be_read_the_link_says_so(secret):
    def look(tell):
        hide("/sys/kernel/security")
        with ebpflab.load(CELLS["lsm"], vars=guarding(secret, os.getpid())) as session:
            assert secret.open(3) == 3
            tell(session._links[0].target)

    assert forked.told(look) == "file_open, if the bpf LSM is active"


def hide(mounted):
    """Take a filesystem away from this process only."""
    library = ctypes.CDLL(None, use_errno=True)
    assert library.unshare(0x00020000) == 0  # CLONE_NEWNS
    assert library.mount(b"none", b"/", None, 0x4000 | 0x40000, None) == 0  # MS_REC | MS_PRIVATE
    assert library.umount2(mounted.encode(), 2) == 0  # MNT_DETACH


def test_an_inactive_bpf_lsm_is_an_error_that_tells_what_to_boot_with():
    # What Debian 11 starts with.
    with pytest.raises(KernelSupportError, match="not active") as error:
        control.lsm_state(("lockdown", "capability", "yama", "apparmor"))
    assert error.value.hint == "boot with lsm=lockdown,yama,apparmor,bpf on the kernel command line"
    assert control.lsm_state(("capability", "bpf")) == ""


@pytest.fixture
def filter_session(load):
    return load(CELLS["filter"], attach=False)


@pytest.mark.hook("freplace")
def test_a_replaced_function_drops_exactly_23_packets_of_a_running_filter(load, netns):
    load(CELLS["filter"], targets={"ebpflab_filter": "lo"})
    with net.udp_receiver("127.0.0.1", PORT) as closed, net.udp_receiver("127.0.0.1", OTHER_PORT) as open_:
        net.send_udp(3, "127.0.0.1", PORT)
        assert net.received(closed, 3) == 3
        stricter = load(CELLS["replacement"], targets={"stricter": "ebpflab_filter"}, vars={"closed_port": PORT})
        assert links(stricter) == [("stricter", "freplace", "ebpflab_filter:decide")]
        net.send_udp(23, "127.0.0.1", PORT)
        net.send_udp(13, "127.0.0.1", OTHER_PORT)
        assert net.received(open_, 13) == 13
        assert net.received(closed, 0) == 0
        assert (stricter.vars["dropped"], stricter.vars["passed"]) == (23, 13)
        stricter.detach()
        net.send_udp(7, "127.0.0.1", PORT)
        assert net.received(closed, 7) == 7
        assert stricter.vars["dropped"] == 23


@pytest.mark.hook("freplace")
def test_a_function_is_named_in_the_target_and_a_program_by_its_number(load, filter_session):
    number = next(iter(filter_session._handle.programs())).id
    session = load(CELLS["replacement_of_anything"], targets={"always": f"{number}:decide"})
    assert links(session) == [("always", "freplace", "ebpflab_filter:decide")]
    assert filter_session.test_run(data=FRAME)["retval"] == XDP_REDIRECT
    session.close()
    assert filter_session.test_run(data=FRAME)["retval"] == XDP_PASS


@pytest.mark.hook("freplace")
def test_a_whole_program_can_be_replaced_by_its_name(load, filter_session):
    load(CELLS["replacement_of_anything"], targets={"always": "ebpflab_filter:ebpflab_filter"})
    assert filter_session.test_run(data=FRAME)["retval"] == XDP_REDIRECT


@pytest.mark.hook("freplace")
def test_a_replacement_follows_a_program_that_was_loaded_anew(load, filter_session):
    session = load(CELLS["replacement_of_anything"], targets={"always": "ebpflab_filter:decide"})
    session.detach()
    filter_session.close()
    anew = load(CELLS["filter"], attach=False)
    session.attach()
    assert anew.test_run(data=FRAME)["retval"] == XDP_REDIRECT


@pytest.mark.hook("freplace")
def test_one_of_several_programs_of_a_name_has_to_be_told_by_its_number(load, filter_session):
    second = load(CELLS["filter"], attach=False)
    numbers = sorted(p.id for s in (filter_session, second) for p in s._handle.programs())
    words = f"2 programs are called 'ebpflab_filter': {numbers[0]}, {numbers[1]}"
    with pytest.raises(AttachError, match=words) as error:
        load(CELLS["replacement"], targets={"stricter": "ebpflab_filter"})
    assert "by its id" in error.value.hint


@pytest.mark.hook("freplace")
@pytest.mark.parametrize(
    ("target", "kind", "words"),
    [
        ("ebpflab_filtre:decide", HookNotFoundError, ["no program is called 'ebpflab_filtre'", "ebpflab_filter"]),
        ("4294967295:decide", HookNotFoundError, ["no program has the id 4294967295"]),
        ("ebpflab_filter:decid", HookNotFoundError, ["has no function 'decid'", "did you mean decide?"]),
        ("ebpflab_filter", AttachError, ["which function", "is not said", "ebpflab_filter, decide"]),
        ("ebpflab_filter:measure", AttachError, ["measure", "is static", "without static"]),
    ],
)
def test_a_target_that_cannot_be_replaced_is_refused_with_what_can(load, filter_session, target, kind, words):
    with pytest.raises(kind) as error:
        load(CELLS["replacement_of_anything"], targets={"always": target})
    assert type(error.value) is kind
    for word in words:
        assert word in str(error.value)
    assert filter_session.test_run(data=FRAME)["retval"] == XDP_PASS


@pytest.mark.hook("freplace")
def test_a_program_without_types_cannot_be_changed(load):
    # r0 = 0; exit, as a socket filter without BTF.
    library = ctypes.CDLL("libbpf.so.1")
    code = ctypes.create_string_buffer(bytes.fromhex("b7000000000000009500000000000000"))
    fd = library.bpf_prog_load(1, b"ebpflab_bare", b"GPL", code, ctypes.c_size_t(2), None)
    assert fd >= 0
    try:
        with pytest.raises(AttachError, match=r"\(ebpflab_bare\) carries no BTF"):
            load(CELLS["replacement"], targets={"stricter": "ebpflab_bare"})
    finally:
        os.close(fd)


@pytest.mark.hook("freplace")
def test_a_function_is_replaced_by_one_program_at_a_time(load, filter_session):
    load(CELLS["replacement_of_anything"], targets={"always": "ebpflab_filter:decide"})
    with pytest.raises(AttachError, match="ebpflab_filter:decide is busy"):
        load(CELLS["replacement"], targets={"stricter": "ebpflab_filter"})
    assert filter_session.test_run(data=FRAME)["retval"] == XDP_REDIRECT


@pytest.mark.hook("freplace")
def test_replacing_without_a_target_asks_for_one(load):
    with pytest.raises(AttachError, match="does not say where to attach") as error:
        load(CELLS["replacement"], attach=False)
    assert "PROGRAM[:FUNCTION]" in error.value.hint


@pytest.mark.hook("freplace")
def test_looking_for_a_program_takes_a_capability_which_is_named(filter_session):
    def complain(tell):
        cells.keep_only_capabilities(1 << CAP_BPF | 1 << CAP_PERFMON | 1 << CAP_NET_ADMIN)
        with pytest.raises(PrivilegeError) as error:
            ebpflab.load(CELLS["replacement"], targets={"stricter": "ebpflab_filter"})
        tell(error.value.cause)

    assert forked.told(complain).startswith("the process lacks CAP_SYS_ADMIN")


@functools.cache
def attach_types():
    """The kernel's enum bpf_attach_type, straight from its types."""
    data = TYPES.read_bytes()
    # struct btf_header, and struct btf_enum: the name's place among the strings, and the value (linux/btf.h).
    _, _, _, header, types, _, strings, _ = struct.unpack_from("=HBBIIIII", data)
    start = header + strings
    first, second = (
        data.index(f"\0{name}\0".encode(), start) + 1 - start
        for name in ("BPF_CGROUP_INET_INGRESS", "BPF_CGROUP_INET_EGRESS")
    )
    at, found = data.index(struct.pack("=IiIi", first, 0, second, 1), header + types), {}
    while "__MAX_BPF_ATTACH_TYPE" not in found:
        name, value = struct.unpack_from("=Ii", data, at)
        found[data[start + name : data.index(b"\0", start + name)].decode()] = value
        at += 8
    return found


def test_attach_types_have_the_numbers_of_the_running_kernel():
    assert set(ATTACH_TYPES) == set(ENUMERATORS)
    here = attach_types()
    assert here["BPF_TRACE_FENTRY"] == 24  # on every kernel that has it
    expected = {section: here[name] for section, name in ENUMERATORS.items() if name in here}
    assert {section: ATTACH_TYPES[section] for section in expected} == expected


@pytest.mark.parametrize("section", UNKNOWN_SECTIONS)
def test_a_section_that_libbpf_is_too_old_for_is_loaded_as_what_it_is(load, section):
    name = ENUMERATORS[section if section in ENUMERATORS else section.partition("/")[0]]
    if section not in ON_EVERY_KERNEL and name not in attach_types():
        pytest.skip(f"not in this kernel: {name} is unknown to this kernel")
    session = load(CELLS[section], attach=False)
    (program,) = session._handle.programs()
    kept = Path(f"/proc/self/fdinfo/{program.fd}").read_text()
    kinds = {"tc": 3, "tcx": 3, "netkit": 3, "netfilter": 32, "sk_skb": 14, "cgroup": 18, "kprobe.session": 2}
    expected = kinds.get(section.partition("/")[0], 26 if section.startswith("fsession") else 2)
    assert re.search(r"^prog_type:\s*(\d+)$", kept, re.MULTILINE)[1] == str(expected)
