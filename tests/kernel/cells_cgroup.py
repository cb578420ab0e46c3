"""Cells for programs of cgroups.

They count what happens in the cgroup that they are attached to, and refuse it when `deny` is set.
"""

from __future__ import annotations

# A packet begins at its IPv4 header here: 20 bytes without options, then UDP's ports.
_UDP = """\
const volatile u16 port = 0;
u32 deny = 0, length = 0;
u64 came = 0, went = 0;
static int look(struct __sk_buff *skb, u64 *count)
{
	u16 to = 0;
	if (bpf_skb_load_bytes(skb, 22, &to, sizeof(to)) || bpf_ntohs(to) != port)
		return 1;
	__sync_fetch_and_add(count, 1);
	length = skb->len;
	return !deny;
}
"""

# One program for IPv4 and one for IPv6 of each hook; see_HOOK() is what both do.
_BOTH = """\
#define BOTH(hook) \\
	SEC("cgroup/" #hook "4") int hook##4(struct bpf_sock_addr *ctx) { return see_##hook(ctx, 4); } \\
	SEC("cgroup/" #hook "6") int hook##6(struct bpf_sock_addr *ctx) { return see_##hook(ctx, 6); }
const volatile u16 port = 0, real = 0;
static bool asked(struct bpf_sock_addr *ctx)
{
	return ctx->user_port == bpf_htons(port);
}
/* The documentation's addresses lead nowhere, so that who arrives was sent elsewhere. */
static void loopback(struct bpf_sock_addr *ctx, int version)
{
	if (version == 4) {
		ctx->user_ip4 = bpf_htonl(0x7f000001);
	} else {
		ctx->user_ip6[0] = ctx->user_ip6[1] = ctx->user_ip6[2] = 0;
		ctx->user_ip6[3] = bpf_htonl(1);
	}
	ctx->user_port = bpf_htons(real);
}
"""

CELLS = {
    "skb": _UDP
    + """\
SEC("cgroup_skb/ingress") int on_ingress(struct __sk_buff *skb) { return look(skb, &came); }
SEC("cgroup_skb/egress") int on_egress(struct __sk_buff *skb) { return look(skb, &went); }
""",
    "skb_either": _UDP
    + """\
SEC("cgroup/skb") int on_packet(struct __sk_buff *skb) { return look(skb, &came); }
""",
    "sock": """\
u32 deny = 0, type = 0, family = 0, protocol = 0;
u64 created = 0, released = 0;
SEC("cgroup/sock_create") int on_create(struct bpf_sock *ctx)
{
	__sync_fetch_and_add(&created, 1);
	family = ctx->family;
	type = ctx->type;
	protocol = ctx->protocol;
	return !deny;
}
SEC("cgroup/sock_release") int on_release(struct bpf_sock *ctx)
{
	__sync_fetch_and_add(&released, 1);
	return 1;
}
""",
    "post_bind": """\
u32 deny = 0, port4 = 0, port6 = 0, address4 = 0, address6 = 0;
u64 bound4 = 0, bound6 = 0;
SEC("cgroup/post_bind4") int on_bind4(struct bpf_sock *ctx)
{
	__sync_fetch_and_add(&bound4, 1);
	port4 = ctx->src_port;
	address4 = bpf_ntohl(ctx->src_ip4);
	return !deny;
}
SEC("cgroup/post_bind6") int on_bind6(struct bpf_sock *ctx)
{
	__sync_fetch_and_add(&bound6, 1);
	port6 = ctx->src_port;
	address6 = bpf_ntohl(ctx->src_ip6[3]);
	return !deny;
}
""",
    "bind": _BOTH
    + """\
u32 deny = 0, address = 0, kind = 0;
u64 seen4 = 0, seen6 = 0;
static int see_bind(struct bpf_sock_addr *ctx, int version)
{
	__sync_fetch_and_add(version == 4 ? &seen4 : &seen6, 1);
	address = bpf_ntohl(version == 4 ? ctx->user_ip4 : ctx->user_ip6[3]);
	kind = ctx->type;
	return !(deny && asked(ctx));
}
BOTH(bind)
""",
    "connect": _BOTH
    + """\
u32 deny = 0;
u64 seen4 = 0, seen6 = 0, peers4 = 0, peers6 = 0;
static int see_connect(struct bpf_sock_addr *ctx, int version)
{
	if (!asked(ctx))
		return 1;
	__sync_fetch_and_add(version == 4 ? &seen4 : &seen6, 1);
	if (deny)
		return 0;
	loopback(ctx, version);
	return 1;
}
static int see_getpeername(struct bpf_sock_addr *ctx, int version)
{
	__sync_fetch_and_add(version == 4 ? &peers4 : &peers6, 1);
	if (ctx->user_port == bpf_htons(real))
		ctx->user_port = bpf_htons(port);
	return 1;
}
BOTH(connect)
BOTH(getpeername)
""",
    "datagrams": _BOTH
    + """\
u32 deny = 0;
u64 sent4 = 0, sent6 = 0, got4 = 0, got6 = 0;
static int see_sendmsg(struct bpf_sock_addr *ctx, int version)
{
	if (!asked(ctx))
		return 1;
	__sync_fetch_and_add(version == 4 ? &sent4 : &sent6, 1);
	if (deny)
		return 0;
	loopback(ctx, version);
	return 1;
}
/* Whoever receives is told another port of the sender. */
static int see_recvmsg(struct bpf_sock_addr *ctx, int version)
{
	__sync_fetch_and_add(version == 4 ? &got4 : &got6, 1);
	ctx->user_port = bpf_htons(port);
	return 1;
}
BOTH(sendmsg)
BOTH(recvmsg)
""",
    "getsockname": _BOTH
    + """\
u64 seen4 = 0, seen6 = 0;
static int see_getsockname(struct bpf_sock_addr *ctx, int version)
{
	__sync_fetch_and_add(version == 4 ? &seen4 : &seen6, 1);
	if (ctx->user_port == bpf_htons(real))
		ctx->user_port = bpf_htons(port);
	return 1;
}
BOTH(getsockname)
""",
    "unix": """\
extern int bpf_sock_addr_set_sun_path(struct bpf_sock_addr_kern *, const u8 *path, u32 path__sz) __ksym;
extern void *bpf_cast_to_kern_ctx(void *) __ksym;
u32 deny = 0, family = 0;
u64 connected = 0, sent = 0, received = 0, peers = 0, names = 0;
const u8 other[] = {0, 'o', 't', 'h', 'e', 'r'}; /* an abstract address */
SEC("cgroup/connect_unix") int on_connect(struct bpf_sock_addr *ctx)
{
	u8 path[sizeof(other)];
	__sync_fetch_and_add(&connected, 1);
	family = ctx->family;
	if (deny)
		return 0;
	__builtin_memcpy(path, other, sizeof(path));
	return !bpf_sock_addr_set_sun_path(bpf_cast_to_kern_ctx(ctx), path, sizeof(path));
}
SEC("cgroup/sendmsg_unix") int on_sendmsg(struct bpf_sock_addr *ctx)
{
	__sync_fetch_and_add(&sent, 1);
	return !deny;
}
SEC("cgroup/recvmsg_unix") int on_recvmsg(struct bpf_sock_addr *ctx)
{
	__sync_fetch_and_add(&received, 1);
	return 1;
}
SEC("cgroup/getpeername_unix") int on_getpeername(struct bpf_sock_addr *ctx)
{
	__sync_fetch_and_add(&peers, 1);
	return 1;
}
SEC("cgroup/getsockname_unix") int on_getsockname(struct bpf_sock_addr *ctx)
{
	__sync_fetch_and_add(&names, 1);
	return 1;
}
""",
    "sysctl": """\
u32 deny = 0;
u64 reads = 0, writes = 0;
char name[40] = "", old[16] = "", wanted[16] = "";
SEC("cgroup/sysctl") int on_sysctl(struct bpf_sysctl *ctx)
{
	bpf_sysctl_get_name(ctx, name, sizeof(name), 0);
	bpf_sysctl_get_current_value(ctx, old, sizeof(old));
	if (ctx->write) {
		__sync_fetch_and_add(&writes, 1);
		bpf_sysctl_get_new_value(ctx, wanted, sizeof(wanted));
	} else {
		__sync_fetch_and_add(&reads, 1);
	}
	return !deny;
}
""",
    # SOL_SOCKET is 1, SO_PRIORITY 12 (include/uapi/asm-generic/socket.h, but for alpha, mips, parisc and sparc).
    "sockopt": """\
u32 deny = 0, disguise = 0, wanted = 0;
s32 length = 0, before = 0;
u64 reads = 0, writes = 0;
static s32 *priority(struct bpf_sockopt *ctx)
{
	s32 *value = ctx->optval;
	if (ctx->level != 1 || ctx->optname != 12 || value + 1 > (s32 *)ctx->optval_end)
		return NULL;
	return value;
}
SEC("cgroup/getsockopt") int on_get(struct bpf_sockopt *ctx)
{
	s32 *value = priority(ctx);
	if (!value)
		return 1;
	__sync_fetch_and_add(&reads, 1);
	before = *value;
	if (disguise) {
		*value = disguise;
		ctx->retval = 0;
	}
	return !deny;
}
SEC("cgroup/setsockopt") int on_set(struct bpf_sockopt *ctx)
{
	s32 *value = priority(ctx);
	if (!value)
		return 1;
	__sync_fetch_and_add(&writes, 1);
	wanted = *value;
	length = ctx->optlen;
	return !deny;
}
""",
    # BPF_DEVCG_DEV_CHAR is 2, BPF_DEVCG_ACC_MKNOD, _READ and _WRITE are 1, 2 and 4; they are not in BTF.
    "device": """\
const volatile u32 major = 0, minor = 0;
u32 deny = 0;
u64 made = 0, opened_to_read = 0, opened_to_write = 0;
SEC("cgroup/dev") int on_device(struct bpf_cgroup_dev_ctx *ctx)
{
	u32 access = ctx->access_type >> 16;
	if ((ctx->access_type & 0xffff) != 2 || ctx->major != major || ctx->minor != minor)
		return 1;
	if (access & 1)
		__sync_fetch_and_add(&made, 1);
	if (access & 2)
		__sync_fetch_and_add(&opened_to_read, 1);
	if (access & 4)
		__sync_fetch_and_add(&opened_to_write, 1);
	return !deny;
}
""",
    "sockops": """\
const volatile u32 port = 0;
u64 active = 0, passive = 0, closed = 0;
u32 local_port = 0, remote_port = 0;
int priority = 5;
SEC("sockops") int on_event(struct bpf_sock_ops *ctx)
{
	switch (ctx->op) {
	case BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB:
		if (bpf_ntohl(ctx->remote_port) != port)
			break;
		__sync_fetch_and_add(&active, 1);
		local_port = ctx->local_port;
		remote_port = bpf_ntohl(ctx->remote_port);
		bpf_setsockopt(ctx, 1, 12, &priority, sizeof(priority));
		bpf_sock_ops_cb_flags_set(ctx, BPF_SOCK_OPS_STATE_CB_FLAG);
		break;
	case BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB:
		if (ctx->local_port == port)
			__sync_fetch_and_add(&passive, 1);
		break;
	case BPF_SOCK_OPS_STATE_CB:
		if (ctx->args[1] == BPF_TCP_CLOSE)
			__sync_fetch_and_add(&closed, 1);
		break;
	}
	return 1;
}
""",
    "lsm": """\
u32 deny = 0, port = 0;
u64 seen = 0;
SEC("lsm_cgroup/socket_bind")
int BPF_PROG(on_bind, struct socket *sock, struct sockaddr *address, int length)
{
	struct sockaddr_in *in = (struct sockaddr_in *)address;
	__sync_fetch_and_add(&seen, 1);
	port = bpf_ntohs(in->sin_port);
	return !deny;
}
""",
}
