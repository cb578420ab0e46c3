#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#define EPERM 1

char LICENSE[] SEC("license") = "GPL";

SEC("lsm/bpf")
int BPF_PROG(lsm_bpf, int cmd, union bpf_attr *attr, unsigned int size, bool kernel, int ret)
{
	if (ret)
		return ret;
	bpf_printk("LSM: cmd %d insns %d", cmd, attr->insn_cnt);
	return cmd == BPF_PROG_LOAD ? -EPERM : 0;
}

SEC("lsm.s/file_open")
int BPF_PROG(on_open, struct file *file)
{
	return file->f_inode->i_uid.val == 4242 && (file->f_flags & 1) ? -EPERM : 0;
}
