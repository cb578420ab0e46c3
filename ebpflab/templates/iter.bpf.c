// Which tasks are there? A line for each, written by an iterator; read it with s.iterate().
// The program is called for every task, and a last time with NULL.

static int try_show(struct bpf_iter__task *ctx)
{
	struct seq_file *out = ctx->meta->seq;
	struct task_struct *task = ctx->task;

	if (!task)
		return 0;
	if (ctx->meta->seq_num == 0)
		BPF_SEQ_PRINTF(out, "pid tgid state comm\n");
	BPF_SEQ_PRINTF(out, "%d %d %d %s\n", task->pid, task->tgid, task->exit_state, task->comm);
	return 0;
}

SEC("iter/task")
int show(struct bpf_iter__task *ctx)
{
	return try_show(ctx);
}
