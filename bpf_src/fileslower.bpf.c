// fileslower: which reads and writes of files are slow, and whose are they?
//
//     %bpf run fileslower --for 5s --min-us 1000
//     time                      pid  comm             operation  file         offset   bytes  error  took
//     2026-11-23 05:20:26.798  6844  python           READ       frame.cp...       0  741963  OK     281 us
//     2026-11-23 05:20:27.045  4968  qemu-system-x86  READ       perfwalk.c        0    5176  OK     194 us
//     2026-11-23 05:20:27.096  4968  qemu-system-x86  READ       libarrow... 9351168  335872  OK     715 us
//
// Plot:     s.events.plot.hist("took", by="file")
// Overhead: 477 ns a run; two runs for each read and write.
// Needs:    fentry or kprobes of vfs_read and vfs_write, which do not see readv(2) and its like; else tracepoints of
//           system calls, which do not see the kernel's own reads and writes. Not seen: io_uring, sendfile(2),
//           splice(2), copy_file_range(2), and what is read and written through mmap(2).

const volatile u32 pid = 0;  // only this process; 0: every process
const volatile u64 min_us = 10000;  // only what took at least so many microseconds

enum operation { READ, WRITE };

struct event {
	ktime_t time;                     // when it was done
	u32 pid;
	char comm[16];
	enum operation operation;
	char file[256];
	u64 offset;
	u64 bytes;
	errno_t error;
	duration_t took;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 8 << 20);
	__type(value, struct event);
} events SEC(".maps");

struct call {
	u64 started;
	struct file *file;
	u64 offset;
	enum operation operation;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);  // a thread killed in the middle of a call leaves its entry behind
	__uint(max_entries, 16384);
	__type(key, u32);                 // thread
	__type(value, struct call);
} calls SEC(".maps");

static int enter(struct file *file, u64 offset, enum operation operation)
{
	struct call call = { .started = bpf_ktime_get_ns(), .file = file, .offset = offset, .operation = operation };
	u64 id = bpf_get_current_pid_tgid();
	u32 thread = id;

	/* Pipes and sockets wait for others, which says nothing of a disk. */
	if ((!pid || pid == id >> 32) && (BPF_CORE_READ(file, f_inode, i_mode) & S_IFMT) == S_IFREG)
		bpf_map_update_elem(&calls, &thread, &call, BPF_ANY);
	return 0;
}

static int leave(s64 result)
{
	u64 id = bpf_get_current_pid_tgid(), now = bpf_ktime_get_ns();
	u32 thread = id;
	struct call *call = bpf_map_lookup_elem(&calls, &thread);
	struct event *e;
	struct file *file;

	if (!call)
		return 0;
	e = now - call->started >= min_us * 1000 ? bpf_ringbuf_reserve(&events, sizeof(*e), 0) : NULL;
	if (e) {
		e->time = now;
		e->pid = id >> 32;
		bpf_get_current_comm(e->comm, sizeof(e->comm));
		e->operation = call->operation;
		file = call->file;
		bpf_probe_read_kernel_str(e->file, sizeof(e->file), BPF_CORE_READ(file, f_path.dentry, d_name.name));
		e->offset = call->offset;
		e->bytes = result < 0 ? 0 : result;
		e->error = result < 0 ? -result : 0;
		e->took = now - call->started;
		bpf_ringbuf_submit(e, 0);
	}
	bpf_map_delete_elem(&calls, &thread);
	return 0;
}

static u64 value_at(const loff_t *position)
{
	u64 value = 0;

	bpf_probe_read_kernel(&value, sizeof(value), position);
	return value;
}

/* The fourth argument. Linux 5.10 does not load one that points to a number: it is copied. */
static u64 offset_of_call(u64 *ctx)
{
	const loff_t *position = NULL;

	bpf_probe_read_kernel(&position, sizeof(position), ctx + 3);
	return value_at(position);
}

/* The functions of the kernel, as trampolines or as probes. */
#define FUNCTION(name, operation)                                                                  \
	SEC("?fentry/" #name)                                                                      \
	int BPF_PROG(on_call__fentry__enter_##name, struct file *file)                             \
	{                                                                                          \
		return enter(file, offset_of_call(ctx), operation);                                \
	}                                                                                          \
	SEC("?fexit/" #name)                                                                       \
	int BPF_PROG(on_call__fentry__leave_##name, struct file *file, char *to, size_t size, loff_t *position, \
		     ssize_t result)                                                               \
	{                                                                                          \
		return leave(result);                                                              \
	}                                                                                          \
	SEC("?kprobe/" #name)                                                                      \
	int BPF_KPROBE(on_call__kprobe__enter_##name, struct file *file, char *to, size_t size,    \
		       const loff_t *position)                                                     \
	{                                                                                          \
		return enter(file, value_at(position), operation);                                 \
	}                                                                                          \
	SEC("?kretprobe/" #name)                                                                   \
	int BPF_KRETPROBE(on_call__kprobe__leave_##name, ssize_t result)                           \
	{                                                                                          \
		return leave(result);                                                              \
	}

FUNCTION(vfs_read, READ)
FUNCTION(vfs_write, WRITE)

/* The system calls: all begin with a file descriptor. */
static struct file *file_of(u32 fd)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct fdtable *table = BPF_CORE_READ(task, files, fdt);
	struct file *file = NULL;

	if (fd < BPF_CORE_READ(table, max_fds))
		bpf_probe_read_kernel(&file, sizeof(file), BPF_CORE_READ(table, fd) + fd);
	return file;
}

static u64 offset_or_own(u64 offset, struct file *file)
{
	return offset == -1ULL ? BPF_CORE_READ(file, f_pos) : offset;
}

#define SYSTEM_CALL(name, operation, position)                                                     \
	SEC("?tp/syscalls/sys_enter_" #name)                                                       \
	int on_call__tp__enter_##name(struct trace_event_raw_sys_enter *ctx)                       \
	{                                                                                          \
		struct file *file = file_of(ctx->args[0]);                                         \
		return enter(file, position, operation);                                           \
	}                                                                                          \
	SEC("?tp/syscalls/sys_exit_" #name)                                                        \
	int on_call__tp__leave_##name(struct trace_event_raw_sys_exit *ctx)                        \
	{                                                                                          \
		return leave(ctx->ret);                                                            \
	}

SYSTEM_CALL(read, READ, BPF_CORE_READ(file, f_pos))
SYSTEM_CALL(readv, READ, BPF_CORE_READ(file, f_pos))
SYSTEM_CALL(pread64, READ, ctx->args[3])
SYSTEM_CALL(preadv, READ, ctx->args[3])
SYSTEM_CALL(preadv2, READ, offset_or_own(ctx->args[3], file))
SYSTEM_CALL(write, WRITE, BPF_CORE_READ(file, f_pos))
SYSTEM_CALL(writev, WRITE, BPF_CORE_READ(file, f_pos))
SYSTEM_CALL(pwrite64, WRITE, ctx->args[3])
SYSTEM_CALL(pwritev, WRITE, ctx->args[3])
SYSTEM_CALL(pwritev2, WRITE, offset_or_own(ctx->args[3], file))
