// category: Call Type Safety
// message: expected=map_value
// fix: const
// about: stack
// kernels: 5.13+
u8 first;

SEC("tp/syscalls/sys_enter_openat")
int describe(void *ctx)
{
	char format[] = "cpu %d\n", text[32];
	u64 cpu = bpf_get_smp_processor_id();
	bpf_snprintf(text, sizeof(text), format, &cpu, sizeof(cpu)); // <- refused, cause
	first = text[4];
	return 0;
}
