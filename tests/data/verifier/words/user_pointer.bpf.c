struct opened {
	struct trace_entry ent;
	int nr;
	const char *filename;
};

SEC("tracepoint/syscalls/sys_enter_unlink")
int unlinked(struct opened *ctx)
{
	if (ctx->filename[0] == '/') // REFUSED
		return 1;
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
