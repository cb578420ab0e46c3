// category: Register Type Safety
// message: invalid mem access 'scalar'
// message 5.10: invalid mem access 'inv'
// fix: if (!
// about: map value
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, u32);
	__type(value, u64);
} opens SEC(".maps");

SEC("tp/syscalls/sys_enter_openat")
int count_opens(void *ctx)
{
	u32 pid = bpf_get_current_pid_tgid() >> 32;
	u64 *seen = bpf_map_lookup_elem(&opens, &pid); // <- cause
	if (seen)
		return 0;
	__sync_fetch_and_add(seen, 1); // <- refused
	return 0;
}
