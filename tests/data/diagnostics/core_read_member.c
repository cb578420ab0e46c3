SEC("xdp")
int pass(struct task_struct *t)
{
	return BPF_CORE_READ(t, real_parent, pidd); /* HERE */
}
