// category: Memory Safety
// message: unbounded memory access
// fix: if ( | &
// about: number
struct line { u32 used; char text[256]; };
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct line);
} lines SEC(".maps");

SEC("tp/syscalls/sys_enter_execve")
int append(struct trace_event_raw_sys_enter *ctx)
{
	u32 zero = 0;
	struct line *line = bpf_map_lookup_elem(&lines, &zero);
	if (!line)
		return 0;
	u32 used = line->used; // <- cause
	bpf_probe_read_user_str(&line->text[used], 32, (void *)ctx->args[0]); // <- refused
	return 0;
}
