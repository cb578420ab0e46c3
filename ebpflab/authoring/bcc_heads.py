"""What BCC's macros and names declare in a cell: tables, and programs with the sections that stand for their hooks."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from ..inspectors import bcc_names
from .bcc_words import PROBES, TABLES
from .declared import CType, Declared, Function, Map
from .lexer import joined

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .lexer import Code
    from .source import Source

__all__ = ["PROBES", "TABLES", "add_program", "add_table", "arguments", "begins", "finish", "table_of"]

# The kind of a program that has no name for its hook, by its context.
_BY_CONTEXT = {
    f"struct {context}": section
    for context, section in (
        ("xdp_md", "xdp"),
        ("__sk_buff", "tc"),
        ("bpf_perf_event_data", "perf_event"),
        ("bpf_raw_tracepoint_args", "raw_tp"),
        ("bpf_sock_ops", "sockops"),
        ("bpf_sock", "cgroup/sock"),
        ("bpf_sock_addr", "cgroup/connect4"),
        ("bpf_sysctl", "cgroup/sysctl"),
        ("bpf_sockopt", "cgroup/getsockopt"),
        ("bpf_cgroup_dev_ctx", "cgroup/dev"),
        ("pt_regs", "kprobe"),
    )
}
# By the kind of a program, what the name of its function begins with.
_PREFIX = {
    "tracepoint": "tracepoint__",
    "raw_tracepoint": "raw_tracepoint__",
    "fentry": "kfunc__",
    "fexit": "kretfunc__",
    "fmod_ret": "kmod_ret__",
    "lsm": "lsm__",
    "iter": "bpf_iter__",
}
# The parameters of macros that the settings of a map are named after.
_PARTS = {"key_type": "key", "leaf_type": "value"}
_OUTSIDE = re.compile(r"\b(?:static|inline|__always_inline)\b")


def begins(code: Code, at: int) -> bool:
    """Tell whether one of BCC's macros begins at a token."""
    return (code.text(at) in TABLES or code.text(at) in PROBES) and code.text(at + 1) == "("


def arguments(code: Code, at: int) -> list[tuple[int, int]]:
    """Return the tokens where each argument begins and ends, from the parenthesis that opens them."""
    found, begin, end = list[tuple[int, int]](), at + 1, code.ends[at]
    i = begin
    while i < end:
        if code.text(i) == ",":
            found.append((begin, i))
            begin = i + 1
        i = code.ends.get(i, i) + 1
    return [*found, (begin, end)]


def add_table(source: Source, at: int, given: Sequence[tuple[int, int]], types: Mapping[int, CType]) -> None:
    """Add the table that a macro at a token declares, with the types that the macro is given or takes by default."""
    code, macro = source.code, source.code.text(at)
    table = TABLES[macro]
    words = dict(zip(table.names, (joined(code.tokens[begin:end]) for begin, end in given), strict=False))
    numbers = {name: number for number, name in enumerate(table.names)}
    name = words.get("name", "")
    if not re.fullmatch(r"\w+", name):
        return
    found = {}
    for part, setting in _PARTS.items():
        spelled = table.default(part) or ("u64" if part == "leaf_type" else "")
        found[setting] = types[numbers[part]] if part in words else CType(spelled)
    kind = words.get("table_type", "").strip('"').upper() or table.type
    settings = {
        "type": f"BPF_MAP_TYPE_{kind}",
        "bcc": macro,
        **{setting: words.get(part) or table.default(part) or "u64" for part, setting in _PARTS.items()},
    }
    start = code.tokens[at].start
    end = code.tokens[min(code.ends[at + 1], len(code.tokens) - 1)].end
    source.maps[name] = Map(name, settings, found, start, end)
    source.bcc = True


def add_program(
    source: Source, at: int, given: Sequence[tuple[int, int]], rest: tuple[Declared, ...], body: tuple[int, int]
) -> None:
    """Add the program whose head a macro at a token writes; *rest* are its arguments from the second on."""
    code, macro = source.code, source.code.text(at)
    words = [joined(code.tokens[begin:end]) for begin, end in given]
    text = joined(code.tokens[at : body[0]])
    named = words[:2] if macro == "TRACEPOINT_PROBE" else words[:1]
    name = f"{_PREFIX[bcc_names.MACROS[macro]]}{'__'.join(named)}"
    section = bcc_names.section_of(text)
    context = _context(macro, words)
    parameters = (context, *(() if macro == "TRACEPOINT_PROBE" else rest))
    start = code.tokens[at].start
    source.functions.append(Function(name, section, macro, CType("int"), parameters, text, start, *body))
    source.bcc = True


def finish(source: Source) -> None:
    """Give the functions of BCC's C the sections that stand for their names or contexts."""
    if not source.bcc and any(function.section for function in source.functions):
        return
    named = [bcc_names.section_of(function.name) for function in source.functions]
    source.bcc = source.bcc or any(n != f.name for n, f in zip(named, source.functions, strict=True))
    if not source.bcc:
        return
    for number, (function, section) in enumerate(zip(source.functions, named, strict=True)):
        if function.section or _OUTSIDE.search(function.text):
            continue
        known = section if section != function.name else _by_context(function)
        source.functions[number] = replace(function, section=known)


def table_of(source: Source, name: str) -> str:
    """Return the macro that declares the table of this name, "" if none does."""
    found = source.maps.get(name)
    return found.settings.get("bcc", "") if found else ""


def _by_context(function: Function) -> str:
    if not function.parameters:
        return ""
    base = function.parameters[0].type.base
    if base.startswith("struct tracepoint__"):
        return bcc_names.section_of(base.removeprefix("struct "))
    section = _BY_CONTEXT.get(base, "")
    # Where one attaches it is not known, which says the context all the same.
    return f"kprobe/{function.name}" if section == "kprobe" else section


def _context(macro: str, words: list[str]) -> Declared:
    if macro == "TRACEPOINT_PROBE":
        base = f"struct tracepoint__{'__'.join(words[:2])}"
        return Declared("args", CType(base, 1), f"{base} *args")
    if macro == "RAW_TRACEPOINT_PROBE":
        return Declared("ctx", CType("struct bpf_raw_tracepoint_args", 1), "struct bpf_raw_tracepoint_args *ctx")
    if macro == "BPF_ITER":
        base = f"struct bpf_iter__{words[0]}"
        return Declared("ctx", CType(base, 1), f"{base} *ctx")
    return Declared("ctx", CType("unsigned long long", 1), "unsigned long long *ctx")
