// category: Memory Safety
// message: invalid zero-sized read
// fix: map
// about: map
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} events SEC(".maps");

SEC("tp/syscalls/sys_enter_openat")
int report(void *ctx)
{
	u64 now = bpf_ktime_get_ns();
	bpf_map_update_elem(&events, &now, &now, BPF_ANY); // <- refused, cause
	return 0;
}
