// category: Memory Safety
// message: cannot write into packet
// fix: store_bytes | write | copy
// about: packet
SEC("cgroup_skb/egress")
int mangle(struct __sk_buff *skb)
{
	void *end = (void *)(long)skb->data_end;
	void *data = (void *)(long)skb->data; // <- cause
	struct iphdr *ip = data;
	if ((void *)(ip + 1) > end)
		return 1;
	ip->tos = 0x10; // <- refused
	return 1;
}
