# Messages of BCC's compiler in the words of the cell: tables have methods, and no struct behind them.

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace

from ..errors import Diagnostic
from ..similar import did_you_mean, nearest
from . import library, macros

_NO_METHOD = re.compile(r"no member named '(\w+)' in 'struct (\w+)_table_t'(?:; did you mean '(\w+)')?")
_TWICE = re.compile(r"redefinition of '(\w+)_table_t'")
_TOO_MANY = re.compile(r"too many args to 0x[0-9a-f]+: i64 = Constant<(\d+)>")
_COUNT = re.compile(r"too (?:few|many) arguments to function call")
_TYPE = re.compile(r"passing '([^']+)' to parameter of (?:incompatible )?type '([^']+)'")
_GENERAL = re.compile(r"^(?:unknown type|type specifier missing)")
_CALL = re.compile(r"\b(\w+)\s*\.\s*(\w+)\s*\(")
_MACRO = re.compile(r"^\s*(BPF_\w+)\s*\(")
_METHOD = re.compile(r"\(\s*\*\s*(\w+)\s*\)\s*\(")
_HEAD = re.compile(r"^(?:[\w*]+\s+)*?(\w+)\s*\([^;{}]*\)\s*\{", re.MULTILINE)
_ELEMENT = re.compile(r".*?\b(?P<table>\w+)\s*\[(?P<key>[^][]+)\]\s*(?P<does>\+\+|\+=[^;]*|=(?!=))?")
_BY_VALUE = re.compile(
    r"\b(\w+)\s*\.\s*(lookup|delete|update|insert|lookup_or_try_init|lookup_or_init|push|pop|peek)\s*\(\s*(\w+)\s*([,)])"
)
_DECLARED = r"\b(BPF_\w+)\s*\([^;]*?\b{name}\b"
# How methods and declarations are written (bcc: docs/reference_guide.md).
_USES = {
    "lookup": "(&key)", "delete": "(&key)", "update": "(&key, &value)", "insert": "(&key, &value)",
    "lookup_or_try_init": "(&key, &zero)", "lookup_or_init": "(&key, &zero)", "increment": "(key)",
    "atomic_increment": "(key)", "perf_submit": "(ctx, &data, sizeof(data))", "get_stackid": "(ctx, 0)",
    "perf_submit_skb": "(skb, skb->len, &data, sizeof(data))", "ringbuf_output": "(&data, sizeof(data), 0)",
    "ringbuf_reserve": "(sizeof(struct data_t))", "ringbuf_submit": "(data, 0)", "ringbuf_discard": "(data, 0)",
    "push": "(&value, 0)", "pop": "(&value)", "peek": "(&value)", "perf_read": "(CUR_CPU_IDENTIFIER)",
    "perf_counter_value": "(CUR_CPU_IDENTIFIER, &value, sizeof(value))", "redirect_map": "(index, 0)",
    "call": "(ctx, index)", "check_current_task": "(0)",
}  # fmt: skip
_DECLARATIONS = {
    "BPF_HASH": "(name, key=u64, value=u64, size=10240)", "BPF_PERCPU_HASH": "(name, key=u64, value=u64, size=10240)",
    "BPF_LPM_TRIE": "(name, key=u64, value=u64, size=10240)", "BPF_ARRAY": "(name, value=u64, size=10240)",
    "BPF_PERCPU_ARRAY": "(name, value=u64, size=10240)", "BPF_HISTOGRAM": "(name, key=int, size=64)",
    "BPF_TABLE": '("hash", key, value, name, size)', "BPF_F_TABLE": '("hash", key, value, name, size, flags)',
    "BPF_STACK_TRACE": "(name, size)", "BPF_STACK_TRACE_BUILDID": "(name, size)", "BPF_PERF_OUTPUT": "(name)",
    "BPF_RINGBUF_OUTPUT": "(name, pages)", "BPF_PERF_ARRAY": "(name, size)", "BPF_PROG_ARRAY": "(name, size)",
    "BPF_CGROUP_ARRAY": "(name, size)", "BPF_QUEUE": "(name, value, size)", "BPF_STACK": "(name, value, size)",
    "BPF_DEVMAP": "(name, size)", "BPF_CPUMAP": "(name, size)", "BPF_XSKMAP": "(name, size)",
    "BPF_SOCKMAP": "(name, size)", "BPF_SOCKHASH": "(name, key=u32, size=10240)",
    "BPF_ARRAY_OF_MAPS": '(name, "inner", size)', "BPF_HASH_OF_MAPS": '(name, key, "inner", size)',
}  # fmt: skip


def reworded(found: Iterable[Diagnostic]) -> tuple[Diagnostic, ...]:
    # The messages without BCC's own insides: its headers, its names, and what follows from an error in the same line.
    kept: list[Diagnostic] = []
    for each in (_plain(d) for d in found if not (d.where and (d.where.file or "").startswith("/virtual/"))):
        before = [k.message for k in kept if "error" in k.severity and k.where and _line(k) == _line(each)]
        twice = "error" in each.severity and any("declared twice" in message for message in before)
        if not (twice or (before and _GENERAL.match(each.message))):
            kept.append(each)
    return tuple(kept)


def _line(d: Diagnostic) -> int | None:
    return d.where.line if d.where else None


def _plain(d: Diagnostic) -> Diagnostic:
    message = d.message
    if match := _NO_METHOD.search(message):
        message = f"the table {match[2]} has no method {match[1]}"
    elif match := _TWICE.search(message):
        message = f"the table {match[1]} is declared twice"
    elif match := _TOO_MANY.search(message):
        message = _TOO_MANY.sub(f"too many arguments to {_helper(int(match[1]))}", message)
    return replace(d, message=message) if message != d.message else d


def hint(said: str, error: Diagnostic, code: str) -> str | None:
    # What to do about an error, whose message was `said` before it was reworded; `code` is the cell's.
    text = error.where.text if error.where else ""
    if match := _NO_METHOD.search(said):
        return _method(match[1], match[2], match[3], code)
    if "declared twice" in error.message:
        return "give one of them another name: a table is known to all functions of the cell"
    if "use of undeclared identifier 'ctx'" in said and (args := _context(error, code)):
        return args
    if "subscripted value is not an array" in said and (method := _element(error, code)):
        return method
    if "cannot call non-static helper function" in said:
        return "write static inline before it: a function that is not static is a program, with a hook of its own"
    if match := re.search(r"'([^']+)' file not found", said):
        return f"put {match[1]} beside the notebook, or leave it out: the kernel's types are there without any header"
    if "too many arguments to bpf_trace_printk" in error.message:
        return "bpf_trace_printk() prints three values at most: send a struct, events.perf_submit(ctx, &d, sizeof(d))"
    if macro := _MACRO.match(text):
        usage = _DECLARATIONS.get(macro[1])
        return f"it is written {macro[1]}{usage}" if usage and "incomplete" not in said else None
    calls = [m for m in _CALL.finditer(text) if m[2] in _USES]
    call = next((m for m in reversed(calls) if error.where and m.start() < (error.where.column or len(text))), None)
    if call and _COUNT.search(said):
        return f"it is written {call[1]}.{call[2]}{_USES[call[2]]}"
    if call and (match := _TYPE.search(said)):
        declared = re.search(_DECLARED.format(name=re.escape(call[1])), code)
        where = f", as {declared[1]} in line {code.count(chr(10), 0, declared.start()) + 1} says" if declared else ""
        return f"{call[1]}.{call[2]}() takes {match[2]} there{where}"
    return None


def _element(error: Diagnostic, code: str) -> str | None:
    # A table is used as an array: the method that stands for what is done with its element.
    match = _ELEMENT.match(error.where.text) if error.where else None
    if match is None or not re.search(_DECLARED.format(name=re.escape(match["table"])), code):
        return None
    table, key, does = match["table"], match["key"].strip(), match["does"] or ""
    if does == "++" or does.startswith("+="):
        by = "" if does == "++" or does[2:].strip() == "1" else f", {does[2:].strip()}"
        return f"a table is no array: {table}.increment({key}{by})"
    if does.startswith("="):
        return f"a table is no array: {table}.update(&{key}, &value)"
    return f"a table is no array: {table}.lookup(&{key}) gives the address of the value, or NULL"


def _context(error: Diagnostic, code: str) -> str | None:
    # TRACEPOINT_PROBE calls the context args, and every other function as its parameter says.
    if error.where is None:
        return None
    before = [m for m in _HEAD.finditer(code) if code.count("\n", 0, m.start()) < error.where.line]
    if not before or before[-1][1] != "TRACEPOINT_PROBE":
        return None
    member = re.search(r"\bctx\s*->\s*(\w+)", error.where.text)
    return f"BCC calls it args: args->{member[1]}" if member else "BCC calls it args"


def address_of_key(text: str) -> str | None:
    """Return how a method has to be called, of a line that gives it a value where it takes an address.

    Examples
    --------
    >>> address_of_key("u64 *v = counts.lookup(k);")
    'counts.lookup() takes an address: counts.lookup(&k)'
    """
    match = _BY_VALUE.search(text)
    if match is None:
        return None
    call = f"{match[1]}.{match[2]}"
    return f"{call}() takes an address: {call}(&{match[3]}{', ...' if match[4] == ',' else ''})"


def unmade(table: str, reason: str, code: str) -> tuple[re.Match[str] | None, str | None]:
    """Return where a table is declared that the kernel refuses, and what to do about it."""
    declared = re.search(_DECLARED.format(name=re.escape(table)), code)
    if declared is None:
        return None, None
    if declared[1] == "BPF_RINGBUF_OUTPUT":
        pages = re.match(r"\s*,\s*(\d+)\s*\)", code[declared.end() :])
        size = f": {1 << max(int(pages[1]) - 1, 0).bit_length()}" if pages else ""
        return declared, f"the second number is a count of pages, and has to be a power of two{size}"
    if "memory" in reason or "too long" in reason or "too big" in reason:
        return declared, "give it fewer entries, or a smaller key and value"
    usage = _DECLARATIONS.get(declared[1])
    return declared, f"it is written {declared[1]}{usage}" if usage else None


def worth_telling(d: Diagnostic) -> bool:
    # A warning of BCC's compiler about what it then makes another thing of, which ours cannot see any more.
    text = d.where.text if d.where else ""
    wrong_type = "incompatible" in d.message and any(m[2] in _USES for m in _CALL.finditer(text))
    return d.severity == "warning" and (wrong_type or "conversion specifier" in d.message)


def _method(name: str, table: str, near: str | None, code: str) -> str:
    if near:
        return f"did you mean {near}?"
    declared = re.search(_DECLARED.format(name=re.escape(table)), code)
    own = _methods().get(declared[1] if declared else "", ())
    if close := did_you_mean(nearest(name, own)):
        return close
    others = [macro for macro, methods in _methods().items() if name in methods and macro in _DECLARATIONS]
    if others:
        return f"{name}() belongs to {' and '.join(others[:3])}; {declared[1] if declared else table} has {_some(own)}"
    return f"it has {_some(own)}"


def _some(methods: Iterable[str]) -> str:
    return ", ".join(name for name in methods if name in _USES)


@functools.cache
def _methods() -> Mapping[str, tuple[str, ...]]:
    # The methods of each kind of table, as the macros of BCC's helpers.h declare them.
    known = macros.defined_in(library.header("helpers.h"))
    tables = {name: text for name, text in known.items() if name.startswith(("BPF_", "_BPF_"))}
    return {name: tuple(_METHOD.findall("".join(macros.reached(tables, [name])))) for name in tables}


def _helper(number: int) -> str:
    names = re.findall(r"\bFN\((\w+)", library.header("bpf.h"))
    return f"bpf_{names[number]}" if number < len(names) else "a helper"
