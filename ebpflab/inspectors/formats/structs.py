"""The record of a tracepoint as a C struct that puts every field where the kernel has it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .parser import Field

# C11 and GNU C keywords, and what stdbool.h makes of three more words.
_KEYWORDS = re.compile(
    "asm|auto|bool|break|case|char|const|continue|default|do|double|else|enum|extern|false|float|for|goto|if|inline|"
    "int|long|register|restrict|return|short|signed|sizeof|static|struct|switch|true|typedef|typeof|union|unsigned|"
    "void|volatile|while"
).fullmatch
_INTEGERS = {1: "char", 2: "short", 4: "int", 8: "long long"}
_PLAIN = {"char", "short", "int", "long", "signed", "unsigned", "void"}
# Words that mark a pointer's address space or are attributes; they mean nothing to a BPF program.
_MARKS = re.compile(r"__attribute__\s*\(\(.*?\)\)(?!\))|\b__(seg_gs|seg_fs|percpu|user|kernel|iomem|rcu|force)\b")


def struct(tag: str, members: Sequence[Field]) -> str:
    """Return the fields of a record as a C struct of that tag; see :meth:`ebpflab.inspectors.tracefs.Format.c`.

    Examples
    --------
    >>> struct("t", [Field("pid", "int", 0, 4, signed=True)]).split()
    ['struct', 't', '{', 'int', 'pid;', '};']
    """
    lines: list[str] = []
    taken = {field.name for field in members}
    end = 0
    for field in sorted(members, key=lambda field: (field.offset, field.size)):
        if field.offset > end:
            lines.append(f"\tchar {_unused(f'__pad_{end}', taken)}[{field.offset - end}];")
        name = _c_name(field)
        lines.append(f"\t{_declare(field, name if name == field.name else _unused(name, taken))};")
        end = field.offset + field.size
    return "\n".join([f"struct {tag} {{", *lines, "};", ""])


def _c_name(field: Field) -> str:
    if field.data_loc or field.rel_loc:
        return f"{field.type.split()[0]}_{field.name}"
    return f"{field.name}_" if _KEYWORDS(field.name) else field.name


def _unused(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "_"
    taken.add(name)
    return name


def _declare(field: Field, name: str) -> str:
    base, length, signed = field.type.split("[", 1)[0], field.length, field.signed
    if field.data_loc or field.rel_loc:
        base, length, signed = "", None, False
    element = field.size if length is None else field.size // max(length, 1)
    if element not in _INTEGERS or (length is not None and element * length != field.size):
        # A struct by value, or dimensions that were not understood: bytes are always right.
        base, length, element, signed = "", field.size, 1, False
    kind = _c_type(base, signed, element, array=length is not None)
    dimension = "" if length is None else f"[{length}]"
    packed = " __attribute__((packed))" if field.offset % element else ""
    return f"{kind}{'' if kind[-1] in '* ' else ' '}{name}{dimension}{packed}"


def _c_type(base: str, signed: bool, size: int, *, array: bool) -> str:
    words = _MARKS.sub(" ", base)
    if "*" in words and size == 8:
        return _pointer(words)
    if array and words.split()[-1:] == ["char"]:
        return "char"
    integer = _INTEGERS[size]
    return f"unsigned {integer}" if not signed else "signed char" if size == 1 else integer


def _pointer(words: str) -> str:
    # What it points to stays if it is plain C; a kernel type becomes void, since the struct must not need it.
    target, stars = words.split("*", 1)
    plain = [word for word in target.split() if word != "const"]
    named = " ".join(plain) if plain and _PLAIN.issuperset(plain) else "void"
    const = "const " if "const" in target.split() else ""
    levels = re.findall(r"\*|\bconst\b", stars)
    return f"{const}{named} *" + "".join("*" if level == "*" else "const " for level in levels)
