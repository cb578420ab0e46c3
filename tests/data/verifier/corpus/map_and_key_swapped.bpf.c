// category: Call Type Safety
// message: R1 type=fp expected=map_ptr
// fix: map
// about: stack
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, u32);
	__type(value, u64);
} counts SEC(".maps");

SEC("tp/syscalls/sys_enter_openat")
int count(void *ctx)
{
	u32 pid = bpf_get_current_pid_tgid() >> 32;
	u64 *seen = bpf_map_lookup_elem(&pid, &counts); // <- refused, cause
	return seen && *seen > 7;
}
