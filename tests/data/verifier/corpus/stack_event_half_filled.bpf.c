// category: Memory Safety
// message: invalid read from stack R2 off
// message -6.2: invalid indirect read from stack R2 off
// fix: = {} | memset
// about: stack
// without: CAP_PERFMON
struct event { u32 pid; u32 length; u64 ts; char name[16]; };
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} events SEC(".maps");

SEC("xdp")
int record(struct xdp_md *ctx)
{
	struct event e; // <- cause
	e.ts = bpf_ktime_get_ns();
	e.length = ctx->rx_queue_index;
	bpf_ringbuf_output(&events, &e, sizeof(e), 0); // <- refused
	return XDP_PASS;
}
