// category: Verifier Limit
// message: call stack of 9 frames is too deep
// fix: inline
// about: call
// kernels: -6.18
#define LEVEL(name, next) static __attribute__((noinline)) int name(u64 n) { return next(n + 1) ^ 3; }
static __attribute__((noinline)) int f9(u64 n) { return bpf_get_prandom_u32() + n; }
LEVEL(f8, f9)
LEVEL(f7, f8) // <- refused, cause
LEVEL(f6, f7)
LEVEL(f5, f6)
LEVEL(f4, f5)
LEVEL(f3, f4)
LEVEL(f2, f3)
LEVEL(f1, f2)

SEC("xdp")
int deep(struct xdp_md *ctx)
{
	return f1(ctx->rx_queue_index) ? XDP_PASS : XDP_DROP;
}
