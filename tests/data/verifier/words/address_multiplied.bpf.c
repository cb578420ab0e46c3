struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 64);
	__type(key, u32);
	__type(value, u64);
} slots SEC(".maps");

SEC("tp_btf/sched_wakeup")
int BPF_PROG(wake, struct task_struct *task)
{
	u32 slot = (u64)task * 0x61c8864680b583eb >> 58; // REFUSED
	u64 *n = bpf_map_lookup_elem(&slots, &slot);

	if (n)
		*n += 1;
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
