"""Paths on the running kernel: all that is written compiles and loads, and reads what /proc shows."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from ebpflab.btf import Btf
from ebpflab.cell import Cell
from ebpflab.compile import compile_cell
from ebpflab.errors import KernelSupportError
from ebpflab.inspectors.btf_source import BtfSource, open_btf
from ebpflab.inspectors.types.paths import path_of

pytestmark = pytest.mark.hook("iter")

CHILDREN = 5
# 29 paths of every sort: numbers, strings, bitfields, enums, structs, arrays, pointers; through pointers, pointers
# to pointers, anonymous structs and unions; small and large.
PATHS = """
    pid tgid comm comm[0] real_parent.tgid real_parent.comm group_leader->start_time se.exec_start
    sched_reset_on_fork real_parent.sched_reset_on_fork cpus_ptr.bits[0] cpus_mask cred.uid.val
    mm.exe_file.f_path.dentry.d_name.name fs.pwd.dentry.d_name.name mm.arg_start files.fdt.fd[0].f_inode.i_ino
    files.fdt.fd[0] signal.rlim[7].rlim_cur nsproxy.uts_ns.name.nodename nsproxy.uts_ns.name
    sched_class.enqueue_task thread_pid.numbers[0].nr children pid_links mm.pgd.pgd real_parent.signal
    files.fdt.fd[0].f_path.dentry.d_parent.d_sb.s_type.name mm.saved_auxv
""".split()  # noqa: SIM905 (a list of 29 would fill the page)
VARIANTS = {
    "short": {},
    "checked": {"errors": True},
    "guarded": {"guarded": True},
    "guarded and checked": {"guarded": True, "errors": True},
    "direct": {"direct": True},
    "direct and tested": {"direct": True, "errors": True},
}
# Of these the verifier does not follow: pointers to pointers.
NOT_DIRECT = {path for path in PATHS if "fd[0]" in path}


@pytest.fixture(scope="module")
def task():
    source = open_btf()
    return lambda text: path_of(source, source.find("task_struct"), text)


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_path_compiles_and_loads(load, task, variant):
    assert len(PATHS) == 29
    paths = [task(text) for text in PATHS if "direct" not in variant or text not in NOT_DIRECT]
    maps = {path.before for path in paths if path.large}
    assert len(maps) == 2
    bodies = [written(i, path.c("task", "value", **VARIANTS[variant])) for i, path in enumerate(paths)]
    calls = "\n".join(f"\tread_{i}(task);" for i in range(len(paths)))
    program = "\n".join([*maps, *bodies, HOOK % calls])
    session = load(program)
    assert session.programs["name"].tolist() == ["every"]


def written(number, statements):
    # A function of its own, so that each has its own part of the stack; the value is used, or clang drops the reads.
    body = statements.replace("\n", "\n\t") + ("\n\t(void)err;" if "long err" in statements else "")
    return (
        f"static __attribute__((noinline)) int read_{number}(struct task_struct *task)\n{{\n\t{body}\n"
        '\tasm volatile("" :: "r"(&value) : "memory");\n\treturn 0;\n}'
    )


HOOK = """
SEC("iter/task") int every(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	if (!task)
		return 0;
%s
	return 0;
}
"""


MADE = """
    first first.next.high inner.three first.three table[2].number table[1].three mask.bits[0] own unnamed unnamed.held
    unnamed.held.names pointed.inside call user user.number user.next.name user.name user_text rcu.label color bytes
    numbers[3] large pointed first.rest
""".split()  # noqa: SIM905
ONLY_READ = {"table[2].number", "table[1].three", "numbers[3]", "user.number", "user.next.name", "user.name"}


@pytest.mark.parametrize("variant", VARIANTS)
def test_steps_that_this_kernel_has_no_example_of_compile_too(variant):
    # The same types as C, of which the paths only know the BTF.
    data = Path(__file__).parents[1] / "data" / "btf"
    source = BtfSource("made", Btf.parse((data / "paths.BTF").read_bytes()), data / "paths.BTF")
    texts = [text for text in MADE if "direct" not in variant or text not in ONLY_READ]
    paths = [path_of(source, source.find("start"), text) for text in texts]
    types = (
        (data / "paths.c")
        .read_text()
        .replace("typedef unsigned char u8;", "")
        .replace("enum color { RED", "enum color { PINK")
    )
    marked = "__attribute__((preserve_access_index)), apply_to = record"
    bodies = [
        written(i, path.c("task", "value", **VARIANTS[variant])).replace("task_struct *task", "start *task")
        for i, path in enumerate(paths)
    ]
    calls = "\n".join(f"\tread_{i}(ctx);" for i in range(len(paths)))
    program = "\n".join(
        [
            f"#pragma clang attribute push ({marked})",
            types,
            "#pragma clang attribute pop",
            *(path.before for path in paths),
            *bodies,
            f'SEC("raw_tp/sys_enter") int every(void *ctx)\n{{\n{calls}\n\treturn 0;\n}}',
        ]
    )
    compiled = compile_cell(Cell(program))
    assert compiled.object
    assert compiled.warnings == ()


# --- values ---

COLUMNS = {
    "pid": ("pid", "u32", "value"),
    "tgid": ("tgid", "u32", "value"),
    "comm": ("comm", "char[16]", "value"),
    "parent": ("real_parent->tgid", "u32", "value"),
    "parent_comm": ("real_parent.comm", "char[16]", "value"),
    "executable": ("mm->exe_file->f_path.dentry->d_name.name", "char[64]", "value"),
    "folder": ("fs.pwd.dentry.d_name.name", "char[64]", "value"),
    "reset": ("sched_reset_on_fork", "u32", "value"),
    "parent_reset": ("real_parent.sched_reset_on_fork", "u32", "value"),
    "cpus": ("cpus_ptr->bits[0]", "u64", "value"),
    "files": ("signal->rlim[7].rlim_cur", "u64", "value"),
    "user": ("real_cred->uid.val", "u32", "value"),
    "session": ("signal->pids[3]->numbers[0].nr", "u32", "value"),
    "host": ("nsproxy->uts_ns->name", "char[65]", "value->nodename"),
}
BY_INDEX = {"inode": ("files->fdt->fd[1]->f_inode->i_ino", "u64", "value")}
LIMIT = 100


# What a child does to itself, with its number and a folder as arguments. It is not forked: it would keep the pipes
# of the compiler that waits for the next cell.
CHILD = f"""
import os, resource, signal, sys
number = int(sys.argv[1])
with open("/proc/self/comm", "w") as file:
    file.write(f"child-{{number}}")
os.chdir(sys.argv[2])
os.setsid()
resource.setrlimit(resource.RLIMIT_NOFILE, ({LIMIT} + number, {LIMIT} + number))
os.sched_setaffinity(0, {{number % os.cpu_count()}})
flag = os.SCHED_RESET_ON_FORK if number % 2 else 0
os.sched_setscheduler(0, os.SCHED_OTHER | flag, os.sched_param(0))
print("ready", flush=True)
signal.pause()
"""


@pytest.fixture
def children(tmp_path):
    made = []
    try:
        for number in range(CHILDREN):
            folder = tmp_path / f"folder-{number}"
            folder.mkdir()
            command = [sys.executable, "-ISc", CHILD, str(number), str(folder)]
            made.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        assert [one.stdout.readline() for one in made] == ["ready\n"] * CHILDREN
        yield made
    finally:
        for one in made:
            one.kill()
            one.communicate(timeout=60)


def truth(pid):
    """What /proc and system calls say of a process."""
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    parent = int(status["PPid"])
    return {
        "pid": int(status["Pid"]),
        "tgid": int(status["Tgid"]),
        "comm": status["Name"],
        "parent": parent,
        "parent_comm": Path(f"/proc/{parent}/comm").read_text().rstrip("\n"),
        "executable": Path(f"/proc/{pid}/exe").readlink().name,
        "folder": Path(f"/proc/{pid}/cwd").readlink().name,
        "reset": int(bool(os.sched_getscheduler(pid) & os.SCHED_RESET_ON_FORK)),
        "parent_reset": int(bool(os.sched_getscheduler(parent) & os.SCHED_RESET_ON_FORK)),
        "cpus": sum(1 << cpu for cpu in os.sched_getaffinity(pid)),
        "files": resource.prlimit(pid, resource.RLIMIT_NOFILE)[0],
        "user": Path(f"/proc/{pid}").stat().st_uid,
        "session": os.getsid(pid),
        "host": os.uname().nodename,
        "inode": Path(f"/proc/{pid}/fd/1").stat().st_ino,
    }


def reader(task, columns, options, more=""):
    """A program that writes a row of these columns for each process."""
    paths = {name: task(text) for name, (text, _, _) in columns.items()}
    members, bodies = [], []
    for name, (_, c_type, value) in columns.items():
        base, _, length = c_type.partition("[")
        members.append(f"{base} {name}{'[' * bool(length)}{length};")
        copy = f"__builtin_memcpy(row.{name}, {value}, sizeof(row.{name}));" if length else f"row.{name} = {value};"
        copy = f"if (value)\n\t\t{copy}" if "->" in value else copy
        body = paths[name].c("task", "value", **options).replace("\n", "\n\t")
        bodies.append(
            f"static __attribute__((noinline)) int read_{name}(struct task_struct *task)\n"
            f"{{\n\t{body}\n\t{copy}\n\t{more}\n\treturn 0;\n}}"
        )
    calls = "\n".join(f"\tread_{name}(task);" for name in columns)
    write = "\n\tif (task->pid == task->tgid)\n\t\tbpf_seq_write(ctx->meta->seq, &row, sizeof(row));"
    maps = [path.before for path in paths.values() if path.large]
    row = f"struct row {{ {' '.join(members)} {'long result;' * bool(more)} }};\nstatic struct row row;"
    return "\n".join([*maps, row, *bodies, HOOK % (calls + write)])


@pytest.mark.parametrize("variant", VARIANTS)
def test_what_is_read_is_what_proc_shows(load, task, children, variant):
    columns = COLUMNS if "direct" in variant else COLUMNS | BY_INDEX
    session = load(reader(task, columns, VARIANTS[variant]))
    frame = session.iterate_df().set_index("pid", drop=False)
    found = [{name: frame.at[one.pid, name] for name in columns} for one in children]
    expected = [{name: truth(one.pid)[name] for name in columns} for one in children]
    assert found == expected
    # The children differ in what they were told to do.
    assert [row["reset"] for row in found] == [0, 1, 0, 1, 0]
    assert {row["comm"] for row in found} == {f"child-{number}" for number in range(CHILDREN)}
    assert [row["files"] for row in found] == [LIMIT + number for number in range(CHILDREN)]


def test_a_pointer_that_is_null_is_told_from_one_that_is_not(load, task, children):
    columns = {"pid": COLUMNS["pid"], "executable": COLUMNS["executable"]}
    session = load(reader(task, columns, {"errors": True}, more="row.result = err;"))
    frame = session.iterate_df().set_index("pid")
    assert [frame.at[one.pid, "result"] for one in children] == [0] * CHILDREN
    kernel_threads = [pid for pid in frame.index if pid in threads_of_the_kernel()]
    assert len(kernel_threads) > 7
    assert set(frame.loc[kernel_threads, "result"]) == {-errno.ENOENT}
    assert set(frame.loc[kernel_threads, "executable"]) == {""}


def threads_of_the_kernel():
    # Those have no memory of their own, so that status has no VmSize (proc(5)).
    found = set()
    for path in Path("/proc").glob("[0-9]*/status"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            if "VmSize" not in (text := path.read_text()) and "zombie" not in text:
                found.add(int(path.parent.name))
    return found


def test_a_member_that_the_kernel_lacks_is_asked_for_first(load, task):
    # The same program as it would be written on a kernel with such a member, loaded on this one.
    path = task("real_parent.tgid")
    code = path.c("task", "value", guarded=True).replace("tgid", "no_such_member")
    own = "struct task_struct___other { struct task_struct___other *real_parent; int no_such_member; }"
    code = code.replace("struct task_struct", "struct task_struct___other").replace("(task,", "(other,")
    program = f"""
{own} __attribute__((preserve_access_index));
long sum = 0, tasks = 0;
static __attribute__((noinline)) int read_0(struct task_struct *task)
{{
	struct task_struct___other *other = (void *)task;
	{code}
	sum += value;
	tasks++;
	return 0;
}}
{HOOK % "	read_0(task);"}
"""
    session = load(program)
    session.iterate()
    assert session.vars["tasks"] > 7
    assert session.vars["sum"] == 0


def test_the_verifier_does_not_follow_pointers_to_pointers(task):
    for text in NOT_DIRECT - {"files.fdt.fd[0]"}:
        with pytest.raises(KernelSupportError, match="does not follow fd"):
            task(text).c(direct=True)
