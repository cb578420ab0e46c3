// category: Policy
// message: helper call is not allowed in probe
// fix: section | attach point
// about: call
char path[64];

SEC("tp_btf/sched_process_exec")
int BPF_PROG(started, struct task_struct *task, int old_pid, struct linux_binprm *bprm)
{
	bpf_d_path(&bprm->file->f_path, path, sizeof(path)); // <- refused, cause
	return 0;
}
