// category: Register Type Safety
// message: invalid mem access 'scalar'
// message 5.10: invalid mem access 'inv'
// fix: bpf_probe_read | BPF_CORE_READ
// about: kernel address
SEC("raw_tp/sys_enter")
int first_argument(struct bpf_raw_tracepoint_args *ctx)
{
	struct pt_regs *regs = (void *)ctx->args[0]; // <- cause
	return regs->di == 3; // <- refused
}
