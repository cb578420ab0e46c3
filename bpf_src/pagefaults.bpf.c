// pagefaults: which processes touch memory that is not there yet, and where in the code?
//
//     %bpf run pagefaults --for 5s
//       pid  comm       user  kernel
//     28882  python    32118    9198
//     28872  python    11604    4047
//     28946  clang      5165       5
//
// Rows:     s.maps["processes"].df().sort_values("user", ascending=False)
// Plot:     s.maps["places"].plot.flame(["user", "kernel"], weight="count")
// Attach:   on_fault__perf_event=page-faults,period=1
// Overhead: 684 ns a run; one run for each page fault.
// Needs:    tracepoints of page faults with BTF (x86, RISC-V; Linux 5.5); else the perf event of page faults, which
//           says the same. Stacks of user space are whole where the code keeps frame
//           pointers, and have names while the process lives.

const volatile pid_t pid = 0;  // only this process; 0: every process

struct process {
	u32 pid;
	char comm[16];
};

struct faults {
	u64 user;                         // in the program
	u64 kernel;                       // in a system call, that reads or writes the program's memory
};

struct place {
	u32 pid;
	char comm[16];
	user_stack_t user;
	kernel_stack_t kernel;
};

struct hits {
	u64 count;
};

struct {
	__uint(type, BPF_MAP_TYPE_STACK_TRACE);
	__uint(max_entries, 16384);
	__uint(key_size, sizeof(u32));
	__uint(value_size, 127 * sizeof(u64));
} stacks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, struct process);
	__type(value, struct faults);
} processes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, struct place);
	__type(value, struct hits);
} places SEC(".maps");

static void *entry(void *map, void *key, const void *none)
{
	void *found = bpf_map_lookup_elem(map, key);

	if (found)
		return found;
	bpf_map_update_elem(map, key, none, BPF_NOEXIST);
	return bpf_map_lookup_elem(map, key);
}

static int count(void *ctx, u32 pid, kernel_stack_t kernel)
{
	struct process process = { .pid = pid };
	struct place place = { .pid = pid, .kernel = kernel };
	struct faults *faults, no_faults = {};
	struct hits *hits, no_hits = {};

	bpf_get_current_comm(process.comm, sizeof(process.comm));
	__builtin_memcpy(place.comm, process.comm, sizeof(place.comm));
	place.user = bpf_get_stackid(ctx, &stacks, BPF_F_USER_STACK);
	faults = entry(&processes, &process, &no_faults);
	if (faults)
		__sync_fetch_and_add(kernel == -EFAULT ? &faults->user : &faults->kernel, 1);
	hits = entry(&places, &place, &no_hits);
	if (hits)
		__sync_fetch_and_add(&hits->count, 1);
	return 0;
}

static u32 wanted(void)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	u32 current = bpf_get_current_pid_tgid() >> 32;

	// Programs like this one look at stacks where faults are forbidden: nothing comes into memory then. Each such
	// look counts as one, also that at the count.
	if (BPF_CORE_READ(task, pagefault_disabled) > 1)
		return 0;
	return !pid || pid == current ? current : 0;
}

SEC("?tp_btf/page_fault_user")
int BPF_PROG(on_fault__tp_btf__user)
{
	u32 current = wanted();

	return current ? count(ctx, current, -EFAULT) : 0;
}

SEC("?tp_btf/page_fault_kernel")
int BPF_PROG(on_fault__tp_btf__kernel)
{
	u32 current = wanted();

	return current ? count(ctx, current, bpf_get_stackid(ctx, &stacks, 0)) : 0;
}

SEC("?perf_event")
int on_fault__perf_event(struct bpf_perf_event_data *ctx)
{
	u32 current = wanted();

	// There is no stack of the kernel if the processor was in the program.
	return current ? count(ctx, current, bpf_get_stackid(ctx, &stacks, 0)) : 0;
}
