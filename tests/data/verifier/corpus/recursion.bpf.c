// category: Verifier Limit
// category -6.1: Program Structure
// category 7.3+: Program Structure
// message: the call stack of 8 frames is too deep
// message -6.1: back-edge from insn
// message 7.3+: recursive call from walk() to walk()
// fix: recurs | loop
// about: stack
u64 depth;

__attribute__((noinline)) int walk(u64 n)
{
	volatile u64 kept[8] = {n};
	depth++;
	if (n < 2)
		return kept[0];
	return walk(n - 1) + walk(n - 2) + kept[0]; // <- refused 7.3+
}

SEC("tp/syscalls/sys_enter_getpid")
int fibonacci(void *ctx)
{
	return walk(bpf_get_prandom_u32());
}
