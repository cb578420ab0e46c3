// runqlen: how many threads wait for each CPU, behind the one that runs?
//
//     %bpf run runqlen --for 5s
//        cpu  waiting  samples
//          0        0       18
//          0        1      105
//          0        2       46
//          0        3       13
//          1        0      130
//          1        1       27
//
// Rows:     s.maps["queues"].df().sort_values(["cpu", "waiting"])
// Plot:     s.maps["queues"].plot.top("waiting", weight="samples")
// Attach:   on_sample=cpu-clock,freq=99
// Overhead: 818 ns a run; 99 runs a second on each CPU.
// Needs:    perf events, and groups in the scheduler (CONFIG_FAIR_GROUP_SCHED). Some kernels take no samples
//           of a CPU that idles.

struct queue {
	u32 cpu;
	u32 waiting;                      // threads that could run, without the one that does
};

struct seen {
	u64 samples;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, struct queue);
	__type(value, struct seen);
} queues SEC(".maps");

// From Linux 6.12 on, a thread that went to sleep can stay on the queue until its turn: such are not waiting.
struct cfs_rq___6_14 {
	unsigned int h_nr_queued, h_nr_runnable;
} __attribute__((preserve_access_index));

struct cfs_rq___6_13 {
	unsigned int h_nr_delayed;
} __attribute__((preserve_access_index));

static u32 asleep(struct cfs_rq *fair)
{
	struct cfs_rq___6_14 *newer = (void *)fair;
	struct cfs_rq___6_13 *older = (void *)fair;

	if (bpf_core_field_exists(newer->h_nr_runnable))
		return BPF_CORE_READ(newer, h_nr_queued) - BPF_CORE_READ(newer, h_nr_runnable);
	return bpf_core_field_exists(older->h_nr_delayed) ? BPF_CORE_READ(older, h_nr_delayed) : 0;
}

SEC("perf_event")
int on_sample(struct bpf_perf_event_data *ctx)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct rq *rq = BPF_CORE_READ(task, se.cfs_rq, rq);
	int ready = BPF_CORE_READ(rq, nr_running) - asleep(&rq->cfs);
	struct queue queue = { .cpu = bpf_get_smp_processor_id(), .waiting = ready > 1 ? ready - 1 : 0 };
	struct seen first = { 1 }, *seen = bpf_map_lookup_elem(&queues, &queue);

	if (seen)
		seen->samples++;
	else
		bpf_map_update_elem(&queues, &queue, &first, BPF_ANY);
	return 0;
}
