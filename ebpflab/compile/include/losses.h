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
