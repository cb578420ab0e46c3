"""Programs of BCC's dialect at interfaces, sockets and cgroups: each counts exactly what the test itself sent."""

from __future__ import annotations

import socket
from pathlib import Path

import cells
import netns as net
import pytest
from bcc_attached import CALLS, LATER, MINE, PORT, bcc, cell, counts, function  # noqa: F401 (bcc is a fixture)
from sockmaps import exactly, pair, put

# Packets

UDP = "if (skb->len < 42) return OK; u16 port = 0; bpf_skb_load_bytes(skb, 36, &port, 2); "
UDP += "if (port == bpf_htons(PORT)) seen.increment(WHICH); return OK;"


@pytest.mark.hook("xdp")
def test_xdp_counts_and_drops_what_comes_in(load, wire):
    text = cell(
        "int on_packet(struct xdp_md *ctx) { void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;"
        " struct ethhdr *eth = data; struct iphdr *ip = (void *)(eth + 1); struct udphdr *udp = (void *)(ip + 1);"
        " if ((void *)(udp + 1) > end || ip->protocol != IPPROTO_UDP) return XDP_PASS;"
        " if (udp->dest == bpf_htons(PORT)) { seen.increment(0); return XDP_DROP; } return XDP_PASS; }"
    )
    session = load(text, targets={"on_packet": f"xdp:{wire.near_interface}"})
    with wire.near_receiver(PORT) as dropped, wire.near_receiver(PORT + 1) as kept:
        wire.send_back(CALLS, PORT)
        wire.send_back(7, PORT + 1)
        assert net.received(kept, 7) == 7
        assert cells.wait_until(lambda: counts(session) == CALLS)
        session.detach()
        wire.send_back(5, PORT)
        assert net.received(dropped, 5) == 5
    assert counts(session) == CALLS


@pytest.mark.hook("tc")
@pytest.mark.parametrize("kind", ["tc", "sched_cls", "classifier", ""])
def test_tc_programs_count_in_both_directions(load, wire, kind):
    body = "{ " + UDP.replace("OK", "TC_ACT_OK") + " }"
    text = cell(
        f"int going(struct __sk_buff *skb) {body.replace('WHICH', '0')}",
        f"int coming(struct __sk_buff *skb) {body.replace('WHICH', '1')}",
    )
    place = f"{kind}:{wire.near_interface}" if kind else wire.near_interface
    session = load(text, targets={"going": f"{place},direction=egress", "coming": place})
    assert session.programs["type"].tolist() == ["tc"] * 2
    with wire.far_receiver(PORT) as far, wire.near_receiver(PORT) as near:
        wire.send(CALLS, PORT)
        wire.send_back(LATER, PORT)
        assert (net.received(far, CALLS), net.received(near, LATER)) == (CALLS, LATER)
    assert counts(session, 2) == (CALLS, LATER)


@pytest.mark.hook("socket_filter")
def test_a_filter_lets_through_what_it_says(load, netns):
    text = cell("int filter(struct __sk_buff *skb) { if (skb->len % 2) { seen.increment(0); return 0; } return -1; }")
    with net.udp_receiver("127.0.0.1", PORT) as receiver:
        session = load(text, targets={"filter": f"socket_filter:fd:{receiver.fileno()}"})
        for number in range(2 * LATER):
            net.send_udp(1, "127.0.0.1", PORT, bytes(10 + number % 2))
        assert net.received(receiver, LATER) == LATER
        assert counts(session) == LATER
        session.detach()
        net.send_udp(3, "127.0.0.1", PORT, bytes(11))
        assert net.received(receiver, 3) == 3


# Cgroups and sockets

CGROUP = """
int packets(struct __sk_buff *skb) {
    u16 port = 0; bpf_skb_load_bytes(skb, 22, &port, 2);
    if (port == bpf_htons(PORT)) seen.increment(0);
    return 1;
}
int makes(struct bpf_sock *sk) { if (sk->type == SOCK_DGRAM) seen.increment(1); return 1; }
int connects(struct bpf_sock_addr *addr) {
    if (addr->user_port == bpf_htons(PORT)) { seen.increment(2); return 0; }
    return 1;
}
int reads(struct bpf_sysctl *ctl) { seen.increment(3); return 1; }
int sets(struct bpf_sockopt *opt) { if (opt->optname == 12) seen.increment(4); return 1; }
int opens(struct bpf_cgroup_dev_ctx *dev) {
    if (dev->major == 1 && dev->minor == 5) seen.increment(5);
    return 1;
}
int events(struct bpf_sock_ops *ops) {
    if (ops->op == BPF_SOCK_OPS_TCP_CONNECT_CB) seen.increment(6);
    return 1;
}
"""


@pytest.mark.hook("cgroup_sockopt")
def test_every_kind_of_program_of_a_cgroup_counts_what_is_done_inside(load, netns, group):
    kinds = {
        "packets": "cgroup_skb/egress",
        "makes": "cgroup_sock",
        "connects": "cgroup/connect4",
        "reads": "cgroup_sysctl",
        "sets": "cgroup/setsockopt",
        "opens": "cgroup_device",
        "events": "sock_ops",
    }
    session = load(cell(CGROUP), targets={name: f"{each}:{group.path}" for name, each in kinds.items()})
    assert session.links["target"].str.startswith(str(group.path)).all()
    assert len(session.links) == 7

    def inside():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for _ in range(11):
                sender.sendto(b"", ("127.0.0.1", PORT))
            for _ in range(13):
                sender.setsockopt(socket.SOL_SOCKET, socket.SO_PRIORITY, 3)
        for _ in range(5):
            with socket.socket() as client, pytest.raises(PermissionError):
                client.connect(("127.0.0.1", PORT))
        for _ in range(3):
            with socket.socket() as client:
                client.connect(server.getsockname())
        for _ in range(17):
            Path("/dev/zero").open("rb").close()
        for _ in range(7):
            Path("/proc/sys/kernel/ostype").read_text()

    with socket.create_server(("127.0.0.1", 0)) as server:
        with group.inside():
            inside()
        inside_counts = counts(session, 7)
        # What is read to its end is read twice.
        assert inside_counts == (11, 1, 5, 14, 13, 17, 3)
        for _ in range(7):
            Path("/dev/zero").open("rb").close()
    assert counts(session, 7) == inside_counts


@pytest.mark.hook("sk_msg")
def test_messages_of_sockets_in_a_map_are_counted(load):
    text = "BPF_ARRAY(seen, u64, 8);\nBPF_SOCKMAP(sockets, 8);\n"
    text += "int on_message(struct sk_msg_md *msg) { seen.increment(0); return SK_PASS; }\n"
    session = load(text, targets={"on_message": "sk_msg:sockets"})
    with pair() as (client, server):
        put(session, "sockets", 0, client)
        for _ in range(CALLS):
            client.sendall(b"message")
        assert exactly(server, 7 * CALLS) == b"message" * CALLS
        assert counts(session) == CALLS


@pytest.mark.hook("sk_lookup")
def test_lookups_of_listeners_are_counted(load, netns):
    text = cell(
        "int on_lookup(struct bpf_sk_lookup *ctx) { if (ctx->local_port == PORT) seen.increment(0); return SK_PASS; }"
    )
    session = load(text, targets={"on_lookup": "sk_lookup:self"})
    with socket.create_server(("127.0.0.1", PORT)) as server:
        for _ in range(13):
            socket.create_connection(server.getsockname()).close()
    assert counts(session) == 13


def test_a_kind_without_a_place_is_loaded_and_attached_later(load, group):
    text = cell("int on(struct bpf_sock_addr *ctx) { seen.increment(0); return 1; }")
    session = load(text, targets={"on": "cgroup/bind4"})
    assert (session.state, session.programs["section"].tolist()) == ("loaded", ["cgroup/bind4"])
    session.attach("on", target=str(group.path))
    with group.inside():
        for _ in range(13):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
                bound.bind(("127.0.0.1", 0))
    assert counts(session) == 13
