// execsnoop: which commands are run, with which arguments, and who starts them?
//
//     %bpf run execsnoop --for 5s --failed
//     time                        pid  comm    ppid  parent  uid  error   path               args
//     2026-11-23 05:23:40.350   11753  env    11752  bash      0  ENOENT  /usr/local/bin/ls
//     2026-11-23 05:23:40.350   11753  ls     11752  bash      0  OK      /usr/bin/ls        ls -l /tmp
//     2026-11-23 05:23:40.370   11754  git    11752  bash      0  OK      /usr/bin/git       git --version
//
// Plot:     s.events.plot.top("comm")
// Overhead: 1,203 ns a run; one run for each command, and two for each execve.
// Needs:    the tracepoint sched:sched_process_exec with BTF (Linux 5.5), tracepoints of system calls, ring
//           buffers (Linux 5.8). Spaces inside of arguments look like those between them; 511 bytes of
//           arguments are kept.

const volatile pid_t ppid = 0;  // only what this process starts; 0: every process
const volatile bool failed = false;  // also attempts that failed, as along $PATH, without their arguments

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);  // a thread killed in a call leaves its entry behind
	__uint(max_entries, 4096);
	__type(key, u32);                 // thread
	__type(value, u64);               // where the path is in its memory
} paths SEC(".maps");

struct event {
	ktime_t time;
	u32 pid;
	char comm[16];                    // the command, or who wanted to run it
	u32 ppid;
	char parent[16];
	u32 uid;
	errno_t error;
	char path[256];
	char args[512];
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 8 << 20);
	__type(value, struct event);
} events SEC(".maps");

static __always_inline struct event *event_of(struct task_struct *task)
{
	struct task_struct *parent = BPF_CORE_READ(task, real_parent);
	u32 parent_pid = BPF_CORE_READ(parent, tgid);
	struct event *e = ppid && ppid != parent_pid ? NULL : bpf_ringbuf_reserve(&events, sizeof(*e), 0);

	if (!e)
		return NULL;
	e->time = bpf_ktime_get_ns();
	e->pid = BPF_CORE_READ(task, tgid);
	e->ppid = parent_pid;
	e->uid = bpf_get_current_uid_gid();
	e->error = 0;
	e->args[0] = 0;
	bpf_get_current_comm(e->comm, sizeof(e->comm));
	bpf_probe_read_kernel_str(e->parent, sizeof(e->parent), parent->comm);
	return e;
}

// They lie behind each other on the new stack, each with its NUL.
static __always_inline void read_args(struct event *e, u64 from, u64 to)
{
	u64 size = to - from;

	if (size > sizeof(e->args) - 1)
		size = sizeof(e->args) - 1;
	if (bpf_probe_read_user(e->args, size, (void *)from))
		size = 0;
	e->args[size] = 0;
	for (u64 i = 0; i < sizeof(e->args) - 1; i++)
		if (i + 1 < size && !e->args[i])
			e->args[i] = ' ';
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(on_exec, struct task_struct *task, pid_t thread, struct linux_binprm *program)
{
	struct event *e = event_of(task);

	if (!e)
		return 0;
	bpf_probe_read_kernel_str(e->path, sizeof(e->path), program->filename);
	read_args(e, task->mm->arg_start, task->mm->arg_end);
	bpf_ringbuf_submit(e, 0);
	return 0;
}

static int enter(u64 path)
{
	u32 thread = bpf_get_current_pid_tgid();

	if (failed)
		bpf_map_update_elem(&paths, &thread, &path, BPF_ANY);
	return 0;
}

static int leave(long error)
{
	u32 thread = bpf_get_current_pid_tgid();
	u64 *path = bpf_map_lookup_elem(&paths, &thread);
	struct event *e = path && error < 0 ? event_of((void *)bpf_get_current_task()) : NULL;

	if (e) {
		e->error = -error;
		if (bpf_probe_read_user_str(e->path, sizeof(e->path), (void *)*path) < 0)
			e->path[0] = 0;
		bpf_ringbuf_submit(e, 0);
	}
	if (path)
		bpf_map_delete_elem(&paths, &thread);
	return 0;
}

SEC("tp/syscalls/sys_enter_execve")
int on_execve(struct trace_event_raw_sys_enter *ctx)
{
	return enter(ctx->args[0]);
}

SEC("tp/syscalls/sys_enter_execveat")
int on_execveat(struct trace_event_raw_sys_enter *ctx)
{
	return enter(ctx->args[1]);
}

SEC("tp/syscalls/sys_exit_execve")
int on_execve_exit(struct trace_event_raw_sys_exit *ctx)
{
	return leave(ctx->ret);
}

SEC("tp/syscalls/sys_exit_execveat")
int on_execveat_exit(struct trace_event_raw_sys_exit *ctx)
{
	return leave(ctx->ret);
}
