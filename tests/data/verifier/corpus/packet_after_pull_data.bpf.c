// category: Register Type Safety
// message: invalid mem access 'scalar'
// message 5.10: invalid mem access 'inv'
// fix: again | reload
// about: packet
SEC("tc")
int pull(struct __sk_buff *skb)
{
	void *end = (void *)(long)skb->data_end;
	void *data = (void *)(long)skb->data;
	struct ethhdr *eth = data;
	if (data + sizeof(*eth) > end)
		return 0;
	bpf_skb_pull_data(skb, 64); // <- cause
	return eth->h_proto == bpf_htons(0x0800) ? 0 : 2; // <- refused
}
