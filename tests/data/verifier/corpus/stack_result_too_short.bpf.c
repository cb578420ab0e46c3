// category: Memory Safety
// message: misaligned stack access off
// fix: size
// about: stack
u32 limit;

SEC("cgroup/sysctl")
int read_limit(struct bpf_sysctl *ctx)
{
	char text[16] = {};
	int value = 0;
	if (bpf_sysctl_get_current_value(ctx, text, sizeof(text)) < 0)
		return 1;
	bpf_strtol(text, sizeof(text), 0, (long *)&value); // <- refused, cause
	limit = value;
	return 1;
}
