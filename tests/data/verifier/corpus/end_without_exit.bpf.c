// category: Program Structure
// message: last insn is not an exit or jmp
// fix: return | exit
// about: structure
SEC("xdp")
__attribute__((naked)) int fall_off(struct xdp_md *ctx)
{
	asm volatile("r0 = 2");
}
