// oomkill: which processes does the kernel kill because memory ran out, and who asked for more of it?
//
//     %bpf run oomkill --for 1m
//     time                        pid  comm    victim  victim_comm  victim_uid  oom_score_adj  total_b...
//     2026-11-23 05:25:53.148   14607  greedy   14607  greedy                0            500    68911...
//     2026-11-23 05:25:53.305   14609  greedy   14609  greedy                0            500    69330...
//     2026-11-23 05:25:53.456   14610  greedy   14610  greedy                0            500    69330...
//
// Plot:     s.events.plot.timeline("victim")
// Overhead: not measured: one run for each victim.
// Needs:    the tracepoint oom:mark_victim, ring buffers (Linux 5.8). Kernels whose tracepoint tells
//           nothing but the victim's number (6.8; 6.6 and 5.10 before 2024) leave the rest of it empty.

struct event {
	ktime_t time;
	u32 pid;                          // what asked for more
	char comm[16];
	u32 victim;
	char victim_comm[16];
	u32 victim_uid;
	int oom_score_adj;
	u64 total_bytes;                  // of address space
	u64 anonymous_bytes;              // in memory
	u64 file_bytes;
	u64 shared_bytes;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__type(value, struct event);
} events SEC(".maps");

SEC("tp/oom/mark_victim")
int on_victim(struct trace_event_raw_mark_victim *ctx)
{
	struct event e = {
		.time = bpf_ktime_get_ns(),
		.pid = bpf_get_current_pid_tgid() >> 32,
		.victim = ctx->pid,
	};

	bpf_get_current_comm(e.comm, sizeof(e.comm));
	if (bpf_core_field_exists(ctx->total_vm)) {
		TP_DATA_LOC_STR(e.victim_comm, sizeof(e.victim_comm), ctx, comm);
		e.victim_uid = ctx->uid;
		e.oom_score_adj = ctx->oom_score_adj;
		e.total_bytes = ctx->total_vm << 10;
		e.anonymous_bytes = ctx->anon_rss << 10;
		e.file_bytes = ctx->file_rss << 10;
		e.shared_bytes = ctx->shmem_rss << 10;
	}
	bpf_ringbuf_output(&events, &e, sizeof(e), 0);
	return 0;
}
