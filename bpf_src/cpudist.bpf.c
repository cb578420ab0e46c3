// cpudist: how long do threads stay on a CPU before another one takes their place?
//
//     %bpf run cpudist --for 5s
//        low    high   count
//          2       3    2249
//          4       7    2048
//          8      15    2793
//         16      31    6805
//         32      63    7628
//
// Rows:     s.maps["on_cpu"].hist().query("count > 0")
// Plot:     s.maps["on_cpu"].plot(units="us")
// Overhead: 150 ns a run; one run for each switch.
// Needs:    scheduler tracepoints with BTF (Linux 5.5).

const volatile pid_t pid = 0;  // only threads of this process; 0: every process

struct cpu {
	u64 since;                        // when the thread began that runs here; 0: before the tool
	u64 slots[32];                    // log2 of microseconds
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct cpu);
} on_cpu SEC(".maps");

static u32 log2(u64 value)
{
	u32 slot = 0;

	for (int shift = 32; shift; shift >>= 1)
		if (value >> shift) {
			value >>= shift;
			slot += shift;
		}
	return slot;
}

// Where one thread ends another begins: a CPU's last switch is all there is to remember.
SEC("tp_btf/sched_switch")
int BPF_PROG(on_switch, bool preempted, struct task_struct *before, struct task_struct *next)
{
	u32 zero = 0;
	u64 now = bpf_ktime_get_ns();
	struct cpu *cpu = bpf_map_lookup_elem(&on_cpu, &zero);

	if (!cpu)
		return 0;
	if (cpu->since && before->pid && (!pid || pid == before->tgid))
		cpu->slots[log2((now - cpu->since) / 1000) & 31]++;
	cpu->since = now;
	return 0;
}
