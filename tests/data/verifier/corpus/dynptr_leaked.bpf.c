// category: Resource Lifetime Safety
// message: Unreleased reference
// fix: bpf_ringbuf_discard_dynptr | bpf_ringbuf_submit_dynptr | discard
// about: dynptr
// kernels: 5.19+
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} events SEC(".maps");

SEC("tp/syscalls/sys_enter_openat")
int record(void *ctx)
{
	struct bpf_dynptr record;
	u64 now = bpf_ktime_get_ns();

	if (bpf_ringbuf_reserve_dynptr(&events, sizeof(now), 0, &record)) // <- cause
		return 0;
	bpf_dynptr_write(&record, 0, &now, sizeof(now), 0);
	bpf_ringbuf_submit_dynptr(&record, 0);
	return 0;
} // <- refused
