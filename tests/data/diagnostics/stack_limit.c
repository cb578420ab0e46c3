SEC("xdp")
int pass(void *ctx) /* HERE */
{
	u16 small[20];
	u64 large[60];
	char text[100];
	bpf_get_current_comm(text, sizeof(text));
	bpf_get_current_comm(large, sizeof(large));
	bpf_get_current_comm(small, sizeof(small));
	return text[5] + large[3] + small[2];
}
