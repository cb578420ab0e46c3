// Which IPv4 packets leave by a route? A row for each; --var blocked=53 drops UDP to that port.
// Run it with --attach "on_packet=10.9.9.0/24 dev eth0": it adds the route; closing the session removes it.

const volatile u16 blocked = 0; /* drop UDP packets to this port */

struct event {
	ktime_t time;
	u8 protocol;
	u16 port;
	u32 length;
	bool dropped;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__type(value, struct event);
} events SEC(".maps");

u64 errors = 0;

static int try_on_packet(struct __sk_buff *ctx, bool *drop)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct iphdr *ip = data;
	struct udphdr *udp = (void *)(ip + 1);
	struct event *e;
	u16 port = 0;

	/* The verifier asks for each comparison with the packet's end before the first access. */
	if ((void *)(ip + 1) > end || ip->version != 4)
		return 0;
	if (ip->protocol == IPPROTO_UDP && ip->ihl == 5 && (void *)(udp + 1) <= end)
		port = bpf_ntohs(udp->dest);
	*drop = blocked && port == blocked;
	e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
	if (!e)
		return -ENOSPC;
	e->time = bpf_ktime_get_ns();
	e->protocol = ip->protocol;
	e->port = port;
	e->length = ctx->len;
	e->dropped = *drop;
	bpf_ringbuf_submit(e, 0);
	return 0;
}

SEC("lwt_xmit")
int on_packet(struct __sk_buff *ctx)
{
	bool drop = false;

	if (try_on_packet(ctx, &drop))
		__sync_fetch_and_add(&errors, 1);
	return drop ? BPF_DROP : BPF_OK;
}
