"""Cells in BCC's C: the same columns as those in libbpf's, read as BCC's rewriter understands it."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

from ...program_types import parse_section
from .. import bcc_names
from .parts import Column, Made, Program, comment, indented, listed_columns, member, wrapped

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ...program_types import Section

# What ebpflab's prelude calls types that say how a column is shown; BCC has no prelude of ours.
_MEANINGS = {
    "ipv4_t": "typedef __be32 ipv4_t;",
    "ipv6_t": "typedef __u8 ipv6_t[16];",
    "mac_t": "typedef __u8 mac_t[6];",
    "port_t": "typedef __be16 port_t;",
    "errno_t": "typedef __s32 errno_t;",
    "syscall_t": "typedef __s32 syscall_t;",
    "signal_t": "typedef __s32 signal_t;",
    "ksym_t": "typedef __u64 ksym_t;",
    "usym_t": "typedef __u64 usym_t;",
}
_SHOWN = "/* ebpflab shows columns of these types by what they mean */"
_HEAD = re.compile(r"int (\w+)\((.*)\)\Z", re.DOTALL)
_MACRO = re.compile(r"BPF_\w+\Z")
_READ = re.compile(r"BPF_CORE_READ\(([^()]*)\)")
_READ_TEXT = re.compile(r"BPF_CORE_READ_STR_INTO\(&(@|[\w>.-]+), ([^()]*)\);")
_DYNAMIC = re.compile(r"TP_DATA_LOC_STR\(([^,]+), ([^,]+), ctx, (\w+)\);")
_RING = "BPF_RINGBUF_OUTPUT(events, 256); /* pages */"
_EVENTS = """\
{comment}

struct event {{
{members}
}};
{ring}

{head}
{{
{declare}	struct event *e = events.ringbuf_reserve(sizeof(struct event));

	if (!e)
		{leave}
{fills}
	events.ringbuf_submit(e, 0);
	{verdict}
}}
"""
# A cell of libbpf's C for a kind without fields of its own, as BCC has it.
_REWRITES = (
    (r'struct \{\n\t__uint\(type, BPF_MAP_TYPE_RINGBUF\);\n[^}]*\} events SEC\("\.maps"\);', _RING),
    (r"u64 errors = 0;\n\n", ""),
    (r"bpf_ringbuf_reserve\(&events, sizeof\(\*e\), 0\)", "events.ringbuf_reserve(sizeof(struct event))"),
    (r"bpf_ringbuf_(submit|discard)\(", r"events.ringbuf_\1("),
    (r"if \((try_\w+\([^;\n]*\))\)\n\t\t__sync_fetch_and_add\(&errors, 1\);", r"\1;"),
    (r"static int try_", "static inline int try_"),
    (r'SEC\("[^".][^"]*"\)\n', ""),
    (r"(?m)^// (.*?); --var (\w+)=(\w+) ", r"// \1; #define \2 \3 "),
)
_SETTING = re.compile(r"(?m)^const volatile u(?:16|32) (\w+) = (\d+)(?:, (\w+) = (\d+))?;( /\*[^\n]*\*/)?\n")

_FILLS = (
    "e->time = bpf_ktime_get_ns();",
    "e->pid = bpf_get_current_pid_tgid() >> 32;",
    "bpf_get_current_comm(&e->comm, sizeof(e->comm));",
)
# How programs whose parameters BCC does not fill in take them out of their context.
_RESULT = "{declaration} = ({type})PT_REGS_RC(ctx);"
_DECLARED = {
    "kretprobe": _RESULT,
    "uretprobe": _RESULT,
    "raw_tracepoint": "{declaration} = ({type})ctx->args[{n}];",
    "usdt": "{declaration} = 0;\n\tbpf_usdt_readarg({nth}, ctx, &{name});",
}


def in_bcc(section: Section, program: Program, name: str) -> Made:
    """Return the cell of a program that sends a row for each event, in BCC's C."""
    called, parameters = _signature(program.head)
    # The place is the program's own: a function that a binary has twice is given by its offset.
    place = program.section.partition("/")[2]
    said, target = program.says, bcc_names.attached(parse_section(program.section), place)
    if not bcc_names.is_named(section):
        said = f"{said} Run it with --attach {shlex.quote(f'{called}={target}')}."
    columns, left_out = listed_columns(program)
    left_out = [*left_out, *(f"{c.name}: BCC does not read it" for c in columns if "__rel_loc_" in c.fill)]
    columns = [_read(section.kind, column) for column in columns if "__rel_loc_" not in column.fill]
    fills = [*_FILLS, *(column.fill for column in columns)]
    kind = "kretprobe" if section.prefix.startswith("kret") else section.kind
    declare = [line for line in _declared(kind, parameters) if _is_used(line, "\n".join(fills))]
    source = _EVENTS.format(
        comment=comment(said, left_out, f"{name}.events.df()"),
        members=indented(["ktime_t time;", "u32 pid;", "char comm[16];", *map(member, columns)], 1),
        ring=_RING,
        head=wrapped(bcc_names.head(section, [] if kind in _DECLARED else parameters, called)),
        declare="".join(f"\t{line}\n" for line in declare),
        leave=program.verdict.partition(" /*")[0],
        fills=indented(fills, 1),
        verdict=program.verdict,
    )
    targets = {} if bcc_names.is_named(section) else {called: target}
    return Made(_with_meanings(source), program.section, tuple(left_out), targets)


def translated(made: Made) -> Made:
    """Return the cell of a kind without fields of its own in BCC's C, made of that in libbpf's.

    Its programs get their kinds where they are attached, since BCC's functions have no sections.
    """
    section = parse_section(made.section)
    text = _SETTING.sub(_setting, _with_settings(made.source))
    for pattern, replacement in _REWRITES:
        text = re.sub(pattern, replacement, text)
    kind = bcc_names.attached(section, "")
    text = re.sub(r"(--attach \w+=)", rf"\1{kind}", _with_meanings(_arrows(text)))
    targets = {program: bcc_names.attached(section, place) for program, place in made.targets.items()}
    return Made(text, made.section, made.notes, targets, made.attach)


def iterator(section: Section, made: Made) -> Made:
    """Return the cell of an iterator in BCC's C, made of that in libbpf's."""
    head = re.compile(r'SEC\("iter/\w+"\)\nint \w+\([^)\n]*\)\n')
    text = head.sub(f"{bcc_names.head(section)}\n", made.source)
    return Made(_with_meanings(_arrows(text)), made.section, made.notes)


def _signature(head: str) -> tuple[str, list[str]]:
    # The name of a program and what stands behind its context.
    found = _HEAD.fullmatch(head)
    assert found is not None
    words = [word.strip() for word in found[2].split(",")]
    return (words[0], words[1:]) if _MACRO.match(found[1]) else (found[1], words[1:])


def _declared(kind: str, parameters: list[str]) -> Iterator[str]:
    for number, parameter in enumerate(parameters):
        if kind in _DECLARED:
            declared = re.fullmatch(r"(.*?)(\w+)", parameter, re.DOTALL)
            assert declared is not None
            c_type = declared[1].strip()
            yield _DECLARED[kind].format(declaration=parameter, type=c_type, name=declared[2], n=number, nth=number + 1)


def _is_used(line: str, fills: str) -> bool:
    name = re.search(r"(\w+) =", line)
    return name is not None and re.search(rf"\b{name[1]}\b", fills) is not None


def _read(kind: str, column: Column) -> Column:
    fill = column.fill
    if kind == "tracepoint":
        fill = _DYNAMIC.sub(r"TP_DATA_LOC_READ_STR(&\1, \3, \2);", fill)
        fill = re.sub(r"\bctx->", "args->", fill)
    return column._replace(fill=_arrows(fill))


def _arrows(text: str) -> str:
    # What BCC's rewriter turns into reads of the kernel's memory is plain C. An array's address is taken, for the
    # rewriter would copy the array.
    text = _READ_TEXT.sub(lambda m: f"bpf_probe_read_kernel_str({m[1]}, sizeof({m[1]}), &{_chain(m[2])});", text)
    return _READ.sub(lambda m: _chain(m[1]), text)


def _chain(steps: str) -> str:
    return "->".join(step.strip() for step in steps.split(","))


def _with_meanings(text: str) -> str:
    used = [declared for name, declared in _MEANINGS.items() if re.search(rf"\b{name}\b", text)]
    before = "".join(f"{line}\n" for line in (_SHOWN, *used, "")) if used else ""
    return re.sub(r"(?m)^(?=struct (?:event|row) \{$)", before, text, count=1)


def _with_settings(source: str) -> str:
    # Settings become macros, whose names are in capitals; members of the row may have the same names.
    for found in _SETTING.finditer(source):
        for name in filter(None, (found[1], found[3])):
            source = re.sub(rf"\b{name} && ", f"{name.upper()} && ", source)
            source = re.sub(rf"== {name}\b", f"== {name.upper()}", source)
            source = source.replace(f"--var {name}=", f"--var {name.upper()}=")
    return source


def _setting(found: re.Match[str]) -> str:
    pairs: Mapping[str, str] = {name: value for name, value in ((found[1], found[2]), (found[3], found[4])) if name}
    return "".join(f"#define {name.upper()} {value}{found[5] or ''}\n" for name, value in pairs.items())
