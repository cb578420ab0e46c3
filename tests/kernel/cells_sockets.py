"""Cells for programs of sockets. Their sockets are put into maps by the tests."""

from __future__ import annotations

_SOCKETS = """\
struct { __uint(type, BPF_MAP_TYPE_SOCKMAP); __uint(max_entries, 7);
	__type(key, u32); __type(value, u64); } sockets SEC(".maps");
"""

CELLS = {
    # On a packet socket the packet begins at its Ethernet header: 14 bytes, then 20 of IPv4, then UDP's ports.
    "interface": """\
const volatile u16 port = 0;
u64 seen = 0, outgoing = 0;
u32 length = 0, protocol = 0, interface = 0;
SEC("socket") int on_packet(struct __sk_buff *skb)
{
	u16 to = 0;
	if (bpf_skb_load_bytes(skb, 36, &to, sizeof(to)) || bpf_ntohs(to) != port)
		return 0;
	__sync_fetch_and_add(skb->pkt_type == 4 ? &outgoing : &seen, 1); /* PACKET_OUTGOING */
	length = skb->len;
	protocol = bpf_ntohs(skb->protocol);
	interface = skb->ifindex;
	return skb->len;
}
""",
    # On a UDP socket it begins at UDP's header: the ports, the length, the checksum, and then the data.
    "filter": """\
u64 seen = 0;
u32 length = 0;
SEC("socket") int on_packet(struct __sk_buff *skb)
{
	u8 first = 0;
	__sync_fetch_and_add(&seen, 1);
	length = skb->len;
	bpf_skb_load_bytes(skb, 8, &first, sizeof(first));
	return first == 'n' ? 0 : first == 's' ? 8 + 2 : skb->len; /* no; short; whole */
}
""",
    # The first byte after UDP's header says which socket of the group receives the datagram: '0' or '1'.
    "reuseport": """\
struct { __uint(type, BPF_MAP_TYPE_REUSEPORT_SOCKARRAY); __uint(max_entries, 2);
	__type(key, u32); __type(value, u64); } members SEC(".maps");
u64 seen = 0, dropped = 0;
u32 length = 0, protocol = 0;
SEC("sk_reuseport") int on_packet(struct sk_reuseport_md *ctx)
{
	u32 chosen;
	u8 first = 0;
	__sync_fetch_and_add(&seen, 1);
	length = ctx->len;
	protocol = ctx->ip_protocol;
	bpf_skb_load_bytes(ctx, 8, &first, sizeof(first));
	chosen = first - '0';
	if (!bpf_sk_select_reuseport(ctx, &members, &chosen, 0))
		return SK_PASS;
	__sync_fetch_and_add(&dropped, 1);
	return SK_DROP;
}
""",
    # Every connection is the first listener's, until that is closed: then it migrates to the second.
    "migrate": """\
struct { __uint(type, BPF_MAP_TYPE_REUSEPORT_SOCKARRAY); __uint(max_entries, 2);
	__type(key, u32); __type(value, u64); } members SEC(".maps");
u64 chosen = 0, migrated = 0;
SEC("sk_reuseport/migrate") int on_connection(struct sk_reuseport_md *ctx)
{
	u32 key = ctx->migrating_sk ? 1 : 0;
	__sync_fetch_and_add(key ? &migrated : &chosen, 1);
	return bpf_sk_select_reuseport(ctx, &members, &key, 0) ? SK_DROP : SK_PASS;
}
""",
    "lookup": _SOCKETS
    + """\
const volatile u32 first = 0, last = 0;
u64 seen = 0;
u32 local_port = 0, remote_port = 0, protocol = 0, deny = 0;
SEC("sk_lookup") int on_lookup(struct bpf_sk_lookup *ctx)
{
	struct bpf_sock *sk;
	u32 zero = 0;
	long status;
	if (ctx->local_port < first || ctx->local_port > last)
		return SK_PASS;
	__sync_fetch_and_add(&seen, 1);
	local_port = ctx->local_port;
	remote_port = bpf_ntohs(ctx->remote_port);
	protocol = ctx->protocol;
	if (deny)
		return SK_DROP;
	sk = bpf_map_lookup_elem(&sockets, &zero);
	if (!sk)
		return SK_PASS;
	status = bpf_sk_assign(ctx, sk, 0);
	bpf_sk_release(sk);
	return status ? SK_DROP : SK_PASS;
}
""",
    "msg": _SOCKETS
    + """\
u64 messages = 0, bytes = 0;
u32 remote_port = 0, local_port = 0, deny = 0;
SEC("sk_msg") int on_message(struct sk_msg_md *msg)
{
	__sync_fetch_and_add(&messages, 1);
	__sync_fetch_and_add(&bytes, msg->size);
	remote_port = bpf_ntohl(msg->remote_port);
	local_port = msg->local_port;
	return deny ? SK_DROP : SK_PASS;
}
""",
    # What the socket at 0 sends arrives at the socket at 1, as if its peer had sent it.
    "msg_redirect": _SOCKETS
    + """\
u64 messages = 0;
SEC("sk_msg") int on_message(struct sk_msg_md *msg)
{
	__sync_fetch_and_add(&messages, 1);
	return bpf_msg_redirect_map(msg, &sockets, 1, BPF_F_INGRESS);
}
""",
    # Messages of ten bytes, in however many pieces they come.
    "stream": _SOCKETS
    + """\
u64 seen = 0, bytes = 0;
u32 local_port = 0, remote_port = 0, deny = 0;
SEC("sk_skb/stream_parser") int on_piece(struct __sk_buff *skb)
{
	return 10;
}
SEC("sk_skb/stream_verdict") int on_message(struct __sk_buff *skb)
{
	__sync_fetch_and_add(&seen, 1);
	__sync_fetch_and_add(&bytes, skb->len);
	local_port = skb->local_port;
	remote_port = bpf_ntohl(skb->remote_port);
	return deny ? SK_DROP : SK_PASS;
}
""",
    # What the socket at 0 receives is sent on by the socket at 1.
    "stream_redirect": _SOCKETS
    + """\
u64 bytes = 0;
SEC("sk_skb/stream_verdict") int on_data(struct __sk_buff *skb)
{
	__sync_fetch_and_add(&bytes, skb->len);
	return bpf_sk_redirect_map(skb, &sockets, 1, 0);
}
""",
    "verdict": _SOCKETS
    + """\
u64 bytes = 0;
u32 deny = 0;
SEC("sk_skb/verdict") int on_data(struct __sk_buff *skb)
{
	__sync_fetch_and_add(&bytes, skb->len);
	return deny ? SK_DROP : SK_PASS;
}
""",
    # A sockops program of a cgroup puts connections to a port into the hash; sk_msg then counts what they send.
    "sockops_msg": """\
struct { __uint(type, BPF_MAP_TYPE_SOCKHASH); __uint(max_entries, 101);
	__type(key, u32); __type(value, u64); } connections SEC(".maps");
const volatile u32 port = 0;
u64 established = 0, messages = 0;
SEC("sockops") int on_event(struct bpf_sock_ops *ctx)
{
	u32 key = ctx->local_port;
	if (ctx->op == BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB && bpf_ntohl(ctx->remote_port) == port) {
		__sync_fetch_and_add(&established, 1);
		bpf_sock_hash_update(ctx, &connections, &key, BPF_ANY);
	}
	return 1;
}
SEC("sk_msg") int on_message(struct sk_msg_md *msg)
{
	__sync_fetch_and_add(&messages, 1);
	return SK_PASS;
}
""",
    "two_maps": """\
struct { __uint(type, BPF_MAP_TYPE_SOCKMAP); __uint(max_entries, 1); __type(key, u32); __type(value, u64); }
	clients SEC(".maps"), servers SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, u32); __type(value, u64); }
	numbers SEC(".maps");
u64 seen = 0;
SEC("sk_msg") int on_message(struct sk_msg_md *msg)
{
	u32 zero = 0;
	__sync_fetch_and_add(&seen, 1);
	bpf_map_lookup_elem(&numbers, &zero);
	return SK_PASS;
}
""",
    "two_programs": _SOCKETS
    + """\
SEC("sk_msg") int first(struct sk_msg_md *msg) { return SK_PASS; }
SEC("sk_msg") int second(struct sk_msg_md *msg) { return SK_PASS; }
""",
}
