// category: Program Structure
// message: At program exit the register R0 has
// fix: return
// about: register
// needs: fentry
SEC("fentry/vfs_read")
int BPF_PROG(reading, struct file *file) // <- refused, cause
{
	return 1; // <- cause
}
