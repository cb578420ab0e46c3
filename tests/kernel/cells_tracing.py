"""Cells of the tests of tracing hooks, and the C of the binaries that they probe."""

from __future__ import annotations

# Counts, and adds up, what one thread does, or all.
_HEAD = """\
const volatile u32 only = 0;
u64 seen = 0;
s64 total = 0;
static bool ours(void) { return !only || (u32)bpf_get_current_pid_tgid() == only; }
static void count(void) { __sync_fetch_and_add(&seen, 1); }
static void add(s64 value) { count(); __sync_fetch_and_add(&total, value); }
"""

# Reads from one pipe, by the pipe's inode: what else the thread reads does not count.
_READS = (
    _HEAD
    + """\
const volatile u64 inode = 0;
static bool wanted(struct file *file) { return ours() && BPF_CORE_READ(file, f_inode, i_ino) == inode; }
"""
)

# How the file of a call is still known at its return.
_CALLS = (
    _READS
    + """\
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 64); __type(key, u32); __type(value, u8); }
calls SEC(".maps");
static void enter(struct file *file)
{
	u32 thread = bpf_get_current_pid_tgid();
	u8 yes = 1;
	if (wanted(file))
		bpf_map_update_elem(&calls, &thread, &yes, BPF_ANY);
}
static bool leave(void)
{
	u32 thread = bpf_get_current_pid_tgid();
	return bpf_map_delete_elem(&calls, &thread) == 0;
}
"""
)

_BY_ADDRESS = (
    _HEAD
    + """\
const volatile u64 read_at = 0, write_at = 0;
u64 reads = 0, writes = 0;
static int by_address(struct pt_regs *ctx)
{
	u64 at = bpf_get_func_ip(ctx);
	if (ours()) {
		__sync_fetch_and_add(&reads, at == read_at);
		__sync_fetch_and_add(&writes, at == write_at);
	}
	return 0;
}
"""
)

_PERF = (
    _HEAD
    + """\
const volatile u64 from = 0, to = 0;
u64 cpus = 0, period = 0;
static bool inside(u64 address) { return !to || (address >= from && address < to); }
"""
)

_NEWER = ("kprobe.multi", "kprobe.session", "uprobe.multi", "uprobe.session", "fsession")

CELLS = {
    # What an older kernel lacks is then the kind alone, and not something that the program uses.
    **{f"{kind} of nothing": f'SEC("{kind}") int on(void *ctx) {{ return 0; }}' for kind in _NEWER},
    "tracepoint": _HEAD
    + """
SEC("tp/syscalls/sys_enter_getppid") int on(void *ctx) { if (ours()) count(); return 0; }
""",
    "raw_tracepoint": _HEAD
    + """
const volatile int wanted = 0;
SEC("raw_tp/signal_generate") int on(struct bpf_raw_tracepoint_args *ctx)
{
	if (ours() && (int)ctx->args[0] == wanted)
		count();
	return 0;
}
""",
    "tp_btf": _HEAD
    + """
const volatile int wanted = 0;
SEC("tp_btf/signal_generate")
int BPF_PROG(on, int sig, struct kernel_siginfo *info, struct task_struct *task)
{
	if (ours() && sig == wanted)
		count();
	return 0;
}
""",
    # The result of a test run passes through this tracepoint, and may be written to.
    "raw_tracepoint.w": _HEAD
    + """
const volatile int result = 0;
bool armed = false;
SEC("raw_tp.w/bpf_test_finish") int on(struct bpf_raw_tracepoint_args *ctx)
{
	int *error = (int *)ctx->args[0];
	if (ours() && armed) {
		count();
		*error = result;
	}
	return 0;
}
SEC("socket") int victim(struct __sk_buff *skb) { return 0; }
""",
    # A tracepoint of a module: every packet between sockets of vsock(7) on this machine.
    "tp_btf of a module": _HEAD
    + """
SEC("tp_btf/virtio_transport_alloc_pkt")
int BPF_PROG(on, u32 from_cid, u32 from_port, u32 to_cid, u32 to_port, u32 len, u16 type, u16 op)
{
	if (ours() && op == 5) /* VIRTIO_VSOCK_OP_RW */
		add(len);
	return 0;
}
""",
    "kprobe": _READS
    + """
SEC("kprobe/vfs_read") int BPF_KPROBE(on, struct file *file, char *buffer, size_t size)
{
	if (wanted(file))
		add(size);
	return 0;
}
""",
    "kprobe at an offset": _HEAD
    + """
SEC("kprobe") int on(struct pt_regs *ctx) { if (ours()) count(); return 0; }
""",
    "kretprobe": _CALLS
    + """
SEC("kprobe/vfs_read") int BPF_KPROBE(before, struct file *file) { enter(file); return 0; }
SEC("kretprobe/vfs_read") int BPF_KRETPROBE(on, long result)
{
	if (leave())
		add(result);
	return 0;
}
""",
    "kprobe.multi": _BY_ADDRESS
    + """
SEC("kprobe.multi/vfs_*") int on(struct pt_regs *ctx) { return by_address(ctx); }
""",
    "kretprobe.multi": _BY_ADDRESS
    + """
SEC("kretprobe.multi/vfs_*") int on(struct pt_regs *ctx) { return by_address(ctx); }
""",
    "kprobe.session": _BY_ADDRESS
    + """
const volatile int skip_return = 0;
SEC("kprobe.session/vfs_*") int on(struct pt_regs *ctx) { by_address(ctx); return skip_return; }
""",
    "ksyscall": _HEAD
    + """
SEC("ksyscall/getpriority") int BPF_KSYSCALL(on, int which, int who) { if (ours()) add(who); return 0; }
""",
    "kretsyscall": _HEAD
    + """
SEC("kretsyscall/getpriority") int BPF_KRETPROBE(on, long result) { if (ours()) add(result); return 0; }
""",
    "fentry": _READS
    + """
SEC("fentry/vfs_read") int BPF_PROG(on, struct file *file, char *buffer, size_t size)
{
	if (wanted(file))
		add(size);
	return 0;
}
""",
    "fexit": _READS
    + """
SEC("fexit/vfs_read") int BPF_PROG(on, struct file *file, char *buffer, size_t size, loff_t *at, ssize_t result)
{
	if (wanted(file))
		add(result);
	return 0;
}
""",
    "fmod_ret": _READS
    + """
SEC("fmod_ret/security_file_open") int BPF_PROG(on, struct file *file, int result)
{
	if (result || !wanted(file))
		return result;
	count();
	return -13; /* EACCES */
}
""",
    "fsession": _READS
    + """
extern bool bpf_session_is_return(void *ctx) __ksym;
SEC("fsession/vfs_read") int BPF_PROG(on, struct file *file)
{
	if (wanted(file))
		add(bpf_session_is_return(ctx));
	return 0;
}
""",
    "uprobe": _HEAD
    + """
SEC("uprobe") int BPF_KPROBE(on, int x) { if (ours()) add(x); return 0; }
""",
    "uretprobe": _HEAD
    + """
SEC("uretprobe") int BPF_KRETPROBE(on, int result) { if (ours()) add(result); return 0; }
""",
    "uprobe.multi": _HEAD
    + """
SEC("uprobe.multi") int BPF_KPROBE(on, int x) { if (ours()) add(x); return 0; }
""",
    "uretprobe.multi": _HEAD
    + """
SEC("uretprobe.multi") int BPF_KRETPROBE(on, int result) { if (ours()) add(result); return 0; }
""",
    "uprobe.session": _HEAD
    + """
const volatile int skip_return = 0;
SEC("uprobe.session") int on(struct pt_regs *ctx) { if (ours()) count(); return skip_return; }
""",
    "usdt": "#include <bpf/usdt.bpf.h>\n"
    + _HEAD
    + """
s64 small = 0, large = 0;
SEC("usdt") int BPF_USDT(on, int x, long y)
{
	if (ours()) {
		count();
		__sync_fetch_and_add(&small, x);
		__sync_fetch_and_add(&large, y);
	}
	return 0;
}
""",
    "perf_event": _PERF
    + """
SEC("perf_event") int on(struct bpf_perf_event_data *ctx)
{
	if (ours() && inside(ctx->addr)) {
		count();
		cpus |= 1ULL << bpf_get_smp_processor_id();
		period = ctx->sample_period;
	}
	return 0;
}
""",
    "iterators": """
struct row { u32 pid; u32 parent; char comm[16]; ktime_t started; };
const volatile u32 parent = 0;
static bool child(struct task_struct *task)
{
	return task && task->pid == task->tgid && task->real_parent->tgid == parent;
}
SEC("iter/task") int records(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	struct row row = {};
	if (!child(task))
		return 0;
	row.pid = task->tgid;
	row.parent = task->real_parent->tgid;
	row.started = task->start_time;
	bpf_probe_read_kernel_str(row.comm, sizeof(row.comm), task->comm);
	bpf_seq_write(ctx->meta->seq, &row, sizeof(row));
	return 0;
}
SEC("iter/task") int table(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	if (ctx->meta->seq_num == 0)
		BPF_SEQ_PRINTF(ctx->meta->seq, "pid parent comm\\n");
	if (child(task))
		BPF_SEQ_PRINTF(ctx->meta->seq, "%d %d %s\\n", task->tgid, task->real_parent->tgid, task->comm);
	return 0;
}
""",
    "iterator of threads": """
SEC("iter/task") int threads(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	if (task)
		BPF_SEQ_PRINTF(ctx->meta->seq, "%d %d\\n", task->tgid, task->pid);
	return 0;
}
""",
    "iterator of a map": """
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 1024); __type(key, u32); __type(value, u64); }
squares SEC(".maps");
u32 next = 0;
SEC("socket") int add(struct __sk_buff *skb)
{
	u32 key = 7 * next++;
	u64 value = (u64)key * key;
	return bpf_map_update_elem(&squares, &key, &value, BPF_NOEXIST);
}
SEC("iter/bpf_map_elem") int elements(struct bpf_iter__bpf_map_elem *ctx)
{
	u32 *key = ctx->key;
	u64 *value = ctx->value;
	if (key && value)
		BPF_SEQ_PRINTF(ctx->meta->seq, "%u %llu\\n", *key, *value);
	return 0;
}
""",
    "iterator of cgroups": """
SEC("iter/cgroup") int groups(struct bpf_iter__cgroup *ctx)
{
	struct cgroup *group = ctx->cgroup;
	if (group)
		BPF_SEQ_PRINTF(ctx->meta->seq, "%llu\\n", group->kn->id);
	return 0;
}
""",
    "two structs": """
struct one { u32 x; };
struct two { u64 y; };
SEC("iter/task") int rows(struct bpf_iter__task *ctx)
{
	struct one row = { 1 };
	struct two other = { 2 };
	if (!ctx->task)
		bpf_seq_write(ctx->meta->seq, &other, sizeof(other));
	else
		bpf_seq_write(ctx->meta->seq, &row, sizeof(row));
	return 0;
}
""",
    "half a row": """
struct row { u64 x; };
SEC("iter/task") int rows(struct bpf_iter__task *ctx)
{
	struct row row = { 1 };
	if (!ctx->task)
		bpf_seq_write(ctx->meta->seq, &row, sizeof(row) / 2);
	return 0;
}
""",
}

# A library with a USDT probe, spelled out because <sys/sdt.h> is seldom installed
# (https://sourceware.org/systemtap/wiki/UserSpaceProbeImplementation). It is for any 64-bit machine but its registers.
LIBRARY = r"""
#define USDT(provider, name, x, y) \
	__asm__ volatile( \
		"990: nop\n" \
		".pushsection .note.stapsdt, \"\", \"note\"\n" \
		".balign 4\n" \
		".4byte 992f - 991f, 994f - 993f, 3\n" \
		"991: .asciz \"stapsdt\"\n" \
		"992: .balign 4\n" \
		"993: .8byte 990b, 0, 0\n" \
		".asciz \"" #provider "\"\n" \
		".asciz \"" #name "\"\n" \
		".asciz \"-4@%0 -8@%1\"\n" \
		"994: .balign 4\n" \
		".popsection\n" \
		:: "r"(x), "r"(y))

__attribute__((noipa)) int triple(int x) { return 3 * x; }
__attribute__((noipa)) int twice(int x) { return 2 * x; }
int thrice(int x) __attribute__((alias("triple")));
__attribute__((noipa)) long fire(int x, long y)
{
	USDT(lab, fired, x, y);
	return x + y;
}
"""

# A process that calls the library as often as it is told.
PROGRAM = """
#include <stdlib.h>
int triple(int x);
int twice(int x);
long fire(int x, long y);
int main(int argc, char **argv)
{
	int i;
	for (i = 0; i < atoi(argv[1]); i++) {
		triple(i);
		twice(i);
		fire(i, i);
	}
	return 0;
}
"""
