"""The option netns=: programs attached in another network namespace than the notebook's."""

from __future__ import annotations

import ctypes
import os
import re
import signal
import subprocess
import threading
import time
from pathlib import Path

import cells
import netns as net
import pytest
from cells_network import CELLS
from holders import in_child

import ebpflab
from ebpflab.engines.attach.netns import in_netns, open_netns
from ebpflab.errors import AttachError, HookNotFoundError, PrivilegeError

PORT = 4242
_CAP_SYS_PTRACE, _CAP_SYS_ADMIN = 19, 21  # include/uapi/linux/capability.h


def here():
    return Path("/proc/thread-self/ns/net").stat().st_ino


def loopback(count):
    with net.udp_receiver("127.0.0.1", PORT) as receiver:
        net.send_udp(count, "127.0.0.1", PORT)
        return net.received(receiver, count)


@pytest.mark.parametrize(("cell", "target"), [
    pytest.param("xdp", "far0", marks=pytest.mark.hook("xdp")),
    pytest.param("tc", "far0", marks=pytest.mark.hook("tc")),
    pytest.param("tc", "far0,priority=7", marks=pytest.mark.hook("tc")),
    pytest.param("netfilter", "ipv4:local_in", marks=pytest.mark.hook("netfilter")),
])  # fmt: skip
def test_a_program_sees_the_packets_of_the_namespace_it_was_attached_in(wire, load, cell, target):
    verdict = 2 if cell == "xdp" else 1 if cell == "netfilter" else 0
    session = load(CELLS[cell], attach=False, vars={"port": PORT, "verdict": verdict})
    session.attach(target=target, netns=wire.far.path)
    assert here() == wire.near.inode
    assert f"netns={wire.far.path}" in session.links["target"][0]
    with wire.far_receiver(PORT) as receiver:
        wire.send(23, PORT)
        assert net.received(receiver, 23) == 23
        assert loopback(7) == 7  # in this namespace, which is none of its business
        assert session.vars["seen"] == 23
        session.detach()
        wire.send(3, PORT)
        assert net.received(receiver, 3) == 3
    assert session.vars["seen"] == 23
    with wire.far.inside():
        assert "clsact" not in net.tool("tc", "qdisc")
        assert "prog/xdp" not in net.tool("ip", "-d", "link")


def attached_dissectors():
    return re.findall(r"^id \d+", net.tool("bpftool", "net").partition("flow_dissector:")[2], re.MULTILINE)


@pytest.mark.hook("flow_dissector")
def test_the_flow_dissector_of_another_namespace_is_its_target(wire, load):
    session = load(CELLS["flow_dissector"], targets={"dissect": wire.far.path}, vars={"port": PORT})
    assert session.links["target"].tolist() == [wire.far.path]
    with wire.far.inside():
        assert len(attached_dissectors()) == 1
    assert attached_dissectors() == []


@pytest.mark.hook("xdp")
def test_a_process_stands_for_the_namespace_that_it_is_in(wire, load):
    with wire.far.inside():
        process = subprocess.Popen(["sleep", "600"])
    try:
        session = load(CELLS["xdp"], attach=False, vars={"port": PORT, "verdict": 2})
        session.attach(target=f"far0,netns={process.pid}")
        wire.send(5, PORT)
        assert cells.wait_until(lambda: session.vars["seen"] == 5, timeout=20)
    finally:
        process.kill()
        process.wait()
    with pytest.raises(HookNotFoundError, match=f"no process {process.pid}"):
        load(CELLS["xdp"], targets={"on_frame": f"far0,netns={process.pid}"})


def attach_in_blue():
    # Names are mounts: this process gets mounts of its own, and the machine's /run/netns is not touched.
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.unshare(0x20000) == 0, os.strerror(ctypes.get_errno())  # CLONE_NEWNS
    net.tool("mount", "--make-rprivate", "/")
    net.tool("mount", "-t", "tmpfs", "none", "/run")
    net.ip("netns add red", "netns add blue")
    for name in ("red", "blue"):
        net.tool("ip", "-n", name, "link", "set", "lo", "up")
    session = ebpflab.load(CELLS["xdp"], attach=False, vars={"port": PORT, "verdict": 2})
    session.attach("on_frame", target="lo,netns=blue")
    for name, count in (("blue", 13), ("red", 5)):
        with Path(f"/run/netns/{name}").open() as file, net.Namespace(file.fileno()).inside():
            assert loopback(count) == count
    with pytest.raises(HookNotFoundError) as caught:
        session.attach("on_frame", target="lo,netns=blu")
    return session.vars["seen"], caught.value.nearest, "xdpgeneric" in net.tool("ip", "-n", "blue", "link")


@pytest.mark.hook("xdp")
def test_a_namespace_may_be_given_by_its_name(netns):
    assert in_child(attach_in_blue) == [13, ["blue"], True]


@pytest.mark.hook("xdp")
@pytest.mark.parametrize(("text", "words"), [
    ("nowhere_such", "nowhere_such"),
    ("4000000000", "no process 4000000000"),
    ("/no/such/path", "/no/such/path"),
    ("/etc/passwd", "/etc/passwd is no network namespace"),
    ("/proc/self/ns/mnt", "/proc/self/ns/mnt is no network namespace"),
])  # fmt: skip
def test_what_is_no_namespace_is_refused(netns, load, text, words):
    with pytest.raises(HookNotFoundError, match=words):
        load(CELLS["xdp"], targets={"on_frame": f"lo,netns={text}"}, vars={"port": PORT})
    assert here() == netns.inode


@pytest.mark.hook("xdp")
def test_an_interface_of_this_namespace_only_is_missed_in_the_other(wire, load):
    with pytest.raises(HookNotFoundError, match="near0") as caught:
        load(CELLS["xdp"], targets={"on_frame": f"near0,netns={wire.far.path}"}, vars={"port": PORT})
    assert caught.value.nearest == ("far0",)


@pytest.mark.hook("xdp")
def test_an_interface_that_is_busy_in_the_other_namespace_says_so(wire, load):
    target = {"on_frame": f"far0,netns={wire.far.path}"}
    load(CELLS["xdp"], targets=target, vars={"port": PORT})
    with pytest.raises(AttachError, match="far0 already has an XDP program: on_frame"):
        load(CELLS["xdp"], targets=target, vars={"port": PORT})


def enter_without(capability, text):
    ours = int(re.search(r"^CapEff:\s*(\w+)", Path("/proc/self/status").read_text(), re.MULTILINE)[1], 16)
    cells.keep_only_capabilities(ours & ~(1 << capability))
    before = here()
    with pytest.raises(PrivilegeError) as caught, in_netns(text):
        pass
    assert here() == before
    return caught.value.cause


def test_entering_a_namespace_takes_a_capability_that_is_named(wire):
    assert "CAP_SYS_ADMIN" in in_child(lambda: enter_without(_CAP_SYS_ADMIN, f"/proc/self/fd/{wire.far.fd}"))


def test_the_namespace_of_a_process_takes_a_capability_that_is_named(netns):
    assert "CAP_SYS_PTRACE" in in_child(lambda: enter_without(_CAP_SYS_PTRACE, str(os.getppid())))


def test_the_thread_comes_back_also_after_an_error(wire):
    def fails():
        with in_netns(wire.far.path):
            raise ValueError(here())

    with pytest.raises(ValueError, match=f"^{wire.far.inode}$"):
        fails()
    assert here() == wire.near.inode


def test_an_interrupt_waits_until_the_thread_is_back(wire):
    reached = []

    def is_interrupted():
        with in_netns(wire.far.path):
            signal.raise_signal(signal.SIGINT)
            time.sleep(0.01)
            reached.append(here())

    with pytest.raises(KeyboardInterrupt):
        is_interrupted()
    assert reached == [wire.far.inode]
    assert here() == wire.near.inode


def test_other_threads_stay_where_they_are(wire):
    seen, go, done = [], threading.Event(), threading.Event()

    def look():
        go.wait(20)
        seen.append(here())
        done.set()

    thread = threading.Thread(target=look)
    thread.start()
    with in_netns(wire.far.path):
        go.set()
        assert done.wait(20)
    thread.join()
    assert seen == [wire.near.inode]


def test_no_namespace_and_the_own_one_change_nothing(netns):
    for text in (None, "self", str(os.getpid()), netns.path):
        with in_netns(text):
            assert here() == netns.inode
    fd = open_netns("self")
    assert os.fstat(fd).st_ino == netns.inode
    os.close(fd)


def descriptors():
    return sorted(path.name for path in Path("/proc/self/fd").iterdir())


def test_entering_leaves_no_descriptor_open(wire):
    before = descriptors()
    for _ in range(3):
        with in_netns(wire.far.path):
            pass
        with pytest.raises(HookNotFoundError), in_netns("/etc/passwd"):
            pass
    assert descriptors() == before
