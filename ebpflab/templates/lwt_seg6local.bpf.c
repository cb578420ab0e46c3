// Which packets come to one of our IPv6 routing segments? A row for each, by a program in a route.
// Run it with --attach "on_packet=fd00:9::/64 dev eth0": it adds the route; closing the session removes it.

struct event {
	ktime_t time;
	u8 next_header;
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
	struct ipv6hdr ip;
	struct event *e;
	long failed = bpf_skb_load_bytes(skb, 0, &ip, sizeof(ip));

	if (failed)
		return failed;
	e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
	if (!e)
		return -ENOSPC;
	e->time = bpf_ktime_get_ns();
	e->next_header = ip.nexthdr;
	e->length = skb->len;
	bpf_ringbuf_submit(e, 0);
	return 0;
}

SEC("lwt_seg6local")
int on_packet(struct __sk_buff *skb)
{
	if (try_on_packet(skb))
		__sync_fetch_and_add(&errors, 1);
	return BPF_OK;
}
