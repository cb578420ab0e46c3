/*
 * The prelude of every ebpflab cell: what libbpf programs include anyway, a few typedefs that carry
 * meaning into DataFrame columns, and wrappers that count the records a full buffer refuses.
 *
 * EBPFLAB_UAPI    the cell includes <linux/...> headers itself, so vmlinux.h stays out
 * EBPFLAB_CPUS    number of counters per call site: possible CPUs, rounded up to a power of two
 */
#ifndef EBPFLAB_H
#define EBPFLAB_H

#ifdef EBPFLAB_UAPI
#include <linux/types.h>
#include <linux/bpf.h>
typedef __s64 ktime_t;
#else
#include <vmlinux.h>
#endif
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_tracing.h>

/* ktime_t is the kernel's own: nanoseconds since boot, as bpf_ktime_get_ns() gives them; shown as UTC time. */
typedef __u64 duration_t; /* nanoseconds, shown as a time span */

/*
 * A dynamic string of a tracepoint: the format file says `__data_loc char[] name`, the record holds
 * `__data_loc_name`: offset in the low half, length in the high half (kernel: include/trace/stages).
 */
#define TP_DATA_LOC_STR(dst, size, ctx, field)                                                     \
	bpf_probe_read_kernel_str((dst), (size), (void *)(ctx) + ((ctx)->__data_loc_##field & 0xffff))

/*
 * Loss accounting. The kernel keeps no count of the records that a full ring buffer refuses, so each
 * call site keeps its own, one slot a CPU, in a section that user space maps. Only a refusal costs anything.
 */
struct ebpflab_loss {
	char map[128];
	__u32 line;
	__u32 cpus;
	__u64 lost[EBPFLAB_CPUS];
};

#define EBPFLAB_LOST(buffer)                                                                       \
	({                                                                                         \
		static struct ebpflab_loss ebpflab_site SEC(".data.ebpflab") = {                   \
			.map = #buffer, .line = __LINE__, .cpus = EBPFLAB_CPUS                     \
		};                                                                                 \
		__sync_fetch_and_add(                                                              \
			&ebpflab_site.lost[bpf_get_smp_processor_id() & (EBPFLAB_CPUS - 1)], 1);   \
	})

#define bpf_ringbuf_reserve(buffer, size, flags)                                                   \
	({                                                                                         \
		void *ebpflab_record = bpf_ringbuf_reserve((buffer), (size), (flags));             \
		if (!ebpflab_record)                                                               \
			EBPFLAB_LOST(buffer);                                                      \
		ebpflab_record;                                                                    \
	})

#define bpf_ringbuf_output(buffer, data, size, flags)                                              \
	({                                                                                         \
		long ebpflab_error = bpf_ringbuf_output((buffer), (data), (size), (flags));        \
		if (ebpflab_error)                                                                 \
			EBPFLAB_LOST(buffer);                                                      \
		ebpflab_error;                                                                     \
	})

#define bpf_ringbuf_reserve_dynptr(buffer, size, flags, dynptr)                                    \
	({                                                                                         \
		long ebpflab_error =                                                               \
			bpf_ringbuf_reserve_dynptr((buffer), (size), (flags), (dynptr));           \
		if (ebpflab_error)                                                                 \
			EBPFLAB_LOST(buffer);                                                      \
		ebpflab_error;                                                                     \
	})

#define bpf_perf_event_output(ctx, buffer, flags, data, size)                                      \
	({                                                                                         \
		long ebpflab_error =                                                               \
			bpf_perf_event_output((ctx), (buffer), (flags), (data), (size));           \
		if (ebpflab_error)                                                                 \
			EBPFLAB_LOST(buffer);                                                      \
		ebpflab_error;                                                                     \
	})

#endif
