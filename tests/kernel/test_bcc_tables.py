"""Every table of BCC's dialect as a map of its session, against what bpftool shows of it."""

from __future__ import annotations

import errno
import mmap
import os
import resource
import time

import bpftool
import cells
import numpy as np
import pytest

from ebpflab.bcc import library, process
from ebpflab.errors import AttachError, MapError, SessionError, ToolMissingError

TYPES = """
struct key_t { u32 pid; char comm[16]; };
struct value_t { u64 count; u32 last; };
struct prefix_t { u32 length; u8 address[4]; };
struct slot_t { char name[8]; u64 slot; };
struct data_t { u32 pid; };
"""
# Declaration: name, type, bytes of a key and of a value, entries, flags. None: what the kernel does not keep so.
TABLES = {
    "BPF_HASH(hash1);": ("hash1", "hash", 8, 8, 10240, 0),
    "BPF_HASH(hash2, u32);": ("hash2", "hash", 4, 8, 10240, 0),
    "BPF_HASH(hash3, struct key_t, struct value_t);": ("hash3", "hash", 20, 16, 10240, 0),
    "BPF_HASH(hash4, u32, u64, 7);": ("hash4", "hash", 4, 8, 7, 0),
    "BPF_ARRAY(array1);": ("array1", "array", 4, 8, 10240, 0),
    "BPF_ARRAY(array2, u32);": ("array2", "array", 4, 4, 10240, 0),
    "BPF_ARRAY(array3, struct value_t, 11);": ("array3", "array", 4, 16, 11, 0),
    "BPF_HISTOGRAM(hist1);": ("hist1", "array", 4, 8, 64, 0),
    "BPF_HISTOGRAM(hist2, struct slot_t);": ("hist2", "hash", 16, 8, 64, 0),
    "BPF_HISTOGRAM(hist3, int, 13);": ("hist3", "array", 4, 8, 13, 0),
    "BPF_STACK_TRACE(stacks, 100);": ("stacks", "stack_trace", 4, 127 * 8, 128, 0),
    "BPF_STACK_TRACE_BUILDID(builds, 64);": ("builds", "stack_trace", 4, 127 * 32, 64, 1 << 5),
    "BPF_PERCPU_HASH(pchash1);": ("pchash1", "percpu_hash", 8, 8, 10240, 0),
    "BPF_PERCPU_HASH(pchash4, u32, struct value_t, 17);": ("pchash4", "percpu_hash", 4, 16, 17, 0),
    "BPF_PERCPU_ARRAY(pcarray1);": ("pcarray1", "percpu_array", 4, 8, 10240, 0),
    "BPF_PERCPU_ARRAY(pcarray3, u32, 19);": ("pcarray3", "percpu_array", 4, 4, 19, 0),
    "BPF_LPM_TRIE(trie, struct prefix_t, u64, 23);": ("trie", "lpm_trie", 8, 8, 23, 1),
    'BPF_TABLE("hash", u32, u64, plain, 29);': ("plain", "hash", 4, 8, 29, 0),
    'BPF_F_TABLE("hash", u32, u64, sparse, 31, BPF_F_NO_PREALLOC);': ("sparse", "hash", 4, 8, 31, 1),
    'BPF_TABLE("array", u32, u64, plainarray, 37);': ("plainarray", "array", 4, 8, 37, 0),
    'BPF_TABLE("lru_hash", u32, u64, lru, 41);': ("lru", "lru_hash", 4, 8, 41, 0),
    'BPF_TABLE("lru_percpu_hash", u32, u64, pclru, 43);': ("pclru", "lru_percpu_hash", 4, 8, 43, 0),
    'BPF_TABLE_PUBLIC("hash", u32, u64, public, 47);': ("public", "hash", 4, 8, 47, 0),
    'BPF_TABLE_SHARED("hash", u32, u64, shared, 53);': ("shared", "hash", 4, 8, 53, 0),
    "BPF_QUEUE(queue, struct value_t, 59);": ("queue", "queue", 0, 16, 59, 0),
    "BPF_STACK(stack, u32, 61);": ("stack", "stack", 0, 4, 61, 0),
    'BPF_QUEUESTACK_PUBLIC("queue", pubqueue, u64, 67, 0);': ("pubqueue", "queue", 0, 8, 67, 0),
    "BPF_PROG_ARRAY(programs, 5);": ("programs", "prog_array", 4, 4, 5, 0),
    "BPF_PERF_ARRAY(counters, 4);": ("counters", "perf_event_array", 4, 4, 4, 0),
    "BPF_CGROUP_ARRAY(groups, 3);": ("groups", "cgroup_array", 4, 4, 3, 0),
    "BPF_DEVMAP(devices, 7);": ("devices", "devmap", 4, 4, 7, None),
    "BPF_CPUMAP(processors, 2);": ("processors", "cpumap", 4, 4, 2, 0),
    "BPF_XSKMAP(xsks, 3);": ("xsks", "xskmap", 4, 4, 3, 0),
    "BPF_SOCKMAP(socks, 71);": ("socks", "sockmap", 4, 4, 71, 0),
    "BPF_SOCKHASH(sockhash, u64, 73);": ("sockhash", "sockhash", 8, 4, 73, 0),
    'BPF_ARRAY_OF_MAPS(arrays, "array3", 2);': ("arrays", "array_of_maps", 4, 4, 2, 0),
    'BPF_HASH_OF_MAPS(hashes, u32, "hash4", 3);': ("hashes", "hash_of_maps", 4, 4, 3, 0),
    "BPF_SK_STORAGE(ofsock, struct value_t);": ("ofsock", "sk_storage", 4, 16, 0, 1),
    "BPF_INODE_STORAGE(ofinode, u64);": ("ofinode", "inode_storage", 4, 8, 0, 1),
    "BPF_TASK_STORAGE(oftask, u64);": ("oftask", "task_storage", 4, 8, 0, 1),
    "BPF_CGROUP_STORAGE(ofcgroup, u64);": ("ofcgroup", "cgroup_storage", 16, 8, 0, 0),
    "BPF_PERCPU_CGROUP_STORAGE(ofcgroups, u64);": ("ofcgroups", "percpu_cgroup_storage", 16, 8, 0, 0),
}
BUFFERS = {
    "BPF_PERF_OUTPUT(records);": ("records", "perf_event_array"),
    "BPF_RINGBUF_OUTPUT(ring, 8);": ("ring", "ringbuf"),
}
TRACED = "TRACEPOINT_PROBE(syscalls, sys_enter_getppid) {\n    if (bpf_get_current_pid_tgid() >> 32 != ME) return 0;\n"
NEXT = "    int zero = 0; u64 *n = at.lookup(&zero); if (!n) return 0; u64 value = ++*n;\n"


@pytest.fixture(autouse=True)
def bcc():
    try:
        library.find_libbcc()
    except ToolMissingError as error:
        pytest.skip(str(error))
    yield
    process.close()


def counting(declarations, statements):
    """A program that runs for each getppid() of this process; `value` is 1, 2, 3, ..."""
    text = f"{TYPES}BPF_ARRAY(at, u64, 1);\n{declarations}\n{TRACED}{NEXT}    {statements}\n    return 0;\n}}\n"
    return text.replace("ME", str(os.getpid()))


def test_every_kind_of_table_becomes_the_map_that_bpftool_shows(load):
    text = counting("\n".join([*TABLES, *BUFFERS]), "struct data_t d = {ME}; records.perf_submit(args, &d, sizeof(d));")
    session = load(text)
    wrong = []
    for name, *expected in TABLES.values():
        own = session.maps[name]
        shown = bpftool.run("map", "show", "id", bpftool.map_id(own.fd))
        kept = [shown[fact] for fact in ("type", "bytes_key", "bytes_value", "max_entries", "flags")]
        if expected[-1] is None:
            expected[-1] = kept[-1]
        if kept != expected or [own.type, own.max_entries] != [expected[0], expected[3]]:
            wrong.append((name, expected, kept, own.type, own.max_entries))
    assert wrong == []
    assert {name: session.maps[name].type for name, _ in BUFFERS.values()} == dict(BUFFERS.values())
    assert len(session.maps) == len(TABLES) + len(BUFFERS) + 1
    for name in session.maps:
        assert name in repr(session.maps[name])


def test_what_a_program_puts_into_its_tables_is_what_its_maps_and_bpftool_have(load):
    kinds = ("hash1", "hash3", "hash4", "array2", "array3", "pchash4", "pcarray3", "trie", "sparse", "plainarray",
             "lru", "pclru", "public", "shared", "queue", "stack")  # fmt: skip
    declared = "\n".join(text for text, (name, *_) in TABLES.items() if name in kinds)
    session = load(
        counting(
            declared,
            """
            u32 small = value; u64 one = 1;
            struct key_t key = {.pid = ME}; __builtin_memcpy(key.comm, "prime", 6);
            struct value_t full = {.count = value, .last = small * 3};
            struct prefix_t prefix = {.length = 24, .address = {10, 1, value, 0}};
            hash1.increment(7); hash1.atomic_increment(7, 2); hash3.update(&key, &full); hash4.insert(&small, &value);
            int index = 3; array2.increment(index); array3.update(&index, &full);
            struct value_t *found = pchash4.lookup_or_try_init(&small, &full); if (found) found->count += 100;
            pcarray3.atomic_increment(5); trie.update(&prefix, &value); sparse.update(&small, &value);
            u32 at5 = 5; plainarray.update(&at5, &value); lru.update(&small, &value); pclru.update(&small, &value);
            public.increment(small % 2); shared.increment(small % 3, 5); small += 1; hash4.delete(&small);
            small -= 1; queue.push(&full, 0); stack.push(&small, 0);
            """,
        )
    )
    cells.call_getppid(7)
    session.detach()
    maps, counted = session.maps, range(1, 8)
    assert dict(maps["hash1"]) == {7: 7 * 3}
    assert [((k.pid, k.comm), (v.count, v.last)) for k, v in maps["hash3"].items()] == [
        ((os.getpid(), "prime"), (7, 21))
    ]
    assert dict(maps["hash4"]) == {n: n for n in counted}
    assert (maps["array2"][3], tuple(maps["array3"][3])) == (7, (7, 21))
    frame = maps["pchash4"].df()
    assert frame.groupby("key")["count"].max().to_dict() == {n: n + 100 for n in counted}
    assert int(np.sum(maps["pcarray3"][5])) == 7
    assert maps["trie"]["10.1.5.77"] == 5
    assert dict(maps["sparse"]) == dict(maps["lru"]) == {n: n for n in counted}
    assert {key: max(values) for key, values in maps["pclru"].items()} == {n: n for n in counted}
    assert maps["plainarray"][5] == 7
    assert (dict(maps["public"]), dict(maps["shared"])) == ({0: 3, 1: 4}, {0: 10, 1: 15, 2: 10})
    assert [tuple(maps["queue"].pop()) for _ in counted] == [(n, 3 * n) for n in counted]
    assert [maps["stack"].pop() for _ in counted] == list(reversed(counted))
    for name in ("hash1", "hash3", "hash4", "sparse", "lru", "public", "shared"):
        assert sorted(bpftool.dump(maps[name])) == sorted(
            (maps[name]._encode_key(key, None), maps[name]._encode_value(value, None))
            for key, value in maps[name].items()
        )


def buckets(values):
    """Counts of log2 buckets, [0, 1], [2, 3], [4, 7] ..., up to the last that is used."""
    edges = [0, *(2**n for n in range(1, int(max(values)).bit_length() + 1))]
    return np.histogram(values, edges)[0].tolist()


def test_histograms_of_one_cell_are_told_apart_by_what_is_counted_in_them(load):
    session = load(
        counting(
            """
            BPF_HISTOGRAM(direct); BPF_HISTOGRAM(halves); BPF_HISTOGRAM(numbers); BPF_HISTOGRAM(named, int, 100);
            BPF_HISTOGRAM(wide, u64); BPF_HASH(plain, u64);
            #define SLOT(v) bpf_log2l((v) * 3)
            static inline void count(u64 slot) { wide.increment(slot); }
            """,
            """
            u64 slot = bpf_log2(value), step = value / 10;
            direct.increment(bpf_log2l(value)); halves.atomic_increment(slot); numbers.increment(step);
            named.increment(SLOT(value)); count(bpf_log2l(value * value)); plain.increment(slot);
            """,
        )
    )
    cells.call_getppid(199)
    session.detach()
    values = np.arange(1, 200)
    expected = {"direct": values, "halves": values, "named": values * 3, "wide": values * values, "plain": values}
    for name, counted in expected.items():
        found = session.maps[name].hist()
        assert found["count"].tolist() == buckets(counted), name
        assert found["low"].tolist() == [0, *(2**n for n in range(1, len(found)))], name
        assert (found["high"] + 1).tolist() == [2**n for n in range(1, len(found) + 1)], name
    found = session.maps["numbers"].hist()
    assert found["low"].tolist() == found["high"].tolist() == list(range(20))
    assert found["count"].tolist() == np.bincount(values // 10).tolist()
    assert "19 " in repr(session.maps["numbers"])
    assert "[16K, 32K)" in repr(session.maps["wide"])


def test_histograms_with_names_in_their_keys_are_one_for_each_name(load):
    session = load(
        counting(
            "BPF_HISTOGRAM(sizes, struct slot_t); BPF_HISTOGRAM(steps, struct slot_t, 512);",
            """
            struct slot_t key = {}; key.name[0] = value % 3 ? 's' : 'n'; key.slot = bpf_log2l(value);
            sizes.increment(key);
            struct slot_t other = {.slot = value % 7, .name = "disk"}; steps.increment(other);
            """,
        )
    )
    cells.call_getppid(101)
    session.detach()
    values = np.arange(1, 102)
    found = session.maps["sizes"].hist()
    assert found.columns.tolist() == ["name", "low", "high", "count"]
    for name, own in (("s", values[values % 3 != 0]), ("n", values[values % 3 == 0])):
        assert found[found["name"] == name]["count"].tolist() == buckets(own)
    steps = session.maps["steps"].hist()
    assert steps["name"].unique().tolist() == ["disk"]
    assert (steps["low"].tolist(), steps["count"].tolist()) == (list(range(7)), np.bincount(values % 7).tolist())
    assert "'s':" in repr(session.maps["sizes"])


def test_histograms_are_drawn_whole_or_for_one_name(load):
    session = load(
        counting(
            "BPF_HISTOGRAM(sizes, struct slot_t); BPF_HISTOGRAM(numbers, int, 37);",
            """
            struct slot_t key = {.name = "a", .slot = bpf_log2l(value)}; if (value % 2) key.name[0] = 'b';
            sizes.increment(key); numbers.increment(value % 31);
            """,
        )
    )
    cells.call_getppid(61)
    session.detach()
    values = np.arange(1, 62)
    for key, own in ((None, values), ("a", values[values % 2 == 0]), ({"name": "b"}, values[values % 2 == 1])):
        axes = session.maps["sizes"].plot(key=key, units="us")
        assert [int(bar.get_height()) for bar in axes.patches] == [n for n in buckets(own) if n]
        assert axes.get_xlabel() == "at least, us"
    axes = session.maps["numbers"].plot()
    assert [int(bar.get_height()) for bar in axes.patches] == np.bincount(values % 31).tolist()
    assert axes.get_xlabel() == "value"
    with pytest.raises(KeyError):
        session.maps["sizes"].plot(key="c")


def test_a_number_that_a_histogram_has_no_slot_for_is_told(load):
    session = load(counting("BPF_HISTOGRAM(far, u64);", "far.increment(value * 1000);"))
    cells.call_getppid(3)
    session.detach()
    with pytest.raises(MapError, match="has slots 0 to 1024"):
        session.maps["far"].hist()
    assert dict(session.maps["far"]) == {1000: 1, 2000: 1, 3000: 1}


COUNTERS = """
BPF_PERF_ARRAY(counter, 64); BPF_PERF_OUTPUT(records);
struct counted_t { u64 faults; u64 same; long refused; };
"""
READ = """
    struct bpf_perf_event_value full = {}; struct counted_t d = {};
    u64 faults = counter.perf_read(CUR_CPU_IDENTIFIER);
    d.refused = (s64)faults < 0 && (s64)faults > -256 ? (s64)faults : 0;
    if (!d.refused) d.faults = faults;
    if (counter.perf_counter_value(CUR_CPU_IDENTIFIER, &full, sizeof(full)) == 0) d.same = full.counter;
    records.perf_submit(args, &d, sizeof(d));
"""
IN_LIBBPF = """
struct counted_t { __u64 faults; __u64 same; long refused; };
struct { __uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY); __uint(max_entries, 64);
         __type(value, struct bpf_perf_event_value); } counter SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY); __type(value, struct counted_t); } records SEC(".maps");
SEC("tp/syscalls/sys_enter_getppid") int on_getppid(void *ctx)
{
    if (bpf_get_current_pid_tgid() >> 32 != ME) return 0;
    struct bpf_perf_event_value full = {}; struct counted_t d = {};
    __u64 faults = bpf_perf_event_read(&counter, BPF_F_CURRENT_CPU);
    d.refused = (__s64)faults < 0 && (__s64)faults > -256 ? (__s64)faults : 0;
    if (!d.refused) d.faults = faults;
    if (bpf_perf_event_read_value(&counter, BPF_F_CURRENT_CPU, &full, sizeof(full)) == 0) d.same = full.counter;
    bpf_perf_event_output(ctx, &records, BPF_F_CURRENT_CPU, &d, sizeof(d));
    return 0;
}
"""
PAGES = 211


@pytest.fixture(params=["bcc", "libbpf"])
def counted(load, request):
    """A session of either engine whose program reads a counter at each getppid() of this process, on one CPU."""
    cpus = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cpus)})
    text = counting(COUNTERS, READ) if request.param == "bcc" else IN_LIBBPF.replace("ME", str(os.getpid()))
    session = load(text, engine=request.param)
    assert list(session.streams) == ["records"]
    yield session
    os.sched_setaffinity(0, cpus)


def touch(memory):
    """Write one byte to each page of new memory."""
    for page in range(PAGES):
        memory[page * mmap.PAGESIZE] = 1


def read_twice(session, do):
    """What the program reads before and after, by the kernel's own two helpers, and what getrusage() says."""
    getppid, getrusage = os.getppid, resource.getrusage
    getppid()
    before = getrusage(resource.RUSAGE_THREAD)
    do()
    after = getrusage(resource.RUSAGE_THREAD)
    getppid()
    assert session.streams["records"].wait(2, timeout=5)
    return session.streams["records"].df(last=2), before, after


def test_a_counter_reads_the_page_faults_that_getrusage_counts(counted):
    counter = counted.maps["counter"]
    assert (counter.type, dict(counter)) == ("perf_event_array", {})
    counter.open("page-faults", pid=os.getpid())
    with mmap.mmap(-1, PAGES * mmap.PAGESIZE) as memory:
        memory.madvise(mmap.MADV_NOHUGEPAGE)
        frame, before, after = read_twice(counted, lambda: touch(memory))
    assert frame["refused"].tolist() == [0, 0]
    assert frame["faults"].tolist() == frame["same"].tolist()
    seen = int(frame["faults"].diff().iloc[1])
    assert seen >= PAGES
    assert abs(seen - (after.ru_minflt + after.ru_majflt - before.ru_minflt - before.ru_majflt)) <= 3
    cpu = min(os.sched_getaffinity(0))
    assert counter[cpu] >= frame["faults"].iloc[1]
    assert counter.df().set_index("key")["value"][cpu] >= frame["faults"].iloc[1]


def test_a_counter_of_a_cpu_is_replaced_by_another_event_and_ends_with_the_session(counted):
    counter = counted.maps["counter"]
    cpu = min(os.sched_getaffinity(0))
    with pytest.raises(KeyError, match=r"open\(EVENT\)"):
        counter[cpu]
    counter.open("cpu-clock")
    started, clock = time.monotonic_ns(), counter[cpu]
    assert cells.wait_until(lambda: counter[cpu] - clock > 20_000_000)
    assert counter[cpu] - clock <= time.monotonic_ns() - started
    counter.open("context-switches")
    switched = resource.getrusage(resource.RUSAGE_THREAD)
    before = counter[cpu]
    for _ in range(53):
        time.sleep(0.0001)
    own = resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw - switched.ru_nvcsw
    assert counter[cpu] - before >= own > 23  # a sleep that is over before it has begun switches nothing
    frame, *_ = read_twice(counted, lambda: None)
    assert frame["faults"].iloc[1] <= counter[cpu]
    assert bpftool.run("map", "show", "id", bpftool.map_id(counter.fd))["type"] == "perf_event_array"
    counted.close()
    with pytest.raises(SessionError):
        counter[cpu]


def test_what_cannot_be_counted_is_told(counted):
    counter = counted.maps["counter"]
    with pytest.raises(AttachError, match="is no perf event") as caught:
        counter.open("page-fault")
    assert "page-faults" in caught.value.hint
    with pytest.raises(MapError, match="no such process"):
        counter.open("page-faults", pid=4_194_303)
    with pytest.raises(MapError, match="it holds perf events"):
        counter[0] = 1
    getppid = os.getppid
    getppid()
    assert counted.streams["records"].wait(1, timeout=5)
    assert counted.streams["records"].df()["refused"].tolist() == [-errno.ENOENT]
