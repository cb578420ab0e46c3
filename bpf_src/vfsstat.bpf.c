// vfsstat: how many reads, writes, opens, creations and syncs of files are there?
//
//     %bpf run vfsstat --for 5s
//     call    calls
//     OPEN    26346
//     READ    24514
//     WRITE   16938
//     CREATE     33
//
// Rows:     s.maps["calls"].df().sort_values("calls", ascending=False)
// Plot:     s.maps["calls"].plot.top("call", weight="calls")
// Overhead: 167 ns a run; one run for each call.
// Needs:    tracepoints of system calls; if there are, fentry or kprobes of vfs_read, vfs_write and vfs_open, which see
//           also the kernel's own calls, but not readv(2) and its like. Without them CREATE is an open that would
//           create the file if it is missing, opens that fail count, and open_by_handle_at(2) does not. Neither sees
//           all of io_uring, nor sendfile(2), splice(2), copy_file_range(2) and what is done through mmap(2).

const volatile u32 pid = 0;  // only this process; 0: every process

enum call { READ, WRITE, OPEN, CREATE, FSYNC };

struct key {
	enum call call;
};

struct count {
	u64 calls;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8);
	__type(key, struct key);
	__type(value, struct count);
} calls SEC(".maps");

static int count(enum call call)
{
	struct count *count, none = {};
	struct key key = { call };

	if (pid && pid != bpf_get_current_pid_tgid() >> 32)
		return 0;
	count = bpf_map_lookup_elem(&calls, &key);
	if (!count) {
		bpf_map_update_elem(&calls, &key, &none, BPF_NOEXIST);
		count = bpf_map_lookup_elem(&calls, &key);
	}
	if (count)
		__sync_fetch_and_add(&count->calls, 1);
	return 0;
}

/* The functions of the kernel, as trampolines or as probes. */
#define FUNCTION(name, call)                                                                       \
	SEC("?fentry/" #name) int on_call__fentry__##name(void *ctx) { return count(call); }       \
	SEC("?kprobe/" #name) int on_call__kprobe__##name(void *ctx) { return count(call); }

FUNCTION(vfs_read, READ)
FUNCTION(vfs_write, WRITE)

static int count_open(struct file *file)
{
	const u32 created = 0x100000;     // FMODE_CREATED, set before the open: include/linux/fs.h

	if (BPF_CORE_READ(file, f_mode) & created)
		count(CREATE);
	return count(OPEN);
}

SEC("?fentry/vfs_open")
int BPF_PROG(on_call__fentry__open, const struct path *path, struct file *file)
{
	return count_open(file);
}

SEC("?kprobe/vfs_open")
int BPF_KPROBE(on_call__kprobe__open, const struct path *path, struct file *file)
{
	return count_open(file);
}

/* The system calls, with open(2) and creat(2) and, for arm64, which has neither, without. */
#define SYSTEM_CALL(name, call)                                                                    \
	SEC("?tp/syscalls/sys_enter_" #name) int on_call__tp__##name(void *ctx) { return count(call); } \
	SEC("?tp/syscalls/sys_enter_" #name) int on_call__tp_at__##name(void *ctx) { return count(call); }

#define OPENING(way, name, flags)                                                                  \
	SEC("?tp/syscalls/sys_enter_" #name)                                                       \
	int on_call__##way##__##name(struct trace_event_raw_sys_enter *ctx)                        \
	{                                                                                          \
		if ((flags) & O_CREAT)                                                             \
			count(CREATE);                                                             \
		return count(OPEN);                                                                \
	}

SYSTEM_CALL(read, READ)
SYSTEM_CALL(readv, READ)
SYSTEM_CALL(pread64, READ)
SYSTEM_CALL(preadv, READ)
SYSTEM_CALL(preadv2, READ)
SYSTEM_CALL(write, WRITE)
SYSTEM_CALL(writev, WRITE)
SYSTEM_CALL(pwrite64, WRITE)
SYSTEM_CALL(pwritev, WRITE)
SYSTEM_CALL(pwritev2, WRITE)

static u64 flags_of(const void *how)
{
	u64 flags = 0;                    // the first member of struct open_how

	bpf_probe_read_user(&flags, sizeof(flags), how);
	return flags;
}

OPENING(tp, open, ctx->args[1])
OPENING(tp, creat, O_CREAT)
OPENING(tp, openat, ctx->args[2])
OPENING(tp, openat2, flags_of((void *)ctx->args[2]))
OPENING(tp_at, openat, ctx->args[2])
OPENING(tp_at, openat2, flags_of((void *)ctx->args[2]))

/* The compiler copies the functions for syncing into their callers, where no probe of them fires. */
SEC("tp/syscalls/sys_enter_fsync") int on_fsync(void *ctx) { return count(FSYNC); }
SEC("tp/syscalls/sys_enter_fdatasync") int on_fdatasync(void *ctx) { return count(FSYNC); }
