// category: Memory Safety
// message: invalid access to map value, value_size=4 off=0 size=8
// fix: size
// about: map value
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, u32);
	__type(value, u32);
} parents SEC(".maps");
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, u64);
	__type(value, u64);
} counts SEC(".maps");

SEC("tp/syscalls/sys_enter_openat")
int by_parent(void *ctx)
{
	u32 pid = bpf_get_current_pid_tgid() >> 32;
	u32 *parent = bpf_map_lookup_elem(&parents, &pid); // <- cause
	if (parent)
		bpf_map_delete_elem(&counts, parent); // <- refused
	return 0;
}
