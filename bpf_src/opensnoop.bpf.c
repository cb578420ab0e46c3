// opensnoop: which process opens which file, and did it work?
//
//     %bpf run opensnoop --for 5s
//                               time     pid   comm  flags  error    took                     path
//     2026-11-22 10:12:01.117+00:00    4711    cat      0      0   3.9 us              /etc/passwd
//     2026-11-22 10:12:01.118+00:00    4712     ls      0      2   1.2 us  /etc/ld.so.nohwcap (no)
//
// Plot:     s.events.plot.top("path")
// Overhead: 457 ns a run; two runs for each openat.
// Needs:    tracepoints of system calls (CONFIG_FTRACE_SYSCALLS), ring buffers (Linux 5.8).

const volatile int pid = 0;  // only this process; 0: every process
const volatile bool only_failed = false;  // only files that could not be opened

struct opening {
	u64 started;
	const char *path;
	int flags;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);  // a thread killed in the middle of a call leaves its entry behind
	__uint(max_entries, 16384);
	__type(key, u32);
	__type(value, struct opening);
} openings SEC(".maps");

struct event {
	ktime_t time;
	duration_t took;
	u32 pid;
	int flags;
	int error;                        // errno, 0 when the file was opened
	char comm[16];
	char path[256];
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 8 << 20);
	__type(value, struct event);
} events SEC(".maps");

SEC("tp/syscalls/sys_enter_openat")
int on_enter(struct tracepoint__syscalls__sys_enter_openat *ctx)
{
	u64 id = bpf_get_current_pid_tgid();
	u32 thread = id;
	struct opening opening = { .started = bpf_ktime_get_ns(), .path = ctx->filename, .flags = ctx->flags };

	if (!pid || pid == id >> 32)
		bpf_map_update_elem(&openings, &thread, &opening, BPF_ANY);
	return 0;
}

SEC("tp/syscalls/sys_exit_openat")
int on_exit(struct tracepoint__syscalls__sys_exit_openat *ctx)
{
	u64 id = bpf_get_current_pid_tgid(), now = bpf_ktime_get_ns();
	u32 thread = id;
	struct opening *opening = bpf_map_lookup_elem(&openings, &thread);

	if (!opening)
		return 0;
	if (ctx->ret < 0 || !only_failed) {
		struct event *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);

		if (e) {
			e->time = now;
			e->took = now - opening->started;
			e->pid = id >> 32;
			e->flags = opening->flags;
			e->error = ctx->ret < 0 ? -ctx->ret : 0;
			bpf_get_current_comm(e->comm, sizeof(e->comm));
			bpf_probe_read_user_str(e->path, sizeof(e->path), opening->path);
			bpf_ringbuf_submit(e, 0);
		}
	}
	bpf_map_delete_elem(&openings, &thread);
	return 0;
}
