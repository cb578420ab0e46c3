SEC("xdp")
int pass(void *ctx)
{
	return bpf_get_current_pid(); /* HERE */
}
