// hardirqs: how much time do the handlers of devices' interrupts take?
//
//     %bpf run hardirqs --for 5s
//        irq  name                   count     took
//         36  virtio1-req.0             65   511 us
//         32  virtio0-reporting_vq       3   401 us
//         42  virtio3-tx                 3  22.1 us
//
// Rows:     s.maps["hardirqs"].df().sort_values("took", ascending=False)
// Plot:     s.maps["hardirqs"].plot.top("name", weight="took")
// Overhead: 351 ns a run; two runs for each handler that an interrupt calls.
// Needs:    tracepoints of interrupts with BTF (Linux 5.5). Interrupts between CPUs and those of their own
//           timers have no handlers of devices, and are not here.

struct hardirq {
	u32 irq;
	char name[32];                    // as in /proc/interrupts
};

struct time {
	u64 count;
	duration_t took;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct hardirq);
	__type(value, struct time);
} hardirqs SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);  // a handler is not interrupted by another one
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, u64);
} entered SEC(".maps");

SEC("tp_btf/irq_handler_entry")
int BPF_PROG(on_entry, int irq, struct irqaction *action)
{
	u32 zero = 0;
	u64 now = bpf_ktime_get_ns();

	bpf_map_update_elem(&entered, &zero, &now, BPF_ANY);
	return 0;
}

SEC("tp_btf/irq_handler_exit")
int BPF_PROG(on_exit, int irq, struct irqaction *action)
{
	u32 zero = 0;
	u64 *since = bpf_map_lookup_elem(&entered, &zero);
	struct hardirq hardirq = { .irq = irq };
	struct time first = { .count = 1 }, *time;

	if (!since || !*since)
		return 0;
	first.took = bpf_ktime_get_ns() - *since;
	*since = 0;
	bpf_probe_read_kernel_str(hardirq.name, sizeof(hardirq.name), action->name);
	time = bpf_map_lookup_elem(&hardirqs, &hardirq);
	if (time) {
		time->count++;
		time->took += first.took;
	} else {
		bpf_map_update_elem(&hardirqs, &hardirq, &first, BPF_ANY);
	}
	return 0;
}
