// category: Memory Safety
// message: invalid access to map value, value_size=16 off=0 size=64
// fix: size
// about: map value
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, u32);
	__type(value, char[16]);
} names SEC(".maps");

SEC("tp/syscalls/sys_enter_unlink")
int keep_name(struct trace_event_raw_sys_enter *ctx)
{
	u32 tid = bpf_get_current_pid_tgid();
	char *name = bpf_map_lookup_elem(&names, &tid); // <- cause
	if (name)
		bpf_probe_read_user_str(name, 64, (void *)ctx->args[0]); // <- refused
	return 0;
}
