// softirqs: how much time do soft interrupts take, by kind?
//
//     %bpf run softirqs --for 5s
//     kind     count     took
//     RCU        368  1.77 ms
//     SCHED       73   672 us
//     TIMER       79   384 us
//     BLOCK        5  48.3 us
//
// Rows:     s.maps["softirqs"].df().sort_values("took", ascending=False)
// Plot:     s.maps["softirqs"].plot.top("kind", weight="took")
// Overhead: 202 ns a run; two runs for each soft interrupt.
// Needs:    tracepoints of interrupts with BTF (Linux 5.5).

struct softirq {
	char kind[16];
};

struct time {
	u64 count;
	duration_t took;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 32);
	__type(key, struct softirq);
	__type(value, struct time);
} softirqs SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);  // a CPU serves one at a time
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, u64);
} entered SEC(".maps");

// As in /proc/softirqs; the kernel's numbers.
static const struct softirq kinds[] = {
	{ "HI" }, { "TIMER" }, { "NET_TX" }, { "NET_RX" }, { "BLOCK" },
	{ "IRQ_POLL" }, { "TASKLET" }, { "SCHED" }, { "HRTIMER" }, { "RCU" },
};

SEC("tp_btf/softirq_entry")
int BPF_PROG(on_entry, unsigned int kind)
{
	u32 zero = 0;
	u64 now = bpf_ktime_get_ns();

	bpf_map_update_elem(&entered, &zero, &now, BPF_ANY);
	return 0;
}

SEC("tp_btf/softirq_exit")
int BPF_PROG(on_exit, unsigned int kind)
{
	u32 zero = 0;
	u64 *since = bpf_map_lookup_elem(&entered, &zero);
	struct time first = { .count = 1 }, *time;

	if (!since || !*since || kind >= sizeof(kinds) / sizeof(kinds[0]))
		return 0;
	first.took = bpf_ktime_get_ns() - *since;
	*since = 0;
	time = bpf_map_lookup_elem(&softirqs, &kinds[kind]);
	if (time) {
		time->count++;
		time->took += first.took;
	} else {
		bpf_map_update_elem(&softirqs, &kinds[kind], &first, BPF_ANY);
	}
	return 0;
}
