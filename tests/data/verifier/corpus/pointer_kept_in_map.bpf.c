// category: Register Type Safety
// message: invalid mem access 'scalar'
// message 5.10: invalid mem access 'inv'
// fix: bpf_probe_read | BPF_CORE_READ
// about: kernel address
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, u32);
	__type(value, struct file *);
} files SEC(".maps");

SEC("tp/syscalls/sys_exit_openat")
int opened(void *ctx)
{
	u32 tid = bpf_get_current_pid_tgid();
	struct file **kept = bpf_map_lookup_elem(&files, &tid), *file;
	if (!kept)
		return 0;
	file = *kept; // <- cause
	return file->f_flags & 1; // <- refused
}
