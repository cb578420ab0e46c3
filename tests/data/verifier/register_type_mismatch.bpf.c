struct value { u64 n[2]; };
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4);
	__type(key, u32);
	__type(value, struct value);
} counts SEC(".maps");
char LICENSE[] SEC("license") = "GPL";

SEC("tp/syscalls/sys_enter_openat")
int look(void *ctx)
{
	return bpf_map_lookup_elem(&counts, (void *)5) != 0; /* REFUSED */
}
