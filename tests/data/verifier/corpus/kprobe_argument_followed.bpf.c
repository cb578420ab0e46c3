// category: Register Type Safety
// message: invalid mem access 'scalar'
// message 5.10: invalid mem access 'inv'
// fix: bpf_probe_read | BPF_CORE_READ
// about: kernel address
// needs: kprobe
SEC("kprobe/vfs_read")
int BPF_KPROBE(reading, struct file *file) // <- cause
{
	return file->f_flags & 1; // <- refused
}
