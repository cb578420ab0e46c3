// cachestat: how often is what a process reads already in memory?
//
//     %bpf run cachestat --for 5s
//      pid  comm              hits  misses  added  dirtied
//     6996  python            6774     223   2553        0
//     7076  jupyter-nbconve   3290     126    474        1
//     6992  bash              1849     112    249        7
//     6985  clang               37       1    121        4
//
// Rows:     s.maps["pages"].df().sort_values("misses", ascending=False)
// Plot:     s.maps["pages"].plot.top("comm", weight="misses")
// Overhead: 558 ns a run; one run for each read, and for each page that comes or gets dirty.
// Needs:    tracepoints of the page cache with BTF (Linux 5.5), and mm_filemap_get_pages (Linux 6.11); before it fentry
//           or kprobes of folio_mark_accessed or mark_page_accessed, which count pages read ahead as missed, and a page
//           that is read in pieces once. Pages of 4 KiB. Not counted: what is read through mmap(2). Without
//           CONFIG_TASK_XACCT, a read that begins later and ends in the same page as the one before is not counted.

const volatile u32 pid = 0;  // only this process; 0: every process

struct key {
	u32 pid;
};

struct use {
	char comm[16];
	u64 hits;                         // pages that were there when they were read
	u64 misses;                       // pages that had to be fetched first
	u64 added;                        // pages put into the cache: fetched, read ahead, or newly written
	u64 dirtied;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct key);
	__type(value, struct use);
} pages SEC(".maps");

/* What a thread has just put into the cache, and what it read last. */
struct thread {
	struct address_space *added;
	u64 first, end;
	struct address_space *read;
	u64 index, last, calls;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, u32);
	__type(value, struct thread);
} threads SEC(".maps");

/* Folios came with Linux 5.16; before, the hooks give pages. Members were renamed or wrapped since. */
struct page___single {
	struct address_space *mapping;
	unsigned long index;
} __attribute__((preserve_access_index));

struct folio___flat {
	unsigned long flags;
	struct address_space *mapping;
	unsigned long index;
	unsigned int _folio_nr_pages;
} __attribute__((preserve_access_index));

struct folio___wrapped {
	struct {
		unsigned long f;
	} flags;
	unsigned int _nr_pages;
} __attribute__((preserve_access_index));

struct task_struct___counted {
	struct {
		u64 syscr;
	} ioac;
} __attribute__((preserve_access_index));

struct span {
	struct address_space *mapping;
	u64 index;
	u64 count;
};

static u64 count_of(void *folio)
{
	struct folio___flat *flat = folio;
	struct folio___wrapped *wrapped = folio;
	u64 flags;

	if (bpf_core_field_exists(wrapped->flags.f))
		flags = BPF_CORE_READ(wrapped, flags.f);
	else
		flags = BPF_CORE_READ(flat, flags);
	if (!(flags >> bpf_core_enum_value(enum pageflags, PG_head) & 1))
		return 1;
	if (bpf_core_field_exists(wrapped->_nr_pages))
		return BPF_CORE_READ(wrapped, _nr_pages);
	return bpf_core_field_exists(flat->_folio_nr_pages) ? BPF_CORE_READ(flat, _folio_nr_pages) : 1;
}

static void read_span(struct span *span, void *folio)
{
	struct page___single *page = folio;
	struct folio___flat *flat = folio;

	if (bpf_core_type_exists(struct folio___flat))
		*span = (struct span){ BPF_CORE_READ(flat, mapping), BPF_CORE_READ(flat, index), count_of(folio) };
	else
		*span = (struct span){ BPF_CORE_READ(page, mapping), BPF_CORE_READ(page, index), 1 };
}

static bool of_a_file(struct address_space *mapping)
{
	/* The cache of a block device holds what file systems know of files. */
	return mapping && (BPF_CORE_READ(mapping, host, i_mode) & S_IFMT) == S_IFREG;
}

static struct use *use_of(struct address_space *mapping)
{
	struct key key = { bpf_get_current_pid_tgid() >> 32 };
	struct use *use, none = {};

	if ((pid && pid != key.pid) || !of_a_file(mapping))
		return NULL;
	use = bpf_map_lookup_elem(&pages, &key);
	if (!use) {
		bpf_map_update_elem(&pages, &key, &none, BPF_NOEXIST);
		use = bpf_map_lookup_elem(&pages, &key);
	}
	if (use)
		bpf_get_current_comm(use->comm, sizeof(use->comm));  // execve(2) reads before it changes the name
	return use;
}

static struct thread *this_thread(void)
{
	u32 id = bpf_get_current_pid_tgid();
	struct thread *thread = bpf_map_lookup_elem(&threads, &id), none = {};

	if (thread)
		return thread;
	bpf_map_update_elem(&threads, &id, &none, BPF_NOEXIST);
	return bpf_map_lookup_elem(&threads, &id);
}

SEC("tp_btf/mm_filemap_add_to_page_cache")
int BPF_PROG(on_add, void *folio)
{
	struct thread *thread;
	struct span span;
	struct use *use;

	read_span(&span, folio);
	use = use_of(span.mapping);
	thread = use ? this_thread() : NULL;
	if (!thread)
		return 0;
	__sync_fetch_and_add(&use->added, span.count);
	if (thread->added != span.mapping || thread->end != span.index) {
		thread->added = span.mapping;
		thread->first = span.index;
	}
	thread->end = span.index + span.count;
	return 0;
}

static int on_dirty(void *folio, struct address_space *mapping)
{
	struct use *use = use_of(mapping);
	struct thread *thread = use ? this_thread() : NULL;
	struct span span;

	if (!thread)
		return 0;
	read_span(&span, folio);
	__sync_fetch_and_add(&use->dirtied, span.count);
	thread->added = NULL;             // it was added to be written: whoever reads it now finds it
	return 0;
}

SEC("?tp_btf/writeback_dirty_folio")
int BPF_PROG(on_dirty__tp_btf, void *folio, struct address_space *mapping)
{
	return on_dirty(folio, mapping);
}

SEC("?tp_btf/writeback_dirty_page")
int BPF_PROG(on_dirty__tp_btf_old, void *page, struct address_space *mapping)
{
	return on_dirty(page, mapping);
}

/* Of a read that goes on, all was counted when it began; what had to be fetched since was no hit. */
static int on_read(struct address_space *mapping, u64 index, u64 end, bool goes_on)
{
	struct use *use = use_of(mapping);
	struct thread *thread = use && index < end ? this_thread() : NULL;
	u64 from, to, missed;

	if (!thread)
		return 0;
	from = index > thread->first ? index : thread->first;
	to = end < thread->end ? end : thread->end;
	missed = thread->added == mapping && from < to ? to - from : 0;
	if (missed)
		thread->first = to;       // who comes back to them finds them
	__sync_fetch_and_add(&use->misses, missed);
	__sync_fetch_and_add(&use->hits, (goes_on ? 0 : end - index) - missed);
	return 0;
}

/* How many calls to read this thread has finished: the same all through one call. */
static u64 finished_calls(void)
{
	struct task_struct___counted *task = (void *)bpf_get_current_task();

	return bpf_core_field_exists(task->ioac.syscr) ? BPF_CORE_READ(task, ioac.syscr) : 0;
}

SEC("?tp_btf/mm_filemap_get_pages")
int BPF_PROG(on_read__tp_btf, struct address_space *mapping, u64 index, u64 last)
{
	const int page_shift = 12;
	u64 size = BPF_CORE_READ(mapping, host, i_size);
	u64 end = (size + (1 << page_shift) - 1) >> page_shift, calls = finished_calls();
	struct thread *thread = this_thread();
	bool goes_on;

	if (!thread)
		return 0;
	/* A long read asks several times, each time for all that is left. */
	goes_on = thread->read == mapping && thread->last == last && index > thread->index && thread->calls == calls;
	thread->read = mapping;
	thread->index = index;
	thread->last = last;
	thread->calls = calls;
	on_read(mapping, index, last < end ? last + 1 : end, goes_on);  // a read may ask for more than there is
	thread->added = NULL;
	return 0;
}

/* One folio, each time that something uses it. */
static int on_access(void *folio)
{
	struct span span;

	read_span(&span, folio);
	if ((u64)span.mapping & 3)        // memory of no file
		return 0;
	return on_read(span.mapping, span.index, span.index + span.count, false);
}

SEC("?fentry/folio_mark_accessed")
int BPF_PROG(on_read__fentry, void *folio) { return on_access(folio); }

SEC("?fentry/mark_page_accessed")
int BPF_PROG(on_read__fentry_old, void *page) { return on_access(page); }

SEC("?kprobe/folio_mark_accessed")
int BPF_KPROBE(on_read__kprobe, void *folio) { return on_access(folio); }

SEC("?kprobe/mark_page_accessed")
int BPF_KPROBE(on_read__kprobe_old, void *page) { return on_access(page); }
