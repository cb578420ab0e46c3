// category: Execution Context Safety
// message: tracing progs cannot use bpf_spin_lock yet
// fix: __sync_fetch_and_add | atomic
// about: lock
struct account { struct bpf_spin_lock lock; u64 calls; };
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8);
	__type(key, u32);
	__type(value, struct account);
} accounts SEC(".maps");

SEC("tp/syscalls/sys_enter_openat")
int count(void *ctx)
{
	u32 pid = bpf_get_current_pid_tgid() >> 32;
	struct account *a = bpf_map_lookup_elem(&accounts, &pid);
	if (!a)
		return 0;
	bpf_spin_lock(&a->lock);
	a->calls++;
	bpf_spin_unlock(&a->lock);
	return 0;
}
