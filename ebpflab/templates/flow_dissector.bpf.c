// How does this network namespace tell flows apart? By this program, which fills in the keys of IPv4 flows.
// It is attached to the session's own network namespace, and decides for all of it until it is closed.

struct event {
	ktime_t time;
	u8 protocol;
	u16 source_port;
	u16 destination_port;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__type(value, struct event);
} events SEC(".maps");

u64 errors = 0;

/* Most headers are in the part of the packet that may be read directly; the helper finds them in the others. */
static __always_inline long read_header(struct __sk_buff *skb, u16 offset, void *to, u32 size)
{
	void *header = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;

	if (offset > 1024) /* the verifier compares pointers only where it knows the offset to be small */
		return bpf_skb_load_bytes(skb, offset, to, size);
	header += offset;
	if (header + size > end)
		return bpf_skb_load_bytes(skb, offset, to, size);
	__builtin_memcpy(to, header, size);
	return 0;
}

static int try_on_flow(struct __sk_buff *skb, struct bpf_flow_keys *keys)
{
	struct event *e;
	struct iphdr ip;
	__be16 ports[2] = {};

	if (read_header(skb, keys->nhoff, &ip, sizeof(ip)))
		return -ENODATA;
	keys->addr_proto = ETH_P_IP;
	keys->ipv4_src = ip.saddr;
	keys->ipv4_dst = ip.daddr;
	keys->ip_proto = ip.protocol;
	keys->thoff = keys->nhoff + ip.ihl * 4;
	if (ip.protocol == IPPROTO_UDP || ip.protocol == IPPROTO_TCP) {
		if (read_header(skb, keys->thoff, ports, sizeof(ports)))
			return -ENODATA;
		keys->sport = ports[0];
		keys->dport = ports[1];
	}
	e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
	if (!e)
		return -ENOSPC;
	e->time = bpf_ktime_get_ns();
	e->protocol = ip.protocol;
	e->source_port = bpf_ntohs(ports[0]);
	e->destination_port = bpf_ntohs(ports[1]);
	bpf_ringbuf_submit(e, 0);
	return 0;
}

SEC("flow_dissector")
int on_flow(struct __sk_buff *skb)
{
	struct bpf_flow_keys *keys = skb->flow_keys;

	if (keys->n_proto != bpf_htons(ETH_P_IP))
		return BPF_DROP; /* no keys: such packets all count as one flow */
	if (try_on_flow(skb, keys) == -ENODATA) {
		__sync_fetch_and_add(&errors, 1);
		return BPF_DROP;
	}
	return BPF_OK;
}
