// lsmfile: which processes open a file of this name or inode, and may they not?
//
//     %bpf run lsmfile --name secret --enforce
//     time          pid  comm  uid  refused  flags  inode  name
//     06:07:17.597  179  cat     0  True     32768     15  secret
//     06:07:17.967  181  cp      0  True     32768     15  secret
//     06:07:18.050  182  sh      0  True     33857     15  secret
//     06:07:18.236  183  head    0  True     32768     15  secret
//
// Plot:     s.events.plot.top("comm")
// Overhead: not measured: one run for each file that is opened.
// Needs:    trampolines, and ring buffers (Linux 5.8): a program at the hook file_open where bpf is among the
//           modules of /sys/kernel/security/lsm, else fmod_ret of security_file_open. Refused is with EPERM; files
//           that are open already are not taken away.

const volatile char name[256] = "";  // only files of this name, without directories
const volatile u64 inode = 0;  // only files of this number, as ls -i shows it; 0: every file
const volatile pid_t pid = 0;  // only this process; 0: every process
const volatile bool enforce = false;  // refuse, if a name or an inode is given

struct event {
	ktime_t time;
	u32 pid;
	char comm[16];
	u32 uid;
	bool refused;
	int flags;                        // as in open(2)
	u64 inode;
	char name[256];
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4 << 20);
	__type(value, struct event);
} events SEC(".maps");

static bool is_called(const char *called)
{
	for (int i = 0; i < sizeof(name); i++) {
		if (called[i] != name[i])
			return false;
		if (!name[i])
			break;
	}
	return true;
}

static int decide(struct file *file)
{
	u64 process = bpf_get_current_pid_tgid() >> 32, number = file->f_inode->i_ino;
	bool refused = enforce && (name[0] || inode);
	char called[sizeof(name)];
	struct event *e;

	if ((pid && pid != process) || (inode && inode != number))
		return 0;
	if (bpf_probe_read_kernel_str(called, sizeof(called), file->f_path.dentry->d_name.name) < 0)
		called[0] = 0;
	if (name[0] && !is_called(called))
		return 0;
	e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
	if (e) {
		e->time = bpf_ktime_get_ns();
		e->pid = process;
		bpf_get_current_comm(e->comm, sizeof(e->comm));
		e->uid = bpf_get_current_uid_gid();
		e->refused = refused;
		e->flags = file->f_flags;
		e->inode = number;
		bpf_probe_read_kernel_str(e->name, sizeof(e->name), called);
		bpf_ringbuf_submit(e, 0);
	}
	if (refused) {
		barrier();                // a jump: of a number made from a bool, the verifier does not know the range
		return -EPERM;
	}
	return 0;
}

SEC("?lsm/file_open")
int BPF_PROG(on_open__lsm, struct file *file, int result)
{
	return result ?: decide(file);    // another module may have refused
}

SEC("?fmod_ret/security_file_open")
int BPF_PROG(on_open__fmod_ret, struct file *file, int result)
{
	return result ?: decide(file);
}
