// runqlat: how long do threads wait for a CPU once they could run?
//
//     %bpf run runqlat --for 5s
//         low     high  count
//     0     0        1      3
//     1     2        3     41
//     2     4        7    220
//
// Rows:     s.maps["latency"].hist()
// Plot:     s.maps["latency"].plot(units="us")
// Overhead: 300 ns a run; one run for each wake-up and each switch.
// Needs:    scheduler tracepoints with BTF (Linux 5.5).

const volatile pid_t pid = 0;  // only threads of this process; 0: every process

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, u32);                 // thread
	__type(value, u64);               // when it was put on a queue
} queued SEC(".maps");

struct hist {
	u64 slots[32];                    // log2 of microseconds
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct hist);
} latency SEC(".maps");

static void queue(struct task_struct *task)
{
	u32 thread = task->pid;
	u64 now = bpf_ktime_get_ns();

	if (thread && (!pid || task->tgid == pid))
		bpf_map_update_elem(&queued, &thread, &now, BPF_ANY);
}

static u32 log2(u64 value)
{
	u32 slot = 0;

	for (int shift = 32; shift; shift >>= 1)
		if (value >> shift) {
			value >>= shift;
			slot += shift;
		}
	return slot;
}

SEC("tp_btf/sched_wakeup")
int BPF_PROG(on_wakeup, struct task_struct *task)
{
	queue(task);
	return 0;
}

SEC("tp_btf/sched_wakeup_new")
int BPF_PROG(on_wakeup_new, struct task_struct *task)
{
	queue(task);
	return 0;
}

SEC("tp_btf/sched_switch")
int BPF_PROG(on_switch, bool preempted, struct task_struct *before, struct task_struct *next)
{
	u32 thread = next->pid, zero = 0;
	u64 *since = bpf_map_lookup_elem(&queued, &thread);
	struct hist *hist = bpf_map_lookup_elem(&latency, &zero);

	if (preempted)                    // it goes to the end of the queue, ready to run
		queue(before);
	if (!since || !hist)
		return 0;
	hist->slots[log2((bpf_ktime_get_ns() - *since) / 1000) & 31]++;
	bpf_map_delete_elem(&queued, &thread);
	return 0;
}
