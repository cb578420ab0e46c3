struct task_struct___other { int not_a_member; } __attribute__((preserve_access_index));
char LICENSE[] SEC("license") = "GPL";

SEC("tp/syscalls/sys_enter_openat")
int read_member(void *ctx)
{
	struct task_struct___other *t = (void *)bpf_get_current_task_btf();
	return t->not_a_member; /* REFUSED */
}
