// category: Register Type Safety
// message: R1 !read_ok
// fix: call | again
// about: register
SEC("xdp")
int twice(struct xdp_md *ctx)
{
	u64 n;
	asm volatile("r1 = 5; call 7; %0 = r1" : "=r"(n) :: "r0", "r1", "r2", "r3", "r4", "r5"); // <- refused, cause
	return n;
}
