// category: Resource Lifetime Safety
// message: Unreleased reference
// fix: bpf_obj_drop
// about: kernel object
// kernels: 6.2+
void *bpf_obj_new_impl(u64 local_type_id, void *meta) __ksym;
void bpf_obj_drop_impl(void *object, void *meta) __ksym;
struct node { u64 a; u64 b; };
u64 last;

SEC("tc")
int make(struct __sk_buff *skb)
{
	struct node *node = bpf_obj_new_impl(bpf_core_type_id_local(struct node), NULL); // <- cause
	if (!node)
		return 0;
	node->a = skb->len;
	last = node->b;
	return 0;
} // <- refused
