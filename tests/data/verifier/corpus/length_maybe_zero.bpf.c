// category: Memory Safety
// message: R4 invalid zero-sized read
// message -6.1: invalid zero-sized read
// fix: 0
// about: number
u8 first;

SEC("tc")
int copy(struct __sk_buff *skb)
{
	u8 bytes[32] = {};
	u64 length = skb->len; // <- cause
	if (length > sizeof(bytes))
		length = sizeof(bytes);
	bpf_skb_load_bytes(skb, 0, bytes, length); // <- refused
	first = bytes[0];
	return 0;
}
