// category: Call Type Safety
// category 5.10: Memory Safety
// message: R2 is not a known constant
// message 5.10: R2 unbounded size
// message 7.3+: R2 is not a const
// fix: constant | sizeof
// about: number
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} events SEC(".maps");

SEC("tp/syscalls/sys_enter_write")
int record(struct trace_event_raw_sys_enter *ctx)
{
	u64 length = ctx->args[2] & 127; // <- cause
	char *text = bpf_ringbuf_reserve(&events, length, 0); // <- refused
	if (text)
		bpf_ringbuf_submit(text, 0);
	return 0;
}
