/*
 * Between BCC's helpers.h and a program: what libbpf's bpf_helpers.h would bring of what our definitions of maps and
 * the counters of lost records need.
 */
#undef SEC
#define SEC(NAME) __attribute__((section(NAME), used))
#define __uint(name, val) int (*name)[val]
#define __type(name, val) typeof(val) *name
#define __array(name, val) typeof(val) *name[]

/* Counts of the values that bpf_log2l() puts into slot i, 2^(i-1) to 2^i - 1: see ebpflab/maps/histogram.py. */
typedef u64 bcc_log2_t;
