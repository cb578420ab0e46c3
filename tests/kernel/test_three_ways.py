"""The same probe in BCC's C, in libbpf's C and in bpftrace, attached at once, counts the same events."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

import numpy as np
import pytest

import ebpflab
from ebpflab.bcc import library, process
from ebpflab.errors import ToolMissingError
from ebpflab.toolchain import find_bpftrace

CALLS = 10_007
READS = 2_003
# A child that waits for a line, makes its calls, says so, and waits for another.
CHILD = """\
import os, sys
sizes = {sizes}
files = [os.open("/dev/zero", os.O_RDONLY) for _ in range(3)]
print("ready", *files, flush=True)
sys.stdin.readline()
for _ in range({calls}):
    os.getppid()
for number, size in enumerate(sizes):
    os.read(files[number % 3], size)
print("done", flush=True)
sys.stdin.readline()
"""
PROBES = {
    "bcc": """
        BPF_HASH(counts, u32);
        BPF_HISTOGRAM(sizes);
        BPF_HASH(bytes, u64);
        TRACEPOINT_PROBE(syscalls, sys_enter_getppid) {
            u32 pid = bpf_get_current_pid_tgid() >> 32;
            if (pid == ONLY)
                counts.increment(pid);
            return 0;
        }
        TRACEPOINT_PROBE(syscalls, sys_enter_read) {
            u64 fd = args->fd;
            if (bpf_get_current_pid_tgid() >> 32 != ONLY || fd < FIRST)
                return 0;
            sizes.increment(bpf_log2l(args->count));
            bytes.increment(fd, args->count);
            return 0;
        }
    """,
    "libbpf": """
        struct hist { u64 slots[27]; };
        struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 64);
                 __type(key, u32); __type(value, u64); } counts SEC(".maps");
        struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 64);
                 __type(key, u64); __type(value, u64); } bytes SEC(".maps");
        struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1);
                 __type(key, u32); __type(value, struct hist); } sizes SEC(".maps");
        static void add(void *map, void *key, u64 amount)
        {
            u64 *sum, none = 0;
            bpf_map_update_elem(map, key, &none, BPF_NOEXIST);
            sum = bpf_map_lookup_elem(map, key);
            if (sum)
                __sync_fetch_and_add(sum, amount);
        }
        SEC("tp/syscalls/sys_enter_getppid") int on_getppid(void *ctx)
        {
            u32 pid = bpf_get_current_pid_tgid() >> 32;
            if (pid == ONLY)
                add(&counts, &pid, 1);
            return 0;
        }
        SEC("tp/syscalls/sys_enter_read") int on_read(struct tracepoint__syscalls__sys_enter_read *ctx)
        {
            u64 fd = ctx->fd, left = ctx->count;
            u32 zero = 0, slot = 0;
            struct hist *hist = bpf_map_lookup_elem(&sizes, &zero);
            if (!hist || bpf_get_current_pid_tgid() >> 32 != ONLY || fd < FIRST)
                return 0;
            for (int i = 0; i < 26; i++) {
                if (left > 1)
                    slot++;
                left >>= 1;
            }
            if (slot < 27)
                __sync_fetch_and_add(&hist->slots[slot], 1);
            add(&bytes, &fd, ctx->count);
            return 0;
        }
    """,
    "bpftrace": """
        tracepoint:syscalls:sys_enter_getppid /pid == ONLY/ { @counts[pid] = count(); }
        tracepoint:syscalls:sys_enter_read /pid == ONLY && args->fd >= FIRST/ {
            @sizes = hist(args->count);
            @bytes[args->fd] = sum(args->count);
        }
    """,
}


@pytest.fixture(autouse=True)
def tools():
    try:
        library.find_libbcc()
        find_bpftrace()
    except ToolMissingError as error:
        pytest.skip(str(error))
    yield
    process.close()


@pytest.fixture(scope="module")
def sizes():
    # Over twelve powers of two, their ends among them; 0 reads nothing and is a read all the same.
    random = np.random.default_rng(7)
    return [int(size) for size in 2 ** random.uniform(0, 12, READS - 6)] + [0, 1, 2, 1023, 1024, 4096]


@pytest.fixture
def child(sizes):
    """A process of ours, and the first of its three files: their numbers follow one another."""
    made = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", CHILD.format(sizes=sizes, calls=CALLS)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        ready, *files = made.stdout.readline().split()
        assert ready == "ready"
        yield made, [int(file) for file in files]
    finally:
        made.kill()
        made.communicate()


@pytest.fixture
def counted(child, load):
    """All three attached at once, and then the child's calls; what each of them counted by itself."""
    made, files = child
    text = {n: t.replace("ONLY", str(made.pid)).replace("FIRST", str(files[0])) for n, t in PROBES.items()}
    with ebpflab.bpftrace(text["bpftrace"]) as bpftrace:
        bcc, libbpf = load(text["bcc"]), load(text["libbpf"])
        assert (bcc.engine, libbpf.engine, bpftrace.engine) == ("bcc", "libbpf", "bpftrace")
        assert {each.state for each in (bcc, libbpf, bpftrace)} == {"attached"}
        made.stdin.write("go\n")
        made.stdin.flush()
        assert made.stdout.readline() == "done\n"
        bcc.detach()
        libbpf.detach()
    assert bpftrace.lost == 0
    return {"bcc": bcc.maps, "libbpf": libbpf.maps, "bpftrace": bpftrace.maps}


def test_one_probe_in_three_languages_counts_the_same_events(counted, child, sizes):
    made, files = child
    found = {name: maps["counts"].df().to_numpy().tolist() for name, maps in counted.items()}
    assert found == {name: [[made.pid, CALLS]] for name in PROBES}

    bytes_of = Counter()
    for number, size in enumerate(sizes):
        bytes_of[files[number % 3]] += size
    by_file = {name: dict(maps["bytes"].df().to_numpy().tolist()) for name, maps in counted.items()}
    assert by_file == {name: dict(bytes_of) for name in PROBES}

    # Python's own logarithm: 0 and 1 have bpftrace a bucket each, and the others one together.
    expected = Counter(max(size.bit_length() - 1, 0) for size in sizes)
    slots = [expected[slot] for slot in range(max(expected) + 1)]
    assert sum(slots) == READS
    assert counted["bcc"]["sizes"].hist()["count"].tolist() == slots
    assert counted["libbpf"]["sizes"].hist()["count"].tolist() == slots
    buckets = counted["bpftrace"]["sizes"].df()
    assert buckets["low"].tolist() == [0, 1, *(2**slot for slot in range(1, len(slots)))]
    zero, one, *others = buckets["count"].tolist()
    assert (zero, one) == (sizes.count(0), sizes.count(1))
    assert [zero + one, *others] == slots
