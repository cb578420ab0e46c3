// When does Python collect garbage? A row for each collection, by a static probe of the interpreter.
// Static probes (USDT) stay where their authors put them; readelf -n lists those of a binary.

#include <bpf/usdt.bpf.h>

struct event {
	ktime_t time;
	u32 pid;
	char comm[16];
	s32 generation;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__type(value, struct event);
} events SEC(".maps");

u64 errors = 0;

static int try_on_collection(int generation)
{
	struct event *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);

	if (!e)
		return -ENOSPC;
	e->time = bpf_ktime_get_ns();
	e->pid = bpf_get_current_pid_tgid() >> 32;
	bpf_get_current_comm(e->comm, sizeof(e->comm));
	e->generation = generation;
	bpf_ringbuf_submit(e, 0);
	return 0;
}

SEC("usdt//usr/bin/python3:python:gc__start")
int BPF_USDT(on_collection, int generation)
{
	if (try_on_collection(generation))
		__sync_fetch_and_add(&errors, 1);
	return 0;
}
