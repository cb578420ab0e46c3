// category: Program Structure
// message: At program exit the register R0 has
// fix: return
// about: register
// kernels: 6.12+
// needs: lsm
SEC("lsm/file_open")
int BPF_PROG(deny, struct file *file) // <- refused, cause
{
	return 1; // <- cause
}
