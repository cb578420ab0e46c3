#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>

char _license[] SEC("license") = "GPL";

struct task_info {
	pid_t pid;
	pid_t tid;
	__u32 state;
	char comm[16];
};

struct task_struct___post514 {
	unsigned int __state;
} __attribute__((preserve_access_index));

struct task_struct___pre514 {
	long state;
} __attribute__((preserve_access_index));

static __u32 get_task_state(void *arg)
{
	if (bpf_core_field_exists(struct task_struct___pre514, state)) {
		struct task_struct___pre514 *task = arg;

		return task->state;
	} else {
		struct task_struct___post514 *task = arg;

		return task->__state;
	}
}

static struct task_info t;

SEC("iter/task")
int get_tasks(struct bpf_iter__task *ctx)
{
	struct seq_file *seq = ctx->meta->seq;
	struct task_struct *task = ctx->task;

	if (!task)
		return 0;

	t.pid = task->tgid;
	t.tid = task->pid;
	t.state = get_task_state(task);
	bpf_probe_read_kernel_str(t.comm, sizeof(t.comm), task->comm);
	BPF_SEQ_PRINTF(seq, "%d %d %s\n", t.pid, t.tid, t.comm);
	bpf_seq_write(seq, &t, sizeof(struct task_info));
	return 0;
}
