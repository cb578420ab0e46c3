// wakeuptime: who wakes whom, from where, and how long had the sleeper slept?
//
//     %bpf run wakeuptime --for 5s
//        pid  comm             sleeper_pid  sleeper   user        kernel              count    slept
//      31891  python                 31928  cpuchild  __write     entry_SYSCALL...       10  65.1 ms
//         77  kdamond.0              31928  cpuchild  [EFAULT]    ret_from_fork...        1  20.1 ms
//          0  swapper/1              31928  cpuchild  [EFAULT]    common_startu...        1  1.06 ms
//
// Rows:     s.maps["wakeups"].df().groupby(["pid", "comm", "sleeper_pid", "sleeper", "user", "kernel"],
//           observed=True, as_index=False).sum().sort_values("slept", ascending=False)
// Plot:     s.maps["wakeups"].plot.flame(["user", "kernel"], weight="slept")
// Overhead: 1,920 ns a run; one run for each switch, and one for each wake-up.
// Needs:    scheduler tracepoints with BTF (Linux 5.5). A wait has a row once it is over, and if it began
//           while the tool ran. An interrupt that wakes somebody is told by its stack: the process is then the
//           one that was interrupted. Stacks of user space are whole where the code keeps frame pointers, and
//           have names while the process lives; one that found no place in its table is [EEXIST]. Wake-ups
//           that did not fit are counted in s.vars["too_many"].

const volatile pid_t pid = 0;  // only sleepers of this process; 0: every process
const volatile u64 min_us = 0;  // only sleeps of at least so many microseconds

u64 too_many;

struct wakeup {
	u32 pid;                          // who wakes
	char comm[16];
	u32 sleeper_pid;
	char sleeper[16];
	user_stack_t user;                // of the one who wakes
	kernel_stack_t kernel;
};

struct sleeps {
	u64 count;
	duration_t slept;
};

struct {
	__uint(type, BPF_MAP_TYPE_STACK_TRACE);
	__uint(max_entries, 16384);
	__uint(key_size, sizeof(u32));
	__uint(value_size, 127 * sizeof(u64));
} stacks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);  // one woken before its switch is over leaves its entry
	__uint(max_entries, 65536);
	__type(key, u32);                 // thread
	__type(value, u64);               // when it went to sleep
} asleep SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, struct wakeup);
	__type(value, struct sleeps);
} wakeups SEC(".maps");

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

static struct sleeps *sleeps_of(struct wakeup *wakeup)
{
	struct sleeps none = {}, *found = bpf_map_lookup_elem(&wakeups, wakeup);

	if (found)
		return found;
	bpf_map_update_elem(&wakeups, wakeup, &none, BPF_NOEXIST);
	found = bpf_map_lookup_elem(&wakeups, wakeup);
	if (!found)
		__sync_fetch_and_add(&too_many, 1);
	return found;
}

static void wake(void *ctx, struct task_struct *task, u64 slept)
{
	const int own = 3;  // functions that lead from the tracepoint to here are no part of the stack
	struct wakeup wakeup = { .pid = bpf_get_current_pid_tgid() >> 32, .sleeper_pid = task->tgid };
	struct sleeps *sleeps;

	bpf_get_current_comm(wakeup.comm, sizeof(wakeup.comm));
	bpf_probe_read_kernel_str(wakeup.sleeper, sizeof(wakeup.sleeper), task->comm);
	wakeup.user = -EFAULT;            // a CPU that idles has none
	if (wakeup.pid)
		wakeup.user = bpf_get_stackid(ctx, &stacks, BPF_F_USER_STACK);
	wakeup.kernel = bpf_get_stackid(ctx, &stacks, own);
	sleeps = sleeps_of(&wakeup);
	if (sleeps) {
		__sync_fetch_and_add(&sleeps->count, 1);
		__sync_fetch_and_add(&sleeps->slept, slept);
	}
}

SEC("tp_btf/sched_switch")
int BPF_PROG(on_switch, bool preempt, struct task_struct *before, struct task_struct *next)
{
	u32 thread = before->pid;
	u64 now = bpf_ktime_get_ns();

	if (!thread || (pid && pid != before->tgid) || before->exit_state || preempt || can_run(before))
		return 0;
	bpf_map_update_elem(&asleep, &thread, &now, BPF_ANY);
	return 0;
}

// Unlike sched_wakeup, which can come from the CPU that the thread will run on, this is the one who wakes.
SEC("tp_btf/sched_waking")
int BPF_PROG(on_waking, struct task_struct *task)
{
	u32 thread = task->pid;
	u64 *since = bpf_map_lookup_elem(&asleep, &thread);
	u64 slept = since ? bpf_ktime_get_ns() - *since : 0;

	if (!since)
		return 0;
	if (slept >= min_us * 1000)
		wake(ctx, task, slept);
	bpf_map_delete_elem(&asleep, &thread);
	return 0;
}
