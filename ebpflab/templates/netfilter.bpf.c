// Which IPv4 packets come to this machine? A row for each, by a program where iptables and nft work.
// Run it with --attach on_packet=ipv4:local_in. The packet is in kernel memory and is read by checked reads.

struct event {
	ktime_t time;
	u8 protocol;
	u32 length;
	u32 source; /* as in the packet: the first byte is the first of 127.0.0.1 */
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__type(value, struct event);
} events SEC(".maps");

u64 errors = 0;

static int try_on_packet(struct sk_buff *skb)
{
	struct iphdr *ip = (void *)skb->head + skb->network_header;
	struct event *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);

	if (!e)
		return -ENOSPC;
	e->time = bpf_ktime_get_ns();
	e->protocol = BPF_CORE_READ(ip, protocol);
	e->length = skb->len;
	e->source = BPF_CORE_READ(ip, saddr);
	bpf_ringbuf_submit(e, 0);
	return 0;
}

SEC("netfilter")
int on_packet(struct bpf_nf_ctx *ctx)
{
	if (try_on_packet(ctx->skb))
		__sync_fetch_and_add(&errors, 1);
	return NF_ACCEPT;
}
