// category: Memory Safety
// message: invalid bpf_context access off=80 size=4
// fix: context
// about: context
SEC("socket")
int direct(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data;
	void *end = (void *)(long)skb->data_end; // <- refused, cause
	return data + 14 > end ? 0 : -1;
}
