// syscount: which system calls do processes make, how often do they fail, and how much time do they take?
//
//     %bpf run syscount --for 5s
//        pid  comm             call              count  failed     took
//       9113  qemu-system-x86  futex             35235     144   12.6 s
//       9113  qemu-system-x86  ppoll             14936       0   2.58 s
//       9312  jupyter-nbconve  newfstatat        10144    2072  17.5 ms
//       9314  find             fcntl              4534       0  2.16 ms
//
// Rows:     s.maps["calls"].df().sort_values("count", ascending=False)
// Plot:     s.maps["calls"].plot.top("call", weight="count")
// Overhead: 280 ns a run; two runs for each system call, and one for each thread that ends.
// Needs:    the tracepoints raw_syscalls:sys_enter and sys_exit with BTF (Linux 5.5). A call has a row once it
//           is over, and if it began while the tool ran: those that do not return (exit) are not counted.
//           Calls of 32-bit programs have wrong names.

const volatile pid_t pid = 0;  // only this process; 0: every process
const volatile bool only_failed = false;  // only calls that failed

struct calling {
	u64 started;
	u64 call;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);  // of more threads than that, those that began last
	__uint(max_entries, 16384);
	__type(key, u32);                 // thread
	__type(value, struct calling);
} calling SEC(".maps");

struct key {
	u32 pid;
	char comm[16];
	syscall_t call;
};

struct calls {
	u64 count;
	u64 failed;
	duration_t took;                  // waiting included
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);  // when it is full, what was called longest ago leaves
	__uint(max_entries, 65536);
	__type(key, struct key);
	__type(value, struct calls);
} calls SEC(".maps");

static struct calls *calls_of(struct key *key)
{
	struct calls none = {}, *found = bpf_map_lookup_elem(&calls, key);

	if (found)
		return found;
	bpf_map_update_elem(&calls, key, &none, BPF_NOEXIST);
	return bpf_map_lookup_elem(&calls, key);
}

SEC("tp_btf/sys_enter")
int BPF_PROG(on_enter, struct pt_regs *regs, long call)
{
	u64 id = bpf_get_current_pid_tgid();
	u32 thread = id;
	struct calling entry = { .started = bpf_ktime_get_ns(), .call = call };

	if (!pid || pid == id >> 32)
		bpf_map_update_elem(&calling, &thread, &entry, BPF_ANY);
	return 0;
}

SEC("tp_btf/sys_exit")
int BPF_PROG(on_exit, struct pt_regs *regs, long result)
{
	u64 id = bpf_get_current_pid_tgid(), now = bpf_ktime_get_ns();
	u32 thread = id;
	bool failed = result < 0 && result >= -4095;
	struct calling *entry = bpf_map_lookup_elem(&calling, &thread);
	struct key key = { .pid = id >> 32 };
	struct calls *sum;

	if (!entry)
		return 0;
	key.call = entry->call;
	bpf_get_current_comm(key.comm, sizeof(key.comm));
	sum = failed || !only_failed ? calls_of(&key) : NULL;
	if (sum) {
		__sync_fetch_and_add(&sum->count, 1);
		__sync_fetch_and_add(&sum->failed, failed);
		__sync_fetch_and_add(&sum->took, now - entry->started);
	}
	bpf_map_delete_elem(&calling, &thread);
	return 0;
}

// exit and exit_group do not return: the call is forgotten before another thread gets this one's number.
SEC("tp_btf/sched_process_exit")
int BPF_PROG(on_end, struct task_struct *task)
{
	u32 thread = task->pid;

	bpf_map_delete_elem(&calling, &thread);
	return 0;
}
