// category: Memory Safety
// message: read from map forbidden
// fix: BPF_F_WRONLY_PROG | read
// about: map value
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_WRONLY_PROG);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, u64);
} results SEC(".maps");

SEC("xdp")
int read_back(struct xdp_md *ctx)
{
	u32 zero = 0;
	u64 *result = bpf_map_lookup_elem(&results, &zero); // <- cause
	return result && *result ? XDP_DROP : XDP_PASS; // <- refused
}
