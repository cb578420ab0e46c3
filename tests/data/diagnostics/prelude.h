typedef unsigned char u8, __u8;
typedef unsigned short u16, __u16, __be16;
typedef unsigned u32, __u32, __be32, __wsum;
typedef unsigned long long u64, __u64;
typedef int s32, __s32;
typedef long long s64, __s64;
enum { BPF_MAP_TYPE_HASH = 1, BPF_MAP_TYPE_RINGBUF = 27 };
struct task_struct {
	int tgid;
	struct task_struct *real_parent;
} __attribute__((preserve_access_index));
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#define bpf_ringbuf_reserve(buffer, size, flags) \
	({ \
		void *record = bpf_ringbuf_reserve((buffer), (size), (flags)); \
		record; \
	})
#define CHECKED(x) ((x) + undefined_in_prelude)
