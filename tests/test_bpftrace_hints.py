"""What is said of programs for bpftrace that look right and are not: C, headers, 64 bits in 32."""

from __future__ import annotations

import pytest

from ebpflab.errors import CellError, CompileError, HookNotFoundError
from ebpflab.inspectors.tracefs import parse_format
from ebpflab.tracer import refusals, widths


@pytest.mark.parametrize(
    "text",
    [
        'SEC("tp/sched/sched_switch")\nint f(void *ctx) { return 0; }',
        '#include "x.h"\nstruct { __uint(type, BPF_MAP_TYPE_HASH); } m SEC(".maps");',
        "BPF_PERF_OUTPUT(events);\n",
        "TRACEPOINT_PROBE(syscalls, sys_enter_read) { return 0; }",
        "#include <uapi/linux/ptrace.h>\nint on_call(struct pt_regs *ctx)\n{\n    return 0;\n}",
    ],
)
def test_a_refused_cell_of_c_is_sent_to_the_other_magic(text):
    found = refusals.refusal(["stdin:1:1-2: ERROR: syntax error, unexpected identifier"], text, 1)
    assert (type(found), found.hint) == (CellError, "%%bpf NAME runs C")


def test_a_refused_program_that_only_speaks_of_c_is_not_taken_for_it():
    text = 'BEGIN { printf("BPF_HASH(x)\\n"); // as SEC() says\n @x = foo(); }'
    found = refusals.refusal(["stdin:2:7-10: ERROR: Unknown function: foo"], text, 1)
    assert isinstance(found, CompileError)


def test_a_header_that_needs_others_is_pointed_at():
    said = "/usr/include/linux/sched.h:93:2: error: unknown type name '__aligned_u64'"
    text = "BEGIN { }\n#include <linux/sched.h>"
    found = refusals.refusal([said, "ERROR: Include headers with missing type definitions or install BTF"], text, 1)
    assert isinstance(found, CompileError)
    assert (found.where.line, found.where.column, found.where.length) == (2, 1, 24)
    assert found.hint == "leave the #include out: bpftrace knows the kernel's types"


FORMATS = {
    "syscalls:sys_enter_openat": ("int dfd", 8, 0, "const char * filename", 8, 0),
    "syscalls:sys_exit_read": ("int __syscall_nr", 4, 1, "long ret", 8, 1),
    "kmem:kmalloc": ("size_t bytes_req", 8, 0, "int node", 4, 1),
}


@pytest.fixture
def formats(monkeypatch):
    def read(hook):
        if hook not in FORMATS:
            raise HookNotFoundError(f"there is no {hook}")
        (first, *one), (second, *two) = FORMATS[hook][:3], FORMATS[hook][3:]
        lines = [(first, 8, *one), (second, 16, *two)]
        fields = "".join(f"\tfield:{f};\toffset:{at};\tsize:{size};\tsigned:{sign};\n" for f, at, size, sign in lines)
        return parse_format(f'name: {hook.partition(":")[2]}\nID: 17\nformat:\n{fields}\nprint fmt: ""\n')

    monkeypatch.setattr(widths.tracefs, "format", read)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('BEGIN { printf("%d %s", nsecs, comm); }', ["nsecs is cut to 32 bits by %d: write %llu"]),
        (
            'BEGIN { printf("%5u%% %-8x %ld", elapsed, cgroup, nsecs); }',
            [
                "elapsed is cut to 32 bits by %u: write %llu",
                "cgroup is cut to 32 bits by %x: write %llx",
            ],
        ),
        ('BEGIN { printf("%d %lld %lu", pid, nsecs, elapsed); printf("%d", (nsecs - @t) / 1000); }', []),
        ('t:syscalls:sys_enter_openat { printf("%d %s", args->dfd, str(args->filename)); }', []),
        (
            'tracepoint:syscalls:sys_exit_read /args->ret > 0/ { printf("%d", args.ret); }',
            ["args.ret is cut to 32 bits by %d: write %lld"],
        ),
        (
            'BEGIN { @ = 1; } t:kmem:kmalloc { if (@) { printf("%d %d", args->bytes_req, args->node); } }',
            ["args->bytes_req is cut to 32 bits by %d: write %llu"],
        ),
        ('t:syscalls:sys_exit_* { printf("%d", args->ret); }', []),
        ('t:none:such { printf("%d", args->ret); } /* printf("%d", nsecs); */', []),
    ],
)
def test_values_of_64_bits_in_conversions_of_32_are_named(text, expected, formats):
    assert widths.cut(text) == expected
