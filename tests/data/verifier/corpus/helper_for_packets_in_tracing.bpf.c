// category: Policy
// message: cannot use helper bpf_skb_store_bytes#9
// message -6.1: unknown func bpf_skb_store_bytes#9
// fix: type
// about: call
SEC("tp/net/netif_receive_skb")
int rewrite(struct trace_event_raw_net_dev_template *ctx)
{
	u8 mac[6] = {};
	bpf_skb_store_bytes((void *)ctx, 0, mac, sizeof(mac), 0); // <- refused, cause
	return 0;
}
