"""Cells in BCC's dialect through the whole line: rewritten, compiled, loaded, attached, read."""

from __future__ import annotations

import ctypes
import os
import shutil
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import bcc_corpus
import cells
import numpy as np
import pytest
from test_hook_tracing_user import folder  # noqa: F401 (a fixture)
from test_hook_tracing_user import library as probed  # noqa: F401 (a fixture)

import ebpflab
from ebpflab.bcc import building, library, process
from ebpflab.bcc.rewriter import RewriteError
from ebpflab.errors import CellError, CompileError, EbpflabError, HookNotFoundError, ToolMissingError, VerifierError

STRUCT = "struct data_t { u32 pid; u64 ts; char comm[16]; };\n"
FILL = """
    struct data_t d = {};
    d.pid = bpf_get_current_pid_tgid() >> 32;
    if (d.pid != ME) return 0;
    d.ts = bpf_ktime_get_ns();
    bpf_get_current_comm(&d.comm, sizeof(d.comm));
"""
PERF = f"{STRUCT}BPF_PERF_OUTPUT(events);\nTRACEPOINT_PROBE(syscalls, sys_enter_getppid) {{{FILL}"
PERF += "    events.perf_submit(args, &d, sizeof(d));\n    return 0;\n}\n"
RING = f"{STRUCT}BPF_RINGBUF_OUTPUT(events, 8);\nTRACEPOINT_PROBE(syscalls, sys_enter_getppid) {{{FILL}"
RING += "    events.ringbuf_output(&d, sizeof(d), 0);\n    return 0;\n}\n"
RESERVED = (
    STRUCT
    + """
BPF_RINGBUF_OUTPUT(events, 1);
RAW_TRACEPOINT_PROBE(sys_enter) {
    if (bpf_get_current_pid_tgid() >> 32 != ME || ctx->args[1] != NUMBER) return 0;
    struct data_t *d = events.ringbuf_reserve(sizeof(struct data_t));
    if (!d) return 0;
    d->pid = ME;
    d->ts = ctx->args[1];
    __builtin_memset(d->comm, 0, sizeof(d->comm));
    events.ringbuf_submit(d, 0);
    return 0;
}
"""
)
GETPPID = {"x86_64": 110, "aarch64": 173}.get(os.uname().machine, 173)
TRACED = "TRACEPOINT_PROBE(syscalls, sys_enter_getppid) {\n    if (bpf_get_current_pid_tgid() >> 32 != ME) return 0;\n"
# An address space that the BPF back end knows nothing of: LLVM gives up and aborts.
ABORTS = """
#define __far __attribute__((address_space(256)))
struct a { __far int *p; };
int f(struct a *c) { int *q = (int *)c->p; return *q; }
"""


def mine(text):
    return text.replace("ME", str(os.getpid())).replace("NUMBER", str(GETPPID))


def counting(declaration, statement):
    return mine(f"{declaration}\n{TRACED}    {statement}\n    return 0;\n}}\n")


@pytest.fixture(autouse=True)
def bcc():
    try:
        library.find_libbcc()
    except ToolMissingError as error:
        pytest.skip(str(error))
    yield
    process.close()


@pytest.mark.parametrize("source", [PERF, RING, RESERVED], ids=["perf_submit", "ringbuf_output", "ringbuf_reserve"])
def test_a_prime_number_of_records_arrives_with_typed_columns(load, source):
    session = load(mine(source))
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    cells.call_getppid(23)
    assert session.events.wait(23, timeout=5)
    session.detach()
    frame = session.events.df()
    assert (session.engine, session.state) == ("bcc", "detached")
    assert frame["pid"].tolist() == [os.getpid()] * 23
    assert {name: str(dtype) for name, dtype in frame.dtypes.items()} == {
        "pid": "uint32",
        "ts": "uint64",
        "comm": "category",
    } or str(frame["comm"].dtype) in ("str", "object", "category")
    if source is not RESERVED:
        assert frame["comm"].unique().tolist() == [Path("/proc/self/comm").read_text().strip()]
        assert frame["ts"].between(before, time.clock_gettime_ns(time.CLOCK_MONOTONIC)).all()
        assert frame["ts"].is_monotonic_increasing
    assert session.events.stats()["lost"] == 0
    assert session.events.types.by == "definition"


def test_the_stages_stay_apart_and_an_unchanged_cell_is_not_compiled_again(load, tmp_path, monkeypatch):
    monkeypatch.setenv("EBPFLAB_CACHE", str(tmp_path / "cache"))
    first = load(mine(PERF), attach=False)
    assert first.stages["stage"].tolist() == ["cell", "compile", "open", "load + verify"]
    assert first.state == "loaded"
    assert first.stages["detail"][1] == f"BCC {library.version()}, subset headers"
    monkeypatch.setattr(building.rewriter, "rewrite", lambda *_, **__: pytest.fail("it was compiled again"))
    again = load(mine(PERF))
    assert again.stages["detail"][1] == f"BCC {library.version()}, cached"
    assert again.stages["stage"].tolist() == ["cell", "compile", "open", "load + verify", "attach"]


def test_hash_tables_count(load):
    session = load(counting("BPF_HASH(counts, u32);", "u32 me = ME; counts.increment(me); counts.increment(me, 3);"))
    cells.call_getppid(23)
    session.detach()
    assert dict(session.maps["counts"]) == {os.getpid(): 23 * 4}


def test_a_histogram_of_powers_of_two_is_shown_as_one(load):
    # values 1, 2, ... as numpy puts them: [0, 1], [2, 3], [4, 7], ...
    session = load(
        counting(
            "BPF_HISTOGRAM(sizes);\nBPF_ARRAY(at, u64, 1);",
            "int zero = 0; u64 *n = at.lookup(&zero); if (!n) return 0; *n += 1; sizes.increment(bpf_log2l(*n));",
        )
    )
    cells.call_getppid(1009)
    session.detach()
    found = session.maps["sizes"].hist()
    edges = [0, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024]
    assert found["count"].tolist() == np.histogram(np.arange(1, 1010), edges)[0].tolist()
    assert found["low"].tolist() == edges[:-1]
    assert (found["high"] + 1).tolist() == edges[1:]
    assert "[512, 1K)" in repr(session.maps["sizes"])


def test_a_histogram_with_structured_keys_is_one_for_each_key(load):
    session = load(
        counting(
            "struct key_t { u64 odd; u64 slot; };\nBPF_HISTOGRAM(sizes, struct key_t);\nBPF_ARRAY(at, u64, 1);",
            "int zero = 0; u64 *n = at.lookup(&zero); if (!n) return 0; *n += 1;"
            " struct key_t key = {.odd = *n % 2, .slot = bpf_log2l(*n)}; sizes.increment(key);",
        )
    )
    cells.call_getppid(31)
    session.detach()
    found = session.maps["sizes"].hist()
    assert found.columns.tolist() == ["odd", "low", "high", "count"]
    values = np.arange(1, 32)
    for odd in (0, 1):
        expected = np.histogram(values[values % 2 == odd], [0, 2, 4, 8, 16, 32])[0].tolist()
        assert found[found["odd"] == odd]["count"].tolist() == expected


def test_per_cpu_arrays_add_up(load):
    session = load(counting("BPF_PERCPU_ARRAY(seen, u64, 1);", "seen.increment(0);"))
    cells.call_getppid(29)
    session.detach()
    assert int(np.sum(session.maps["seen"][0])) == 29


def test_stack_traces_have_symbols(load):
    session = load(
        counting(
            "BPF_STACK_TRACE(stacks, 64);\nBPF_HASH(seen, int);",
            "int id = stacks.get_stackid(args, 0); seen.increment(id);",
        )
    )
    cells.call_getppid(7)
    session.detach()
    ((number, count),) = session.maps["seen"].items()
    assert count == 7
    assert number in dict(session.maps["stacks"])


def test_every_kind_of_table_becomes_a_map_of_its_name(load):
    declarations = {
        'BPF_TABLE("lru_hash", u32, u64, lru, 101)': ("lru", "lru_hash", 101),
        "BPF_LPM_TRIE(trie, struct prefix, u64, 13)": ("trie", "lpm_trie", 13),
        "BPF_PROG_ARRAY(calls, 5)": ("calls", "prog_array", 5),
        "BPF_QUEUE(queue, u64, 11)": ("queue", "queue", 11),
        "BPF_STACK(stack, u64, 11)": ("stack", "stack", 11),
        "BPF_PERCPU_HASH(percpu, u32, u64, 17)": ("percpu", "percpu_hash", 17),
        "BPF_ARRAY(held, u64, 3)": ("held", "array", 3),
        'BPF_ARRAY_OF_MAPS(holder, "held", 7)': ("holder", "array_of_maps", 7),
        "BPF_CGROUP_ARRAY(groups, 2)": ("groups", "cgroup_array", 2),
        "BPF_DEVMAP(devices, 4)": ("devices", "devmap", 4),
        "BPF_SOCKHASH(sockets, u32, 19)": ("sockets", "sockhash", 19),
        "BPF_ARRAY(last, u32, 37)": ("last", "array", 37),
    }
    use = "int k = 1; u64 *v = held.lookup(&k); if (v) *v += 1; last.increment(2); groups.check_current_task(0);"
    text = "struct prefix { u32 length; u32 address; };\n" + "".join(f"{each};\n" for each in declarations)
    session = load(counting(text, use))
    assert {(n, session.maps[n].type, session.maps[n].max_entries) for n, *_ in declarations.values()} == set(
        declarations.values()
    )
    cells.call_getppid(5)
    session.detach()
    assert session.maps["last"][2] == 5


def test_pointers_are_followed_to_where_the_kernel_has_them(load):
    statement = (
        "struct task_struct *task = (struct task_struct *)bpf_get_current_task();"
        " u32 parent = task->real_parent->tgid; seen.increment(parent);"
    )
    session = load(counting("BPF_HASH(seen, u32);", statement))
    os.getppid()
    session.detach()
    status = Path("/proc/self/status").read_text()
    (parent,) = (int(line.split()[1]) for line in status.splitlines() if line.startswith("PPid:"))
    assert dict(session.maps["seen"]) == {parent: 1}


@pytest.mark.hook("uprobe")
def test_a_function_without_a_name_for_a_hook_takes_it_from_the_user(load):
    libc = next(line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines() if "/libc.so" in line)
    text = mine(
        "BPF_HASH(seen, int);\nint on_labs(struct pt_regs *ctx) {\n"
        "    if (bpf_get_current_pid_tgid() >> 32 != ME) return 0;\n"
        "    int number = PT_REGS_PARM1(ctx);\n    seen.increment(number);\n    return 0;\n}\n"
    )
    session = load(text, engine="bcc", targets={"on_labs": f"uprobe:{libc}:labs"})
    assert session.links["hook"].tolist() == ["uprobe"]
    for _ in range(13):
        ctypes.CDLL(None).labs(37)
    session.detach()
    assert dict(session.maps["seen"]) == {37: 13}


@pytest.mark.hook("usdt")
def test_the_arguments_of_usdt_probes_are_read(load, folder, probed):  # noqa: F811
    text = mine(
        "BPF_HASH(sums, u32, u64);\nint on_fired(struct pt_regs *ctx) {\n"
        "    int small = 0;\n    u64 large = 0;\n    u32 which = 1;\n"
        "    bpf_usdt_readarg(1, ctx, &small);\n    bpf_usdt_readarg(2, ctx, &large);\n"
        "    sums.increment(which, -small);\n    which = 2;\n    sums.increment(which, large >> 33);\n"
        "    return 0;\n}\n"
    )
    session = load(text, targets={"on_fired": f"usdt:{folder}/libprobed.so:lab:fired,pid={os.getpid()}"})
    for number in range(23):
        probed.fire(-number, number << 33)
    session.detach()
    assert dict(session.maps["sums"]) == {1: sum(range(23)), 2: sum(range(23))}


def test_a_function_of_which_nothing_says_where_it_belongs_is_loaded_and_waits(load):
    session = load(
        "BPF_HASH(seen, u32);\nint waits(struct bpf_perf_event_data *ctx) { seen.increment(1); return 0; }\n"
    )
    assert (session.state, len(session.links)) == ("loaded", 0)
    assert session.programs["type"].tolist() == ["perf_event"]
    assert "loaded" in repr(session)
    session.attach("waits", target="cpu-clock,freq=997")
    assert cells.wait_until(lambda: dict(session.maps["seen"]).get(1, 0) > 7)


def test_a_timer_of_the_cpu_counts_where_it_is_asked_for(load):
    text = "BPF_ARRAY(ticks, u64, 1);\nint tick(struct bpf_perf_event_data *ctx) { ticks.increment(0); return 0; }\n"
    session = load(text, targets={"tick": "perf_event:cpu-clock,freq=997"})
    assert cells.wait_until(lambda: session.maps["ticks"][0] > 23)


def test_xdp_programs_are_run_on_packets(load):
    text = (
        "BPF_ARRAY(seen, u64, 1);\nint drop(struct xdp_md *ctx) {\n    seen.increment(0);\n"
        "    return (long)ctx->data_end - (long)ctx->data > 64 ? XDP_DROP : XDP_PASS;\n}\n"
    )
    session = load(text)
    assert [session.test_run("drop", data=bytes(n)).verdict for n in (64, 65)] == ["XDP_PASS", "XDP_DROP"]
    assert session.maps["seen"][0] == 2


@pytest.mark.parametrize("target", ["socket:lo", "lo"])
def test_a_socket_filter_reads_packets_by_their_headers(load, target):
    # A datagram on lo passes a packet socket twice: on its way out, and on its way in.
    text = (
        "#include <bcc/proto.h>\nBPF_ARRAY(seen, u64, 2);\nint filter(struct __sk_buff *skb) {\n    u8 *cursor = 0;\n"
        "    struct ethernet_t *ethernet = cursor_advance(cursor, sizeof(*ethernet));\n"
        "    if (ethernet->type != 0x0800) return 0;\n"
        "    struct ip_t *ip = cursor_advance(cursor, sizeof(*ip));\n"
        "    if (ip->nextp != 17) return 0;\n"
        "    struct udp_t *udp = cursor_advance(cursor, sizeof(*udp));\n"
        "    if (udp->dport == PORT) seen.increment(1);\n    return 0;\n}\n"
    )
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver, socket.socket(type=socket.SOCK_DGRAM) as sender:
        receiver.bind(("127.0.0.1", 0))
        session = load(text.replace("PORT", str(receiver.getsockname()[1])), targets={"filter": target})
        assert session.programs["type"].tolist() == ["socket_filter"]
        for _ in range(23):
            sender.sendto(b"hello", receiver.getsockname())
        assert cells.wait_until(lambda: session.maps["seen"][1] == 46), session.maps["seen"][1]


@pytest.mark.parametrize(("source", "sizes"), [(RESERVED, {}), (PERF, {"events": 4096}), (RING, {"events": 4096})])
def test_what_a_small_buffer_refuses_is_what_is_missing(load, source, sizes):
    session = load(mine(source), buffers=sizes)
    session.events.pause()
    cells.call_getppid(10_007)
    session.detach()
    session.events.resume()
    session.close()
    stats = session.events.stats()
    assert 0 < stats["received"] < 10_007
    assert stats["received"] + stats["lost"] == 10_007


def test_what_is_recorded_is_what_was_seen(load, tmp_path):
    session = load(mine(PERF))
    recording = session.events.record(tmp_path / "getppid.parquet")
    cells.call_getppid(23)
    assert session.events.wait(23, timeout=5)
    session.close()
    del recording
    played = ebpflab.replay(tmp_path / "getppid.parquet")
    try:
        assert played.events.wait(23, timeout=5)
        assert played.events.df()["ts"].tolist() == session.events.df()["ts"].tolist()
    finally:
        played.close()


def test_a_view_shows_it_as_any_session(load):
    session = load(mine(PERF))
    cells.call_getppid(23)
    assert session.events.wait(23, timeout=5)
    text = repr(session)
    assert "bcc" in text
    assert "tracepoint__syscalls__sys_enter_getppid" in text
    assert "struct data_t" in text


def test_an_error_has_the_line_of_the_cell_and_a_caret():
    with pytest.raises(RewriteError) as caught:
        ebpflab.load("BPF_HASH(h, u32);\nint f(struct pt_regs *ctx) {\n    return nonsense;\n}\n")
    assert (caught.value.where.line, caught.value.where.column) == (3, 12)
    assert caught.value.what == "1 error: use of undeclared identifier 'nonsense'"
    assert "    3 |     return nonsense;\n      |            ^" in str(caught.value)
    assert isinstance(caught.value, CompileError)


def test_ten_thousand_wrong_lines_are_a_short_error(capfd):
    text = (
        "BPF_HASH(h, u32);\nint f(void *c) {\n"
        + "".join(f"    nonsense{n}();\n" for n in range(10_007))
        + "    return 0;\n}\n"
    )
    with pytest.raises(RewriteError) as caught:
        ebpflab.load(text)
    assert len(str(caught.value)) < 2000
    assert caught.value.where.line == 3
    assert caught.value.log.count("error: ") >= 19
    assert capfd.readouterr() == ("", "")


def test_a_compiler_that_aborts_is_an_error_and_the_next_cell_is_served(load, capfd):
    with pytest.raises(EbpflabError, match=r"BCC's compiler crashed \(SIG\w+\)"):
        ebpflab.load(ABORTS, engine="bcc")
    assert load(mine(PERF)).state == "attached"
    assert capfd.readouterr() == ("", "")


def test_eight_cells_at_once_get_each_its_own():
    texts = [counting(f"BPF_ARRAY(a{n}, u64, {n + 3});", f"a{n}.increment(0);") for n in range(7)]

    def one(text):
        try:
            with ebpflab.load(text, engine="bcc") as session:
                return next(iter(session.maps)), next(iter(session.maps.values())).max_entries
        except EbpflabError as error:
            return type(error).__name__

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(one, [*texts, ABORTS]))
    assert found == [*((f"a{n}", n + 3) for n in range(7)), "RewriteError"]
    assert threading.active_count() < 12


def test_a_refusal_of_the_verifier_has_the_line_of_the_cell():
    text = mine(
        "BPF_HASH(h, u32);\n"
        + TRACED
        + "    u32 key = 1;\n    u64 *v = h.lookup(&key);\n    *v += 1;\n    return 0;\n}\n"
    )
    with pytest.raises(VerifierError) as caught:
        ebpflab.load(text)
    assert caught.value.where.line == 6
    assert caught.value.where.text == "    *v += 1;"


@pytest.mark.parametrize("body", ["return 0;", "return args->nothing;"])
def test_a_hook_that_does_not_exist_has_its_neighbours_and_its_place(body):
    with pytest.raises(HookNotFoundError) as caught:
        ebpflab.load(f"\nTRACEPOINT_PROBE(syscalls, sys_enter_getppidd) {{ {body} }}\n")
    assert "syscalls/sys_enter_getppid" in caught.value.nearest
    assert (caught.value.where.line, caught.value.where.column) == (2, 28)


def test_a_wrong_line_is_not_told_to_use_the_dialect_that_it_is_in():
    with pytest.raises(RewriteError) as caught:
        ebpflab.load("BPF_HASH(h, u32);\nint f(struct pt_regs *ctx) {\n    h.increment(nothing);\n    return 0;\n}\n")
    assert caught.value.where.line == 3
    assert "--engine bcc" not in str(caught.value)


@pytest.mark.parametrize(
    ("source", "engine", "what"),
    [
        (cells.GETPPID, "bcc", "written in libbpf's C"),
        (PERF, "libbpf", "written in BCC's C"),
        ("int f(void *c) { return 0; }", "bpftrace", "there is no engine"),
    ],
)
def test_a_cell_of_the_other_kind_says_so(source, engine, what):
    with pytest.raises(CellError, match=what):
        ebpflab.load(source, engine=engine)


def test_the_kernel_s_own_part_of_a_program_may_be_chosen_by_a_header(load, tmp_path, monkeypatch):
    (tmp_path / "mine.h").write_text("#define ANSWER 42\n")
    monkeypatch.chdir(tmp_path)
    session = load(
        '#include "mine.h"\n#include <linux/sched.h>\n'
        + counting("BPF_HASH(h, u32);", "u32 a = ANSWER; h.increment(a);")
    )
    os.getppid()
    session.detach()
    assert dict(session.maps["h"]) == {42: 1}


# Tools of BCC whose hooks every kernel has: tracepoints and raw tracepoints.
ATTACHED = ("biopattern", "exitsnoop", "hardirqs", "runqlat", "runqslower", "softirqs", "syscount", "tcpstates")


@pytest.fixture(scope="module")
def tools(tmp_path_factory):
    reason = bcc_corpus.missing()
    if reason:
        pytest.skip(reason)
    all_tools = bcc_corpus.fetch(tmp_path_factory.mktemp("tools"))
    chosen = tmp_path_factory.mktemp("chosen")
    for name in ATTACHED:
        shutil.copy(all_tools / f"{name}-bpfcc", chosen)
    return {text.tool: text for text in bcc_corpus.texts(chosen, every=False)}


@pytest.mark.parametrize("name", ATTACHED)
def test_programs_of_bcc_s_own_tools_are_attached(load, tools, name):
    text = tools[name]
    defines = "".join(f"#define {flag[2:].replace('=', ' ', 1)}\n" for flag in text.cflags if flag.startswith("-D"))
    session = load(defines + text.text, engine="bcc")
    assert session.state == "attached"
    assert session.verifier_log
