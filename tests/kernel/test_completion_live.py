"""Completion and help in a cell, from the running kernel: what is offered, how quickly, and in a real ipykernel."""

from __future__ import annotations

import logging
import random
import re
import shutil
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

import cells
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from IPython.core.completer import CompletionContext

from ebpflab import authoring
from ebpflab.authoring import allowed, names
from ebpflab.authoring.members import members
from ebpflab.authoring.source import CType, read
from ebpflab.cell import Cell
from ebpflab.compile import compile_cell
from ebpflab.errors import PrivilegeError
from ebpflab.inspectors.kernel import tracefs_path
from ebpflab.jupyter import completion

TRACEFS = tracefs_path()

OPENAT = """\
%%bpf opens
struct event { ktime_t ts; u32 pid; char comm[16]; };
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 16); __type(value, struct event); } events SEC(".maps");
const volatile u32 only = 0;
SEC("tp/syscalls/sys_enter_openat")
int on_open(struct tracepoint__syscalls__sys_enter_openat *ctx)
{
	struct task_struct *t = (void *)bpf_get_current_task_btf(), *list[4];
	struct event *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
	HERE
	return 0;
}
"""  # noqa: E501


def at_bar(piece, cell=OPENAT):
    """A cell with a piece of code in it, and the offset where the piece has a bar."""
    text = cell.replace("HERE", piece)
    offset = text.index("|")
    return text[:offset] + text[offset + 1 :], offset


def offered(piece, cell=OPENAT):
    found = authoring.complete(*at_bar(piece, cell))
    return [item.text for item in found.items]


def alone(code):
    """What is offered at the bar of a cell of its own."""
    return offered(code, "%%bpf x\nHERE")


def format_fields(category, event):
    # Read here by the simplest means, not by the package.
    text = (TRACEFS / "events" / category / event / "format").read_text()
    found = re.findall(r"field:(.*?)\s*(\w+)(?:\[.*?\])?;\toffset:(\d+);\tsize:(\d+);", text)
    return [(name, int(offset), int(size)) for _, name, offset, size in found if not name.startswith("common_")]


def test_the_context_offers_the_fields_of_its_tracepoint():
    expected = [name for name, _, _ in format_fields("syscalls", "sys_enter_openat")]
    assert "filename" in expected
    assert offered("ctx->|") == expected
    assert offered("ctx->file|") == ["filename"]
    assert offered('bpf_printk("%s", ctx->|') == expected
    untyped = 'SEC("tp/sched/sched_switch") int f(void *ctx) { ctx->|'
    assert alone(untyped) == [name for name, _, _ in format_fields("sched", "sched_switch")]


def test_dynamic_strings_of_a_tracepoint_are_offered_as_c_has_them():
    head = 'SEC("tp/sched/sched_process_exec") int f(struct tracepoint__sched__sched_process_exec *ctx) { '
    assert "__data_loc_filename" in alone(head + "ctx->|")
    assert alone(head + "char b[9]; TP_DATA_LOC_STR(b, 9, ctx, |") == ["filename"]


@pytest.mark.parametrize(
    ("code", "member"),
    [
        ("t->|", "comm"),
        ("t->mm->exe_file->f_path.|", "dentry"),
        ("list[0]->|", "comm"),
        ("(*t).|", "comm"),
        ("((struct file *)t)->|", "f_path"),
        ("e->|", "ts"),
        ("if (e && t->real_parent->|", "tgid"),
        ("BPF_CORE_READ(t, |", "mm"),
        ("BPF_CORE_READ(t, mm, |", "exe_file"),
        ("BPF_CORE_READ(t, mm, exe_file, f_path.|", "dentry"),
        ("BPF_CORE_READ(t->mm, |", "exe_file"),
        ("BPF_CORE_READ_INTO(&e->pid, t, real_parent, |", "tgid"),
        ("BPF_CORE_READ_STR_INTO(&e->comm, t, group_leader, |", "comm"),
        ("bpf_core_field_exists(t->|", "mm"),
        ("offsetof(struct task_struct, |", "mm"),
        ("container_of(e, struct sock, |", "__sk_common"),
        ("bpf_map_lookup_elem(&events, &x)->|", "pid"),
        ("bpf_get_current_task_btf()->|", "pid"),
    ],
)
def test_members_are_followed_through_pointers_casts_and_co_re_reads(code, member):
    assert member in offered(code)


@pytest.mark.parametrize(
    ("code", "member"),
    [
        ("int f(struct xdp_md *ctx) { ctx->|", "data_end"),
        ('SEC("xdp") int f(void *ctx) { ctx->|', "data_end"),
        ('SEC("tc") int f(struct __sk_buff *skb) { skb->|', "ifindex"),
        ('SEC("raw_tp/sched_switch") int f(void *ctx) { ctx->|', "args"),
        ('SEC("iter/task") int f(void *ctx) { ctx->|', "task"),
        ('SEC("iter/task") int f(struct bpf_iter__task *ctx) { ctx->meta->|', "seq"),
        ('SEC("fentry/vfs_read") int BPF_PROG(f, struct file *file, char *b) { file->|', "f_path"),
        ('SEC("kprobe/vfs_read") int BPF_KPROBE(f, struct file *file) { file->f_path.|', "dentry"),
        ('SEC("kprobe/vfs_read") int BPF_KPROBE(f, struct file *file) { ctx->|', "sp"),
        ("int f(struct trace_event_raw_sys_enter *ctx) { ctx->|", "args"),
        ("typedef struct task_struct *task_p; int f(task_p t) { t->|", "comm"),
    ],
)
def test_the_context_of_each_kind_of_program_is_known(code, member):
    assert member in alone(code)


def test_offsets_of_the_members_that_are_offered_are_those_of_the_compiler():
    claims = []
    for struct in ("task_struct", "file", "sk_buff", "sock", "mm_struct", "net_device", "inode"):
        fields = [f for f in members(read(""), CType(f"struct {struct}", 1)) if not f.bits]
        assert len(fields) > 7, struct
        claims += [(struct, f.name, f.offset) for f in random.Random(7).sample(fields, 7)]
    asserts = [f'_Static_assert(__builtin_offsetof(struct {s}, {m}) == {o}, "{s}.{m}");' for s, m, o in claims]
    assert len(asserts) == 49
    source = "\n".join([*asserts, 'SEC("raw_tp/sys_enter") int f(void *ctx) { return 0; }'])
    assert compile_cell(Cell(source)).object


def test_sections_offer_the_tracepoints_of_tracefs():
    categories = sorted({line.split(":")[0] for line in (TRACEFS / "available_events").read_text().split()})
    assert alone('SEC("tp/|') == [f"tp/{name}/" for name in categories]
    assert alone('SEC("tp/sysc|') == ["tp/syscalls/"]
    here = sorted(p.name for p in (TRACEFS / "events/sched").iterdir() if p.is_dir())
    assert alone('SEC("tracepoint/sched/|') == [f"tracepoint/sched/{name}" for name in here]
    assert "tp/syscalls/sys_enter_openat" in alone('SEC("tp/syscalls/sys_enter_op|')


def probed():
    # Some machines keep the list of functions that can be traced to themselves; then it is all that there are.
    try:
        lines = (TRACEFS / "available_filter_functions").read_text().splitlines()
        return {line.split()[0] for line in lines if not line.startswith("__ftrace_invalid")}
    except PermissionError:
        rows = (line.split() for line in Path("/proc/kallsyms").read_text().splitlines())
        return {row[2] for row in rows if row[1] in "tT" and row[3:] != ["[bpf]"]}


def test_sections_offer_functions_by_their_beginning_and_can_reach_all_of_them():
    listed = probed()
    expected = sorted(name for name in listed if name.startswith("vfs_read"))
    assert alone('SEC("kprobe/vfs_read|') == [f"kprobe/{name}" for name in expected]
    assert "?fentry.s/vfs_read" in alone('SEC("?fentry.s/vfs_rea|')
    assert len(alone('SEC("kprobe/|')) <= names.MOST
    # From prefix to prefix, whatever is cut: three functions picked by a seed.
    plain = sorted(name for name in listed if re.fullmatch(r"[a-z][a-z_]{9,}", name))
    for function in random.Random(11).sample(plain, 13):
        assert _reachable(function), function


def _reachable(function):
    written = f"kprobe/{function[:3]}"
    while True:
        found = alone(f'SEC("{written}|')
        on_the_way = [text for text in found if f"kprobe/{function}".startswith(text) and len(text) > len(written)]
        if not on_the_way:
            return False
        written = max(on_the_way, key=len)
        if written == f"kprobe/{function}":
            return True


def test_sections_offer_hooks_of_the_other_kinds():
    assert "raw_tp/sched_switch" in alone('SEC("raw_tp/sched_s|')
    assert "tp_btf/sched_switch" in alone('SEC("tp_btf/sched_s|')
    assert "lsm/file_open" in alone('SEC("lsm/file_|')
    assert "iter/task" in alone('SEC("iter/|')
    assert "ksyscall/openat" in alone('SEC("ksyscall/open|')
    assert "uprobe/libc.so.6:" in alone('SEC("uprobe/libc.so|')
    assert "uprobe/libc.so.6:malloc" in alone('SEC("uprobe/libc.so.6:mallo|')
    assert "uprobe//usr/bin/" in alone('SEC("uprobe//usr/b|')
    assert "cgroup/connect4" in alone('SEC("cgroup/conn|')


def test_the_head_of_a_program_is_offered_whole():
    assert alone('SEC("tp/sched/sched_switch")\nint f(|') == ["struct tracepoint__sched__sched_switch *ctx"]
    first, whole = alone('SEC("fentry/vfs_read")\nint BPF_PROG(f, |')
    assert first == "struct file *file"
    assert whole.startswith("struct file *file, char *buf, size_t count")
    assert alone('SEC("xdp")\nint f(struct |')[0] == "xdp_md"


def test_map_definitions_types_and_constants_are_offered():
    assert alone("struct { __uint(|")[:2] == ["type", "max_entries"]
    assert set(alone("struct { __uint(type, BPF_MAP_TYPE_HA|")) == {"BPF_MAP_TYPE_HASH", "BPF_MAP_TYPE_HASH_OF_MAPS"}
    assert "u64" in alone("struct { __type(key, u|")
    assert "task_struct" in alone("struct task_st|")
    assert alone('SEC("xdp") int f(struct xdp_md *ctx) { return XDP_P|') == ["XDP_PASS"]
    assert alone('SEC("xdp") int f(struct xdp_md *ctx) { return |')[:3] == ["XDP_ABORTED", "XDP_DROP", "XDP_PASS"]
    assert offered("bpf_ringbuf_submit(&|")[0] == "events"
    assert "BPF_ANY" in offered("x = BPF_A|")
    assert "ktime_t" in offered("kti|")
    assert "BPF_CORE_READ_INTO" in offered("BPF_CORE|")
    assert "ETH_P_IP" in offered("ETH_P_I|")


def test_helpers_are_those_that_the_verifier_allows_and_are_kept_on_disk(monkeypatch):
    xdp = 'SEC("xdp") int f(struct xdp_md *ctx) { bpf_xdp_adj|'
    tracepoint = 'SEC("tp/sched/sched_switch") int f(void *ctx) { bpf_xdp_adj|'
    monkeypatch.setattr(allowed, "_known", {})
    allowed._wanted.clear()
    for path in names.stored_path("calls", ()).parent.glob("calls-*"):
        path.unlink()
    assert "bpf_xdp_adjust_head" in alone(tracepoint)  # nothing is known yet, so nothing is left out
    assert authoring.wanted()
    alone(xdp)
    authoring.ask()
    assert not authoring.wanted()
    for _ in range(2):
        assert "bpf_xdp_adjust_head" in alone(xdp)
        assert "bpf_xdp_adjust_head" not in alone(tracepoint)
        monkeypatch.setattr(allowed, "_known", {})  # as in another process: read from disk


XDP = 'SEC("xdp") int f(struct xdp_md *ctx) { '
TOLD = f"""
from ebpflab import authoring

authoring.ask(["xdp"])
cell = '%%bpf\\n{XDP}'
print([item.text for item in authoring.complete(cell + "bpf_xdp_adj", len(cell) + 11).items])
for name in ("bpf_xdp_adjust_head", "bpf_skb_store_bytes"):
    print(authoring.explain(cell + name, len(cell)).text.splitlines()[-1].strip())
"""


@pytest.mark.parametrize("privileged", [True, False])
def test_what_the_kernel_does_not_tell_is_offered_and_not_called_allowed(privileged, tmp_path):
    command = [sys.executable, "-c", TOLD]
    if not privileged:
        if shutil.which("setpriv") is None:
            pytest.skip("setpriv (util-linux) is not installed")
        command = ["setpriv", "--no-new-privs", "--inh-caps=-all", "--bounding-set=-all", *command]
    environment = cells.environment(EBPFLAB_CACHE=str(tmp_path))
    run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 0, run.stderr
    completed, adjust, store = run.stdout.splitlines()
    assert "'bpf_xdp_adjust_head'" in completed
    untold = "whether xdp programs may call it, the kernel does not tell this process"
    assert adjust == ("may be called by xdp programs" if privileged else untold)
    assert store == ("may not be called by xdp programs" if privileged else untold)


def typed(*programs):
    """Complete the first word of these programs as IPython does, and wait for what that asks of the kernel."""
    cell = "%%bpf\n" + " ".join(programs) + "bpf_"
    completion._matcher(CompletionContext("", cell, len(cell.split("\n")[1]), 1, 500))
    for thread in threading.enumerate():
        if thread.name == "ebpflab-ask":
            thread.join(30)


@pytest.fixture
def nothing_known(monkeypatch, tmp_path):
    """As in a new process with an empty cache."""
    monkeypatch.setenv("EBPFLAB_CACHE", str(tmp_path))
    for name, empty in (("_known", {}), ("_asked", set()), ("_wanted", {})):
        monkeypatch.setattr(allowed, name, empty)
    monkeypatch.setattr(completion, "_slips", [])


# In a function that both programs may call.
BOTH = 'SEC("xdp") int f(void *c) { return 0; } SEC("tc") int g(void *c) { return 0; } static int h(void) { '


@pytest.mark.usefixtures("nothing_known")
def test_a_type_that_cannot_be_asked_about_is_asked_once_and_keeps_no_other_waiting(monkeypatch):
    asked, real = [], allowed._probed

    def refused(program_type):
        asked.append(program_type)
        if program_type == "xdp":
            raise PrivilegeError("this process may not", cause="no capability")
        return real(program_type)

    monkeypatch.setattr(allowed, "_probed", refused)
    for _ in range(31):
        typed(BOTH)
    assert sorted(asked) == ["sched_cls", "xdp"]
    assert not authoring.wanted()
    assert "bpf_skb_store_bytes" in allowed.calls(["tc"]).helpers
    with pytest.raises(PrivilegeError):
        authoring.ask(["xdp"])  # whoever asks for it is told


@pytest.mark.usefixtures("nothing_known")
def test_a_bug_while_asking_is_told_once(monkeypatch, caplog):
    asked = []

    def slip(program_type):
        asked.append(program_type)
        raise ValueError("a bug")

    monkeypatch.setattr(allowed, "_probed", slip)
    with caplog.at_level(logging.ERROR, "ebpflab"):
        for _ in range(31):
            typed(BOTH)
    assert sorted(asked) == ["sched_cls", "xdp"]
    (told,) = [record for record in caplog.records if record.name == "ebpflab"]
    assert "a bug" in str(told.exc_info[1])


@pytest.mark.usefixtures("nothing_known")
def test_where_no_thread_can_be_started_the_next_completion_tries_again(monkeypatch):
    def full(_thread):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", full)
        typed(XDP)
    assert allowed.calls(["xdp"]) is None
    typed(XDP)
    assert "bpf_xdp_adjust_head" in allowed.calls(["xdp"]).helpers


FORKED = """
import os, sys, threading, time
from ebpflab.authoring import allowed
from ebpflab.jupyter import completion

real, begun = allowed._probed, threading.Event()

def slow(_type):
    begun.set()
    time.sleep(600)

allowed._probed = slow
allowed.calls(["xdp"])
completion._ask_later()
begun.wait()
child = os.fork()
if child:
    os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
allowed._probed = real
for _ in range(300):
    if known := allowed.calls(["xdp"]):
        os._exit(7 if "bpf_xdp_adjust_head" in known.helpers else 3)
    if allowed.wanted():
        completion._ask_later()
    time.sleep(0.1)
os._exit(5)
"""


def test_a_child_forked_while_the_kernel_is_asked_asks_for_itself(tmp_path):
    run = cells.python(FORKED, env=cells.environment(EBPFLAB_CACHE=str(tmp_path)))
    assert (run.returncode, run.stderr) == (7, "")


WARM = {
    "fields": ("ctx->|", OPENAT),
    "members": ("t->|", OPENAT),
    "path": ("BPF_CORE_READ(t, mm, exe_file, f_path.|", OPENAT),
    "all words": ("|", OPENAT),
    "helpers": ("bpf_get|", OPENAT),
    "constants": ("BPF_|", OPENAT),
    "structs": ("struct |", OPENAT),
    "tracepoints": ('SEC("tp/syscalls/sys_enter_|', "%%bpf x\nHERE"),
    "all functions": ('SEC("kprobe/|', "%%bpf x\nHERE"),
    "functions": ('SEC("fentry/tcp_|', "%%bpf x\nHERE"),
    "no function": ('SEC("kprobe/_no_such_|', "%%bpf x\nHERE"),
    "libraries": ('SEC("uprobe/|', "%%bpf x\nHERE"),
    "library functions": ('SEC("uprobe/libc.so.6:|', "%%bpf x\nHERE"),
    "a long cell": ("ctx->|", OPENAT + "int f(int a) { int b = a; return b; }\n" * 211),
}  # fmt: skip


@pytest.mark.parametrize("case", WARM)
def test_a_warm_completion_takes_less_than_50_ms(case):
    text, offset = at_bar(*WARM[case])
    authoring.complete(text, offset)
    taken = []
    for _ in range(7):
        start = time.thread_time()  # not that of a machine with other things to do
        authoring.complete(text, offset)
        taken.append(time.thread_time() - start)
    assert statistics.median(taken) < 0.050, taken


def explained(piece, cell=OPENAT):
    found = authoring.explain(*at_bar(piece, cell))
    return found.text if found else None


def test_a_field_is_explained_with_its_place_and_how_to_read_it():
    offset, size = next((o, s) for name, o, s in format_fields("syscalls", "sys_enter_openat") if name == "filename")
    said = explained("ctx->file|name")
    assert "const char *" in said
    assert f"byte {offset}, {size} bytes" in said
    assert "bpf_probe_read_user_str(buffer, sizeof(buffer), ctx->filename)" in said
    said = explained("t->mm->exe_fi|le")
    assert "member of struct mm_struct" in said
    assert "BPF_CORE_READ(t, mm, exe_file)" in said
    assert "BPF_CORE_READ_BITFIELD_PROBED(t, in_execve)" in explained("t->in_exec|ve")


def test_words_of_a_cell_are_explained():
    assert "struct list_head *next" in explained("struct list_he|ad x;")
    assert "u32 pid" in explained("struct ev|ent x;")
    assert "BPF_MAP_TYPE_RINGBUF" in explained("eve|nts")
    assert "const volatile u32 only" in explained("on|ly")
    assert "BPF_CORE_READ(src, a" in explained("BPF_CORE_RE|AD")
    assert "hand the packet to the network stack" in explained(
        'SEC("xdp") int f(void *ctx) { return XDP_PA|SS', "%%bpf\nHERE"
    )
    assert "bpf_task_release(struct task_struct *" in explained("bpf_task_rele|ase(x)")
    assert "prev_comm" in explained('SEC("tp/sched/sched_sw|itch")', "%%bpf\nHERE")
    assert "--watch" in explained("%%bpf x --wa|tch\nint x;", "HERE")
    assert explained("no_such_thing|") is None
    assert explained("// vfs_rea|d") is None


def test_helpers_are_explained_with_their_signature_and_first_kernel():
    said = explained("bpf_ringbuf_res|erve(&events, 8, 0)")
    for words in ("void *bpf_ringbuf_reserve(void *ringbuf", "5.8"):
        assert words in said
    assert explained("bpf_ringbuf_reserve(&events, |").splitlines()[0] == said.splitlines()[0]


C = """t-> ctx-> e-> . -> & ( ) , ; { } [ ] * = struct task_struct file mm exe_file f_path comm BPF_CORE_READ(
    BPF_CORE_READ_INTO( container_of( offsetof( bpf_map_lookup_elem(&events return if for( u32 x ctx t list SEC("
    SEC("tp/ SEC("kprobe/vfs_ SEC("uprobe/libc.so.6: SEC("xdp") SEC(".maps") int f(void|*ctx) BPF_PROG(f, __uint(type,
    XDP_PASS TP_DATA_LOC_STR( #define " // /* union enum 7 (struct|file|*) typedef struct|tracepoint__x__y"""


@settings(deadline=None, max_examples=300)
@given(st.lists(st.sampled_from(C.split()), max_size=14).map(" ".join), st.integers(0, 60))
def test_neither_completion_nor_help_fails_on_what_somebody_types(code, back):
    text = OPENAT.replace("HERE", code.replace("|", " "))
    at = text.index("return 0;") - back
    found = authoring.complete(text, at)
    assert text[:at].endswith(found.fragment)
    assert len(found.items) <= names.MOST
    said = authoring.explain(text, at)
    assert said is None or (said.text and said.html)


class Kernel:
    """A real ipykernel, asked as a front end asks it."""

    def __init__(self):
        from jupyter_client.manager import start_new_kernel

        self.manager, self.client = start_new_kernel(
            kernel_name="python3", env=cells.environment(), cwd=str(cells.ROOT), startup_timeout=30
        )

    def run(self, code):
        self.client.execute_interactive(code, timeout=30, store_history=False)

    def value(self, expression):
        reply = self.client.execute_interactive(
            "", user_expressions={"value": expression}, timeout=30, store_history=False, output_hook=print
        )
        return reply["content"]["user_expressions"]["value"]["data"]["text/plain"]

    def complete(self, code, at):
        self.client.complete(code, at)
        return self.client.get_shell_msg(timeout=30)["content"]

    def inspect(self, code, at):
        self.client.inspect(code, at)
        return self.client.get_shell_msg(timeout=30)["content"]

    def stop(self):
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)
        self.manager.cleanup_resources()


REGISTER = "%load_ext ebpflab\nfrom ebpflab.jupyter import completion\ncompletion.register(get_ipython())"


@pytest.fixture(scope="module")
def ipykernel():
    pytest.importorskip("jupyter_client")
    kernel = Kernel()
    kernel.run(REGISTER)
    yield kernel
    kernel.stop()


def answer(kernel, piece, cell=OPENAT):
    text, offset = at_bar(piece, cell)
    found = kernel.complete(text, offset)
    assert found["status"] == "ok"
    assert found["cursor_end"] == offset
    return text[found["cursor_start"] : found["cursor_end"]], found["matches"]


@pytest.mark.parametrize(
    ("piece", "replaced", "match"),
    [
        ("ctx->|", "", "filename"),
        ("ctx->file|", "file", "filename"),
        ('}\nSEC("tp/sysc|")\nint g(void *ctx) {', "tp/sysc", "tp/syscalls/"),
        ('}\nSEC("uprobe/libc.so.6:mallo|', "uprobe/libc.so.6:mallo", "uprobe/libc.so.6:malloc"),
        ("x = bpf_ringbuf_sub|", "bpf_ringbuf_sub", "bpf_ringbuf_submit"),
        ("t->mm->exe_fi|", "exe_fi", "exe_file"),
        ("bpf_ringbuf_submit(&ev|", "ev", "events"),
        ("struct task_str|", "task_str", "task_struct"),
    ],
)
def test_a_front_end_is_told_what_to_replace_by_what(ipykernel, piece, replaced, match):
    fragment, matches = answer(ipykernel, piece)
    assert fragment == replaced
    assert match in matches
    assert all(text.startswith(fragment) for text in matches), "no names of Python among them"


def test_helpers_are_offered_to_the_question_about_them():
    assert "bpf_ringbuf_reserve" in offered("%bpf helper bpf_ringb|", "HERE")
    assert all(name.startswith("bpf_ringb") for name in offered("%bpf helper bpf_ringb|", "HERE"))


def test_tools_and_their_parameters_are_offered_on_the_line_that_runs_one():
    assert "opensnoop" in offered("%bpf run open|", "HERE")
    found = offered("%bpf run opensnoop --|", "HERE")
    assert {"--only-failed", "--pid", "--for"} <= set(found)
    assert "--engine" not in found
    assert offered("%bpf tools opensn|", "HERE") == ["opensnoop"]
    assert offered("%bpf check sched:sched_swi|", "HERE") == ["sched:sched_switch"]


def test_members_of_a_kernel_struct_are_offered_and_explained_in_its_initialiser():
    written = 'SEC(".struct_ops") struct tcp_congestion_ops own = { .ini|t = (void *)1 };'
    assert offered(written, "%%bpf\nHERE") == ["init"]
    said = explained(written, "%%bpf\nHERE")
    assert "member of struct tcp_congestion_ops" in said
    assert "BPF_CORE_READ" not in said, "it is written there"
    assert "BPF_CORE_READ" in explained("struct tcp_congestion_ops *o; o->ini|t", "%%bpf\nint f() { HERE")


def test_a_macro_that_stands_for_a_struct_has_its_members():
    assert "comm" in alone("#define T struct task_struct\nint f() { T *t = 0; t->|")


def test_options_and_commands_are_completed_on_the_line_of_the_magic(ipykernel):
    assert answer(ipykernel, "%%bpf x --eng|\nint y;", "HERE") == ("--eng", ["--engine"])
    fragment, matches = answer(ipykernel, "import os\n%bpf |", "HERE")
    assert fragment == ""
    assert {"hooks", "format", "ctx", "stop"} <= set(matches)
    assert answer(ipykernel, "%bpf format sched:sched_swi|", "HERE") == ("sched:sched_swi", ["sched:sched_switch"])


def test_where_c_has_nothing_python_offers_nothing_either(ipykernel):
    assert answer(ipykernel, "// pri|")[1] == []
    assert answer(ipykernel, "no_such_name_pri|")[1] == []


def test_cells_of_python_are_completed_and_explained_as_ever(ipykernel):
    ipykernel.run(
        "%config Completer.use_jedi = False\nsome_value = 5\ndef add(first, second):\n    'Adds two numbers.'"
    )
    assert "some_value" in answer(ipykernel, "some_va|", "HERE")[1]
    assert any("bit_length" in text for text in answer(ipykernel, "some_value.bit|", "HERE")[1])
    said = ipykernel.inspect("add(", 4)
    assert said["found"]
    assert "Adds two numbers." in said["data"]["text/plain"]
    assert not ipykernel.inspect("never_defined", 5)["found"]


def test_shift_tab_explains_a_cell_of_c(ipykernel):
    ipykernel.run("only = 5")
    for piece, words in (
        ("ctx->file|name", "const char *"),
        ("struct task_str|uct x;", "thread_info"),
        ("on|ly", "u32"),
    ):
        text, offset = at_bar(piece)
        said = ipykernel.inspect(text, offset)
        assert said["status"] == "ok"
        assert said["found"]
        assert words in said["data"]["text/plain"]
    text, offset = at_bar("pri|nt")
    assert not ipykernel.inspect(text, offset)["found"], "print is a name of Python, not of this cell"


def test_registering_again_changes_nothing_and_unregistering_restores_the_kernel(ipykernel):
    counted = "[getattr(m, 'matcher_identifier', '') for m in get_ipython().Completer.custom_matchers].count('ebpflab')"
    wrapped = "'do_inspect' in vars(get_ipython().kernel)"
    ipykernel.run("%reload_ext ebpflab\ncompletion.register(get_ipython())\ncompletion.register(get_ipython())")
    assert ipykernel.value(counted) == "1"
    assert ipykernel.value(wrapped) == "True"
    ipykernel.run("completion.unregister(get_ipython())")
    try:
        assert ipykernel.value(counted) == "0"
        assert ipykernel.value(wrapped) == "False"
        text, offset = at_bar("ctx->|")
        assert "filename" not in ipykernel.complete(text, offset)["matches"]
    finally:
        ipykernel.run("completion.register(get_ipython())")
    assert "filename" in answer(ipykernel, "ctx->|")[1]


def test_what_another_extension_put_in_place_of_the_help_is_put_back(ipykernel):
    put = "get_ipython().kernel.do_inspect is other"
    ipykernel.run(
        "completion.unregister(get_ipython())\n"
        "inspect_as_ever = get_ipython().kernel.do_inspect\n"
        "def other(*arguments): return inspect_as_ever(*arguments)\n"
        "get_ipython().kernel.do_inspect = other"
    )
    try:
        assert ipykernel.value(put) == "True"
        ipykernel.run("completion.register(get_ipython())\ncompletion.register(get_ipython())")
        assert ipykernel.value(put) == "False"
        assert ipykernel.inspect("print", 3)["found"]
        ipykernel.run("completion.unregister(get_ipython())\ncompletion.unregister(get_ipython())")
        assert ipykernel.value(put) == "True"
        ipykernel.run(
            "import functools\n"
            "completion.register(get_ipython())\n"
            "@functools.wraps(get_ipython().kernel.do_inspect)\n"
            "def other(*arguments): return inspect_as_ever(*arguments)\n"
            "get_ipython().kernel.do_inspect = other\n"
            "completion.unregister(get_ipython())"
        )
        assert ipykernel.value(put) == "True", "what was put over ours is not ours to take away"
    finally:
        ipykernel.run("del get_ipython().kernel.do_inspect\ncompletion.register(get_ipython())")
    assert ipykernel.inspect("print", 3)["found"]


def test_completing_prints_nothing_and_leaves_no_program_behind(ipykernel):
    seen = []
    ipykernel.complete(*at_bar('}\nSEC("xdp") int g(struct xdp_md *c) { bpf_x|'))
    reply = ipykernel.client.execute_interactive(
        "import threading, time\n"
        "for _ in range(300):\n"
        "    if not [t for t in threading.enumerate() if t.name.startswith('ebpflab-')]: break\n"
        "    time.sleep(0.1)\n"
        "else:\n    raise TimeoutError",
        timeout=60,
        output_hook=seen.append,
    )
    assert reply["content"]["status"] == "ok"
    assert [message for message in seen if message["msg_type"] in ("stream", "error")] == []
    assert "bpf_xdp_adjust_head" in answer(ipykernel, '}\nSEC("xdp") int g(struct xdp_md *c) { bpf_x|')[1]
