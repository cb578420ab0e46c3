// category: Program Structure
// message: At callback return the register R0 has
// fix: return
// about: register
// kernels: 5.17+
u64 sum;

static long step(u64 i, void *ctx)
{
	sum += i;
	return 2; // <- refused, cause
}

SEC("tp/syscalls/sys_enter_getpid")
int many(void *ctx)
{
	bpf_loop(10, step, NULL, 0);
	return 0;
}
