// category: Resource Lifetime Safety
// message: Unreleased reference
// fix: bpf_ringbuf_
// about: ring buffer record
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} events SEC(".maps");

SEC("tp/syscalls/sys_enter_fsync")
int record(void *ctx)
{
	u64 *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0); // <- cause
	if (e)
		*e = bpf_ktime_get_ns();
	return 0; // <- refused
}
