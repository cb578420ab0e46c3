// category: Memory Safety
// message: cannot write into rdonly_mem
// fix: bpf_dynptr_slice_rdwr | bpf_dynptr_write | read-only | write
// about: packet
// kernels: 6.4+
int bpf_dynptr_from_skb(struct __sk_buff *skb, u64 flags, struct bpf_dynptr *ptr) __ksym;
void *bpf_dynptr_slice(const struct bpf_dynptr *ptr, u32 offset, void *buffer, u32 size) __ksym;

SEC("tc")
int retype(struct __sk_buff *skb)
{
	struct bpf_dynptr packet;
	struct ethhdr copy = {}, *eth;

	bpf_dynptr_from_skb(skb, 0, &packet);
	eth = bpf_dynptr_slice(&packet, 0, &copy, sizeof(copy)); // <- cause
	if (eth)
		eth->h_proto = bpf_htons(0x88b5); // <- refused
	return 0;
}
