// category: Program Structure
// message: At program exit the register R0 has
// fix: return
// about: register
SEC("iter/task")
int list(struct bpf_iter__task *ctx)
{
	return 7; // <- refused, cause
}
