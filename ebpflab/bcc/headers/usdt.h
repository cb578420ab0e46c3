/*
 * The arguments of USDT probes, which BCC reads with functions that it makes while it attaches: here libbpf tells the
 * program where they are, and its usdt.bpf.h reads them. Its neighbours bpf_helpers.h and bpf_tracing.h stay out: BCC's
 * helpers.h has what it needs of them, but for these names.
 */
#define __BPF_HELPERS__
#define __BPF_TRACING_H__
#ifndef __weak
#define __weak __attribute__((weak))
#endif
#ifndef __hidden
#define __hidden __attribute__((visibility("hidden")))
#endif
#ifndef __kconfig
#define __kconfig __attribute__((section(".kconfig")))
#endif
#ifndef __always_inline
#define __always_inline inline __attribute__((always_inline))
#endif
#ifndef ENOENT
#define ENOENT 2
#endif
#ifndef ESRCH
#define ESRCH 3
#endif
#ifndef EINVAL
#define EINVAL 22
#endif
/* Enumerators, which a program of its own need not reach. */
#define BPF_MAP_TYPE_HASH 1
#define BPF_MAP_TYPE_ARRAY 2
#include <bpf/usdt.bpf.h>

static __always_inline int ebpflab_usdt_arg(int number, struct pt_regs *ctx, void *to, u64 size)
{
	long value = 0;
	int error = bpf_usdt_arg(ctx, number - 1, &value);

	if (error)
		return error;
	if (size == 8)
		*(u64 *)to = value;
	else if (size == 4)
		*(u32 *)to = value;
	else if (size == 2)
		*(u16 *)to = value;
	else
		*(u8 *)to = value;
	return 0;
}
