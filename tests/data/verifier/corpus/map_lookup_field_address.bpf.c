// category: Register Type Safety
// message: pointer arithmetic on map_value_or_null prohibited, null-check it first
// fix: if (!
// about: map value
struct stats { u64 calls; char comm[16]; };
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, u32);
	__type(value, struct stats);
} by_pid SEC(".maps");

SEC("tp/syscalls/sys_enter_execve")
int name_it(void *ctx)
{
	u32 pid = bpf_get_current_pid_tgid() >> 32;
	struct stats *stats = bpf_map_lookup_elem(&by_pid, &pid); // <- cause
	bpf_get_current_comm(&stats->comm, sizeof(stats->comm)); // <- refused
	return 0;
}
