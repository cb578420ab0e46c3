struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} events SEC(".maps");

SEC("xdp")
int pass(void *ctx)
{
	u32 *e = bpf_ringbuf_reserve(&evnts, sizeof(*e), 0); /* HERE */
	return e != 0;
}
