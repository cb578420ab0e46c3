from __future__ import annotations

import re
import resource
import shutil
import tempfile
import time
from pathlib import Path

import cells
import pytest

import ebpflab
from ebpflab.errors import (
    AttachError,
    CellError,
    CompileError,
    EbpflabError,
    HookNotFoundError,
    LoadError,
    ToolMissingError,
    UnsafeError,
    VerifierError,
)

RETURNS = "int h(void *ctx) { return 0; }\n"
UNCHECKED = cells.GETPPID.replace("\tif (!e)\n\t\treturn 0;\n", "")
TRACEFS = ("/sys/kernel/tracing", "/sys/kernel/debug")
FOREVER = """\
SEC("raw_tp/sys_enter") int forever(void *ctx)
{
	int n = 0;
	while (bpf_ktime_get_ns())
		n++;
	return n;
}
"""

# What is wrong: the source, load()'s options, the error, words of what happened, words of the hint.
BAD = {
    "an empty cell": (" \n\t\n", {}, CellError, "cell is empty", "write a program"),
    "a cell of comments": ("// later\n/* maybe */\n", {}, CellError, "cell is empty", "write a program"),
    "a NUL character": ("int\0 x;", {}, CellError, "NUL character", "delete it"),
    "no program": ("int x;\n", {}, CellError, "no program in the cell", "SEC("),
    "a function without a section": (RETURNS, {}, CellError, "no program in the cell", "SEC("),
    "a missing semicolon": (
        cells.GETPPID.replace("e->pid = pid;", "e->pid = pid"), {}, CompileError, "expected ';'", "missing",
    ),
    "an unknown member": (
        cells.GETPPID.replace("e->pid", "e->pdi"), {}, CompileError, "no member named 'pdi'", "event",
    ),
    "two programs with one name": (
        f'SEC("raw_tp/sys_enter") {RETURNS}SEC("raw_tp/sys_exit") {RETURNS}', {},
        CompileError, "redefinition of 'h'", "rename one",
    ),
    "a missing header": ('#include "nosuch.h"\n' + cells.COUNTER, {}, CompileError, "nosuch.h", "vmlinux.h"),
    "an unknown tracepoint": (
        f'SEC("tp/syscalls/sys_enter_getpppid") {RETURNS}', {},
        HookNotFoundError, "sys_enter_getpppid", "syscalls/sys_enter_getppid",
    ),
    "an unknown category": (
        f'SEC("tp/syscals/sys_enter_getppid") {RETURNS}', {},
        HookNotFoundError, "syscals/sys_enter_getppid", "syscalls/sys_enter_getppid",
    ),
    "half a tracepoint": (f'SEC("tp/getppid") {RETURNS}', {}, AttachError, "does not name", "category/event"),
    "an unknown context struct": (
        'SEC("tp/syscalls/sys_enter_getppid") int h(struct tracepoint__syscalls__sys_enter_getpppid *c) { return 0; }',
        {}, HookNotFoundError, "no tracepoint has struct", "sys_enter_getppid",
    ),
    "an unknown section": (
        f'SEC("tracpoint/syscalls/sys_enter_getppid") {RETURNS}', {},
        HookNotFoundError, "no kind of program", "tracepoint",
    ),
    "an unknown raw tracepoint": (
        f'SEC("raw_tp/sched_swich") {RETURNS}', {}, HookNotFoundError, "sched_swich", "sched_switch",
    ),
    "a system call as raw tracepoint": (
        f'SEC("raw_tp/sys_enter_openat") {RETURNS}', {}, HookNotFoundError, "sys_enter_openat", "raw_tp/sys_enter",
    ),
    "an unknown typed tracepoint": (
        f'SEC("tp_btf/sched_swich") {RETURNS}', {}, HookNotFoundError, "sched_swich", "sched_switch",
    ),
    "an unknown iterator": (f'SEC("iter/tsk") {RETURNS}', {}, HookNotFoundError, "'tsk'", "task"),
    "a section without a target": (f'SEC("raw_tp") {RETURNS}', {}, AttachError, "where to attach", "raw_tp/NAME"),
    "a typed section without a target": (
        f'SEC("tp_btf") {RETURNS}', {}, AttachError, "where to attach", "tp_btf/NAME",
    ),
    "an unknown binary": (
        f'SEC("uprobe//bin/shh:main") {RETURNS}', {}, HookNotFoundError, "no binary /bin/shh", "/bin/sh",
    ),
    "an unknown symbol": (
        f'SEC("uprobe/libc.so.6:maloc") {RETURNS}', {}, HookNotFoundError, "'maloc'", "malloc",
    ),
    "a uprobe in a text file": (
        f'SEC("uprobe//etc/passwd:main") {RETURNS}', {}, HookNotFoundError, "not an ELF binary", "interpreter",
    ),
    "a uprobe without a symbol": (
        f'SEC("uprobe/libc.so.6") {RETURNS}', {}, AttachError, "does not name a place", "path:function",
    ),
    "a record that may be NULL": (UNCHECKED, {}, VerifierError, "refused on_getppid", "if (!p)"),
    "a helper that harms": (
        'SEC("raw_tp/sys_enter") int h(void *ctx) { bpf_send_signal(9); return 0; }', {},
        UnsafeError, "calls bpf_send_signal", "--unsafe",
    ),
    "a helper that writes to processes": (
        'SEC("raw_tp/sys_enter") int h(u64 *c) { u64 x = 0; bpf_probe_write_user((void *)c[0], &x, 8); return 0; }',
        {}, UnsafeError, "calls bpf_probe_write_user", "--unsafe",
    ),
    "an unknown variable": (
        cells.COUNTER, {"vars": {"onyl": 1}}, CellError, "no global variable 'onyl'", "only",
    ),
    "a value that does not fit": (
        cells.COUNTER, {"vars": {"only": -1}}, CellError, "--var only=-1", "a number from 0 to 4,294,967,295",
    ),
    "a value of the wrong type": (
        cells.COUNTER, {"vars": {"only": "x"}}, CellError, "--var only='x'", "give a number",
    ),
    "a target for no program": (
        cells.COUNTER, {"targets": {"cuont": "sched:sched_switch"}}, CellError, "--attach cuont", "count",
    ),
    "a target that does not exist": (
        cells.COUNTER, {"targets": {"count": "syscalls:sys_enter_getpppid"}},
        HookNotFoundError, "sys_enter_getpppid", "sys_enter_getppid",
    ),
    "a typed target that does not exist": (
        f'SEC("tp_btf/sched_switch") {RETURNS}', {"targets": {"h": "sched_swich"}},
        HookNotFoundError, "sched_swich", "sched_switch",
    ),
    "BCC's dialect": (
        "TRACEPOINT_PROBE(syscalls, sys_enter_openat) { return 0; }", {"engine": "libbpf"}, CellError, "BCC's C",
        "--engine bcc",
    ),
    "an unknown engine": (cells.COUNTER, {"engine": "libpbf"}, CellError, "no engine 'libpbf'", "libbpf"),
    "nothing to keep": (cells.COUNTER, {"keep": "0"}, CellError, "keep", "1e6"),
    "a file that is not there": ("/nonexistent/x.bpf.c", {}, CellError, "cannot read", "path"),
    "a map of no size": (
        cells.COUNTER + 'struct { __uint(type, BPF_MAP_TYPE_HASH); __type(key, u32); __type(value, u32); }'
        ' none SEC(".maps");', {}, LoadError, "map 'none'", "max_entries",
    ),
    "a size for a map that is no buffer": (
        cells.GETPPID, {"buffers": {".bss": "1MiB"}}, CellError, ".bss is no event buffer", "events",
    ),
    "a size for a buffer that is not there": (
        cells.GETPPID, {"buffers": {"event": "1MiB"}}, CellError, "no buffer event", "events",
    ),
    "a map larger than memory": (
        cells.COUNTER + 'struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1 << 30);'
        ' __type(key, u32); __type(value, char[4096]); } huge SEC(".maps");', {},
        LoadError, "map 'huge'", "max_entries",
    ),
    "an unknown kernel function": (
        'extern int nosuch(void) __ksym; SEC("raw_tp/sys_enter") int h(void *ctx) { return nosuch(); }', {},
        LoadError, "nosuch", "no symbol",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_clear_error_and_nothing_else_is_disturbed(bystander, case):
    source, options, kind, what, hint = BAD[case]
    with pytest.raises(EbpflabError) as caught:
        ebpflab.load(source, **options)
    error = caught.value
    assert type(error) is kind
    assert what in error.what
    assert hint in error.hint
    assert error.hint in str(error)
    assert len(str(error).splitlines()) <= 20
    assert error.__context__ is None or error.__suppress_context__ or error.__cause__ is not None
    assert [session.name for session in ebpflab.sessions()] == ["bystander"]
    bystander()


@pytest.mark.parametrize("case", ["an unknown tracepoint", "an unknown typed tracepoint", "an unknown symbol"])
def test_an_unknown_hook_carries_the_nearest_names(case):
    with pytest.raises(HookNotFoundError) as caught:
        ebpflab.load(BAD[case][0])
    assert BAD[case][4] in caught.value.nearest


@pytest.mark.parametrize(
    ("case", "line"),
    [("a missing semicolon", 18), ("an unknown member", 18), ("two programs with one name", 2)],
)
def test_errors_of_the_compiler_point_at_the_line_of_the_cell(case, line):
    source = BAD[case][0]
    with pytest.raises(CompileError) as caught:
        ebpflab.load(source)
    where = caught.value.where
    assert where.line == line
    assert where.text == source.split("\n")[line - 1]
    assert where.column is not None


def test_a_refusal_of_the_verifier_shows_the_line_the_kernels_words_and_keeps_the_log():
    with pytest.raises(VerifierError) as caught:
        ebpflab.load(UNCHECKED, name="refused")
    error = caught.value
    # The first line after the reservation writes through the pointer.
    lines = UNCHECKED.split("\n")
    assert "e->ts" in lines[error.where.line - 1] or "e->pid" in lines[error.where.line - 1]
    verdicts = re.findall(r"^R\d invalid mem access '\w+'$", error.log, re.MULTILINE)
    assert verdicts
    assert verdicts[-1] in str(error)
    assert error.log_path in str(error)
    assert Path(error.log_path).read_text() == error.log
    assert "processed" in error.log.strip().split("\n")[-1]
    assert error.errno == 13  # EACCES, which the verifier answers to a bad access


def test_a_log_of_half_a_million_lines_is_a_short_error_and_costs_no_time(bystander):
    begin, wall = resource.getrusage(resource.RUSAGE_THREAD), time.monotonic()
    with pytest.raises(VerifierError) as caught:
        ebpflab.load(FOREVER)
    text = str(caught.value)
    end, wall = resource.getrusage(resource.RUSAGE_THREAD), time.monotonic() - wall
    error = caught.value
    assert error.log.count("\n") > 300_000
    assert len(text.splitlines()) <= 20
    assert len(text) < 2000
    assert "too large" in error.what
    assert error.where.line in range(1, 8)
    with Path(error.log_path).open() as kept:  # both ends of it, and how much is left out between them
        head = kept.readline()
        left_out = [line for line in kept if "lines left out here" in line]
    assert error.log.startswith(head)
    assert Path(error.log_path).stat().st_size < 33_000_000 < len(error.log)
    assert len(left_out) == 1
    assert "both ends of the log" in text
    # The verifier runs in our thread, as system time; what is left is ours.
    assert end.ru_utime - begin.ru_utime < 2
    assert wall < 60
    bystander()


def test_a_harmful_helper_is_shown_in_its_place_and_allowed_when_asked_for(load):
    source = BAD["a helper that harms"][0]
    with pytest.raises(UnsafeError) as caught:
        ebpflab.load(source)
    assert caught.value.where.column == source.index("bpf_send_signal") + 1
    session = load(source, unsafe=True, attach=False)  # never attached: it would kill whoever makes a call
    assert session.state == "loaded"


@pytest.mark.parametrize("how", ["variable", "path"])
def test_a_missing_clang_is_named_with_the_command_that_installs_it(bystander, monkeypatch, tmp_path, how):
    monkeypatch.setenv("EBPFLAB_CACHE", str(tmp_path / "cache"))  # nothing compiled before helps
    if how == "variable":
        monkeypatch.setenv("EBPFLAB_CLANG", "/nonexistent/clang")
    else:
        monkeypatch.delenv("EBPFLAB_CLANG", raising=False)
        monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolMissingError, match="clang") as caught:
        ebpflab.load(cells.COUNTER)
    assert caught.value.hint
    monkeypatch.undo()
    bystander()


# Parts of the machine are taken away from a whole process, in mounts of its own.
TAKEN_AWAY = """
    import ctypes, os, sys
    sys.path.insert(0, {tests!r})
    import cells, ebpflab
    libc = ctypes.CDLL(None, use_errno=True)

    def checked(status):
        if status:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

    def run():
        global bystander
        bystander = ebpflab.load(cells.GETPPID, vars={{"only": os.getpid()}})
        still_receives()

    def still_receives():
        before = bystander.events.stats()["received"]
        cells.call_getppid(7)
        assert bystander.events.wait(before + 7, timeout=5), bystander.events.stats()
        assert bystander.events.stats()["received"] == before + 7

    def complain():
        try:
            ebpflab.load({source!r})
        except ebpflab.EbpflabError as error:
            print(type(error).__name__)
            print(error)
            assert error.hint, error
        else:
            raise SystemExit("it was loaded")

    checked(libc.unshare(0x00020000))  # CLONE_NEWNS
    checked(libc.mount(b"none", b"/", None, 0x4000 | 0x40000, None))  # MS_REC | MS_PRIVATE
    {steps}
"""


def taken_away(source, *steps):
    tests = str(Path(__file__).parent)
    done = cells.python(TAKEN_AWAY.format(tests=tests, source=source, steps="\n    ".join(steps)))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    kind, _, text = done.stdout.partition("\n")
    return kind, text


def test_a_kernel_without_btf_is_named_with_what_to_boot(bystander, tmp_path):
    # An empty folder in place of the kernel's types. A process reads them once: this one never did.
    taking = f'checked(libc.mount({str(tmp_path).encode()!r}, b"/sys/kernel/btf", None, 0x1000, None))'  # MS_BIND
    kind, text = taken_away(cells.COUNTER, taking, "complain()")
    assert kind == "KernelSupportError"
    assert "/sys/kernel/btf/vmlinux does not exist" in text
    assert "CONFIG_DEBUG_INFO_BTF=y" in text
    bystander()


def test_a_machine_without_tracefs_is_told_the_command_that_mounts_it():
    taking = [f'while libc.umount2(b"{folder}", 2) == 0: pass' for folder in TRACEFS]  # MNT_DETACH
    kind, text = taken_away(cells.COUNTER, "run()", *taking, "complain()", "still_receives()")
    assert kind == "KernelSupportError"
    assert "mount -t tracefs" in text


@pytest.mark.parametrize(
    ("kept", "source", "words"),
    [
        ((), 'SEC("raw_tp/sys_enter") ' + RETURNS, ("CAP_BPF", "CAP_PERFMON")),
        (("bpf",), 'SEC("raw_tp/sys_enter") ' + RETURNS, ("CAP_PERFMON",)),
        (
            ("bpf", "perfmon", "dac_read_search"),
            f'SEC("uprobe/libc.so.6:getppid") {RETURNS}',
            ("CAP_SYS_ADMIN",),
        ),
    ],
)
def test_a_process_without_privileges_is_told_which_ones_it_lacks(kept, source, words):
    numbers = {"dac_read_search": 2, "perfmon": 38, "bpf": 39}  # include/uapi/linux/capability.h
    mask = sum(1 << numbers[name] for name in kept)
    taking = f"cells.keep_only_capabilities({mask})"
    kind, text = taken_away(source, "run()", taking, "complain()", "still_receives()")
    assert kind == "PrivilegeError"
    for word in words:
        assert word in text


@pytest.fixture
def package_for_everybody():
    # A clone in /root can be read by root alone; this copy of the package by every user.
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(cells.ROOT / "ebpflab", Path(folder) / "ebpflab")
        Path(folder).chmod(0o755)
        yield folder


def test_a_process_of_another_user_is_told_what_it_lacks(package_for_everybody):
    # The script makes a folder for its cache once it is that user, in the system's own temporary folder.
    script = """
        import os, sys, tempfile
        import numpy, ebpflab, ebpflab.loading
        os.setgroups([]); os.setgid(65534); os.setuid(65534)
        with tempfile.TemporaryDirectory() as folder:
            os.environ["EBPFLAB_CACHE"] = os.environ["XDG_CACHE_HOME"] = os.environ["HOME"] = folder
            try:
                ebpflab.load(sys.argv[1])
            except ebpflab.EbpflabError as error:
                print(type(error).__name__, error, error.hint, sep="\\n")
    """
    environment = cells.environment(PYTHONDONTWRITEBYTECODE="1", PYTHONPATH=package_for_everybody)
    source = 'SEC("raw_tp/sys_enter") ' + RETURNS
    done = cells.python(script, source, env=environment, cwd="/")
    assert done.stderr == ""
    kind, _, text = done.stdout.partition("\n")
    assert kind == "PrivilegeError", text
    assert "CAP_BPF" in text
