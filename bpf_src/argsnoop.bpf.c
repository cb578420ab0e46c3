// argsnoop: with which arguments is a system call made, and what does it return?
//
//     %bpf run argsnoop --nr 62 --for 5s
//     time                        took     pid  comm    call    error   result  args[0]  args[1]  args[2] ...
//     2026-11-23 05:22:30.325  14.9 us    9359  bash    kill    OK           0     9360       15        0 ...
//     2026-11-23 05:22:30.325   911 ns    9359  bash    kill    ESRCH       -1  4194303        0        0 ...
//     2026-11-23 05:22:30.325  1.99 us    9359  bash    kill    OK           0     9359       18        0 ...
//
// Plot:     s.events.plot.top("error")
// Overhead: 404 ns a run; two runs for each system call, chosen or not, and one for each thread that ends.
// Needs:    the tracepoints raw_syscalls:sys_enter, and sys_exit with BTF (Linux 5.5), ring buffers (Linux
//           5.8). Calls that do not return (exit) are not seen; those of 32-bit programs have wrong names.

const volatile syscall_t nr = -1;  // only this system call, by name or number; -1: all of them
const volatile pid_t pid = 0;  // only this process; 0: every process
const volatile bool only_failed = false;  // only calls that failed

struct calling {
	u64 started;
	long call;
	long args[6];
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);  // of more threads than that, those that began last
	__uint(max_entries, 16384);
	__type(key, u32);                 // thread
	__type(value, struct calling);
} calling SEC(".maps");

struct event {
	ktime_t time;
	duration_t took;
	u32 pid;
	char comm[16];
	syscall_t call;
	errno_t error;
	long result;                      // -1 when it failed, as in C
	long args[6];                     // registers: those behind a call's own arguments hold anything
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 8 << 20);
	__type(value, struct event);
} events SEC(".maps");

// An int of -100 may come with zeros in its upper half.
static long value_of(u64 arg)
{
	return arg >> 16 == 0xffff ? (int)arg : arg;
}

SEC("tp/raw_syscalls/sys_enter")
int on_enter(struct trace_event_raw_sys_enter *ctx)
{
	u64 id = bpf_get_current_pid_tgid();
	u32 thread = id;
	struct calling entry = {
		.started = bpf_ktime_get_ns(),
		.call = ctx->id,
		.args = { ctx->args[0], ctx->args[1], ctx->args[2],
			  ctx->args[3], ctx->args[4], ctx->args[5] },
	};

	if ((nr < 0 || nr == ctx->id) && (!pid || pid == id >> 32))
		bpf_map_update_elem(&calling, &thread, &entry, BPF_ANY);
	return 0;
}

SEC("tp_btf/sys_exit")
int BPF_PROG(on_exit, struct pt_regs *regs, long result)
{
	u64 id = bpf_get_current_pid_tgid(), now = bpf_ktime_get_ns();
	u32 thread = id;
	bool failed = result < 0 && result >= -4095;
	struct calling *entry = bpf_map_lookup_elem(&calling, &thread);
	struct event *e;

	if (!entry)
		return 0;
	e = failed || !only_failed ? bpf_ringbuf_reserve(&events, sizeof(*e), 0) : NULL;
	if (e) {
		e->time = now;
		e->took = now - entry->started;
		e->pid = id >> 32;
		bpf_get_current_comm(e->comm, sizeof(e->comm));
		e->call = entry->call;
		e->error = failed ? -result : 0;
		e->result = failed ? -1 : result;
		for (int i = 0; i < 6; i++)
			e->args[i] = value_of(entry->args[i]);
		bpf_ringbuf_submit(e, 0);
	}
	bpf_map_delete_elem(&calling, &thread);
	return 0;
}

// exit and exit_group do not return: the call is forgotten before another thread gets this one's number.
SEC("tp_btf/sched_process_exit")
int BPF_PROG(on_end, struct task_struct *task)
{
	u32 thread = task->pid;

	bpf_map_delete_elem(&calling, &thread);
	return 0;
}
