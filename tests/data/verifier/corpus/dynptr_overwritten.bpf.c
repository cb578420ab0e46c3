// category: Resource Lifetime Safety
// message: cannot overwrite referenced dynptr
// message -6.1: Expected an initialized dynptr as arg #1
// fix: dynptr
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

	bpf_ringbuf_reserve_dynptr(&events, 8, 0, &record); // <- cause
	__builtin_memset(&record, 0, sizeof(record)); // <- refused, cause -6.1
	bpf_ringbuf_discard_dynptr(&record, 0); // <- refused -6.1
	return 0;
}
