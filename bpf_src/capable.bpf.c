// capable: which process needs which capability, and does it have it?
//
//     %bpf run capable --for 5s
//     time                        pid  comm                uid  capability      granted
//     2026-11-23 05:23:50.642   11980  chown                 0  CAP_SYS_ADMIN   True
//     2026-11-23 05:23:50.644   11980  chown                 0  CAP_CHOWN       True
//     2026-11-23 05:23:50.658   11977  chroot                0  CAP_SYS_CHROOT  False
//
// Plot:     s.events.plot.top("capability")
// Overhead: 742 ns a run; one run for each check.
// Needs:    the tracepoint capability:cap_capable with BTF (Linux 6.14), or else fexit or kprobes of the
//           function. Not each refusal is an error: for each mmap(2) the kernel asks whether the last of
//           the memory may be used.

const volatile pid_t pid = 0;  // only this process; 0: every process
const volatile bool only_failed = false;  // only capabilities that a process does not have
const volatile bool every = false;  // every check, not only a command's first for each capability

enum capability {                         // include/uapi/linux/capability.h
	CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER, CAP_FSETID, CAP_KILL, CAP_SETGID,
	CAP_SETUID, CAP_SETPCAP, CAP_LINUX_IMMUTABLE, CAP_NET_BIND_SERVICE, CAP_NET_BROADCAST,
	CAP_NET_ADMIN, CAP_NET_RAW, CAP_IPC_LOCK, CAP_IPC_OWNER, CAP_SYS_MODULE, CAP_SYS_RAWIO,
	CAP_SYS_CHROOT, CAP_SYS_PTRACE, CAP_SYS_PACCT, CAP_SYS_ADMIN, CAP_SYS_BOOT, CAP_SYS_NICE,
	CAP_SYS_RESOURCE, CAP_SYS_TIME, CAP_SYS_TTY_CONFIG, CAP_MKNOD, CAP_LEASE, CAP_AUDIT_WRITE,
	CAP_AUDIT_CONTROL, CAP_SETFCAP, CAP_MAC_OVERRIDE, CAP_MAC_ADMIN, CAP_SYSLOG, CAP_WAKE_ALARM,
	CAP_BLOCK_SUSPEND, CAP_AUDIT_READ, CAP_PERFMON, CAP_BPF, CAP_CHECKPOINT_RESTORE,
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);  // for kprobes: a return may be missed
	__uint(max_entries, 4096);
	__type(key, u32);                 // thread
	__type(value, u32);               // capability
} asked SEC(".maps");

struct answer {
	u32 pid;
	char comm[16];
	enum capability capability;
	u32 granted;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct answer);
	__type(value, u8);
} told SEC(".maps");

struct event {
	ktime_t time;
	u32 pid;
	char comm[16];
	u32 uid;
	enum capability capability;
	bool granted;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4 << 20);
	__type(value, struct event);
} events SEC(".maps");

static int answer(int capability, bool granted)
{
	u32 process = bpf_get_current_pid_tgid() >> 32;
	struct answer key = { .pid = process, .capability = capability, .granted = granted };
	u8 yes = 1;
	struct event *e;

	if ((pid && pid != process) || (only_failed && granted))
		return 0;
	bpf_get_current_comm(key.comm, sizeof(key.comm));
	if (bpf_map_update_elem(&told, &key, &yes, BPF_NOEXIST) && !every)
		return 0;
	e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
	if (!e)
		return 0;
	e->time = bpf_ktime_get_ns();
	e->pid = process;
	__builtin_memcpy(e->comm, key.comm, sizeof(e->comm));
	e->uid = bpf_get_current_uid_gid();
	e->capability = capability;
	e->granted = granted;
	bpf_ringbuf_submit(e, 0);
	return 0;
}

SEC("?tp_btf/cap_capable")
int BPF_PROG(on_check__tp_btf, void *cred, void *target, void *has, int capability, int error)
{
	return answer(capability, !error);
}

SEC("?fexit/cap_capable")
int BPF_PROG(on_check__fexit, void *cred, void *target, int capability, unsigned int options, int error)
{
	return answer(capability, !error);
}

SEC("?kprobe/cap_capable")
int BPF_KPROBE(on_check__kprobe__enter, void *cred, void *target, u32 capability)
{
	u32 thread = bpf_get_current_pid_tgid();

	bpf_map_update_elem(&asked, &thread, &capability, BPF_ANY);
	return 0;
}

SEC("?kretprobe/cap_capable")
int BPF_KRETPROBE(on_check__kprobe__exit, int error)
{
	u32 thread = bpf_get_current_pid_tgid(), *capability = bpf_map_lookup_elem(&asked, &thread);

	if (capability) {
		answer(*capability, !error);
		bpf_map_delete_elem(&asked, &thread);
	}
	return 0;
}
