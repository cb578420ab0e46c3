// category: Call Type Safety
// message: type=map_value_or_null expected=
// fix: if (!
// about: map value
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, u32);
	__type(value, u64);
} first SEC(".maps"), second SEC(".maps");

SEC("tp/syscalls/sys_exit_read")
int copy_over(void *ctx)
{
	u32 tid = bpf_get_current_pid_tgid();
	u64 *value = bpf_map_lookup_elem(&first, &tid); // <- cause
	bpf_map_update_elem(&second, &tid, value, BPF_ANY); // <- refused
	return 0;
}
