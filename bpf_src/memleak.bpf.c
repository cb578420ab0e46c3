// memleak: which memory did processes ask libc for and not give back, and where in the code?
//
//     %bpf run memleak --for 5s --pid 28771
//       pid  comm      user                            count    bytes  oldest
//     28771  memchild  [libc.so.6];main;known_growth       7  1400021  2026-11-23 05:39:01.784
//     28771  memchild  [libc.so.6];main;known_leak        23     2323  2026-11-23 05:39:01.784
//     28771  memchild  [libc.so.6];main;known_calloc      13     1001  2026-11-23 05:39:01.784
//
// Rows:     s.maps["held"].df().query("counts_from.le('now')").groupby(["pid", "comm", "user"], observed=True,
//           as_index=False).agg(count=("bytes", "count"), bytes=("bytes", "sum"), oldest=("time", "min"))
//           .sort_values("bytes", ascending=False)
// Plot:     s.maps["held"].plot.flame(["user"], weight="bytes")
// Overhead: 822 ns a run; two runs for each allocation and one for each free. For these a process has to enter the
//           kernel: a malloc and its free take some 19,000 ns in all.
// Needs:    uprobes (CONFIG_UPROBE_EVENTS), and processes that use the malloc of libc.so.6. Stacks are whole where the
//           code keeps frame pointers, and have names while the process lives. Memory that was asked for before the
//           tool came is not seen. What did not fit into the table is counted in s.vars["too_many"]. Without --pid
//           all processes are slowed down.

const volatile pid_t pid = 0;  // only this process; 0: every process
const volatile u64 min_bytes = 0;  // only pieces of at least so many bytes
const volatile u64 min_age_ms = 0;  // only what was not given back for so many milliseconds

u64 too_many;

struct place {
	u64 memory;                       // whose: processes may share theirs for a while, as after vfork(2)
	u64 address;
};

struct piece {
	u32 pid;
	u64 bytes;
	ktime_t time;
	ktime_t counts_from;              // when it is as old as asked for
	char comm[16];
	user_stack_t user;
};

struct {
	__uint(type, BPF_MAP_TYPE_STACK_TRACE);
	__uint(max_entries, 16384);
	__uint(key_size, sizeof(u32));
	__uint(value_size, 127 * sizeof(u64));
} stacks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1 << 18);
	__type(key, struct place);
	__type(value, struct piece);
} held SEC(".maps");

/* Functions of libc call each other, realloc() malloc() for one: each call of a thread has an entry of its own. */
enum function { MALLOC, CALLOC, REALLOC, ALIGNED_ALLOC, POSIX_MEMALIGN };

struct caller {
	u32 thread;
	enum function function;
};

struct call {
	u64 bytes;
	u64 address;                      // what realloc() was given; where posix_memalign() puts its result
	struct piece given;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);  // a thread killed in the middle of a call leaves its entry behind
	__uint(max_entries, 16384);
	__type(key, struct caller);
	__type(value, struct call);
} calls SEC(".maps");

static bool wanted(void)
{
	return !pid || pid == bpf_get_current_pid_tgid() >> 32;
}

static struct place place_of(u64 address)
{
	struct task_struct *task = (void *)bpf_get_current_task();

	return (struct place){ (u64)BPF_CORE_READ(task, mm), address };
}

static void hold(u64 address, struct piece *piece)
{
	struct place place = place_of(address);

	if (bpf_map_update_elem(&held, &place, piece, BPF_ANY))
		__sync_fetch_and_add(&too_many, 1);
}

static void give_back(u64 address, struct piece *copy)
{
	struct place place = place_of(address);
	struct piece *piece = bpf_map_lookup_elem(&held, &place);

	if (piece && copy)
		*copy = *piece;
	bpf_map_delete_elem(&held, &place);
}

static int enter(enum function function, struct call *call)
{
	struct caller caller = { bpf_get_current_pid_tgid(), function };

	if (wanted())
		bpf_map_update_elem(&calls, &caller, call, BPF_ANY);
	return 0;
}

static u64 word_at(u64 address)
{
	u64 word = 0;

	bpf_probe_read_user(&word, sizeof(word), (void *)address);
	return word;
}

static int leave(void *ctx, enum function function, u64 result)
{
	struct caller caller = { bpf_get_current_pid_tgid(), function };
	struct call *call = bpf_map_lookup_elem(&calls, &caller);
	struct piece piece = {};

	if (!call)
		return 0;
	if (function == POSIX_MEMALIGN)
		result = result ? 0 : word_at(call->address);
	if (result && call->bytes >= min_bytes) {
		piece.pid = bpf_get_current_pid_tgid() >> 32;
		piece.bytes = call->bytes;
		piece.time = bpf_ktime_get_ns();
		piece.counts_from = piece.time + min_age_ms * 1000000;
		bpf_get_current_comm(piece.comm, sizeof(piece.comm));
		piece.user = bpf_get_stackid(ctx, &stacks, BPF_F_USER_STACK);
		hold(result, &piece);
	} else if (!result && call->bytes && call->given.time) {
		hold(call->address, &call->given);  // realloc() found no room: what it was given stays
	}
	bpf_map_delete_elem(&calls, &caller);
	return 0;
}

/* Where a function returns, its caller's frame is the innermost: nobody is missing from the stack. */
#define RETURNS(name, function)                                                                    \
	SEC("uretprobe/libc.so.6:" #name)                                                          \
	int BPF_KRETPROBE(on_##name##_exit, u64 result)                                            \
	{                                                                                          \
		return leave(ctx, function, result);                                               \
	}

RETURNS(malloc, MALLOC)
RETURNS(calloc, CALLOC)
RETURNS(realloc, REALLOC)
RETURNS(aligned_alloc, ALIGNED_ALLOC)
RETURNS(posix_memalign, POSIX_MEMALIGN)

SEC("uprobe/libc.so.6:malloc")
int BPF_KPROBE(on_malloc, u64 bytes)
{
	return enter(MALLOC, &(struct call){ bytes });
}

SEC("uprobe/libc.so.6:calloc")
int BPF_KPROBE(on_calloc, u64 count, u64 bytes)
{
	return enter(CALLOC, &(struct call){ count * bytes });
}

SEC("uprobe/libc.so.6:aligned_alloc")
int BPF_KPROBE(on_aligned_alloc, u64 alignment, u64 bytes)
{
	return enter(ALIGNED_ALLOC, &(struct call){ bytes });
}

SEC("uprobe/libc.so.6:posix_memalign")
int BPF_KPROBE(on_posix_memalign, u64 to, u64 alignment, u64 bytes)
{
	return enter(POSIX_MEMALIGN, &(struct call){ bytes, to });
}

SEC("uprobe/libc.so.6:realloc")
int BPF_KPROBE(on_realloc, u64 address, u64 bytes)
{
	struct call call = { bytes, address };

	if (wanted())
		give_back(address, &call.given);  // now, as it may be another thread's by the time of the return
	return enter(REALLOC, &call);
}

SEC("uprobe/libc.so.6:free")
int BPF_KPROBE(on_free, u64 address)
{
	if (wanted())
		give_back(address, NULL);
	return 0;
}
