// category: Program Structure
// message: unreachable insn
// fix: exit | return | unreachable
// about: structure
SEC("xdp")
int leave_early(struct xdp_md *ctx)
{
	asm volatile("r0 = 2; exit; r3 = 1"); // <- refused 7.3+
	return XDP_PASS;
}
