// category: Call Type Safety
// message: R1 type=fp expected=ctx
// fix: ctx | context
// about: stack
struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(key_size, 4);
	__uint(value_size, 4);
} events SEC(".maps");

SEC("tp/syscalls/sys_enter_openat")
int report(void *ctx)
{
	u64 now = bpf_ktime_get_ns();
	bpf_perf_event_output(&now, &events, BPF_F_CURRENT_CPU, &now, sizeof(now)); // <- refused, cause
	return 0;
}
