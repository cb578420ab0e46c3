// runqlat: how long do threads wait for a CPU once they could run?
//
//     %bpf run runqlat --for 5s
//        low    high   count
//          0       1    3871
//          2       3    1214
//          4       7    1979
//          8      15    3297
//         16      31    3211
//
// Rows:     s.maps["latency"].hist().query("count > 0")
// Plot:     s.maps["latency"].plot(units="us")
// Overhead: 387 ns a run; one run for each wake-up, and one for each switch.
// Needs:    scheduler tracepoints with BTF (Linux 5.5).

const volatile pid_t pid = 0;  // only threads of this process; 0: every process

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);  // woken while it runs, a thread can end with its entry left
	__uint(max_entries, 65536);
	__type(key, u32);                 // thread
	__type(value, u64);               // when it could have run
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

struct task_struct___5_14 {
	unsigned int __state;
} __attribute__((preserve_access_index));

struct task_struct___before_5_14 {
	volatile long state;
} __attribute__((preserve_access_index));

static bool can_run(struct task_struct *task)
{
	struct task_struct___5_14 *newer = (void *)task;
	struct task_struct___before_5_14 *older = (void *)task;

	return bpf_core_field_exists(newer->__state) ? !newer->__state : !older->state;
}

static void queue(struct task_struct *task)
{
	u32 thread = task->pid;
	u64 now = bpf_ktime_get_ns();

	if (thread && (!pid || pid == task->tgid))
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

	// Nobody wakes a thread that has to make room: it waits from now on. The kernel calls it preempted
	// only if it was in the kernel; one in user space is known by its state.
	if (preempted || can_run(before))
		queue(before);
	if (!since || !hist)
		return 0;
	hist->slots[log2((bpf_ktime_get_ns() - *since) / 1000) & 31]++;
	bpf_map_delete_elem(&queued, &thread);
	return 0;
}
