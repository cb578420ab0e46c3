// biolatency: how long do disks take to serve requests?
//
//     %bpf run biolatency --for 5s
//     disk  operation  low  high  count
//     vda   READ        64   127     89
//     vda   READ       128   255    243
//     vda   READ       256   511    142
//     vda   WRITE      128   255     54
//     vda   WRITE      256   511    105
//
// Rows:     s.maps["latency"].hist().query("count > 0")
// Plot:     s.maps["latency"].plot(units="us")
// Overhead: 507 ns a run; up to three runs for each request.
// Needs:    block tracepoints with BTF (Linux 5.5). What --queued adds begins with block_io_start (Linux 6.5); before,
//           when a request is put into a queue, so that it adds nothing to one that goes straight to the disk.

const volatile char disk[32] = "";  // only this disk, such as vda; empty: every disk
const volatile bool queued = false;  // also the time before the disk got the request

/* Those that have the same numbers on all kernels (include/linux/blk_types.h). */
enum operation { READ = 0, WRITE = 1, FLUSH = 2, DISCARD = 3, SECURE_ERASE = 5, WRITE_ZEROES = 9 };

struct key {
	char disk[32];
	enum operation operation;
};

struct hist {
	u64 slots[32];                    // log2 of microseconds
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct key);
	__type(value, struct hist);
} latency SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);  // a request merged into another one does not complete
	__uint(max_entries, 16384);
	__type(key, u64);                 // struct request *
	__type(value, u64);               // when it started or was issued
} started SEC(".maps");

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

static u64 request_of(u64 *ctx)
{
	if (bpf_core_type_exists(btf_trace_block_rq_issue___queue))
		return ctx[1];
	return ctx[0];
}

static int start(u64 request)
{
	u64 now = bpf_ktime_get_ns();

	bpf_map_update_elem(&started, &request, &now, BPF_ANY);
	return 0;
}

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

SEC("?tp_btf/block_io_start")
int on_start__tp_btf_io_start(u64 *ctx)
{
	return queued ? start(ctx[0]) : 0;
}

SEC("?tp_btf/block_rq_insert")
int on_start__tp_btf_insert(u64 *ctx)
{
	return queued ? start(request_of(ctx)) : 0;
}

SEC("tp_btf/block_rq_issue")
int on_issue(u64 *ctx)
{
	u64 request = request_of(ctx);

	if (queued && bpf_map_lookup_elem(&started, &request))
		return 0;
	return start(request);
}

SEC("tp_btf/block_rq_complete")
int BPF_PROG(on_complete, struct request *request, int error, unsigned int bytes)
{
	static const struct hist empty;
	u64 id = (u64)request;
	u64 *since = bpf_map_lookup_elem(&started, &id);
	struct key key = { .operation = request->cmd_flags & 0xff };
	struct hist *hist;

	if (!since || bytes < request->__data_len)  // a part of it: more is to come
		return 0;
	name_of(request, key.disk);
	if (wanted(key.disk)) {
		bpf_map_update_elem(&latency, &key, &empty, BPF_NOEXIST);
		hist = bpf_map_lookup_elem(&latency, &key);
		if (hist)
			__sync_fetch_and_add(&hist->slots[log2((bpf_ktime_get_ns() - *since) / 1000) & 31], 1);
	}
	bpf_map_delete_elem(&started, &id);
	return 0;
}
