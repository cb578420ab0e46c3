// biosnoop: which requests do disks serve, for whom, and how long does each take?
//
//     %bpf run biosnoop --for 5s
//     time                       pid  comm         disk operation    sector   bytes error queued  took
//     2026-11-23 05:20:25.426   6838  dd           vda  READ       48668160  262144 OK   5.26 us 236 us
//     2026-11-23 05:20:25.430   6839  sync         vda  WRITE      75235440    4096 OK   7.31 us 115 us
//     2026-11-23 05:20:25.430     44  kworker/1:1H vda  FLUSH             0       0 OK    641 ns 51.2 us
//
// Plot:     s.events.plot.heatmap("took")
// Overhead: 576 ns a run; up to three runs for each request.
// Needs:    block tracepoints with BTF, ring buffers (Linux 5.8). Who asked is told by block_io_start (Linux 6.5);
//           before, it is who queued a request or gave it to the disk, which may be a thread of the kernel.

const volatile u32 pid = 0;  // only requests of this process; 0: of every process
const volatile char disk[32] = "";  // only this disk, such as vda; empty: every disk
const volatile u64 min_us = 0;  // only requests that took at least so many microseconds

/* Those that have the same numbers on all kernels (include/linux/blk_types.h). */
enum operation { READ = 0, WRITE = 1, FLUSH = 2, DISCARD = 3, SECURE_ERASE = 5, WRITE_ZEROES = 9 };

struct event {
	ktime_t time;                     // when it was done
	u32 pid;
	char comm[16];
	char disk[32];
	enum operation operation;
	u64 sector;
	u32 bytes;
	errno_t error;
	duration_t queued;                // until the disk got it
	duration_t took;                  // from then on
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 8 << 20);
	__type(value, struct event);
} events SEC(".maps");

struct waiting {
	u64 started;
	u64 issued;
	u64 sector;
	u32 bytes;
	u32 pid;
	char comm[16];
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);  // a request merged into another one does not complete
	__uint(max_entries, 16384);
	__type(key, u64);                 // struct request *
	__type(value, struct waiting);
} requests SEC(".maps");

/* The disk was a member of the request up to Linux 5.16, and is one of its queue since 5.15. */
struct request_queue___disk {
	struct gendisk *disk;
} __attribute__((preserve_access_index));

struct request___disk {
	struct gendisk *rq_disk;
} __attribute__((preserve_access_index));

static void name_of(struct request *request, char name[32])
{
	struct request_queue___disk *queue = (void *)BPF_CORE_READ(request, q);
	struct request___disk *old = (void *)request;
	struct gendisk *gendisk;

	if (bpf_core_field_exists(old->rq_disk))
		gendisk = BPF_CORE_READ(old, rq_disk);
	else
		gendisk = BPF_CORE_READ(queue, disk);
	BPF_CORE_READ_STR_INTO((char (*)[32])name, gendisk, disk_name);
}

static bool wanted(const char name[32])
{
	for (int i = 0; disk[0] && i < sizeof(disk); i++) {
		if (name[i] != disk[i])
			return false;
		if (!name[i])
			break;
	}
	return true;
}

/* Until Linux 5.11, and 5.10.137, the queue came first; only the number of arguments is compared. */
typedef void (*btf_trace_block_rq_issue___queue)(void *, struct request *, struct request *);

static struct request *request_of(u64 *ctx)
{
	if (bpf_core_type_exists(btf_trace_block_rq_issue___queue))
		return (void *)ctx[1];
	return (void *)ctx[0];
}

/* blk_status_t to errno, as blk_status_to_errno() has it (block/blk-core.c); Linux 5.10 gives an errno itself. */
static int errno_of(int status)
{
	switch (status) {
	case 1: return ENOTSUP;
	case 2: return ETIMEDOUT;
	case 3: return ENOSPC;
	case 4: return ENOLINK;
	case 5: return EREMOTEIO;
	case 6: return EBADE;
	case 7: return ENODATA;
	case 8: return EILSEQ;
	case 9: return ENOMEM;
	}
	return status <= 0 ? -status : EIO;
}

static int start(struct request *request)
{
	struct waiting waiting = { .started = bpf_ktime_get_ns(), .pid = bpf_get_current_pid_tgid() >> 32 };
	u64 id = (u64)request;

	bpf_get_current_comm(waiting.comm, sizeof(waiting.comm));
	bpf_map_update_elem(&requests, &id, &waiting, BPF_ANY);
	return 0;
}

SEC("?tp_btf/block_io_start")
int on_start__tp_btf_io_start(u64 *ctx)
{
	return start((void *)ctx[0]);
}

SEC("?tp_btf/block_rq_insert")
int on_start__tp_btf_insert(u64 *ctx)
{
	return start(request_of(ctx));
}

SEC("tp_btf/block_rq_issue")
int on_issue(u64 *ctx)
{
	struct request *request = request_of(ctx);
	u64 id = (u64)request;
	struct waiting *waiting = bpf_map_lookup_elem(&requests, &id);

	if (!waiting) {                   // it was not queued, or before this program ran
		start(request);
		waiting = bpf_map_lookup_elem(&requests, &id);
	}
	if (!waiting)
		return 0;
	waiting->issued = bpf_ktime_get_ns();
	waiting->bytes = request->__data_len;
	waiting->sector = request->__sector;
	return 0;
}

SEC("tp_btf/block_rq_complete")
int BPF_PROG(on_complete, struct request *request, int error, unsigned int bytes)
{
	u64 id = (u64)request, now = bpf_ktime_get_ns();
	struct waiting *waiting = bpf_map_lookup_elem(&requests, &id);
	char name[32] = {};
	struct event *e;

	if (!waiting || bytes < request->__data_len)  // a part of it: more is to come
		return 0;
	name_of(request, name);
	if (!waiting->issued || now - waiting->issued < min_us * 1000 || (pid && pid != waiting->pid) || !wanted(name))
		goto done;
	e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
	if (!e)
		goto done;
	e->time = now;
	e->pid = waiting->pid;
	__builtin_memcpy(e->comm, waiting->comm, sizeof(e->comm));
	__builtin_memcpy(e->disk, name, sizeof(e->disk));
	e->operation = request->cmd_flags & 0xff;
	e->sector = waiting->sector == -1ULL ? 0 : waiting->sector;  // a flush has none
	e->bytes = waiting->bytes;
	e->error = errno_of(error);
	e->queued = waiting->issued - waiting->started;
	e->took = now - waiting->issued;
	bpf_ringbuf_submit(e, 0);
done:
	bpf_map_delete_elem(&requests, &id);
	return 0;
}
