"""Columns from tracepoints' format files: every field with the type that its kernel declaration and print format tell.

The print format is what the kernel itself shows of a record: ``%pI4`` says that four bytes are an IPv4 address,
``%pS`` that a number is an address in the kernel (``Documentation/core-api/printk-formats.rst``).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ...btf import Kind
from ...errors import EbpflabError
from ..formats import c_words
from ..formats.c_words import NotUnderstoodError
from ..layout import vmlinux
from .parts import KEYWORDS, Column, Program, handler

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..tracefs import Field, Format

_TEXT, _USER_TEXT = 64, 128  # bytes for a string, and for a path that a process gives
_INLINE = 64  # bytes of an array that are kept
_CONVERSION = re.compile(r"%[-+ #0]*(?P<stars>(?:\*|\d+)?(?:\.(?:\*|\d+))?)[hljztL]*(?P<end>p\w*|[a-zA-Z%])")
_ARGUMENT = re.compile(r"(?:\( [^()]* \) )*(?:& )?REC -> (\w+)(?: \[ 0 \])?")
# Parameters of system calls that are declared as text and hold bytes, whose number is another parameter.
_BUFFERS = frozenset(("buf", "ubuf", "u_msg_ptr", "buffer", "value", "data", "umod"))


def of_tracepoint(form: Format) -> Program:
    """Return the program for a tracepoint, with a column for each of its own fields."""
    hints, meanings = print_hints(form.print_fmt), form.meanings
    columns: list[Column] = []
    left_out: list[str] = []
    for field in form.members:
        if field.common or (field.name == "__syscall_nr" and form.category == "syscalls"):
            continue
        made = list(_columns(form, field, hints.get(field.name, ""), meanings.get(field.name, "")))
        columns += made
        if not made:
            left_out.append(f"{field.name} ({field.type})")
    call = system_call(form)
    says = f"A row for each hit of the tracepoint {form.category}:{form.name}."
    if call:
        says = f"A row for each {call}(2), {'as it ends' if '_exit_' in form.name else 'as it begins'}."
    section = f"tp/{form.category}/{form.name}"
    return Program(
        says, section, f"int {handler(call or form.name)}(struct {form.tag} *ctx)", tuple(columns), tuple(left_out)
    )


def system_call(form: Format) -> str:
    """Return the system call that a tracepoint belongs to, or ""."""
    found = re.fullmatch(r"sys_(?:enter|exit)_(\w+)", form.name)
    return found[1] if found and form.category == "syscalls" else ""


def print_hints(print_fmt: str) -> dict[str, str]:
    """Return what the print format converts each field with: ``d``, ``s``, ``pS``, ``pI4`` ...

    Examples
    --------
    >>> print_hints('"at %pS: %d", (void *)REC->ip, REC->n')
    {'ip': 'pS', 'n': 'd'}
    """
    try:
        words = c_words.arguments(c_words.tokens(print_fmt))
    except NotUnderstoodError:
        return {}
    text, *given = [" ".join(token.text for token in argument) for argument in words] or [""]
    ends: list[str] = []
    for found in _CONVERSION.finditer(text):
        if found["end"] != "%":
            ends += ["d"] * found["stars"].count("*") + [found["end"]]
    if len(ends) != len(given):
        return {}
    named = ((_ARGUMENT.fullmatch(argument), end) for argument, end in zip(given, ends, strict=True))
    return {found[1]: end for found, end in named if found}


def integer(size: int, signed: bool) -> str:
    """Return the kernel's name for an integer of so many bytes."""
    return f"{'s' if signed else 'u'}{8 * size}"


def declared(text: str) -> tuple[int, bool] | None:
    """Return size and sign of an integer type of the running kernel, or None if it has none of that name.

    Examples
    --------
    >>> declared("umode_t")
    (2, False)
    """
    words = " ".join(word for word in text.split() if word != "const")
    if words in _PLAIN:
        return _PLAIN[words]
    try:
        btf = vmlinux()
    except EbpflabError:
        return None  # without BTF the size in the record has to do
    found = btf.find(words, Kind.TYPEDEF)
    core = btf.strip(found.id) if found else None
    return (core.size, core.signed) if core and core.kind is Kind.INT and core.size <= 8 else None


def _columns(form: Format, field: Field, hint: str, meaning: str) -> Iterator[Column]:
    place = _place(field)
    if field.data_loc or field.rel_loc:
        yield from _dynamic(field)
    elif field.length is not None:
        yield from _array(field, place, hint)
    elif "*" in field.type:
        yield _pointer(form, field, place, hint)
    elif field.size in (1, 2, 4, 8):
        yield from _scalar(form, field, place, hint, meaning)


def _place(field: Field) -> str:
    return f"ctx->{field.name}_" if field.name in KEYWORDS else f"ctx->{field.name}"


def _dynamic(field: Field) -> Iterator[Column]:
    # Arrays of other things have no length that a column could have.
    if not re.search(r"\bchar\[\]", field.type) or "unsigned" in field.type:
        return
    if field.data_loc:
        fill = f"TP_DATA_LOC_STR(@, sizeof(@), ctx, {field.name});"
    else:
        at = f"ctx->__rel_loc_{field.name}"
        fill = f"bpf_probe_read_kernel_str(@, sizeof(@), (void *)(&{at} + 1) + ({at} & 0xffff));"
    yield Column(field.name, f"char @[{_TEXT}]", fill)


def _array(field: Field, place: str, hint: str) -> Iterator[Column]:
    assert field.length is not None
    copy = f"__builtin_memcpy(@, {place}, sizeof(@));"
    if (hint[:3], field.size) == ("pI4", 4):
        yield Column(field.name, "ipv4_t @", copy.replace("@", "&@", 1))
    elif (hint[:3], field.size) == ("pI6", 16):
        yield Column(field.name, "ipv6_t @", copy)
    elif (hint[:2], field.size) == ("pM", 6):
        yield Column(field.name, "mac_t @", copy)
    elif hint.startswith("pIS") and field.size == 28:  # struct sockaddr_in or sockaddr_in6
        yield Column(field.name, "ipv4_t @", f"__builtin_memcpy(&@, {place} + 4, sizeof(@));", "if it is IPv4")
        yield Column(f"{field.name}_v6", "ipv6_t @", f"__builtin_memcpy(@, {place} + 8, sizeof(@));", "if it is IPv6")
    elif field.length and field.size % field.length == 0:
        each = field.size // field.length
        text = re.search(r"(?<!unsigned )\bchar\[", field.type)
        kept = min(field.length, _INLINE // each)
        note = f"the first of {field.length}" if kept < field.length else ""
        kind = "char" if text and each == 1 else integer(each, field.signed) if each in (1, 2, 4, 8) else ""
        if kind:
            yield Column(field.name, f"{kind} @[{kept}]", copy, note)


def _pointer(form: Format, field: Field, place: str, hint: str) -> Column:
    words = re.sub(r"\s*\*", " *", field.type)
    if system_call(form):
        if words == "const char *" and field.name not in _BUFFERS:
            fill = f"bpf_probe_read_user_str(@, sizeof(@), {place});"
            return Column(field.name, f"char @[{_USER_TEXT}]", fill)
        return Column(field.name, "u64 @", f"@ = (u64){place};", f"{words}, in the process")
    if hint == "s":
        return Column(field.name, f"char @[{_TEXT}]", f"bpf_probe_read_kernel_str(@, sizeof(@), {place});")
    if _is_symbol(hint):
        return Column(field.name, "ksym_t @", f"@ = (u64){place};")
    return Column(field.name, "u64 @", f"@ = (u64){place};", words)


def _scalar(form: Format, field: Field, place: str, hint: str, meaning: str) -> Iterator[Column]:
    size, signed = field.size, field.signed
    if system_call(form) and "_enter_" in form.name:
        size, signed = declared(field.type) or (size, signed)  # in the record they all are 8 bytes
    kind = integer(size, signed)
    if field.type == "bool" and size == 1:
        kind = "bool"
    elif field.type.startswith("enum ") and _is_enum(field.type, size):
        kind, meaning = field.type, ""  # the values' names come with the type
    elif _is_symbol(hint) and size == 8:
        kind = "ksym_t"
    elif (hint[:3], size) == ("pI4", 4):
        kind = "ipv4_t"
    elif (form.category, field.name) == ("raw_syscalls", "id"):
        kind = "syscall_t"
    elif (form.category, field.name, size) == ("signal", "sig", 4):
        kind = "signal_t"
    yield Column(field.name, f"{kind} @", f"@ = {place};", meaning)
    if field.name == "ret" and (form.category == "raw_syscalls" or system_call(form)):
        yield Column("error", "errno_t @", f"@ = {place} < 0 ? {place} : 0;")


def _is_symbol(hint: str) -> bool:
    return hint[:2] in ("pS", "ps", "pF", "pf", "pB")


def _is_enum(spelled: str, size: int) -> bool:
    try:
        found = vmlinux().find(spelled.removeprefix("enum "), Kind.ENUM, Kind.ENUM64)
    except EbpflabError:
        return False
    return found is not None and found.size == size


_PLAIN = {
    "char": (1, True),
    "int": (4, True),
    "unsigned": (4, False),
    "unsigned int": (4, False),
    "long": (8, True),
    "unsigned long": (8, False),
}
