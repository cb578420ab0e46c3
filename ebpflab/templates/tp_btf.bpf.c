// Which processes are made? A row for each fork(2) and clone(2), by a BTF tracepoint.
// The verifier knows the types of the arguments, so their members are read as in kernel code.

struct event {
	ktime_t time;
	u32 parent_pid;
	u32 child_pid;
	char comm[16];
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__type(value, struct event);
} events SEC(".maps");

u64 errors = 0;

static int try_on_fork(struct task_struct *parent, struct task_struct *child)
{
	struct event *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);

	if (!e)
		return -ENOSPC;
	e->time = bpf_ktime_get_ns();
	e->parent_pid = parent->tgid;
	e->child_pid = child->tgid;
	bpf_probe_read_kernel_str(e->comm, sizeof(e->comm), child->comm);
	bpf_ringbuf_submit(e, 0);
	return 0;
}

SEC("tp_btf/sched_process_fork")
int BPF_PROG(on_fork, struct task_struct *parent, struct task_struct *child)
{
	if (try_on_fork(parent, child))
		__sync_fetch_and_add(&errors, 1);
	return 0;
}
