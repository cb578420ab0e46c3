// category: Memory Safety
// message: invalid access to packet
// fix: data_end
// about: packet
SEC("xdp")
int drop_ssh(struct xdp_md *ctx)
{
	void *end = (void *)(long)ctx->data_end;
	void *data = (void *)(long)ctx->data; // <- cause
	struct iphdr *ip = data + sizeof(struct ethhdr);
	struct tcphdr *tcp;
	if ((void *)(ip + 1) > end)
		return XDP_PASS;
	tcp = (void *)ip + ip->ihl * 4;
	return tcp->dest == bpf_htons(22) ? XDP_DROP : XDP_PASS; // <- refused
}
