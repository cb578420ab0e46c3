// category: Call Type Safety
// message: R1 type=scalar expected=
// message 5.10: R1 type=inv expected=
// fix: once | again | after
// about: ring buffer record
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} events SEC(".maps");

SEC("tp/syscalls/sys_enter_fsync")
int record(struct trace_event_raw_sys_enter *ctx)
{
	u64 *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
	if (!e)
		return 0;
	*e = ctx->args[0];
	if (*e > 2)
		bpf_ringbuf_submit(e, 0); // <- cause
	bpf_ringbuf_discard(e, 0); // <- refused
	return 0;
}
