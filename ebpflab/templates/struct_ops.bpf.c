// A TCP congestion control of one's own: after this cell it is in net.ipv4.tcp_available_congestion_control.
// A socket takes it by setsockopt(IPPROTO_TCP, TCP_CONGESTION, "ebpflab_cc"). It grows the window as Reno does.
// Programs of a struct_ops map are attached together, by the map.

enum step { STARTED, LOST };

struct event {
	ktime_t time;
	enum step step;
	u32 window; /* packets that may be under way */
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__type(value, struct event);
} events SEC(".maps");

u64 errors = 0;

static int try_tell(struct sock *sk, enum step step)
{
	struct event *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);

	if (!e)
		return -ENOSPC;
	e->time = bpf_ktime_get_ns();
	e->step = step;
	e->window = ((struct tcp_sock *)sk)->snd_cwnd;
	bpf_ringbuf_submit(e, 0);
	return 0;
}

SEC("struct_ops/on_start")
void BPF_PROG(on_start, struct sock *sk)
{
	if (try_tell(sk, STARTED))
		__sync_fetch_and_add(&errors, 1);
}

SEC("struct_ops/on_loss")
u32 BPF_PROG(on_loss, struct sock *sk)
{
	u32 window = ((struct tcp_sock *)sk)->snd_cwnd;

	if (try_tell(sk, LOST))
		__sync_fetch_and_add(&errors, 1);
	return window / 2 > 2 ? window / 2 : 2;
}

SEC("struct_ops/on_undo")
u32 BPF_PROG(on_undo, struct sock *sk)
{
	struct tcp_sock *tcp = (struct tcp_sock *)sk;

	return tcp->snd_cwnd > tcp->prior_cwnd ? tcp->snd_cwnd : tcp->prior_cwnd;
}

SEC("struct_ops/on_ack")
void BPF_PROG(on_ack, struct sock *sk, u32 ack, u32 acked)
{
	struct tcp_sock *tcp = (struct tcp_sock *)sk;

	if (tcp->snd_cwnd < tcp->snd_ssthresh || tcp->snd_cwnd_cnt++ >= tcp->snd_cwnd) {
		tcp->snd_cwnd++;
		tcp->snd_cwnd_cnt = 0;
	}
}

SEC(".struct_ops")
struct tcp_congestion_ops ebpflab_cc = {
	.init = (void *)on_start,
	.ssthresh = (void *)on_loss,
	.undo_cwnd = (void *)on_undo,
	.cong_avoid = (void *)on_ack,
	.name = "ebpflab_cc",
};
