// category: Memory Safety
// message: R4 unbounded memory access, use 'var &= const' or 'if (var < const)'
// fix: if ( | &
// about: number
u8 first;

SEC("tc")
int copy(struct __sk_buff *skb)
{
	u8 bytes[128] = {};
	u64 length = skb->len; // <- cause
	if (length < 14)
		return 0;
	bpf_skb_load_bytes(skb, 0, bytes, length); // <- refused
	first = bytes[0];
	return 0;
}
