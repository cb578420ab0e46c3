// exitsnoop: which processes end, how long did they live, and by which exit code or signal?
//
//     %bpf run exitsnoop --for 5s
//     time                      lived     pid  comm      ppid     uid    code  signal  dumped
//     2026-11-23 05:22:15.320  357 ms    9136  sleep     9135       0       0  0       False
//     2026-11-23 05:22:15.320  395 ms    9135  bash      9134       0       3  0       False
//     2026-11-23 05:22:15.321  123 us    9138  bash      9134       0       0  SIGKILL  False
//
// Plot:     s.events.plot.hist("lived", by="comm")
// Overhead: 2,171 ns a run; one run for each thread that ends.
// Needs:    the tracepoint sched:sched_process_exit with BTF (Linux 5.5), ring buffers (Linux 5.8).

const volatile pid_t pid = 0;  // only this process; 0: every process
const volatile pid_t ppid = 0;  // only children of this process; 0: every process
const volatile bool only_failed = false;  // only those that ended by a signal, or with another code than 0

#define SIGNAL_GROUP_EXIT 4               // include/linux/sched/signal.h

struct process {
	u64 started;
	u64 pid;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);  // several threads may see that no other one is left
	__uint(max_entries, 1024);
	__type(key, struct process);
	__type(value, u8);
} ended SEC(".maps");

struct event {
	ktime_t time;
	duration_t lived;
	u32 pid;
	char comm[16];
	u32 ppid;
	u32 uid;
	int code;                         // as it gave it to exit(3)
	signal_t signal;                  // what killed it; 0: nothing did
	bool dumped;                      // left a core dump
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4 << 20);
	__type(value, struct event);
} events SEC(".maps");

// The status for wait(2): of exit_group(2) or a signal, or else of the first thread.
static int status_of(struct task_struct *leader)
{
	struct signal_struct *shared = leader->signal;

	return shared->flags & SIGNAL_GROUP_EXIT ? shared->group_exit_code : leader->exit_code;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(on_exit, struct task_struct *task)
{
	struct task_struct *leader = task->group_leader;
	struct process process = { .started = leader->start_time, .pid = leader->tgid };
	int status = status_of(leader), parent = leader->real_parent->tgid;
	u8 yes = 1;
	struct event *e;

	if (task->signal->live.counter || (pid && pid != process.pid) || (ppid && ppid != parent))
		return 0;
	if ((only_failed && !status) || bpf_map_update_elem(&ended, &process, &yes, BPF_NOEXIST))
		return 0;
	e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
	if (!e)
		return 0;
	e->time = bpf_ktime_get_ns();
	e->lived = e->time - process.started;
	e->pid = process.pid;
	bpf_probe_read_kernel_str(e->comm, sizeof(e->comm), leader->comm);
	e->ppid = parent;
	e->uid = bpf_get_current_uid_gid();
	e->code = status >> 8 & 0xff;
	e->signal = status & 0x7f;
	e->dumped = status & 0x80;
	bpf_ringbuf_submit(e, 0);
	return 0;
}
