"""Every template: attached where a reader would attach it, and its rows seen for events that the test causes."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import netns as net
import pytest
from cells import wait_until
from cells_templates import CELLS

import ebpflab
from ebpflab.program_types import PROGRAM_TYPES

PORT, BLOCKED = 4231, 4241
N = 7


def template(kind):
    return ebpflab.context(kind).template()


def rows(session, at_least, timeout=30):
    """Wait for so many rows; returns how many came."""
    events = session.streams["events"]
    wait_until(lambda: events.stats()["received"] >= at_least, timeout)
    assert session.vars["errors"] == 0
    return events.stats()["received"]


def test_every_kind_has_a_template_of_two_functions_and_a_first_line_that_asks_a_question():
    assert set(CELLS) == {row.kind for row in PROGRAM_TYPES}
    for kind, text in CELLS.items():
        assert "\nstatic int try_" in text, kind
        assert text.startswith("// "), kind
        assert max(len(line.expandtabs(8)) for line in text.splitlines()) <= 115, kind


def look_up():
    socket.getaddrinfo("127.0.0.1", None, flags=0)


def start_program():
    subprocess.run(["/bin/true"], check=True)


def make_and_remove(folder):
    (folder / "made").mkdir()
    (folder / "made").rmdir()


def open_and_remove(folder):
    (folder / "opened").touch()
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.unlink("opened", dir_fd=descriptor)
    finally:
        os.close(descriptor)


# What causes events of a kind, and how many rows each time gives.
TRACING = {
    "tracepoint": (open_and_remove, 1),
    "raw_tracepoint": (lambda _: start_program(), 1),
    "tp_btf": (lambda _: start_program(), 1),
    "kprobe": (open_and_remove, 1),
    "kretprobe": (open_and_remove, 1),
    "kprobe.multi": (make_and_remove, 2),
    "kprobe.session": (make_and_remove, 4),
    "ksyscall": (open_and_remove, 1),
    "uprobe": (lambda _: look_up(), 1),
    "uretprobe": (lambda _: look_up(), 1),
    "uprobe.multi": (lambda _: look_up(), 1),
    "uprobe.session": (lambda _: look_up(), 2),
    "fentry": (open_and_remove, 1),
    "fexit": (open_and_remove, 1),
    "fsession": (open_and_remove, 2),
}
# What stands in a column of text, in a row for each event.
TEXTS = {
    **dict.fromkeys(("tracepoint", "kprobe", "ksyscall", "fentry", "fexit", "fsession"), ("path", "opened")),
    "raw_tracepoint": ("path", "/bin/true"),
    "tp_btf": ("comm", "python"),
}


def marked(kinds):
    return [pytest.param(kind, marks=pytest.mark.hook(kind)) for kind in kinds]


@pytest.mark.parametrize("kind", marked(TRACING))
def test_a_template_of_a_tracing_kind_shows_what_happens(load, tmp_path, kind):
    cause, each = TRACING[kind]
    session = load(template(kind))
    for _ in range(N):
        cause(tmp_path)
    # Other processes may do the same meanwhile.
    assert rows(session, N * each) >= N * each
    if kind in TEXTS:
        column, text = TEXTS[kind]
        frame = session.events.df()
        read = frame[column if column in frame else "name"].astype(str)
        assert read.str.contains(text, regex=False).sum() >= N, read.tolist()
    session.detach()
    seen = rows(session, 0)
    cause(tmp_path)
    time.sleep(0.1)
    assert rows(session, 0) == seen


@pytest.mark.hook("usdt")
def test_the_template_of_static_probes_shows_collections_of_a_python_process(load):
    # It collects while it starts as well, so it says when it is ready.
    collect = f"import gc; gc.disable(); input('ready\\n'); [gc.collect(n % 3) for n in range({N})]; input()"
    command = ["/usr/bin/python3", "-c", collect]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"ready\n"
        target = f"/usr/bin/python3:python:gc__start,pid={other.pid}"
        session = load(template("usdt"), targets={"on_collection": target})
        other.stdin.write(b"\n")
        other.stdin.flush()
        assert rows(session, N) == N
        other.communicate(b"\n", timeout=60)


@pytest.mark.parametrize("kind", marked(["fmod_ret", "lsm"]))
def test_a_template_that_refuses_opens_of_one_name_refuses_no_other(load, tmp_path, kind):
    secret, other = tmp_path / "ebpflab-secret", tmp_path / "ebpflab-secrets"
    secret.touch()
    other.touch()
    session = load(template(kind))
    for _ in range(N):
        with pytest.raises(PermissionError):
            secret.read_bytes()
        other.read_bytes()
    assert rows(session, N) == N
    session.detach()
    secret.read_bytes()


@pytest.mark.hook("perf_event")
def test_the_template_of_perf_events_samples_a_busy_cpu(load):
    session = load(template("perf_event"), targets={"on_sample": f"cpu-clock,freq=99,pid={os.getpid()}"})
    began = time.process_time()
    while time.process_time() - began < 0.5:
        pass
    assert rows(session, 10) >= 10


@pytest.mark.hook("iter")
def test_the_template_of_iterators_lists_this_process(load):
    session = load(template("iter"))
    head, *lines = session.iterate().splitlines()
    assert head.split() == ["pid", "tgid", "state", "comm"]
    assert str(os.getpid()) in {line.split()[1] for line in lines}


@pytest.mark.hook("syscall")
def test_the_template_of_syscall_programs_answers_a_request(load):
    session = load(template("syscall"))
    for number in range(N):
        result = session.test_run("on_request", ctx=struct.pack("<IIQ", 17, number, 0))
        assert struct.unpack("<IIQ", result.ctx_out)[2] == 17 + number
    assert session.streams["events"].wait(N, timeout=20)


def send_in(wire, port, count=N):
    """Packets that come in at near0."""
    with wire.far.inside():
        net.send_udp(count, wire.near_address, port)


def send_out(wire, port, count=N):
    wire.send(count, port)


@pytest.mark.parametrize(
    ("kind", "target", "send"),
    [
        pytest.param("xdp", "near0", send_in, marks=pytest.mark.hook("xdp")),
        pytest.param("tc", "near0", send_out, marks=pytest.mark.hook("tc")),
        pytest.param("lwt_out", "10.77.0.2/32 dev near0", send_out, marks=pytest.mark.hook("lwt_out")),
        pytest.param("lwt_xmit", "10.77.0.2/32 dev near0", send_out, marks=pytest.mark.hook("lwt_xmit")),
    ],
)
def test_a_template_for_packets_shows_each_and_drops_those_to_the_blocked_port(wire, load, kind, target, send):
    session = load(template(kind), targets={"on_packet": target}, vars={"blocked": BLOCKED})
    with ExitStack() as stack:
        if send is send_in:
            wanted, unwanted = (stack.enter_context(net.udp_receiver(wire.near_address, p)) for p in (PORT, BLOCKED))
        else:
            wanted, unwanted = (stack.enter_context(wire.far_receiver(p)) for p in (PORT, BLOCKED))
        send(wire, PORT)
        try:
            send(wire, BLOCKED)
        except PermissionError:
            assert kind.startswith("lwt")  # a route that drops says so to the sender
        assert net.received(wanted, N) == N
        assert net.received(unwanted, 0) == 0
    assert rows(session, N + 1) >= N + 1
    assert session.links["target"].iloc[0].startswith(target)


@pytest.mark.hook("lwt_in")
def test_the_template_of_incoming_routes_shows_what_arrives(wire, load):
    session = load(template("lwt_in"), targets={"on_packet": "local 10.99.0.1 dev near0"})
    with wire.far.inside():
        net.ip(f"route add 10.99.0.1 via {wire.near_address} dev far0")
    with net.udp_receiver("10.99.0.1", PORT) as receiver:
        with wire.far.inside():
            net.send_udp(N, "10.99.0.1", PORT)
        assert net.received(receiver, N) == N
    assert rows(session, N) == N


@pytest.mark.hook("lwt_seg6local")
def test_the_template_of_segments_shows_packets_with_a_segment_of_ours(wire, load):
    session = load(template("lwt_seg6local"), targets={"on_packet": "fd88::/64 dev near0"})
    Path("/proc/sys/net/ipv6/conf/all/forwarding").write_text("1")
    for name in ("all", "near0"):
        Path(f"/proc/sys/net/ipv6/conf/{name}/seg6_enabled").write_text("1")
    net.ip("address add fd66::1/128 dev lo nodad")
    with wire.far.inside():
        net.ip(
            "route add fd88::/64 via fd77::1 dev far0",
            "route add fd66::/64 encap seg6 mode inline segs fd88::1 dev far0 via fd77::1",
        )
        net.send_udp(N, "fd66::1", PORT)
    assert rows(session, N) == N


@pytest.mark.parametrize(
    ("kind", "target"),
    [
        pytest.param("socket_filter", "near0", marks=pytest.mark.hook("socket_filter")),
        pytest.param("netfilter", "ipv4:local_in", marks=pytest.mark.hook("netfilter")),
    ],
)
def test_a_template_that_watches_packets_shows_each_and_lets_it_pass(wire, load, kind, target):
    session = load(template(kind), targets={"on_packet": target})
    with net.udp_receiver(wire.near_address, PORT) as receiver:
        send_in(wire, PORT)
        assert net.received(receiver, N) == N
    assert rows(session, N) == N


@pytest.mark.hook("netkit")
def test_the_template_of_netkit_shows_packets_that_enter_the_device(netns, load):
    # ip(8) as of 6.1 knows the kind but none of its options, so the names are those that the kernel chooses.
    net.ip("link add type netkit", "link set nk1 up", "link set nk0 up", "address add 10.55.0.1/24 dev nk1")
    session = load(template("netkit"), targets={"on_packet": "nk1"})
    net.send_udp(N, "10.55.0.2", PORT)
    assert rows(session, N) == N
    session.close()


@pytest.mark.hook("flow_dissector")
def test_the_template_of_flow_dissectors_fills_in_keys_that_the_kernel_takes(netns, load):
    session = load(template("flow_dissector"), attach=False)
    frame = b"\x02" * 12 + b"\x08\x00" + struct.pack(
        "!BBHHHBBH4s4sHHHH", 0x45, 0, 36, 1, 0, 64, 17, 0, bytes([10, 0, 0, 1]), bytes([10, 0, 0, 2]), 4000, PORT, 16, 0
    )  # fmt: skip
    for _ in range(N):
        result = session.test_run("on_flow", data=frame.ljust(64, b"\0"))
        # What comes back are the keys, struct bpf_flow_keys: nhoff, thoff, addr_proto, ... (The kernel's own view of
        # the verdict changed: before Linux 6.1 it hands back 1 for BPF_OK and 0 for anything else.)
        assert result.data_out[:6] == struct.pack("<HHH", 14, 34, 0x0800)
    assert rows(session, N) == N
    session.attach()
    assert session.links["hook"].tolist() == ["flow_dissector"]


@pytest.mark.hook("sk_lookup")
def test_the_template_of_socket_lookup_shows_each_connection(netns, load):
    session = load(template("sk_lookup"))
    with socket.create_server(("127.0.0.1", PORT)) as server:
        for _ in range(N):
            with socket.create_connection(("127.0.0.1", PORT), timeout=20):
                server.accept()[0].close()
    assert rows(session, N) == N


@pytest.mark.hook("sk_reuseport")
def test_the_template_of_reuseport_shows_each_choice_and_leaves_it_to_the_kernel(netns, load):
    with ExitStack() as stack:
        members = []
        for _ in range(2):
            member = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            member.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            member.settimeout(20)
            member.bind(("127.0.0.1", PORT))
            members.append(member)
        session = load(template("sk_reuseport"), attach=False)
        session.attach("on_choice", target=members[0])
        net.send_udp(N, "127.0.0.1", PORT)
        assert rows(session, N) == N
        session.close()


@pytest.mark.parametrize("kind", marked(["sk_msg", "sk_skb"]))
def test_a_template_for_streams_shows_what_a_connected_socket_sends_or_receives(netns, group, load, kind):
    session = load(template(kind), targets={"on_connected": str(group.path)})
    with ExitStack() as stack:
        server = stack.enter_context(socket.create_server(("127.0.0.1", PORT)))
        stack.enter_context(group.inside())
        client = stack.enter_context(socket.create_connection(("127.0.0.1", PORT), timeout=20))
        other = stack.enter_context(server.accept()[0])
        sender, receiver = (client, other) if kind == "sk_msg" else (other, client)
        receiver.settimeout(20)
        for _ in range(N):
            sender.sendall(b"prime")
            assert receiver.recv(5, socket.MSG_WAITALL) == b"prime"
        assert rows(session, N) == N
        session.close()


@pytest.mark.hook("sockops")
def test_the_template_of_socket_operations_shows_both_ends_of_each_connection(netns, group, load):
    session = load(template("sockops"), targets={"on_event": str(group.path)})
    with group.inside(), socket.create_server(("127.0.0.1", PORT)) as server:
        for _ in range(N):
            with socket.create_connection(("127.0.0.1", PORT), timeout=20):
                server.accept()[0].close()
    assert rows(session, 2 * N) == 2 * N
    session.close()


def open_sockets():
    for _ in range(N):
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM).close()


def send_from_a_group():
    net.send_udp(N, "127.0.0.1", PORT)


def connect_refused():
    for port, refused in [(BLOCKED, True)] * 3 + [(PORT, False)] * 4:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
            if refused:
                with pytest.raises(PermissionError):
                    one.connect(("127.0.0.1", port))
            else:
                one.connect(("127.0.0.1", port))


def read_settings():
    for _ in range(N):
        setting = os.open("/proc/sys/kernel/ostype", os.O_RDONLY)
        os.read(setting, 64)  # the end of the file would be a second access
        os.close(setting)


def set_options():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        for _ in range(N):
            one.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)


def open_devices():
    for _ in range(3):
        with pytest.raises(PermissionError):
            os.open("/dev/full", os.O_RDONLY)
    for _ in range(4):
        os.close(os.open("/dev/zero", os.O_RDONLY))


CGROUPS = {
    "cgroup_skb": ("on_packet", send_from_a_group),
    "cgroup_sock": ("on_socket", open_sockets),
    "cgroup_sock_addr": ("on_connect", connect_refused),
    "cgroup_sysctl": ("on_access", read_settings),
    "cgroup_sockopt": ("on_option", set_options),
    "cgroup_device": ("on_device", open_devices),
}


@pytest.mark.parametrize("kind", marked(CGROUPS))
def test_a_template_for_cgroups_shows_and_refuses_what_its_processes_do(netns, group, load, kind):
    program, cause = CGROUPS[kind]
    constants = {"refused": BLOCKED} if kind == "cgroup_sock_addr" else None
    session = load(template(kind), targets={program: str(group.path)}, vars=constants)
    with group.inside():
        cause()
    assert rows(session, N) == N
    session.close()


@pytest.mark.hook("lsm_cgroup")
def test_the_template_of_lsm_in_cgroups_refuses_one_port(netns, group, load):
    session = load(template("lsm_cgroup"), targets={"on_bind": str(group.path)})
    with group.inside(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        for _ in range(N - 1):
            with pytest.raises(PermissionError):
                one.bind(("127.0.0.1", 4242))
        one.bind(("127.0.0.1", 4243))
    assert rows(session, N) == N
    session.close()


@pytest.mark.hook("freplace")
def test_the_template_of_replacements_changes_a_program_that_is_running(wire, load):
    first = load(template("xdp"), targets={"on_packet": "near0"}, vars={"blocked": BLOCKED})
    with net.udp_receiver(wire.near_address, BLOCKED) as receiver:
        send_in(wire, BLOCKED)
        assert rows(first, N) == N
        assert net.received(receiver, 0) == 0
        second = load(template("freplace"), targets={"no_drop": "on_packet"})
        send_in(wire, BLOCKED)
        assert net.received(receiver, N) == N
        assert second.vars["seen"] >= N
        second.close()


@pytest.mark.hook("struct_ops")
def test_the_template_of_struct_ops_is_a_congestion_control_that_connections_use(netns, load):
    available = Path("/proc/sys/net/ipv4/tcp_available_congestion_control")
    session = load(template("struct_ops"))
    assert "ebpflab_cc" in available.read_text().split()
    data = bytes(300_000)
    with socket.create_server(("127.0.0.1", PORT)) as server:
        for _ in range(N):
            with socket.socket() as client:
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"ebpflab_cc")
                client.settimeout(20)
                client.connect(("127.0.0.1", PORT))
                other, _ = server.accept()
                with other:
                    sender = threading.Thread(target=client.sendall, args=(data,))
                    sender.start()
                    assert len(other.recv(len(data), socket.MSG_WAITALL)) == len(data)
                    sender.join()
    assert rows(session, N) >= N
    session.close()
    assert "ebpflab_cc" not in available.read_text().split()


@pytest.mark.hook("lirc_mode2")
def test_the_template_of_infrared_receivers_is_attached_to_one(load):
    devices = sorted(str(path) for path in Path("/dev").glob("lirc*"))
    if not devices:
        pytest.skip("this machine has no infrared receiver")
    session = load(template("lirc_mode2"), targets={"on_sample": devices[0]})
    assert session.links[["hook", "target"]].to_numpy().tolist() == [["lirc_mode2", devices[0]]]
