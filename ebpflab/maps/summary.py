# How maps show themselves: one description for text and HTML (see formatting).

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import EbpflabError
from ..formatting import Code, Head, Note, Part, Table
from . import histogram, table

if TYPE_CHECKING:
    from .bpfmap import BpfMap
    from .mapping import Maps

_ROWS = 8
_HISTOGRAMS = 3
_WIDEST = 60  # characters of a key or a value


def map_document(shown: BpfMap) -> list[Part]:
    facts = shown._facts
    takes = f", up to {facts.max_entries:,} entries" if facts.max_entries else ""
    kinds = " -> ".join(filter(None, (shown.key_type, shown.value_type)))
    head = Head(shown.name, shown.type, "ok", f"{kinds}{takes}".removeprefix(", "))
    if shown._fd.closed:
        return [head, Note("the session is closed")]
    try:
        return [head, *_content(shown)]
    except EbpflabError as error:  # a map that cannot be listed still says what it is, and what can be done
        return [head, Note(error.what), *([Note(error.hint, "ok", "hint")] if error.hint else [])]


def _content(shown: BpfMap) -> list[Part]:
    if histogram.find(shown._facts) is not None:
        return [Code("\n".join(histogram.lines(shown._facts, shown._entries(), _HISTOGRAMS)) or "(empty)")]
    pairs = shown._first(_ROWS + 1)
    per_cpu = shown._facts.type.per_cpu
    rows = tuple((_cut(key), _cut(table.total(value) if per_cpu else value)) for key, value in pairs[:_ROWS])
    if not rows:
        return [Note("empty")]
    more = [Note("... and more: df() has all")] if len(pairs) > _ROWS else []
    return [Table(("key", "sum over CPUs" if per_cpu else "value"), rows), *more]


def maps_document(maps: Maps) -> list[Part]:
    if not maps:
        return [Note("no maps")]
    rows = tuple(
        (m.name, m.type, m.key_type or "-", m.value_type or "-", m.max_entries, _flags(m._facts.flags))
        for m in maps.values()
    )
    return [Table(("name", "type", "key", "value", "max_entries", "flags"), rows)]


_FLAGS = (  # BPF_F_*, include/uapi/linux/bpf.h, from bit 0 on
    "NO_PREALLOC NO_COMMON_LRU NUMA_NODE RDONLY WRONLY STACK_BUILD_ID ZERO_SEED RDONLY_PROG WRONLY_PROG CLONE "
    "MMAPABLE PRESERVE_ELEMS INNER_MAP LINK PATH_FD VTYPE_BTF_OBJ_FD TOKEN_FD SEGV_ON_FAULT NO_USER_CONV"
)


def _flags(flags: int) -> str:
    return " ".join(name for bit, name in enumerate(_FLAGS.split()) if flags >> bit & 1)


def _cut(value: Any) -> str:
    shown = repr(value)
    shown = "".join(c if c.isprintable() else repr(c)[1:-1] for c in shown)
    return shown if len(shown) <= _WIDEST else f"{shown[: _WIDEST - 1]}…"
