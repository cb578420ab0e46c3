/* Global variables of every kind, loss counters as the prelude defines them, and records that look alike. */
#define SEC(name) __attribute__((section(name), used))
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef signed char s8;
typedef int s32;
typedef long long s64;

enum mode { OFF, ON = 3, ALL = 9 };
enum depth { DEEP = -7, FLAT = 0 };
struct pair { u32 a, b; };

u8 tiny = 200;
s8 below = -100;
u16 port = 65500;
s32 minus = -70000;
u32 first = 4000000000U;
s64 far = -6000000000LL;
u64 wide = 0xfedcba9876543210ULL;
_Bool yes = 1;
float half = 1.5f;
double third = -0.1;
char label[16] = "hello\0rest";
enum mode mode = ALL;
enum depth depth = DEEP;
struct pair pair = { 1, 2 };
u32 numbers[3] = { 10, 20, 30 };
u64 seen;
void *pointer;
const volatile u32 only = 5;
const volatile _Bool verbose = 0;
const volatile char path[8] = "/etc";
u64 kept SEC(".data.custom") = 77;

struct ebpflab_loss { char map[128]; u32 line; u32 cpus; u64 lost[4]; };
#define SITE(name, text, at) static struct ebpflab_loss name SEC(".data.ebpflab") = { .map = text, .line = at, .cpus = 4 }
SITE(site_a, "&events", 12);
SITE(site_b, "& events", 31);
SITE(site_c, "&others", 40);
SITE(site_d, "ring", 55); /* a buffer that came as a parameter: nobody knows which */

struct open_event { u32 kind; u32 pid; u64 ts; };
struct close_event { u32 kind; s32 ret; u64 ts; };
struct exec_event { u32 kind; char comm[16]; };
typedef struct { u64 a, b, c; } alloc_t;
struct event { u8 x[40]; };
struct sample { u8 x[40]; };
struct lefts { u8 x[48]; };
struct right { u8 x[48]; };
#define KEEP(type, name) static const type *name SEC(".data.ebpflab")
KEEP(struct open_event, keep_1);
KEEP(struct close_event, keep_2);
KEEP(struct exec_event, keep_3);
KEEP(alloc_t, keep_4);
KEEP(struct event, keep_5);
KEEP(struct sample, keep_6);
KEEP(struct lefts, keep_7);
KEEP(struct right, keep_8);

#define __uint(name, val) int (*name)[val]
#define __type(name, val) typeof(val) *name
struct { __uint(type, 27); __uint(max_entries, 4096); __type(value, struct exec_event); } typed SEC(".maps");
struct { __uint(type, 27); __uint(max_entries, 4096); __type(value, alloc_t); } typed_by_typedef SEC(".maps");
struct { __uint(type, 27); __uint(max_entries, 4096); __type(value, u64); } scalars SEC(".maps");
struct { __uint(type, 27); __uint(max_entries, 4096); } events SEC(".maps");

char LICENSE[] SEC("license") = "GPL";
SEC("raw_tp/sys_enter") int program(void *ctx)
{
	return (int)(only + verbose + path[0] + (seen++) + (u64)pointer);
}
