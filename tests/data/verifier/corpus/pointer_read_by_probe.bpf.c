// category: Register Type Safety
// message: invalid mem access 'scalar'
// message 5.10: invalid mem access 'inv'
// fix: bpf_probe_read | BPF_CORE_READ
// about: kernel address
SEC("tp/syscalls/sys_enter_getpid")
int parent(void *ctx)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct task_struct *parent = BPF_CORE_READ(task, real_parent); // <- cause
	return parent->tgid == 1; // <- refused
}
