// category: Register Type Safety
// message: 32-bit pointer arithmetic prohibited
// fix: 64 | number
// about: map value
u32 last;
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, u32);
	__type(value, u64);
} counts SEC(".maps");

SEC("tp/syscalls/sys_enter_openat")
int short_address(void *ctx)
{
	u32 pid = bpf_get_current_pid_tgid() >> 32, address;
	u64 *count = bpf_map_lookup_elem(&counts, &pid); // <- cause
	if (!count)
		return 0;
	asm volatile("%0 = %1; if %0 == 0 goto +0" : "=r"(address) : "r"(count));
	last = address ^ 7; // <- refused
	return 0;
}
