// offcputime: where do threads leave the CPU to wait, and for how long?
//
//     %bpf run offcputime --for 5s
//        pid  comm      user                                 kernel                      count     took
//      31913  cpuchild  [libc.so.6];main;known_nap;syscall   entry_SYSCALL_64_after...      17   341 ms
//      31913  cpuchild  [libc.so.6];read                     entry_SYSCALL_64_after...      16   160 ms
//      31913  cpuchild  [libc.so.6];main;short_nap;syscall   entry_SYSCALL_64_after...      17  18.9 ms
//
// Rows:     s.maps["waits"].df().groupby(["pid", "comm", "user", "kernel"], observed=True,
//           as_index=False).sum().sort_values("took", ascending=False)
// Plot:     s.maps["waits"].plot.flame(["user", "kernel"], weight="took")
// Overhead: 2,988 ns a run; one run for each switch.
// Needs:    scheduler tracepoints with BTF (Linux 5.5). A wait has a row once it is over, and if it began
//           while the tool ran. Stacks of user space are whole where the code keeps frame pointers, and have
//           names while the process lives; one that found no place in its table is [EEXIST]. Waits that did
//           not fit are counted in s.vars["too_many"].

const volatile pid_t pid = 0;  // only threads of this process; 0: every process
const volatile u64 min_us = 0;  // only waits of at least so many microseconds
const volatile bool preempted = false;  // also threads that could run on, and had to make room

u64 too_many;

struct place {
	u32 pid;
	char comm[16];
	user_stack_t user;
	kernel_stack_t kernel;
};

struct leaving {
	u64 time;
	struct place place;
};

struct waits {
	u64 count;
	duration_t took;
};

struct {
	__uint(type, BPF_MAP_TYPE_STACK_TRACE);
	__uint(max_entries, 16384);
	__uint(key_size, sizeof(u32));
	__uint(value_size, 127 * sizeof(u64));
} stacks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, u32);                 // thread
	__type(value, struct leaving);
} left SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, struct place);
	__type(value, struct waits);
} waits SEC(".maps");

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

static struct waits *waits_at(struct place *place)
{
	struct waits none = {}, *found = bpf_map_lookup_elem(&waits, place);

	if (found)
		return found;
	bpf_map_update_elem(&waits, place, &none, BPF_NOEXIST);
	found = bpf_map_lookup_elem(&waits, place);
	if (!found)
		__sync_fetch_and_add(&too_many, 1);
	return found;
}

static void come_back(struct task_struct *task)
{
	u32 thread = task->pid;
	struct leaving *leaving = bpf_map_lookup_elem(&left, &thread);
	u64 took = leaving ? bpf_ktime_get_ns() - leaving->time : 0;
	struct waits *waits = leaving && took >= min_us * 1000 ? waits_at(&leaving->place) : NULL;

	if (waits) {
		__sync_fetch_and_add(&waits->count, 1);
		__sync_fetch_and_add(&waits->took, took);
	}
	if (leaving)
		bpf_map_delete_elem(&left, &thread);
}

static void leave(void *ctx, struct task_struct *task)
{
	const int own = 3;  // functions that lead from the tracepoint to here are no part of the stack
	u32 thread = task->pid;
	struct leaving leaving = { .time = bpf_ktime_get_ns(), .place.pid = task->tgid };

	bpf_get_current_comm(leaving.place.comm, sizeof(leaving.place.comm));
	leaving.place.user = bpf_get_stackid(ctx, &stacks, BPF_F_USER_STACK);
	leaving.place.kernel = bpf_get_stackid(ctx, &stacks, own);
	if (bpf_map_update_elem(&left, &thread, &leaving, BPF_ANY))
		__sync_fetch_and_add(&too_many, 1);
}

SEC("tp_btf/sched_switch")
int BPF_PROG(on_switch, bool preempt, struct task_struct *before, struct task_struct *next)
{
	come_back(next);
	if (!before->pid || (pid && pid != before->tgid))
		return 0;
	// One that ended never comes back; one in user space that has to make room is known by its state.
	if (!before->exit_state && (preempted || !(preempt || can_run(before))))
		leave(ctx, before);
	return 0;
}
