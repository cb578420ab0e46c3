// category: Call Type Safety
// message: memory, len pair leads to invalid memory access
// fix: size
// about: stack
// kernels: 6.4+
int bpf_dynptr_from_skb(struct __sk_buff *skb, u64 flags, struct bpf_dynptr *ptr) __ksym;
void *bpf_dynptr_slice(const struct bpf_dynptr *ptr, u32 offset, void *buffer, u32 size) __ksym;

SEC("tc")
int is_tcp(struct __sk_buff *skb)
{
	struct bpf_dynptr packet;
	u8 copy[16] = {}; // <- cause
	struct iphdr *ip;

	bpf_dynptr_from_skb(skb, 0, &packet);
	ip = bpf_dynptr_slice(&packet, sizeof(struct ethhdr), copy, sizeof(*ip)); // <- refused
	return ip && ip->protocol == 6 ? 0 : 2;
}
