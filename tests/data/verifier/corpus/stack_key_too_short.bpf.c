// category: Memory Safety
// message: invalid read from stack R2 off=-4 size=8
// message -6.1: invalid indirect access to stack R2 off=-4 size=8
// fix: sizeof | size
// about: stack
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, u64);
	__type(value, u64);
} counts SEC(".maps");

SEC("tp/syscalls/sys_enter_openat")
int count_thread(void *ctx)
{
	u32 tid = bpf_get_current_pid_tgid();
	u64 *count = bpf_map_lookup_elem(&counts, &tid); // <- refused, cause
	if (count)
		*count += 1;
	return 0;
}
