// category: Call Type Safety
// message: R2 type=scalar expected=fp
// message 5.10: R2 type=inv expected=fp
// fix: address | &
// about: number
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, u64);
	__type(value, u64);
} counts SEC(".maps");

SEC("tp/syscalls/sys_enter_openat")
int count(void *ctx)
{
	u64 id = bpf_get_current_pid_tgid(); // <- cause
	u64 *seen = bpf_map_lookup_elem(&counts, (void *)id); // <- refused
	return seen && *seen > 7;
}
