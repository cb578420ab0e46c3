// category: Register Type Safety
// message: with unbounded
// fix: if ( | &
// about: number
struct event { u32 length; char text[60]; };
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} events SEC(".maps");

SEC("tp/syscalls/sys_enter_write")
int record(struct trace_event_raw_sys_enter *ctx)
{
	u64 length = ctx->args[2]; // <- cause
	struct event *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
	if (!e)
		return 0;
	e->text[length] = 0; // <- refused
	bpf_ringbuf_submit(e, 0);
	return 0;
}
