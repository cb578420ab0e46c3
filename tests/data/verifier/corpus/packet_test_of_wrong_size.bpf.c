// category: Memory Safety
// message: invalid access to packet
// fix: data_end
// about: packet
SEC("xdp")
int ttl(struct xdp_md *ctx)
{
	void *end = (void *)(long)ctx->data_end;
	void *data = (void *)(long)ctx->data; // <- cause
	struct iphdr *ip = data + sizeof(struct ethhdr);
	if (data + sizeof(struct ethhdr) + sizeof(ip) > end)
		return XDP_PASS;
	return ip->ttl < 2 ? XDP_DROP : XDP_PASS; // <- refused
}
