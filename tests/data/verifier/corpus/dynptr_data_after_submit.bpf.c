// category: Register Type Safety
// message: invalid mem access 'scalar'
// fix: submit
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
	u64 *when;

	bpf_ringbuf_reserve_dynptr(&events, sizeof(*when), 0, &record);
	when = bpf_dynptr_data(&record, 0, sizeof(*when));
	bpf_ringbuf_submit_dynptr(&record, 0); // <- cause
	if (when)
		*when = bpf_ktime_get_ns(); // <- refused
	return 0;
}
