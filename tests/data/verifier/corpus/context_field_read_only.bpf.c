// category: Memory Safety
// message: invalid bpf_context access off=0 size=4
// fix: context
// about: context
SEC("tc")
int shorten(struct __sk_buff *skb)
{
	skb->len = 64; // <- refused, cause
	return 0;
}
