// category: Register Type Safety
// message: invalid mem access 'map_value_or_null'
// fix: if (!
// about: map value
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 8);
	__type(key, u32);
	__type(value, u64);
} buckets SEC(".maps");

SEC("tp/syscalls/sys_enter_read")
int sum_buckets(void *ctx)
{
	u64 sum = 0;
	for (u32 i = 0; i < 8; i++) {
		u64 *bucket = bpf_map_lookup_elem(&buckets, &i); // <- cause
		sum += *bucket; // <- refused
	}
	return sum > 100;
}
