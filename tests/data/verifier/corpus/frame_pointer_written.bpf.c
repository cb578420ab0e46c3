// category: Memory Safety
// message: frame pointer is read only
// fix: r10 | R10 | register
// about: register
SEC("xdp")
int make_room(struct xdp_md *ctx)
{
	asm volatile("r10 += -16" ::: "memory"); // <- refused, cause
	return XDP_PASS;
}
