/*
 * Between BCC's helpers.h and a program: what libbpf's bpf_helpers.h would bring of what our definitions of maps and
 * the counters of lost records need.
 */
#undef SEC
#define SEC(NAME) __attribute__((section(NAME), used))
#define __uint(name, val) int (*name)[val]
#define __type(name, val) typeof(val) *name
#define __array(name, val) typeof(val) *name[]

/*
 * Counts of the values that BCC's two functions put into slot i, bpf_log2l() 2^(i-1) to 2^i - 1 and bpf_log2() 2^i to
 * 2^(i+1) - 1, and counts of the number i itself: see ebpflab/maps/histogram.py.
 */
typedef u64 bcc_log2_t;
typedef u64 bcc_log2_floor_t;
typedef u64 bcc_linear_t;

/*
 * Tells the reader of a buffer what is sent to it, by the type of a variable that nothing reads: a pointer to that of the
 * expression. See ebpflab/records.py.
 */
#define ebpflab_sends(buffer, ...)                                                                 \
	({                                                                                         \
		static const typeof(__VA_ARGS__) *ebpflab_sent_to_##buffer SEC(".data.ebpflab");   \
	})
