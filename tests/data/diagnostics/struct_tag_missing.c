SEC("xdp")
int pass(void *ctx)
{
	task_struct *t = ctx; /* HERE */
	return 2;
}
