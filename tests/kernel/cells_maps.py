"""Cells with maps of every type, filled by programs that a test runs (``SEC("syscall")``) or from Python."""

import contextlib
import socket

# Hash tables and arrays of every sort; `fill` inserts as many entries as `wanted` says.
TABLES = """
struct pair { __u32 pid; __u8 cpu; };
struct stats { __u64 count; __s32 low; char comm[16]; enum { OFF, ON = 3 } mode; __u16 ports[3]; };

#define MAP(name, kind, entries, K, V) \\
    struct { __uint(type, kind); __uint(max_entries, entries); __type(key, K); __type(value, V); } name SEC(".maps")
MAP(counts, BPF_MAP_TYPE_HASH, 200000, __u32, __u64);
MAP(tasks, BPF_MAP_TYPE_HASH, 1024, struct pair, struct stats);
MAP(recent, BPF_MAP_TYPE_LRU_HASH, 1024, __u32, __u64);
MAP(slots10, BPF_MAP_TYPE_ARRAY, 10, __u32, struct stats);
MAP(hits, BPF_MAP_TYPE_PERCPU_ARRAY, 3, __u32, __u32);
MAP(by_cpu, BPF_MAP_TYPE_PERCPU_HASH, 1024, __u32, struct stats);
MAP(recent_by_cpu, BPF_MAP_TYPE_LRU_PERCPU_HASH, 1024, __u32, __u64);
MAP(small, BPF_MAP_TYPE_HASH, 3, char[16], __u8);
struct {
    __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 100); __uint(key_size, 6); __uint(value_size, 2);
} untyped SEC(".maps");
struct {
    __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 4); __uint(map_flags, BPF_F_RDONLY);
    __type(key, __u32); __type(value, __u32);
} sealed SEC(".maps");

__u32 wanted = 0;

static long fill_one(__u32 i, void *ctx)
{
    __u32 key = i * 7;
    __u64 value = (__u64)i * i;
    bpf_map_update_elem(&counts, &key, &value, BPF_ANY);
    return 0;
}

SEC("syscall") int fill(void *ctx) { return bpf_loop(wanted, fill_one, 0, 0) < 0; }

static long fill_tables(__u32 i, void *ctx)
{
    struct pair who;
    __builtin_memset(&who, 0, sizeof(who)); /* an initialiser would leave the padding as it is */
    who.pid = i;
    who.cpu = 1;
    struct stats what = { .count = i * 3, .low = -(int)i, .mode = i % 2 ? ON : OFF, .ports = { i, 2, 3 } };
    __u64 value = i;
    what.comm[0] = 'a' + i % 26;
    bpf_map_update_elem(&tasks, &who, &what, BPF_ANY);
    bpf_map_update_elem(&recent, &i, &value, BPF_ANY);
    bpf_map_update_elem(&recent_by_cpu, &i, &value, BPF_ANY);
    bpf_map_update_elem(&by_cpu, &i, &what, BPF_ANY);
    return 0;
}

SEC("syscall") int fill_others(void *ctx) { return bpf_loop(wanted, fill_tables, 0, 0) < 0; }

static long insert_one(__u32 i, void *ctx)
{
    __u32 key = 1000000 + i;
    __u64 value = key;
    bpf_map_update_elem(&counts, &key, &value, BPF_ANY);
    return 0;
}

static long delete_one(__u32 i, void *ctx)
{
    __u32 key = 1000000 + i;
    bpf_map_delete_elem(&counts, &key);
    return 0;
}

SEC("syscall") int churn(void *ctx)
{
    return bpf_loop(wanted, insert_one, 0, 0) < 0 || bpf_loop(wanted, delete_one, 0, 0) < 0;
}

SEC("syscall") int hit(void *ctx)
{
    __u32 zero = 0, *value = bpf_map_lookup_elem(&hits, &zero);
    if (value)
        *value += 1;
    return 0;
}
"""

# What is no table: each of the other types that a test can fill.
OTHERS = """
struct stats { __u64 count; __s32 low; };
struct prefix { __u32 prefixlen; __u8 address[4]; };
struct prefix6 { __u32 prefixlen; __u8 address[16]; };
struct route { __u32 prefixlen; __u32 table; __u32 address; };
struct locked { struct bpf_spin_lock lock; __u64 first; __u64 second; };
struct inner_map {
    __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 8); __type(key, __u32); __type(value, struct stats);
};

#define MAP(name, kind, entries, K, V) \\
    struct { __uint(type, kind); __uint(max_entries, entries); __type(key, K); __type(value, V); } name SEC(".maps")
#define UNALLOCATED(name, kind, entries, K, V) \\
    struct { __uint(type, kind); __uint(max_entries, entries); __uint(map_flags, BPF_F_NO_PREALLOC); \\
             __type(key, K); __type(value, V); } name SEC(".maps")
#define KEYLESS(name, kind, entries, V) \\
    struct { __uint(type, kind); __uint(max_entries, entries); __type(value, V); } name SEC(".maps")
UNALLOCATED(prefixes, BPF_MAP_TYPE_LPM_TRIE, 16, struct prefix, __u32);
UNALLOCATED(prefixes6, BPF_MAP_TYPE_LPM_TRIE, 16, struct prefix6, __u32);
UNALLOCATED(routes, BPF_MAP_TYPE_LPM_TRIE, 16, struct route, __u32);
KEYLESS(waiting, BPF_MAP_TYPE_QUEUE, 5, struct stats);
KEYLESS(undone, BPF_MAP_TYPE_STACK, 5, __u32);
KEYLESS(seen, BPF_MAP_TYPE_BLOOM_FILTER, 1000, __u32);
MAP(peers, BPF_MAP_TYPE_SOCKMAP, 4, __u32, __u64);
MAP(blind, BPF_MAP_TYPE_SOCKMAP, 4, __u32, __u32);
MAP(by_port, BPF_MAP_TYPE_SOCKHASH, 4, __u16, __u64);
MAP(listeners, BPF_MAP_TYPE_REUSEPORT_SOCKARRAY, 4, __u32, __u64);
MAP(groups, BPF_MAP_TYPE_CGROUP_ARRAY, 4, __u32, __u32);
MAP(devices, BPF_MAP_TYPE_DEVMAP, 4, __u32, struct bpf_devmap_val);
MAP(devices_by_id, BPF_MAP_TYPE_DEVMAP_HASH, 4, __u32, __u32);
MAP(cpus, BPF_MAP_TYPE_CPUMAP, 4, __u32, __u32);
MAP(guarded, BPF_MAP_TYPE_ARRAY, 1, __u32, struct locked);
UNALLOCATED(of_task, BPF_MAP_TYPE_TASK_STORAGE, 0, int, struct stats);
UNALLOCATED(of_socket, BPF_MAP_TYPE_SK_STORAGE, 0, int, __u64);
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 4096); } events SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_STACK_TRACE); __uint(max_entries, 64); __uint(key_size, 4);
         __uint(value_size, 16 * 8); } stacks SEC(".maps");
struct inner_map left SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS); __uint(max_entries, 3); __type(key, __u32);
         __array(values, struct inner_map); } maps SEC(".maps") = { .values = { &left } };
struct { __uint(type, BPF_MAP_TYPE_HASH_OF_MAPS); __uint(max_entries, 3); __type(key, __u64);
         __array(values, struct inner_map); } maps_by_id SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_PROG_ARRAY); __uint(max_entries, 4); __uint(key_size, 4);
         __uint(value_size, 4); } jumps SEC(".maps");

struct flow { ipv4_t from; port_t port; __u16 unused; };
struct seen { ktime_t at; duration_t took; mac_t mac; __u16 unused; };
MAP(flows, BPF_MAP_TYPE_HASH, 8, struct flow, struct seen);

MAP(profile, BPF_MAP_TYPE_HASH, 64, kernel_stack_t, __u64);

__s64 stack_id = 0;

SEC("syscall") int first_program(void *ctx) { return 0; }
SEC("syscall") int second_program_with_a_long_name(void *ctx) { return 1; }

SEC("tc") int enqueue(struct __sk_buff *ctx)
{
    struct stats job = { .count = 17, .low = -1 };
    __u32 number = 23;
    struct locked *value;
    __u32 zero = 0;
    bpf_map_push_elem(&waiting, &job, BPF_ANY);
    bpf_map_push_elem(&undone, &number, BPF_ANY);
    bpf_map_push_elem(&seen, &number, BPF_ANY);
    struct flow flow = { .from = bpf_htonl(0x0a000001), .port = bpf_htons(443) };
    struct seen when = { .at = bpf_ktime_get_ns(), .took = 1500, .mac = { 2, 0, 0, 0, 0, 17 } };
    bpf_map_update_elem(&flows, &flow, &when, BPF_ANY);
    value = bpf_map_lookup_elem(&guarded, &zero);
    if (value) {
        bpf_spin_lock(&value->lock);
        value->first = value->second = 31;
        bpf_spin_unlock(&value->lock);
    }
    return 0;
}

SEC("raw_tp/sys_enter") int keep_stack(void *ctx)
{
    if (bpf_get_current_pid_tgid() >> 32 == 0)
        return 0;
    stack_id = bpf_get_stackid(ctx, &stacks, 0);
    kernel_stack_t key = stack_id;
    __u64 one = 1, *count = bpf_map_lookup_elem(&profile, &key);
    if (count)
        __sync_fetch_and_add(count, 1);
    else
        bpf_map_update_elem(&profile, &key, &one, BPF_ANY);
    return 0;
}
"""

# Log2 slots in the four shapes that are recognised, and three that are not.
HISTOGRAMS = """
struct hist { __u64 total; __u32 slots[27]; };
struct who { char comm[16]; };
#define MAP(name, kind, entries, K, V) \\
    struct { __uint(type, kind); __uint(max_entries, entries); __type(key, K); __type(value, V); } name SEC(".maps")
MAP(by_name, BPF_MAP_TYPE_HASH, 64, struct who, struct hist);
MAP(latency_hist, BPF_MAP_TYPE_ARRAY, 64, __u32, __u64);
MAP(hists, BPF_MAP_TYPE_PERCPU_ARRAY, 27, __u32, __u32);
MAP(dist, BPF_MAP_TYPE_PERCPU_HASH, 8, __u32, __u64[8]);
MAP(one, BPF_MAP_TYPE_ARRAY, 1, __u32, struct hist);
MAP(counts, BPF_MAP_TYPE_ARRAY, 27, __u32, __u64);
MAP(big_hist, BPF_MAP_TYPE_ARRAY, 65, __u32, __u64);
MAP(hist_of_text, BPF_MAP_TYPE_HASH, 8, __u32, char[16]);

SEC("tc") int nothing(struct __sk_buff *ctx) { return 0; }
"""

# A storage of a type that not every kernel has.
BELONGING = """
struct { __uint(type, KIND); __uint(map_flags, BPF_F_NO_PREALLOC); __type(key, int); __type(value, __u64); }
values SEC(".maps");
SEC("tc") int nothing(struct __sk_buff *ctx) { return 0; }
"""

# Packets that each cgroup sent.
OF_CGROUP = """
struct { __uint(type, BPF_MAP_TYPE_CGROUP_STORAGE); __type(key, struct bpf_cgroup_storage_key); __type(value, __u64); }
sent SEC(".maps");
SEC("cgroup_skb/egress") int count(struct __sk_buff *ctx)
{
    __u64 *value = bpf_get_local_storage(&sent, 0);
    __sync_fetch_and_add(value, 1);
    return 1;
}
"""


@contextlib.contextmanager
def connection():
    """Both ends of a TCP connection over loopback."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        accepted, _ = server.accept()
        with accepted:
            yield client, accepted
