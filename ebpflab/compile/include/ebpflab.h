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

/* Since libbpf 1.2: BPF_KPROBE under the names that suit user space. */
#ifndef BPF_UPROBE
#define BPF_UPROBE(name, args...) BPF_KPROBE(name, ##args)
#define BPF_URETPROBE(name, args...) BPF_KRETPROBE(name, ##args)
#endif

/*
 * Typedefs that say what a number is; a record's member of such a type is shown as what it means. A cell that
 * defines one of these names itself keeps its own. ktime_t is the kernel's: nanoseconds since boot, as
 * bpf_ktime_get_ns() gives them, shown as UTC time.
 */
typedef __u64 duration_t;      /* nanoseconds                                      0 days 00:00:00.000012 */
typedef __be32 ipv4_t;         /* as packets and sockets have it (network order)   10.0.0.1               */
typedef __u8 ipv6_t[16];       /* the same: memcpy() it                            2001:db8::1            */
typedef struct in6_addr ip_t;  /* either, IPv4 as ::ffff:10.0.0.1: assign it whole  10.0.0.1               */
typedef __u8 mac_t[6];         /* as in struct ethhdr: memcpy() it                 02:00:5e:10:00:01      */
typedef __be16 port_t;         /* network order; skc_num and sk_num are not        443                    */
typedef __s32 errno_t;         /* -ENOENT or ENOENT; 0 is OK                       ENOENT                 */
typedef __s32 syscall_t;       /* as in raw_syscalls' id                           openat                 */
typedef __s32 signal_t;        /* as in kill(2)                                    SIGKILL                */
typedef __s32 kernel_stack_t;  /* bpf_get_stackid(ctx, &stacks, 0)                 do_syscall_64;vfs_read */
typedef __s32 user_stack_t;    /* the same with BPF_F_USER_STACK; the record needs a pid or tgid, too     */
typedef __u64 ksym_t;          /* an address in the kernel                         vfs_read+0x1f          */
typedef __u64 usym_t;          /* an address in the process of pid or tgid         main+0x12              */

/*
 * A dynamic string of a tracepoint: the format file says `__data_loc char[] name`, the record holds
 * `__data_loc_name`: offset in the low half, length in the high half (kernel: include/trace/stages).
 */
#define TP_DATA_LOC_STR(dst, size, ctx, field)                                                     \
	bpf_probe_read_kernel_str((dst), (size), (void *)(ctx) + ((ctx)->__data_loc_##field & 0xffff))

#include "losses.h"

#endif
