/*
 * What the kernel's own headers define as macros, so that BTF does not know it. A program gets those that it uses,
 * that it does not define itself, and that are no enumerators of the running kernel. BCC's rewriter follows a pointer
 * in an argument of a function and not in one of a macro: what reads through a pointer stands in functions.h.
 */

/* The language: attributes without a meaning here, and operators that C lacks */
#define NULL ((void *)0)
#define __user
#define __kernel
#define __iomem
#define __rcu
#define __percpu
#define __force
#define __nocast
#define __must_check
#define __init
#define __exit
#define __read_mostly
#define __randomize_layout
#define __packed __attribute__((packed))
#define __aligned(n) __attribute__((aligned(n)))
#define ____cacheline_aligned
#define ____cacheline_aligned_in_smp
#define __maybe_unused __attribute__((unused))
#define __always_unused __attribute__((unused))
#define __used __attribute__((used))
#define __weak __attribute__((weak))
#define __noreturn __attribute__((noreturn))
#define __hidden __attribute__((visibility("hidden")))
#define __always_inline inline __attribute__((always_inline))
#define __noinline __attribute__((noinline))
#define noinline __attribute__((noinline))
#define fallthrough __attribute__((fallthrough))
#define typeof_member(type, member) __typeof__(((type *)0)->member)
#define offsetof(type, member) __builtin_offsetof(type, member)
#define sizeof_field(type, member) sizeof(((type *)0)->member)
#define FIELD_SIZEOF(type, member) sizeof(((type *)0)->member)
#define offsetofend(type, member) (offsetof(type, member) + sizeof_field(type, member))
#define container_of(pointer, type, member) ((type *)((char *)(pointer) - offsetof(type, member)))
#define list_entry(pointer, type, member) container_of(pointer, type, member)
#define hlist_entry(pointer, type, member) container_of(pointer, type, member)
#define rb_entry(pointer, type, member) container_of(pointer, type, member)
#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))
#define likely(condition) __builtin_expect(!!(condition), 1)
#define unlikely(condition) __builtin_expect(!!(condition), 0)
#define barrier() __asm__ __volatile__("" ::: "memory")
#define READ_ONCE(place) (*(const volatile __typeof__(place) *)&(place))
#define WRITE_ONCE(place, value) (*(volatile __typeof__(place) *)&(place) = (value))
#define rcu_dereference(pointer) (pointer)
#define BUILD_BUG_ON(condition) _Static_assert(!(condition), #condition)
#define __stringify_1(x...) #x
#define __stringify(x...) __stringify_1(x)

/* The configuration: CONFIG_X is 1 where X is built in, CONFIG_X_MODULE where it is a module */
#define __ebpflab_one_1 0,
#define __ebpflab_second(first, second, ...) second
#define __ebpflab_pick(one_or_junk) __ebpflab_second(one_or_junk 1, 0)
#define __ebpflab_paste(value) __ebpflab_pick(__ebpflab_one_##value)
#define __ebpflab_is_one(value) __ebpflab_paste(value)
#define IS_BUILTIN(option) __ebpflab_is_one(option)
#define IS_MODULE(option) __ebpflab_is_one(option##_MODULE)
#define IS_ENABLED(option) (__ebpflab_is_one(option) || __ebpflab_is_one(option##_MODULE))
#define IS_REACHABLE(option) __ebpflab_is_one(option)

/* Numbers */
#define min(a, b) ((a) < (b) ? (a) : (b))
#define max(a, b) ((a) > (b) ? (a) : (b))
#define min_t(type, a, b) min((type)(a), (type)(b))
#define max_t(type, a, b) max((type)(a), (type)(b))
#define min3(a, b, c) min(min(a, b), c)
#define max3(a, b, c) max(max(a, b), c)
#define clamp(value, low, high) min(max(value, low), high)
#define clamp_t(type, value, low, high) min_t(type, max_t(type, value, low), high)
#define abs(a) ((a) < 0 ? -(a) : (a))
#define DIV_ROUND_UP(a, b) (((a) + (b) - 1) / (b))
#define DIV_ROUND_CLOSEST(a, b) (((a) + (b) / 2) / (b))
#define round_down(a, power) ((a) & ~((__typeof__(a))(power) - 1))
#define round_up(a, power) round_down((a) + (power) - 1, power)
#define roundup(a, b) (DIV_ROUND_UP(a, b) * (b))
#define rounddown(a, b) ((a) - (a) % (b))
#define ALIGN(a, power) round_up(a, power)
#define ALIGN_DOWN(a, power) round_down(a, power)
#define IS_ALIGNED(a, power) (((a) & ((__typeof__(a))(power) - 1)) == 0)
#define BITS_PER_BYTE 8
#define BITS_PER_LONG 64
#define BITS_PER_LONG_LONG 64
#define BITS_TO_LONGS(bits) DIV_ROUND_UP(bits, BITS_PER_LONG)
#define BIT(n) (1UL << (n))
#define BIT_ULL(n) (1ULL << (n))
#define BIT_MASK(n) (1UL << ((n) % BITS_PER_LONG))
#define BIT_WORD(n) ((n) / BITS_PER_LONG)
#define GENMASK(high, low) (~0UL >> (BITS_PER_LONG - 1 - (high)) & ~0UL << (low))
#define GENMASK_ULL(high, low) GENMASK(high, low)
#define _UL(x) x##UL
#define _ULL(x) x##ULL
#define _AC(x, suffix) x##suffix
#define UL(x) _UL(x)
#define ULL(x) _ULL(x)
#define lower_32_bits(n) ((__u32)(n))
#define upper_32_bits(n) ((__u32)((__u64)(n) >> 32))
#define hweight32(n) __builtin_popcount(n)
#define hweight64(n) __builtin_popcountll(n)
#define fls64(n) ((n) ? 64 - __builtin_clzll(n) : 0)
#define is_power_of_2(n) ((n) != 0 && ((n) & ((n) - 1)) == 0)
/* Constant where their argument is: BCC's tables have them in static initialisers */
#define ilog2(n) ((n) < 2 ? 0 : 63 - __builtin_clzll(n))
#define const_ilog2(n) ilog2(n)
#define order_base_2(n) ((n) > 1 ? ilog2((n) - 1) + 1 : 0)
#define roundup_pow_of_two(n) ((n) < 2 ? 1UL : 1UL << (ilog2((unsigned long)(n) - 1) + 1))
#define rounddown_pow_of_two(n) (1UL << ilog2(n))
#define do_div(n, base) ({ __u32 __rest = (n) % (base); (n) = (n) / (base); __rest; })
#define CHAR_BIT 8
#define SCHAR_MAX 127
#define UCHAR_MAX 255
#define SHRT_MAX 32767
#define USHRT_MAX 65535
#define INT_MAX 2147483647
#define INT_MIN (-INT_MAX - 1)
#define UINT_MAX 4294967295U
#define LONG_MAX 9223372036854775807L
#define LONG_MIN (-LONG_MAX - 1)
#define ULONG_MAX (~0UL)
#define LLONG_MAX 9223372036854775807LL
#define LLONG_MIN (-LLONG_MAX - 1)
#define ULLONG_MAX (~0ULL)
#define SIZE_MAX (~0UL)
#define SSIZE_MAX LONG_MAX
#define PHYS_ADDR_MAX (~0ULL)
#define U8_MAX 255
#define S8_MAX 127
#define U16_MAX 65535
#define S16_MAX 32767
#define U32_MAX 4294967295U
#define S32_MAX INT_MAX
#define S32_MIN INT_MIN
#define U64_MAX (~0ULL)
#define S64_MAX LLONG_MAX
#define S64_MIN LLONG_MIN
#define UINT8_MAX U8_MAX
#define UINT16_MAX U16_MAX
#define UINT32_MAX U32_MAX
#define UINT64_MAX U64_MAX
#define INT32_MAX S32_MAX
#define INT64_MAX S64_MAX
#define KSYM_NAME_LEN 512
#define MODULE_NAME_LEN 56

/* Errors in pointers */
#define MAX_ERRNO 4095
#define IS_ERR_VALUE(x) ((unsigned long)(void *)(x) >= (unsigned long)-MAX_ERRNO)
#define IS_ERR(pointer) IS_ERR_VALUE((unsigned long)(pointer))
#define IS_ERR_OR_NULL(pointer) (!(pointer) || IS_ERR(pointer))
#define PTR_ERR(pointer) ((long)(pointer))
#define ERR_PTR(error) ((void *)(long)(error))

/* Byte order; the order of this machine is clang's */
#define swab16(n) __builtin_bswap16(n)
#define swab32(n) __builtin_bswap32(n)
#define swab64(n) __builtin_bswap64(n)
#define __swab16(n) __builtin_bswap16(n)
#define __swab32(n) __builtin_bswap32(n)
#define __swab64(n) __builtin_bswap64(n)
#define __ebpflab_big (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__)
#define __ebpflab_be(n, bits) (__ebpflab_big ? (__u##bits)(n) : __builtin_bswap##bits(n))
#define __ebpflab_le(n, bits) (__ebpflab_big ? __builtin_bswap##bits(n) : (__u##bits)(n))
#define cpu_to_be16(n) __ebpflab_be(n, 16)
#define cpu_to_be32(n) __ebpflab_be(n, 32)
#define cpu_to_be64(n) __ebpflab_be(n, 64)
#define be16_to_cpu(n) __ebpflab_be(n, 16)
#define be32_to_cpu(n) __ebpflab_be(n, 32)
#define be64_to_cpu(n) __ebpflab_be(n, 64)
#define cpu_to_le16(n) __ebpflab_le(n, 16)
#define cpu_to_le32(n) __ebpflab_le(n, 32)
#define cpu_to_le64(n) __ebpflab_le(n, 64)
#define le16_to_cpu(n) __ebpflab_le(n, 16)
#define le32_to_cpu(n) __ebpflab_le(n, 32)
#define le64_to_cpu(n) __ebpflab_le(n, 64)
#define __cpu_to_be16(n) __ebpflab_be(n, 16)
#define __cpu_to_be32(n) __ebpflab_be(n, 32)
#define __cpu_to_be64(n) __ebpflab_be(n, 64)
#define __be16_to_cpu(n) __ebpflab_be(n, 16)
#define __be32_to_cpu(n) __ebpflab_be(n, 32)
#define __be64_to_cpu(n) __ebpflab_be(n, 64)
#define __constant_htons(n) __ebpflab_be(n, 16)
#define __constant_htonl(n) __ebpflab_be(n, 32)
#define __constant_ntohs(n) __ebpflab_be(n, 16)
#define __constant_ntohl(n) __ebpflab_be(n, 32)
#define __constant_cpu_to_be16(n) __ebpflab_be(n, 16)
#define __constant_cpu_to_be32(n) __ebpflab_be(n, 32)
#define htons(n) __ebpflab_be(n, 16)
#define htonl(n) __ebpflab_be(n, 32)
#define ntohs(n) __ebpflab_be(n, 16)
#define ntohl(n) __ebpflab_be(n, 32)

/* Time */
#define HZ CONFIG_HZ
#define USER_HZ 100
#define MSEC_PER_SEC 1000L
#define USEC_PER_MSEC 1000L
#define NSEC_PER_USEC 1000L
#define NSEC_PER_MSEC 1000000L
#define USEC_PER_SEC 1000000L
#define NSEC_PER_SEC 1000000000L
#define FSEC_PER_SEC 1000000000000000LL
#define TICK_NSEC (NSEC_PER_SEC / HZ)
#define CLOCK_REALTIME 0
#define CLOCK_MONOTONIC 1
#define CLOCK_BOOTTIME 7

/* Memory */
#define __ebpflab_page_shift 12
#define PAGE_SHIFT __ebpflab_page_shift
#define PAGE_SIZE (1UL << PAGE_SHIFT)
#define PAGE_MASK (~(PAGE_SIZE - 1))
#define PAGE_ALIGN(address) ALIGN(address, PAGE_SIZE)
#define PFN_DOWN(address) ((address) >> PAGE_SHIFT)
#define PFN_UP(address) (((address) + PAGE_SIZE - 1) >> PAGE_SHIFT)
#define SECTOR_SHIFT 9
#define SECTOR_SIZE (1 << SECTOR_SHIFT)
#define PAGE_SECTORS_SHIFT (PAGE_SHIFT - SECTOR_SHIFT)
#define PAGE_SECTORS (1 << PAGE_SECTORS_SHIFT)
#define VM_READ 0x1UL
#define VM_WRITE 0x2UL
#define VM_EXEC 0x4UL
#define VM_SHARED 0x8UL
#define PROT_READ 1
#define PROT_WRITE 2
#define PROT_EXEC 4
#define PROT_NONE 0
#define MAP_SHARED 1
#define MAP_PRIVATE 2
#define MAP_FIXED 16
#define MAP_ANONYMOUS 32
/* arch/x86/include/asm/page_64_types.h */
#define __PAGE_OFFSET_BASE_L5 0xff11000000000000UL
#define __PAGE_OFFSET_BASE_L4 0xffff888000000000UL
#define __PAGE_OFFSET_BASE __PAGE_OFFSET_BASE_L4
#define __PAGE_OFFSET __PAGE_OFFSET_BASE_L4
#define __START_KERNEL_map 0xffffffff80000000UL

/* Tasks: include/linux/sched.h */
#define TASK_COMM_LEN 16
#define TASK_RUNNING 0x0
#define TASK_INTERRUPTIBLE 0x1
#define TASK_UNINTERRUPTIBLE 0x2
#define __TASK_STOPPED 0x4
#define __TASK_TRACED 0x8
#define EXIT_DEAD 0x10
#define EXIT_ZOMBIE 0x20
#define EXIT_TRACE (EXIT_ZOMBIE | EXIT_DEAD)
#define TASK_PARKED 0x40
#define TASK_DEAD 0x80
#define TASK_WAKEKILL 0x100
#define TASK_WAKING 0x200
#define TASK_NOLOAD 0x400
#define TASK_NEW 0x800
#define TASK_STATE_MAX 0x10000
#define TASK_KILLABLE (TASK_WAKEKILL | TASK_UNINTERRUPTIBLE)
#define TASK_STOPPED (TASK_WAKEKILL | __TASK_STOPPED)
#define TASK_TRACED __TASK_TRACED
#define TASK_IDLE (TASK_UNINTERRUPTIBLE | TASK_NOLOAD)
#define TASK_NORMAL (TASK_INTERRUPTIBLE | TASK_UNINTERRUPTIBLE)
#define PF_IDLE 0x2
#define PF_EXITING 0x4
#define PF_IO_WORKER 0x10
#define PF_WQ_WORKER 0x20
#define PF_FORKNOEXEC 0x40
#define PF_SUPERPRIV 0x100
#define PF_DUMPCORE 0x200
#define PF_SIGNALED 0x400
#define PF_NPROC_EXCEEDED 0x1000
#define PF_KSWAPD 0x20000
#define PF_KTHREAD 0x200000
#define MAX_NICE 19
#define MIN_NICE (-20)
#define NICE_WIDTH (MAX_NICE - MIN_NICE + 1)
#define MAX_RT_PRIO 100
#define MAX_PRIO (MAX_RT_PRIO + NICE_WIDTH)
#define DEFAULT_PRIO (MAX_RT_PRIO + NICE_WIDTH / 2)
#define SCHED_NORMAL 0
#define SCHED_FIFO 1
#define SCHED_RR 2
#define SCHED_BATCH 3
#define SCHED_IDLE 5
#define SCHED_DEADLINE 6
#define NR_CPUS CONFIG_NR_CPUS

/* Files: include/linux/fs.h, kdev_t.h, blk_types.h */
#define READ 0
#define WRITE 1
#define MINORBITS 20
#define MINORMASK ((1U << MINORBITS) - 1)
#define MAJOR(device) ((unsigned int)((device) >> MINORBITS))
#define MINOR(device) ((unsigned int)((device) & MINORMASK))
#define MKDEV(major, minor) ((major) << MINORBITS | (minor))
#define FMODE_READ 0x1
#define FMODE_WRITE 0x2
#define FMODE_LSEEK 0x4
#define FMODE_PREAD 0x8
#define FMODE_PWRITE 0x10
#define FMODE_EXEC 0x20
#define FMODE_CREATED 0x100000
#define MAY_EXEC 0x1
#define MAY_WRITE 0x2
#define MAY_READ 0x4
#define MAY_APPEND 0x8
#define MAY_ACCESS 0x10
#define MAY_OPEN 0x20
#define DISK_NAME_LEN 32
#define BDEVNAME_SIZE 32
#define REQ_OP_BITS 8
#define REQ_OP_MASK ((1U << REQ_OP_BITS) - 1)

/* The network, inside the kernel: include/linux/socket.h */
#define SCM_RIGHTS 1
#define SCM_CREDENTIALS 2
#define SCM_SECURITY 3
#define MSG_OOB 0x1
#define MSG_PEEK 0x2
#define MSG_DONTROUTE 0x4
#define MSG_CTRUNC 0x8
#define MSG_TRUNC 0x20
#define MSG_DONTWAIT 0x40
#define MSG_EOR 0x80
#define MSG_WAITALL 0x100
#define MSG_SYN 0x400
#define MSG_RST 0x1000
#define MSG_ERRQUEUE 0x2000
#define MSG_NOSIGNAL 0x4000
#define MSG_MORE 0x8000
#define MSG_WAITFORONE 0x10000
#define MSG_ZEROCOPY 0x4000000
#define MSG_FASTOPEN 0x20000000
#define SOCK_DESTROY_TIME (10 * HZ)
#define MAX_SKB_FRAGS CONFIG_MAX_SKB_FRAGS
#define MAX_ADDR_LEN 32
#define INET_ADDRSTRLEN 16
#define INET6_ADDRSTRLEN 48
#define TCP_TIMEOUT_INIT ((unsigned)(1 * HZ))
#define TCPHDR_FIN 0x01
#define TCPHDR_SYN 0x02
#define TCPHDR_RST 0x04
#define TCPHDR_PSH 0x08
#define TCPHDR_ACK 0x10
#define TCPHDR_URG 0x20
#define TCPHDR_ECE 0x40
#define TCPHDR_CWR 0x80
#define VLAN_HLEN 4
#define VLAN_VID_MASK 0x0fff
#define VLAN_PRIO_SHIFT 13
#define VLAN_PRIO_MASK 0xe000
#define INADDR_ANY 0
#define INADDR_LOOPBACK 0x7f000001
#define PACKET_HOST 0
#define PACKET_BROADCAST 1
#define PACKET_MULTICAST 2
#define PACKET_OTHERHOST 3
#define PACKET_OUTGOING 4
