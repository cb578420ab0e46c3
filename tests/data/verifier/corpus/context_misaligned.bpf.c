// category: Memory Safety
// message: invalid bpf_context access off=1 size=4
// fix: context | align
// about: context
SEC("raw_tp/sys_enter")
int odd(void *ctx)
{
	volatile u32 *part = ctx + 1;
	return *part == 1; // <- refused, cause
}
