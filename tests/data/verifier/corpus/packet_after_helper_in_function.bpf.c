// category: Register Type Safety
// message: invalid mem access 'scalar'
// message 5.10: invalid mem access 'inv'
// fix: again | reload
// about: packet
static __attribute__((noinline)) int mend(struct __sk_buff *skb)
{
	return bpf_skb_change_tail(skb, skb->len + 4, 0);
}

SEC("tc")
int lengthen(struct __sk_buff *skb)
{
	void *end = (void *)(long)skb->data_end;
	u8 *data = (void *)(long)skb->data;
	if (data + 14 > (u8 *)end)
		return 0;
	if (mend(skb)) // <- cause
		return 2;
	return data[0] & 1; // <- refused
}
