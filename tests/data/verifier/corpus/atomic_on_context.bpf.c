// category: Register Type Safety
// message: stores into
// fix: map | atomic
// about: context
SEC("tc")
int mark(struct __sk_buff *skb) // <- cause
{
	__sync_fetch_and_add(&skb->mark, 1); // <- refused
	return 0;
}
