char LICENSE[] SEC("license") = "GPL";

SEC("xdp")
int read_ethertype(struct xdp_md *ctx)
{
	struct ethhdr *eth = (void *)(long)ctx->data;
	return eth->h_proto == 8 ? XDP_DROP : XDP_PASS; /* REFUSED */
}
