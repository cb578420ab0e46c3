// pyimports: which modules do Python programs import, and how long does each take?
//
//     %bpf run pyimports --for 5s --min-ms 1
//     time                        took     pid  comm     found  module
//     2026-11-23 05:39:30.746  8.37 ms   29043  python3  True   re
//     2026-11-23 05:39:30.747  9.66 ms   29043  python3  True   json.decoder
//     2026-11-23 05:39:30.747  10.4 ms   29043  python3  True   json
//
// Plot:     s.events.plot.top("module", weight="took")
// Overhead: 962 ns a run; two runs for each import of a module that is not loaded yet.
// Needs:    uprobes (CONFIG_UPROBE_EVENTS), and an interpreter built --with-dtrace, as Debian's and Fedora's are. For
//           another one than /usr/bin/python3: --attach on_start=PATH:python:import__find__load__start --attach
//           on_done=PATH:python:import__find__load__done, before Linux 5.15 with ,pid=PID behind each.

#include <bpf/usdt.bpf.h>

const volatile pid_t pid = 0;  // only this process; 0: every process
const volatile u64 min_ms = 0;  // only imports that took at least so many milliseconds

struct import {
	u32 thread;
	const char *module;               // where its name is, which is the same at both ends
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);  // a thread killed in the middle of an import leaves its entry behind
	__uint(max_entries, 16384);
	__type(key, struct import);
	__type(value, u64);               // when it began
} imports SEC(".maps");

struct event {
	ktime_t time;
	duration_t took;                  // with what the module itself imports
	u32 pid;
	char comm[16];
	bool found;
	char module[128];
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__type(value, struct event);
} events SEC(".maps");

static struct import this(const char *module)
{
	struct import import = {};

	import.thread = bpf_get_current_pid_tgid();
	import.module = module;
	return import;
}

SEC("usdt//usr/bin/python3:python:import__find__load__start")
int BPF_USDT(on_start, const char *module)
{
	struct import import = this(module);
	u64 now = bpf_ktime_get_ns();

	if (!pid || pid == bpf_get_current_pid_tgid() >> 32)
		bpf_map_update_elem(&imports, &import, &now, BPF_ANY);
	return 0;
}

SEC("usdt//usr/bin/python3:python:import__find__load__done")
int BPF_USDT(on_done, const char *module, int found)
{
	struct import import = this(module);
	u64 *began = bpf_map_lookup_elem(&imports, &import), now = bpf_ktime_get_ns();
	struct event *e;

	if (!began)
		return 0;
	e = now - *began >= min_ms * 1000000 ? bpf_ringbuf_reserve(&events, sizeof(*e), 0) : NULL;
	if (e) {
		e->time = now;
		e->took = now - *began;
		e->pid = bpf_get_current_pid_tgid() >> 32;
		bpf_get_current_comm(e->comm, sizeof(e->comm));
		e->found = found;
		if (bpf_probe_read_user_str(e->module, sizeof(e->module), module) < 0)
			e->module[0] = 0;
		bpf_ringbuf_submit(e, 0);
	}
	bpf_map_delete_elem(&imports, &import);
	return 0;
}
