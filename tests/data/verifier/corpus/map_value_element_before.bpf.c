// category: Memory Safety
// message: invalid access to map value, value_size=32 off=-8 size=8
// fix: size | if (
// about: map value
struct ring { u64 last[4]; };
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, u32);
	__type(value, struct ring);
} rings SEC(".maps");

SEC("tp/syscalls/sys_enter_fsync")
int shift(void *ctx)
{
	u32 tid = bpf_get_current_pid_tgid();
	struct ring *ring = bpf_map_lookup_elem(&rings, &tid); // <- cause
	if (!ring)
		return 0;
	for (int i = 0; i < 4; i++)
		ring->last[i - 1] = ring->last[i]; // <- refused
	return 0;
}
