// category: Memory Safety
// message: misaligned value access off
// fix: align | lay out
// about: map value
struct __attribute__((packed)) counter { u32 id; u64 n; };
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, u32);
	__type(value, struct counter);
} counters SEC(".maps");

SEC("tp/syscalls/sys_enter_openat")
int count(void *ctx)
{
	u32 pid = bpf_get_current_pid_tgid() >> 32;
	struct counter *counter = bpf_map_lookup_elem(&counters, &pid); // <- cause
	if (counter)
		__sync_fetch_and_add(&counter->n, 1); // <- refused
	return 0;
}
