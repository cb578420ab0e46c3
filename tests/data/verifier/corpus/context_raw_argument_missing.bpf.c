// category: Memory Safety
// message: invalid bpf_context access off=104 size=8
// fix: argument | context
// about: context
SEC("raw_tp/sys_enter")
int thirteenth(u64 *ctx)
{
	return ctx[13] == 1; // <- refused, cause
}
