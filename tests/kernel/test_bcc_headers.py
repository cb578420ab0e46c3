"""Cells of BCC's dialect compiled with real kernel headers, which may be those of another kernel.

The headers of the tests are made there: the kernel's own types, laid out as Debian's two packages are, with a header
of inline assembly and one struct as another kernel might have it. ``EBPFLAB_TEST_HEADERS=FOLDER[:FOLDER]`` and what
is installed in /usr/src are used as well.
"""

from __future__ import annotations

import os
import re
import threading
from pathlib import Path

import cells
import pytest

import ebpflab
from ebpflab.bcc import library, process, tree
from ebpflab.bcc.kernel_headers import find
from ebpflab.cell import Cell
from ebpflab.errors import CellError, CompileError, ToolMissingError

RELEASE = "5.99.0-97-foreign"
THREAD = """
#include <linux/sched.h>
BPF_HASH(seen, u32);
TRACEPOINT_PROBE(syscalls, sys_enter_getppid) {
    if (bpf_get_current_pid_tgid() >> 32 != ME) return 0;
    struct task_struct *task = (struct task_struct *)bpf_get_current_task();
    u32 process = task->tgid;
    seen.increment(process);
    return 0;
}
"""
PARENT = THREAD.replace("task->tgid", "task->real_parent->tgid")
# What clang refuses to read for the BPF target, also where nobody calls it.
ASSEMBLY = """
static inline unsigned long read_somehow(void)
{
	unsigned long value;
#ifdef __x86_64__
	asm volatile("rdtsc" : "=a" (value) : : "rdx");
#else
	asm volatile("mrs %0, cntvct_el0" : "=r" (value));
#endif
	return value;
}
"""


def installed():
    given = os.environ.get("EBPFLAB_TEST_HEADERS", "").split(":")
    found = [Path(folder) for folder in given if folder]
    for folder in sorted(Path("/usr/src").glob("linux-headers-*")):
        try:
            if find(folder).foreign:
                found.append(folder)
        except CellError:  # half of a package, or shared by several
            continue
    return found


@pytest.fixture(autouse=True)
def bcc():
    try:
        library.find_libbcc()
    except ToolMissingError as error:
        pytest.skip(str(error))
    yield
    process.close()


def mine(text):
    return text.replace("ME", str(os.getpid()))


def put(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.fixture
def headers(tmp_path):
    """The two folders of a kernel whose tasks have pid and tgid the other way round."""
    made = tree.write(tmp_path / "tree", Cell(mine(PARENT + THREAD.partition("BPF_HASH")[0])))
    options = "".join(line for line in made.before.splitlines(keepends=True) if line.startswith("#define CONFIG_"))
    text = made.before.replace(options, "#include <generated/autoconf.h>\n") if options else made.before
    swapped = re.sub(r"pid_t pid;(\s+)pid_t tgid;", r"pid_t tgid;\1pid_t pid;", text)
    assert swapped != text
    common, build = tmp_path / "src/linux-headers-common", tmp_path / "src/linux-headers-amd64"
    put(common / "include/linux/kconfig.h", swapped)
    put(common / "include/linux/assembly.h", ASSEMBLY)
    for name in (*made.empty, "linux/sched.h", "linux/ptrace.h"):
        put(common / "include" / name, "#include <linux/assembly.h>\n" if name == "linux/sched.h" else "")
    put(build / "include/generated/autoconf.h", options)
    put(build / "include/generated/utsrelease.h", f'#define UTS_RELEASE "{RELEASE}"\n')
    put(build / "Makefile", "include /usr/src/linux-headers-common/Makefile\n")
    put(common / "include/linux/assembly.h", f"#ifndef ASSEMBLY_H\n#define ASSEMBLY_H\n{ASSEMBLY}\n#endif\n")
    return common, build


def in_a_thread():
    """Call getppid() in a thread of its own, and return the thread's number."""
    numbers = []
    thread = threading.Thread(target=lambda: numbers.append((threading.get_native_id(), os.getppid())))
    thread.start()
    thread.join()
    return numbers[0][0]


@pytest.mark.parametrize("given", ["common", "build", "link"])
def test_headers_of_another_kernel_read_another_field_and_the_session_says_whose_they_are(
    load, headers, given, tmp_path
):
    common, build = headers
    (tmp_path / "link").symlink_to(build)
    session = load(mine(THREAD), headers={"common": common, "build": build, "link": tmp_path / "link"}[given])
    thread = in_a_thread()
    session.detach()
    assert dict(session.maps["seen"]) == {thread: 1}  # and not os.getpid()
    (warning,) = session.warnings
    assert f"the headers of {RELEASE}, and {os.uname().release} is running" in warning.message
    assert session.stages["detail"][1].startswith(f"BCC {library.version()}, headers of {RELEASE} in ")


def test_the_kernel_s_own_types_read_the_right_field(load):
    session = load(mine(THREAD))
    in_a_thread()
    session.detach()
    assert dict(session.maps["seen"]) == {os.getpid(): 1}
    assert session.warnings == ()


FOREIGN = installed()
if FOREIGN:  # nothing to test where there are none

    @pytest.mark.parametrize("folder", FOREIGN, ids=lambda folder: folder.name)
    def test_headers_that_are_installed_here_for_another_kernel_read_no_parent(load, folder):
        session = load(mine(PARENT), headers=folder)
        os.getppid()
        session.detach()
        assert os.getppid() not in dict(session.maps["seen"])
        (warning,) = session.warnings
        assert find(folder).release in warning.message


def test_headers_of_the_running_kernel_bring_no_warning_and_are_named(load, headers):
    common, build = headers
    put(build / "include/generated/utsrelease.h", f'#define UTS_RELEASE "{os.uname().release}"\n')
    for way in ("", "cached, "):
        session = load(mine(THREAD), headers=common)
        assert session.warnings == ()
        assert session.stages["detail"][1] == (
            f"BCC {library.version()}, {way}headers of {os.uname().release} in {build}"
        )


def test_headers_that_are_replaced_are_read_again(load, headers):
    _, build = headers
    assert "cached" not in load(mine(THREAD), headers=build).stages["detail"][1]
    assert "cached" in load(mine(THREAD), headers=build).stages["detail"][1]
    config = build / "include/generated/autoconf.h"
    config.write_text(config.read_text() + "#define CONFIG_NEW 1\n")
    assert "cached" not in load(mine(THREAD), headers=build).stages["detail"][1]


def test_records_lines_and_losses_are_as_with_the_kernel_s_own_types(load, headers):
    text = mine(
        "struct data_t { u32 pid; char comm[16]; };\nBPF_PERF_OUTPUT(events);\n"
        "TRACEPOINT_PROBE(syscalls, sys_enter_getppid) {\n    if (bpf_get_current_pid_tgid() >> 32 != ME) return 0;\n"
        "    struct data_t d = {.pid = ME};\n    bpf_get_current_comm(&d.comm, sizeof(d.comm));\n"
        "    events.perf_submit(args, &d, sizeof(d));\n    return 0;\n}\n"
    )
    session = load(text, headers=headers[1])
    cells.call_getppid(23)
    assert session.events.wait(23, timeout=5)
    frame = session.events.df()
    assert frame["pid"].tolist() == [os.getpid()] * 23
    assert frame["comm"].unique().tolist() == [Path("/proc/self/comm").read_text().strip()]
    assert session.events.types.by == "definition"


def test_assembly_that_a_program_really_uses_is_an_error(headers):
    text = mine(THREAD).replace("= task->tgid", "= read_somehow()")
    with pytest.raises(CompileError) as caught:
        ebpflab.load(text, headers=headers[1], attach=False)
    assert "asm" in str(caught.value) or "constraint" in str(caught.value)


def test_a_wrong_folder_is_refused_before_anything_is_compiled(tmp_path):
    with pytest.raises(CellError, match="holds no kernel headers") as caught:
        ebpflab.load(mine(THREAD), headers=tmp_path)
    assert "include/generated" in caught.value.hint
    with pytest.raises(CellError, match="--headers is for cells of BCC's dialect"):
        ebpflab.load(cells.GETPPID, headers=tmp_path)
