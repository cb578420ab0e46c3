// category: Register Type Safety
// message: pointer arithmetic with >>= operator prohibited
// fix: number | hash | scalar
// about: map value
u64 last;
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, u32);
	__type(value, u64);
} counts SEC(".maps");

SEC("tp/syscalls/sys_enter_openat")
int bucket(void *ctx)
{
	u32 pid = bpf_get_current_pid_tgid() >> 32;
	u64 *count = bpf_map_lookup_elem(&counts, &pid); // <- cause
	if (!count)
		return 0;
	*count += 1;
	last = (u64)count >> 12; // <- refused
	return 0;
}
