// Which IPv4 packets pass an interface? A row for each, by a filter on a socket of our own that listens there.
// Run it with --attach on_packet=lo. A filter decides what its socket receives; the network does not notice it.

struct event {
	ktime_t time;
	u8 protocol;
	u16 port;
	u32 length;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__type(value, struct event);
} events SEC(".maps");

u64 errors = 0;

static int try_on_packet(struct __sk_buff *skb)
{
	struct iphdr ip;
	struct udphdr udp = {};
	struct event *e;
	long failed = bpf_skb_load_bytes(skb, ETH_HLEN, &ip, sizeof(ip));

	if (failed)
		return failed;
	if (ip.version != 4)
		return 0;
	if (ip.protocol == IPPROTO_UDP && bpf_skb_load_bytes(skb, ETH_HLEN + ip.ihl * 4, &udp, sizeof(udp)))
		return -EINVAL;
	e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
	if (!e)
		return -ENOSPC;
	e->time = bpf_ktime_get_ns();
	e->protocol = ip.protocol;
	e->port = bpf_ntohs(udp.dest);
	e->length = skb->len;
	bpf_ringbuf_submit(e, 0);
	return 0;
}

SEC("socket")
int on_packet(struct __sk_buff *skb)
{
	if (try_on_packet(skb))
		__sync_fetch_and_add(&errors, 1);
	return 0;
}
