// category: Memory Safety
// message: invalid write to stack R1 off=-8 size=16
// message -6.1: invalid indirect access to stack R1 off=-8 size=16
// fix: sizeof
// about: stack
char last[8];

SEC("tp/syscalls/sys_enter_execve")
int keep_comm(void *ctx)
{
	char comm[8];
	bpf_get_current_comm(comm, 16); // <- refused, cause
	__builtin_memcpy(last, comm, sizeof(comm));
	return 0;
}
