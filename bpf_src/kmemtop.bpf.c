// kmemtop: which functions of the kernel ask for memory, how often, and for how much?
//
//     %bpf run kmemtop --for 5s
//     site                          cache        count     bytes
//     getname_flags.part.0+0x24     names_cache   7682  31465472
//     kernfs_fop_read_iter+0x13e    kmalloc       4045  16560144
//     ext4_htree_store_dirent+0x34  kmalloc      11631    835776
//     alloc_empty_file+0x3c         filp          2058    395136
//
// Rows:     s.maps["sites"].df().sort_values("bytes", ascending=False)
// Plot:     s.maps["sites"].plot.top("site", weight="bytes")
// Overhead: 167 ns a run; one run for each kmalloc and kmem_cache_alloc.
// Needs:    tracepoints of memory with BTF (Linux 5.5). Names of caches since Linux 6.1, before it kmem_cache_alloc.
//           What is given back again counts all the same, and whole pages do not.

const volatile pid_t pid = 0;  // only in system calls and faults of this process; 0: everywhere

struct site {
	ksym_t site;
	char cache[32];
};

struct asked {
	u64 count;
	u64 bytes;                        // as much as was taken, which is more than was asked for
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct site);
	__type(value, struct asked);
} sites SEC(".maps");

static int count(struct site *site, u64 bytes)
{
	struct asked none = {}, *asked = NULL;

	if (pid && pid != bpf_get_current_pid_tgid() >> 32)
		return 0;
	asked = bpf_map_lookup_elem(&sites, site);
	if (!asked) {
		bpf_map_update_elem(&sites, site, &none, BPF_NOEXIST);
		asked = bpf_map_lookup_elem(&sites, site);
	}
	if (asked) {
		__sync_fetch_and_add(&asked->count, 1);
		__sync_fetch_and_add(&asked->bytes, bytes);
	}
	return 0;
}

static int of_sizes(u64 call_site, u64 bytes)
{
	struct site site = { .site = call_site, .cache = "kmalloc" };

	return count(&site, bytes);
}

static int of_cache(u64 call_site, u64 bytes)
{
	struct site site = { .site = call_site, .cache = "kmem_cache_alloc" };

	return count(&site, bytes);
}

SEC("tp_btf/kmalloc")
int BPF_PROG(on_kmalloc, u64 call_site, void *memory, u64 asked, u64 bytes)
{
	return of_sizes(call_site, bytes);
}

/* Until Linux 6.0 those that name a NUMA node have tracepoints of their own, and caches do not tell who they are. */
SEC("?tp_btf/kmem_cache_alloc_node")
int BPF_PROG(on_cache__tp_btf_node__cache_node, u64 call_site, void *memory, u64 asked, u64 bytes)
{
	return of_cache(call_site, bytes);
}

SEC("?tp_btf/kmem_cache_alloc")
int BPF_PROG(on_cache__tp_btf_node__cache, u64 call_site, void *memory, u64 asked, u64 bytes)
{
	return of_cache(call_site, bytes);
}

SEC("?tp_btf/kmalloc_node")
int BPF_PROG(on_cache__tp_btf_node__kmalloc_node, u64 call_site, void *memory, u64 asked, u64 bytes)
{
	return of_sizes(call_site, bytes);
}

SEC("?tp_btf/kmem_cache_alloc")
int BPF_PROG(on_cache__tp_btf, u64 call_site, void *memory, struct kmem_cache *cache)
{
	struct site site = { .site = call_site };

	bpf_probe_read_kernel_str(site.cache, sizeof(site.cache), BPF_CORE_READ(cache, name));
	return count(&site, BPF_CORE_READ(cache, size));
}
