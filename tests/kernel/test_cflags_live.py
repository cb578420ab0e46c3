"""Options for the compiler reach the cell in either engine."""

from __future__ import annotations

import os

import cells
import pytest

import ebpflab
from ebpflab.bcc import library, process
from ebpflab.errors import CompileError, ToolMissingError

BCC = """
#include "answer.h"
BPF_HASH(seen, NUMBER, u64, SIZE);
TRACEPOINT_PROBE(syscalls, sys_enter_getppid) {
    if (bpf_get_current_pid_tgid() >> 32 != ME) return 0;
    NUMBER answer = ANSWER + sizeof(KERNELS);
    seen.increment(answer);
    return 0;
}
"""
LIBBPF = """
#include "answer.h"
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, SIZE); __type(key, NUMBER); __type(value, __u64); }
seen SEC(".maps");
SEC("tp/syscalls/sys_enter_getppid") int h(void *ctx)
{
    if (bpf_get_current_pid_tgid() >> 32 != ME) return 0;
    NUMBER answer = ANSWER + sizeof(KERNELS);
    __u64 one = 1, *count = bpf_map_lookup_elem(&seen, &answer);
    if (count) *count += 1;
    else bpf_map_update_elem(&seen, &answer, &one, BPF_ANY);
    return 0;
}
"""


@pytest.fixture(params=["bcc", "libbpf"])
def text(request):
    if request.param == "bcc":
        try:
            library.find_libbcc()
        except ToolMissingError as error:
            pytest.skip(str(error))
    yield {"bcc": BCC, "libbpf": LIBBPF}[request.param].replace("ME", str(os.getpid()))
    process.close()


def test_macros_and_folders_of_the_options_are_those_of_the_cell(load, text, tmp_path):
    (tmp_path / "answer.h").write_text("#define ANSWER 42\n")
    # The kernel's type is named in an option alone; its list_head is two pointers.
    flags = f"-DSIZE=17 -DNUMBER=u32 '-DKERNELS=struct list_head' -I{tmp_path}"
    session = load(text, cflags=flags)
    cells.call_getppid(23)
    session.detach()
    assert dict(session.maps["seen"]) == {42 + 16: 23}
    assert session.maps["seen"].max_entries == 17
    again = load(text, cflags=flags, attach=False)
    assert "cached" in again.stages["detail"][1]
    changed = ["-DNUMBER=u32", "-DKERNELS=char", f"-I{tmp_path}", "-DSIZE=17", "-USIZE", "-DSIZE=19"]
    other = load(text, cflags=changed, attach=False)
    assert "cached" not in other.stages["detail"][1]
    assert other.maps["seen"].max_entries == 19
    (tmp_path / "answer.h").write_text("#define ANSWER 43\n")
    assert "cached" not in load(text, cflags=flags, attach=False).stages["detail"][1]


def test_without_its_options_the_cell_is_not_whole(text, tmp_path):
    (tmp_path / "answer.h").write_text("#define ANSWER 42\n")
    with pytest.raises(CompileError, match="SIZE"):
        ebpflab.load(text, cflags=f"-DNUMBER=u32 -DKERNELS=char -I{tmp_path}", attach=False)
