"""Cells for programs that decide: LSM programs, replaced functions, a TCP congestion control.

And one for each section that the oldest supported libbpf does not know.
"""

from __future__ import annotations

# Grows its window as Reno does, and counts what it is asked.
_CONGESTION = """\
u64 begun = 0, ended = 0, grown = 0;

SEC("struct_ops/cc_init")
void BPF_PROG(cc_init, struct sock *sk)
{
	__sync_fetch_and_add(&begun, 1);
}

SEC("struct_ops/cc_release")
void BPF_PROG(cc_release, struct sock *sk)
{
	__sync_fetch_and_add(&ended, 1);
}

SEC("struct_ops/cc_ssthresh")
u32 BPF_PROG(cc_ssthresh, struct sock *sk)
{
	u32 half = ((struct tcp_sock *)sk)->snd_cwnd >> 1;

	return half > 2 ? half : 2;
}

SEC("struct_ops/cc_undo_cwnd")
u32 BPF_PROG(cc_undo_cwnd, struct sock *sk)
{
	return ((struct tcp_sock *)sk)->snd_cwnd;
}

SEC("struct_ops/cc_cong_avoid")
void BPF_PROG(cc_cong_avoid, struct sock *sk, u32 ack, u32 acked)
{
	struct tcp_sock *tp = (struct tcp_sock *)sk;

	__sync_fetch_and_add(&grown, 1);
	if (tp->snd_cwnd < tp->snd_ssthresh) {
		tp->snd_cwnd += acked;
	} else if (++tp->snd_cwnd_cnt >= tp->snd_cwnd) {
		tp->snd_cwnd_cnt = 0;
		tp->snd_cwnd++;
	}
}
"""
_CONGESTION_STRUCT = """\

SEC("SECTION")
struct tcp_congestion_ops NAME = {
	.init = (void *)cc_init,
	.release = (void *)cc_release,
	.ssthresh = (void *)cc_ssthresh,
	.undo_cwnd = (void *)cc_undo_cwnd,
	.cong_avoid = (void *)cc_cong_avoid,
	.name = "NAME",
};
"""


def _congestion(section: str, name: str = "ebpflab_cc") -> str:
    return _CONGESTION_STRUCT.replace("SECTION", section).replace("NAME", name)


# Of the struct that the kernel keeps for its own tests, where one member may sleep; it is loaded and never attached.
_DUMMY = """\
SEC("struct_ops.sSLASHED")
int BPF_PROG(sleeper, struct bpf_dummy_ops_state *state)
{
	return 0;
}

SEC(".struct_ops.link")
struct bpf_dummy_ops ebpflab_dummy = {
	.MEMBER = (void *)sleeper,
};
"""

_SLEEPS = "{ char first; return bpf_copy_from_user(&first, 1, (void *)PT_REGS_PARM1(ctx)) && 0; }"
_SOCK_ADDR = "(struct bpf_sock_addr *ctx) { return 1; }"

# A section that libbpf 1.1 does not know -> what follows the program's name.
UNKNOWN_SECTIONS = {
    "tc/ingress": "(struct __sk_buff *ctx) { return -1; }",
    "tcx/egress": "(struct __sk_buff *ctx) { return -1; }",
    "netkit/primary": "(struct __sk_buff *ctx) { return -1; }",
    "netkit/peer": "(struct __sk_buff *ctx) { return -1; }",
    "netfilter": "(struct bpf_nf_ctx *ctx) { return 1; }",
    "sk_skb/verdict": "(struct __sk_buff *ctx) { return 1; }",
    "cgroup/connect_unix": _SOCK_ADDR,
    "cgroup/sendmsg_unix": _SOCK_ADDR,
    "cgroup/recvmsg_unix": _SOCK_ADDR,
    "cgroup/getpeername_unix": _SOCK_ADDR,
    "cgroup/getsockname_unix": _SOCK_ADDR,
    "kprobe.session/vfs_read": "(struct pt_regs *ctx) { return 0; }",
    "uprobe.multi/libc.so.6:malloc": "(struct pt_regs *ctx) { return 0; }",
    "uprobe.multi.s/libc.so.6:malloc": f"(struct pt_regs *ctx) {_SLEEPS}",
    "uretprobe.multi.s/libc.so.6:malloc": f"(struct pt_regs *ctx) {_SLEEPS}",
    "uprobe.session.s/libc.so.6:malloc": f"(struct pt_regs *ctx) {_SLEEPS}",
    "fsession/vfs_read": "(void *ctx) { return 0; }",
    "fsession.s/bpf_fentry_test1": "(void *ctx) { return 0; }",
}

CELLS = {
    # Refuses one file and one port to one process, counts what it refused, and lets everything else be.
    "lsm": """\
const volatile u32 only = 0, device = 0;
const volatile u64 secret = 0, harmless = 0;
const volatile u16 closed_port = 0;
u64 refused = 0, allowed = 0, unconnected = 0;

SEC("lsm/file_open")
int BPF_PROG(guard, struct file *file)
{
	u64 inode = file->f_inode->i_ino;

	if (bpf_get_current_pid_tgid() >> 32 != only || file->f_inode->i_sb->s_dev != device)
		return 0;
	if (inode == harmless)
		__sync_fetch_and_add(&allowed, 1);
	if (inode != secret)
		return 0;
	__sync_fetch_and_add(&refused, 1);
	return -1; /* -EPERM */
}

SEC("lsm/socket_connect")
int BPF_PROG(hold, struct socket *sock, struct sockaddr *address, int length)
{
	struct sockaddr_in *in = (void *)address;

	if (bpf_get_current_pid_tgid() >> 32 != only || address->sa_family != 2 /* AF_INET */)
		return 0;
	if (BPF_CORE_READ(in, sin_port) != bpf_htons(closed_port))
		return 0;
	__sync_fetch_and_add(&unconnected, 1);
	return -13; /* -EACCES */
}
""",
    "lsm_sleepable": """\
const volatile u32 only = 0, device = 0;
const volatile u64 secret = 0;
u64 seen = 0;
char path[256];

SEC("lsm.s/file_open")
int BPF_PROG(spell, struct file *file)
{
	if (bpf_get_current_pid_tgid() >> 32 != only || file->f_inode->i_sb->s_dev != device ||
		file->f_inode->i_ino != secret)
		return 0;
	bpf_d_path(&file->f_path, path, sizeof(path));
	__sync_fetch_and_add(&seen, 1);
	return 0;
}
""",
    "lsm_misspelt": 'SEC("lsm/file_opne") int BPF_PROG(guard, struct file *file) { return 0; }\n',
    # A packet filter that asks a function of its own; `extra` keeps clang from working the answer out beforehand.
    "filter": """\
volatile u32 extra = 0;

__attribute__((noinline)) int decide(struct xdp_md *ctx)
{
	return extra + (ctx->data_end - ctx->data > 65535 ? 1 : 2);
}

static __attribute__((noinline)) int measure(struct xdp_md *ctx)
{
	return ctx->data_end - ctx->data + extra;
}

SEC("xdp")
int ebpflab_filter(struct xdp_md *ctx)
{
	return measure(ctx) < 0 ? 0 : decide(ctx);
}
""",
    # Takes the place of `decide`: drops UDP packets to one port.
    "replacement": """\
const volatile u16 closed_port = 0;
u64 dropped = 0, passed = 0;

SEC("freplace/decide")
int stricter(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	struct iphdr *ip = (void *)(eth + 1);
	struct udphdr *udp = (void *)(ip + 1);

	if ((void *)(udp + 1) > end || eth->h_proto != bpf_htons(0x0800) || ip->protocol != 17 ||
			udp->dest != bpf_htons(closed_port)) {
		__sync_fetch_and_add(&passed, 1);
		return 2; /* XDP_PASS */
	}
	__sync_fetch_and_add(&dropped, 1);
	return 1; /* XDP_DROP */
}
""",
    "replacement_of_anything": 'SEC("freplace") int always(struct xdp_md *ctx) { return 4; }\n',
    "congestion": _CONGESTION + _congestion(".struct_ops"),
    "congestion_link": _CONGESTION + _congestion(".struct_ops.link"),
    "congestion_both": _CONGESTION + _congestion(".struct_ops") + _congestion(".struct_ops.link", "ebpflab_second"),
    "sleeper": _DUMMY.replace("SLASHED", "/anything").replace("MEMBER", "test_sleepable"),
    "sleeper_unnamed": _DUMMY.replace("SLASHED", "").replace("MEMBER", "test_sleepable"),
    "sleeper_where_none_may": _DUMMY.replace("SLASHED", "").replace("MEMBER", "test_1"),
    **{section: f'SEC("{section}") int program{rest}\n' for section, rest in UNKNOWN_SECTIONS.items()},
}
