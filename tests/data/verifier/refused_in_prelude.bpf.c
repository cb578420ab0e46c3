struct value { u64 n[2]; };
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4);
	__type(key, u32);
	__type(value, struct value);
} counts SEC(".maps");
char LICENSE[] SEC("license") = "GPL";

SEC("tp/syscalls/sys_enter_openat")
int count(void *ctx)
{
	u32 key = 1;
	struct value *v = bpf_map_lookup_elem(&counts, &key); /* REFUSED */
	return first_word(v->n) == 3; /* the fault, but the log has no record of this line */
}
