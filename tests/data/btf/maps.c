/* Maps and variables as libbpf's bpf_helpers.h has them written, spelled out so that no header is needed. */
#define SEC(name) __attribute__((section(name), used))
#define __uint(name, val) int (*name)[val]
#define __type(name, val) typeof(val) *name
#define __array(name, val) typeof(val) *name[]
#define tag(x) __attribute__((btf_decl_tag(x)))

typedef unsigned int u32;
typedef unsigned long long u64;
struct event { u64 ts; u32 pid; char comm[16]; };
struct key { u32 pid, cpu; };
struct hash_map { __uint(type, 1); __uint(max_entries, 10240); __type(key, struct key); __type(value, u64); };

struct { __uint(type, 27); __uint(max_entries, 1 << 18); __type(value, struct event); } events SEC(".maps");
struct hash_map counts SEC(".maps");
struct { __uint(type, 4); __uint(key_size, 4); __uint(value_size, 4); } perf SEC(".maps");
struct { __uint(type, 12); __uint(max_entries, 2); __type(key, u32); __array(values, struct hash_map); } outer SEC(".maps");

u32 first = 7;
u64 second[3] = { 1, 2, 3 };
const volatile u32 limit = 5;
extern int LINUX_KERNEL_VERSION __attribute__((section(".kconfig")));
char LICENSE[] SEC("license") = "GPL";

static __attribute__((noinline)) int helper(struct event *const volatile *restrict e, int (*fn)(void *, ...))
{
	return (int)(*e)->pid + (fn != 0);
}

SEC("raw_tp/sys_enter") tag("entry") int program(struct event *ctx tag("ctx"))
{
	struct event *volatile p = ctx;
	return helper(&p, 0) + (int)first + (int)second[ctx->pid] + (int)limit + LINUX_KERNEL_VERSION;
}
