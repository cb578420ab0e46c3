/* Nothing but the program: includes, licence and kernel types come with the cell. */
struct event {
	ktime_t ts;
	u32 pid;
	u32 uid;
	u64 cgroup;
	u32 ns;
	char comm[TASK_COMM_LEN];
};
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 16);
	__type(value, struct event);
} events SEC(".maps");

SEC("raw_tp/sched_process_fork")
int BPF_PROG(forked, struct task_struct *parent, struct task_struct *child)
{
	struct event *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);

	if (!e)
		return 0;
	e->ts = bpf_ktime_get_ns();
	e->pid = BPF_CORE_READ(child, pid);
	e->uid = BPF_CORE_READ(child, cred, uid.val);
	e->cgroup = BPF_CORE_READ(child, cgroups, dfl_cgrp, kn, id);
	e->ns = BPF_CORE_READ(child, nsproxy, uts_ns, ns.inum);
	BPF_CORE_READ_STR_INTO(&e->comm, child, comm);
	bpf_ringbuf_submit(e, 0);
	return 0;
}
