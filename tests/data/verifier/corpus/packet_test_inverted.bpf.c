// category: Memory Safety
// message: invalid access to packet, off=12 size=2
// fix: data_end
// about: packet
SEC("tc")
int no_ipv6(struct __sk_buff *skb)
{
	void *end = (void *)(long)skb->data_end;
	void *data = (void *)(long)skb->data; // <- cause
	struct ethhdr *eth = data;
	if ((void *)(eth + 1) <= end)
		return 0;
	return eth->h_proto == bpf_htons(0x86dd) ? 2 : 0; // <- refused
}
