"""Programs of BCC's dialect at every kind of hook that BCC knows: each counts exactly what the test itself did."""

from __future__ import annotations

import ctypes
import errno
import os
import re
import signal
import subprocess
from pathlib import Path

import cells
import kernel_has
import pytest
from bcc_attached import CALLS, LATER, MINE, PORT, bcc, cell, counts, function  # noqa: F401 (bcc is a fixture)
from test_hook_tracing import SIZE, Pipe, events_held, signals
from test_hook_tracing_perf import Pages
from test_hook_tracing_user import folder, offset_of  # noqa: F401 (a fixture)
from test_hook_tracing_user import library as probed  # noqa: F401 (a fixture)

from ebpflab import options
from ebpflab.errors import AttachError, CellError, EbpflabError, HookNotFoundError, KernelSupportError

# Tracepoints


@pytest.mark.hook("tracepoint")
def test_one_function_is_attached_to_every_tracepoint_of_an_expression_and_to_others_later(load):
    text = cell(function("on_call", "void *ctx"))
    session = load(text, targets={"on_call": "tracepoint:/syscalls:sys_enter_getp(gid|riority)$/"})
    assert session.links[["hook", "target"]].values.tolist() == [
        ["tracepoint", "/syscalls:sys_enter_getp(gid|riority)$/ (2 tracepoints)"]
    ]
    for _ in range(CALLS):
        os.getpgid(0)
        os.getpriority(os.PRIO_PROCESS, 0)
    assert counts(session) == 2 * CALLS
    session.attach("on_call", target="tp:syscalls:sys_enter_getppid")
    with pytest.raises(AttachError, match="already") as caught:
        session.attach("on_call", target="syscalls/sys_enter_getppid")
    assert caught.value.errno == errno.EEXIST
    cells.call_getppid(LATER)
    assert counts(session) == 2 * CALLS + LATER
    assert len(session.links) == 2
    session.detach()
    os.getppid()
    os.getpgid(0)
    assert counts(session) == 2 * CALLS + LATER
    assert events_held() == []


@pytest.mark.hook("raw_tracepoint")
def test_a_raw_tracepoint_is_named_by_the_function_or_by_the_user(load):
    text = cell(
        "RAW_TRACEPOINT_PROBE(signal_generate) { MINE if (ctx->args[0] == NUMBER) seen.increment(0); return 0; }",
        function("later", "struct bpf_raw_tracepoint_args *ctx", "if (ctx->args[0] == NUMBER) seen.increment(1);"),
    )
    session = load(text.replace("NUMBER", str(int(signal.SIGURG))))
    assert sorted(session.programs["type"]) == ["raw_tracepoint"] * 2
    signals(CALLS)
    session.attach("later", target="signal_generate")
    signals(LATER)
    session.detach()
    signals(7)
    assert counts(session, 2) == (CALLS + LATER, LATER)


@pytest.mark.hook("perf_event")
def test_a_perf_event_fires_at_each_page_fault_of_this_process(load):
    pages = Pages(CALLS + 7)
    low, high = pages.place["from"], pages.place["to"]
    wanted = f"if (ctx->addr >= {low}ULL && ctx->addr < {high}ULL) seen.increment(0);"
    text = cell(function("on_fault", "struct bpf_perf_event_data *ctx", wanted))
    session = load(text, targets={"on_fault": f"perf_event:page-faults,period=1,pid={os.getpid()}"})
    pages.touch(0, CALLS)
    session.detach()
    pages.touch(CALLS, 7)
    assert counts(session) == CALLS


@pytest.mark.hook("perf_event")
def test_a_clock_of_one_cpu_samples_there_only(load):
    statement = "seen.increment(bpf_get_smp_processor_id() != 0);"
    text = cell(function("tick", "struct bpf_perf_event_data *ctx", statement, mine=False))
    session = load(text, targets={"tick": "perf_event:cpu-clock,freq=997,cpu=0"})
    with subprocess.Popen(["sh", "-c", "while :; do :; done"]) as busy:
        os.sched_setaffinity(busy.pid, {0})
        try:
            assert cells.wait_until(lambda: counts(session) > 23)
        finally:
            busy.kill()
    assert counts(session, 2)[1] == 0


# Functions of binaries

REGISTERS = """
struct node { int value; struct node *next; };
BPF_ARRAY(args, u64, 16);
int on_six(struct pt_regs *ctx, u64 first) {
    MINE
    u64 sum = PT_REGS_PARM1(ctx) + 10 * PT_REGS_PARM2(ctx) + 100 * PT_REGS_PARM3(ctx)
        + 1000 * PT_REGS_PARM4(ctx) + 10000 * PT_REGS_PARM5(ctx) + 100000 * PT_REGS_PARM6(ctx);
    int at = 0;
    args.update(&at, &sum);
    at = 1; sum = PT_REGS_IP(ctx);
    args.update(&at, &sum);
    at = 2; sum = first;
    args.update(&at, &sum);
    return 0;
}
int after_six(struct pt_regs *ctx) {
    MINE
    int at = 3; u64 result = PT_REGS_RC(ctx);
    args.update(&at, &result);
    return 0;
}
int on_chain(struct pt_regs *ctx, struct node *start) {
    MINE
    int at = 4; u64 value = start->next->next->value;
    args.update(&at, &value);
    struct task_struct *task = (struct task_struct *)bpf_get_current_task();
    at = 5; value = task->real_parent->tgid;
    args.update(&at, &value);
    at = 6; value = task->real_parent->real_parent->tgid;
    args.update(&at, &value);
    at = 7; value = task->group_leader->real_parent->group_leader->start_time;
    args.update(&at, &value);
    return 0;
}
"""
SIX = r"""
#define FAR __attribute__((noipa))
struct node { int value; struct node *next; };
FAR long six(long a, long b, long c, long d, long e, long f) { return a - b - c - d - e - f; }
FAR int walk(struct node *n) { return n->next->next->value; }
FAR int walk_list(void) { struct node c = {43, 0}, b = {42, &c}, a = {41, &b}; return walk(&a); }
"""


@pytest.fixture(scope="module")
def six(tmp_path_factory):
    """A library with functions of many arguments and of pointers."""
    made = tmp_path_factory.mktemp("six")
    (made / "six.c").write_text(SIX)
    subprocess.run(
        ["gcc", "-O2", "-shared", "-fPIC", "-o", made / "libsix.so", made / "six.c"], check=True, timeout=120
    )
    loaded = ctypes.CDLL(str(made / "libsix.so"))
    loaded.six.argtypes, loaded.six.restype = [ctypes.c_long] * 6, ctypes.c_long
    return loaded, made / "libsix.so"


def status_of(pid, field):
    text = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(rf"^{field}:\s+(\d+)", text, re.MULTILINE)[1])


@pytest.mark.hook("uprobe")
def test_registers_and_pointers_are_those_of_the_caller_and_of_proc(load, six):
    called, path = six
    places = {"on_six": f"uprobe:{path}:six", "after_six": f"uretprobe:{path}:six", "on_chain": f"uprobe:{path}:walk"}
    session = load(cell(REGISTERS, tables=""), targets=places)
    assert sorted(session.links["hook"]) == ["uprobe", "uprobe", "uretprobe"]
    assert called.six(9, 8, 7, 6, 5, 4) == -21
    assert called.walk_list() == 43
    session.detach()
    found = [int(session.maps["args"][n]) for n in range(8)]
    assert found[0] == 456789
    assert found[1] == ctypes.cast(called.six, ctypes.c_void_p).value
    assert found[2] == 9
    assert ctypes.c_int64(found[3]).value == -21
    assert found[4] == 43
    parent = status_of("self", "PPid")
    assert found[5:7] == [parent, status_of(parent, "PPid")]
    # Field 22 of /proc/PID/stat, in ticks since boot; the kernel keeps nanoseconds (proc(5)), by another clock.
    started = int(Path(f"/proc/{parent}/stat").read_text().rpartition(")")[2].split()[19])
    assert abs(found[7] / 1e9 - started / os.sysconf("SC_CLK_TCK")) < 60


@pytest.mark.hook("uprobe")
@pytest.mark.parametrize(
    ("place", "twice", "links"),
    [("triple", 0, 1), ("OFFSET", 0, 1), ("triple,pid=ME", 0, 1), ("t*", 1, 2), ("/^t(wice|riple)$/,pid=ME", 1, 2)],
)
def test_a_function_is_attached_to_symbols_offsets_processes_and_expressions(
    load,
    folder,  # noqa: F811
    probed,  # noqa: F811
    place,
    twice,
    links,
):
    # triple() has a second name, thrice(), which is the same place.
    path = folder / "libprobed.so"
    place = place.replace("ME", str(os.getpid())).replace("OFFSET", f"{offset_of(path, 'triple'):#x}")
    session = load(cell(function("on_call", "struct pt_regs *ctx", "seen.increment(PT_REGS_PARM1(ctx) == 5);")))
    assert (session.state, session.links.empty) == ("loaded", True)
    session.attach("on_call", target=f"uprobe:{path}:{place}")
    shown = f"{path}:{place}" + (f" ({links} functions)" if links > 1 else "")
    assert session.links[["hook", "target"]].values.tolist() == [["uprobe", shown]]
    for number in range(CALLS):
        probed.triple(number)
    for number in range(LATER):
        probed.twice(number)
    session.detach()
    assert events_held() == []
    probed.triple(5)
    assert counts(session, 2) == (CALLS - 1 + twice * (LATER - 1), 1 + twice)


@pytest.mark.hook("uprobe")
def test_one_function_is_attached_again_and_again_in_every_way(load, folder, probed):  # noqa: F811
    path = folder / "libprobed.so"
    session = load(cell(function("on_call", "struct pt_regs *ctx")), attach=False)
    session.attach("on_call", target=f"uprobe:{path}:triple")
    session.attach("on_call", target=f"uretprobe:{path}:triple")
    session.attach("on_call", target=f"uprobe:{path}:twice")
    assert session.links["hook"].tolist() == ["uprobe", "uretprobe", "uprobe"]
    for _ in range(CALLS):
        probed.triple(1)
    probed.twice(1)
    assert counts(session) == 2 * CALLS + 1
    with pytest.raises(AttachError, match="loaded as kprobe, which cannot become xdp") as caught:
        session.attach("on_call", target="xdp:lo")
    assert "--attach on_call=xdp:lo" in caught.value.hint


@pytest.mark.hook("uprobe")
@pytest.mark.parametrize("way", ["magic", "python"])
def test_a_function_with_several_targets_goes_to_all_of_them_and_comes_back(load, folder, probed, way):  # noqa: F811
    path = folder / "libprobed.so"
    places = [f"uprobe:{path}:triple", f"uretprobe:{path}:triple", f"uprobe:{path}:/^twi.e$/"]
    asked = options.parse("probes --no-attach " + " ".join(f"--attach on_call={place}" for place in places))
    assert asked.targets == {"on_call": tuple(places)}
    wanted = asked.targets if way == "magic" else {"on_call": places}
    session = load(cell(function("on_call", "struct pt_regs *ctx")), targets=wanted, attach=False)
    for _ in range(2):
        session.attach()
        assert session.links["hook"].tolist() == ["uprobe", "uretprobe", "uprobe"]
        for _ in range(CALLS):
            probed.triple(1)
            probed.twice(1)
        session.detach()
        probed.twice(1)
        assert events_held() == []
    assert counts(session) == 2 * 3 * CALLS
    with pytest.raises(CellError, match="empty"):
        load(cell(function("on_call", "struct pt_regs *ctx")), targets={"on_call": []})


@pytest.mark.hook("uprobe.multi")
@pytest.mark.parametrize("kind", ["uprobe", "uretprobe"])
def test_an_expression_at_load_is_one_link_where_the_kernel_has_such(load, folder, probed, kind):  # noqa: F811
    session = load(
        cell(function("on_call", "struct pt_regs *ctx")),
        targets={"on_call": f"{kind}:{folder}/libprobed.so:/^t(wice|riple)$/"},
    )
    assert session.links["hook"].tolist() == ["uprobe.multi"]
    assert [link.fd is None for link in session._links] == [False]
    for _ in range(CALLS):
        probed.twice(1)
        probed.triple(1)
    assert counts(session) == 2 * CALLS


@pytest.mark.hook("usdt")
def test_a_probe_that_python_itself_carries_counts_its_collections(load):
    python = "/usr/bin/python3"
    notes = subprocess.run(["readelf", "-n", python], capture_output=True, text=True, check=True, timeout=60).stdout
    if "gc__start" not in notes:
        pytest.skip(f"not in this kernel: {python} has no USDT probes")
    text = cell(
        "int on_start(struct pt_regs *ctx) { int generation = 0; bpf_usdt_readarg(1, ctx, &generation);"
        " if (bpf_get_current_pid_tgid() >> 32 != CHILD) return 0;"
        " seen.increment(generation == 1); return 0; }",
        "int on_done(struct pt_regs *ctx) { long found = 0; bpf_usdt_readarg(1, ctx, &found);"
        " if (bpf_get_current_pid_tgid() >> 32 == CHILD) seen.increment(2); return 0; }",
    )
    script = "import gc, os; gc.disable(); print('ready', flush=True); input(); [gc.collect(1) for _ in range(97)]; "
    script += "gc.collect(0); print('done', flush=True); os._exit(0)"
    command = [python, "-I", "-S", "-c", script]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout.readline() == "ready\n"
        pid = f",pid={child.pid}"
        session = load(
            text.replace("CHILD", str(child.pid)),
            targets={
                "on_start": f"usdt:{python}:python:gc__start{pid}",
                "on_done": f"usdt:{python}:python:gc__done{pid}",
            },
        )
        assert session.programs["type"].tolist() == ["usdt"] * 2
        child.stdin.write("\n")
        child.stdin.flush()
        assert child.stdout.readline() == "done\n"
    assert counts(session, 3) == (1, 97, 98)


# Functions of the kernel; most need a kernel that this package's own machine is not

KERNEL = """
BPF_ARRAY(seen, u64, 8);
BPF_HASH(entered, u32, u64);
int kprobe__vfs_read(struct pt_regs *ctx, struct file *file, char __user *to, size_t count) {
    MINE
    if (file->f_inode->i_ino != INODE) return 0;
    seen.increment(0); seen.increment(1, count);
    u32 me = bpf_get_current_pid_tgid(); u64 one = 1;
    entered.update(&me, &one);
    return 0;
}
int kretprobe__vfs_read(struct pt_regs *ctx) {
    u32 me = bpf_get_current_pid_tgid();
    if (!entered.lookup(&me)) return 0;
    entered.delete(&me);
    seen.increment(2, PT_REGS_RC(ctx));
    return 0;
}
int syscall__getpriority(struct pt_regs *ctx, int which, int who) {
    MINE
    seen.increment(3); seen.increment(4, who);
    return 0;
}
int on_call(struct pt_regs *ctx) { MINE seen.increment(5); return 0; }
"""


@pytest.fixture
def pipe():
    made = Pipe()
    yield made
    os.close(made.out)
    os.close(made.into)


@pytest.mark.hook("kprobe")
def test_kprobes_kretprobes_and_system_calls_count_by_their_names(load, pipe):
    session = load(cell(KERNEL.replace("INODE", str(pipe.inode)), tables=""))
    assert sorted(session.links["hook"]) == ["kprobe", "kretprobe", "ksyscall"]
    pipe.read(CALLS)
    for _ in range(LATER):
        os.getpriority(os.PRIO_PROCESS, os.getpid())
    session.detach()
    pipe.read(7)
    assert counts(session, 5) == (CALLS, CALLS * SIZE, CALLS * SIZE, LATER, LATER * os.getpid())
    session.attach("on_call", target="kprobe:/^vfs_(read|write)$/")
    assert called(session, pipe, CALLS) == CALLS + 1  # one write, and a read for each
    session.attach("on_call", target="kretprobe:vfs_write")
    assert called(session, pipe, LATER) == LATER + 2
    session.detach()
    assert events_held() == []


def called(session, pipe, times):
    # Attaching reads and writes files, too: only what the pipe causes is counted.
    before = counts(session, 6)[5] or 0
    pipe.read(times)
    return counts(session, 6)[5] - before


@pytest.mark.hook("kprobe.multi")
@pytest.mark.parametrize("target", ["/^vfs_(read|write)$/", "kretprobe:/^vfs_(read|write)$/"])
def test_functions_of_the_kernel_are_found_by_an_expression(load, pipe, target):
    wanted = target if target.startswith("kret") else f"kprobe:{target}"
    session = load(cell(function("on_call", "struct pt_regs *ctx")), targets={"on_call": wanted})
    assert session.links["hook"].tolist() == ["kprobe.multi"]
    pipe.read(CALLS)
    session.detach()
    assert counts(session) == CALLS + 1


@pytest.mark.hook("fentry")
def test_kfuncs_count_calls_and_results(load, pipe):
    text = cell(
        "KFUNC_PROBE(vfs_read, struct file *file, char *buf, size_t count) {"
        " MINE if (file->f_inode->i_ino != INODE) return 0; seen.increment(0); seen.increment(1, count); return 0; }",
        "KRETFUNC_PROBE(vfs_read, struct file *file, char *buf, size_t count, loff_t *pos, ssize_t ret) {"
        " MINE if (file->f_inode->i_ino == INODE) seen.increment(2, ret); return 0; }",
    )
    session = load(text.replace("INODE", str(pipe.inode)))
    assert sorted(session.links["hook"]) == ["fentry", "fexit"]
    pipe.read(CALLS)
    session.detach()
    pipe.read(7)
    assert counts(session, 3) == (CALLS, CALLS * SIZE, CALLS * SIZE)


@pytest.mark.hook("lsm")
def test_an_lsm_probe_counts_and_refuses_one_file(load):
    file = os.memfd_create("refused")
    inode = os.fstat(file).st_ino
    text = cell(
        f"LSM_PROBE(file_open, struct file *file) {{ MINE if (file->f_inode->i_ino != {inode}) return 0;"
        " seen.increment(0); return -EPERM; }"
    )
    try:
        session = load(text)
        for _ in range(CALLS):
            with pytest.raises(PermissionError):
                os.open(f"/proc/self/fd/{file}", os.O_RDONLY)
        session.detach()
        os.close(os.open(f"/proc/self/fd/{file}", os.O_RDONLY))
        assert counts(session) == CALLS
    finally:
        os.close(file)


LACKING = {
    "kprobe": ("int kprobe__vfs_read(struct pt_regs *ctx) { return 0; }", None),
    "kretprobe": ("int on(struct pt_regs *ctx) { return 0; }", "kretprobe:vfs_read"),
    "ksyscall": ("int kprobe__sys_getppid(struct pt_regs *ctx) { return 0; }", None),
    "kprobe.multi": ("int on(struct pt_regs *ctx) { return 0; }", "kprobe:/^vfs_(read|write)$/"),
    "fentry": ("KFUNC_PROBE(vfs_read, struct file *file) { return 0; }", None),
    "fexit": ("KRETFUNC_PROBE(vfs_read, struct file *file) { return 0; }", None),
    "lsm": ("LSM_PROBE(file_open, struct file *file) { return 0; }", None),
}


@pytest.mark.parametrize("kind", LACKING)
def test_a_kind_that_the_kernel_lacks_is_named_with_the_cause(load, kind):
    text, target = LACKING[kind]
    targets = {"on": target} if target else {}
    text = f"BPF_ARRAY(seen, u64, 1);\n{text}\n"
    if kernel_has.absent(kind) is None:
        assert load(text, engine="bcc", targets=targets).state == "attached"
        return
    with pytest.raises(KernelSupportError, match="this kernel") as caught:
        load(text, engine="bcc", targets=targets)
    assert caught.value.hint
    # Programs that the verifier checks against their hook are refused when they are loaded, others when attached.
    typed = kind in ("fentry", "fexit", "lsm")
    assert caught.value.stage == ("load" if typed else "attach")
    if not typed:
        assert load(text, engine="bcc", targets=targets, attach=False).state == "loaded"
    assert events_held() == []


# What cannot be


def wrong(text, target, what, hint, name="on"):
    return pytest.param(text, {name: target} if target else {}, what, hint, id=f"{what[:40]}")


@pytest.mark.parametrize(
    ("text", "targets", "what", "hint"),
    [
        wrong("int on(struct bpf_sock_addr *ctx) { return 1; }", None, "nothing says what kind", "cgroup/bind4"),
        wrong("int on(struct bpf_sockopt *ctx) { return 1; }", "/", "nothing says what kind", "cgroup/setsockopt"),
        wrong("int on(struct pt_regs *ctx) { return 1; }", "xdp:lo", "takes struct pt_regs, and", "kprobe"),
        wrong("int on(struct xdp_md *ctx) { return 1; }", "kprobe:vfs_read", "takes struct xdp_md, and", "xdp"),
        wrong("int on(struct pt_regs *ctx) { return 1; }", "uprob:libc.so.6:labs", "no kind 'uprob'", "uprobe"),
        wrong("int on(struct pt_regs *ctx) { return 1; }", "kprobe:/vfs_(/", "no regular expression", "vfs_*"),
        wrong("int on(struct pt_regs *ctx) { return 1; }", "uprobe:libc.so.6:^lab.*", "matches '^lab.*'", "/^lab.*/"),
        wrong("int on(struct pt_regs *ctx) { return 1; }", "uprobe:libc.so.6:/^labsz/", "matches '/^labsz/'", "labs"),
        wrong("int on(void *ctx) { return 1; }", "tp:/nosuch:.*/", "no tracepoint matches", "hooks("),
    ],
)
def test_what_cannot_be_attached_says_why_and_what_to_write(load, text, targets, what, hint):
    with pytest.raises(EbpflabError, match=re.escape(what)) as caught:
        load(f"BPF_ARRAY(seen, u64, 1);\n{text}\n", engine="bcc", targets=targets)
    assert isinstance(caught.value, CellError | AttachError | HookNotFoundError)
    assert hint in str(caught.value)
    assert events_held() == []


def test_every_program_that_waits_may_be_attached_in_its_turn(load):
    session = load(
        cell(
            function("on_call", "void *ctx", "seen.increment(0);"),
            function("on_signal", "struct bpf_raw_tracepoint_args *ctx", "seen.increment(1);"),
            function("on_event", "struct bpf_perf_event_data *ctx", "seen.increment(2);"),
            f"TRACEPOINT_PROBE(syscalls, sys_enter_getppid) {{ {MINE} seen.increment(3); return 0; }}",
        ),
        targets={"on_call": "tp"},
    )
    assert session.links["program"].tolist() == ["tracepoint__syscalls__sys_enter_getppid"]
    cells.call_getppid(23)
    session.attach("on_call", target="syscalls:sys_enter_getppid")
    session.attach("on_signal", target="raw_tp:signal_generate")
    cells.call_getppid(13)
    signals(11)
    with pytest.raises(AttachError, match="does not say where"):
        session.attach("on_event")
    assert counts(session, 4) == (13, 11, 0, 36)
