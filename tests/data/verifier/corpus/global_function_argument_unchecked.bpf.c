// category: Register Type Safety
// message: invalid mem access 'mem_or_null'
// fix: if (!
// about: memory
// kernels: 5.12+
struct event { u32 pid; u32 cpu; };

__attribute__((noinline)) int fill(struct event *e) // <- cause
{
	e->cpu = bpf_get_smp_processor_id(); // <- refused
	return 0;
}

SEC("tp/syscalls/sys_enter_openat")
int record(void *ctx)
{
	struct event e = {};
	fill(&e);
	return e.cpu;
}
