// category: Program Structure
// message: CO-RE relocation
// fix: bpf_core_field_exists
// about: relocation
struct task_struct___mine { int favourite_number; } __attribute__((preserve_access_index));

SEC("tp/syscalls/sys_enter_getpid")
int read_it(void *ctx)
{
	struct task_struct___mine *task = (void *)bpf_get_current_task(); // <- refused, cause
	return BPF_CORE_READ(task, favourite_number); // <- refused, cause
}
