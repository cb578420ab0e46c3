# BCC's tables as libbpf's maps.
#
# BCC's macros declare a struct variable for each table, from which the rewriter takes ``typeof(counts.key)``. Here the
# macros make it a static one under another name, which no object holds, and put the definition of the map behind it.

from __future__ import annotations

import re
from collections.abc import Sequence

from ..cell import Cell
from ..errors import CellError
from . import ctext, held, slots
from .rewriter import Table

_TYPES_HELD = "ebpflab_types_of_"
_DEFINE = "ebpflab_define_"
_MAP = "ebpflab_map_"  # the tag of a map that another holds, which may be declared before it
# In helpers.h: the variable of a table with its initialiser, and the second one of an exported or shared table.
_VARIABLE = re.compile(r"struct _name##_table_t _name = (\{[^}]*\})")
_EXPORTED = re.compile(r"struct _name##_table_t __##_name")
_ANNOTATION = "BPF_ANNOTATE_KV_PAIR"

# BPF_MAP_TYPE_*, include/uapi/linux/bpf.h
BUFFERS = (4, 27)  # perf, ring
_NO_KEY = (22, 23)
# Tables that outlive their program, or belong to another one.
_PINNED = re.compile(
    r'\bBPF_(?:TABLE|QUEUESTACK)_PINNED\w*\s*\(|\bBPF_(?:F_)?TABLE\s*\(\s*"\w+:[^"\n]*"|\bBPF_XSKMAP\s*\([^;)"]*"'
)
_EXTERN = re.compile(r'\bBPF_(?:F_)?TABLE\s*\(\s*"extern"')
_COUNTERS = r'\bBPF_PERF_ARRAY\s*\(\s*{name}\b|\bBPF_(?:F_)?TABLE\w*\s*\(\s*"perf_array"[^;]*,\s*{name}\s*,'
_FD = re.compile(r"(\(void \*\)\s*)?bpf_pseudo_fd\(1, -(\d+)\)")
_TYPE_OF = r"(\b(?:typeof|sizeof)\s*\(\s*)({names})(\s*\.\s*(?:key|leaf)\s*\))"


def check(cell: Cell) -> None:
    """Raise CellError for a table that a cell cannot have."""
    if found := _PINNED.search(cell.code):
        what = "a pinned table would outlive its session, and nothing of ebpflab does"
        hint = "declare it without a path: BPF_TABLE, BPF_QUEUE or BPF_XSKMAP(name, size)"
        raise CellError(what, where=cell.line_of(found.start()), hint=hint)
    if found := _EXTERN.search(cell.code):
        what = "a table of another program cannot be used: each cell stands alone"
        hint = "put both programs into one cell; BPF_TABLE_PUBLIC and BPF_TABLE_SHARED are plain tables here"
        raise CellError(what, where=cell.line_of(found.start()), hint=hint)


def helpers(text: str) -> str:
    """Return BCC's helpers.h with tables that become maps of a libbpf object."""
    text = _EXPORTED.sub(r"static \g<0>", text)
    text = _VARIABLE.sub(rf"static struct _name##_table_t {_TYPES_HELD}##_name = \1; {_DEFINE}##_name", text)
    # The struct that goes with a table for BCC's own loader: libbpf takes its section for something else.
    quiet = "".join(f"#undef {name}\n#define {name}(...)\n" for name in (_ANNOTATION, f"{_ANNOTATION}_QUEUESTACK"))
    return text + "\n" + quiet


def definitions(tables: Sequence[Table], text: str) -> str:
    """Return the definitions of the maps, as macros that BCC's macros put behind each table.

    Parameters
    ----------
    tables
        The tables, as BCC describes them.
    text
        The program without comments, which says which map a map of maps holds, and which tables are histograms.
    """
    inner = held.names(tables, text)
    histograms = slots.types(tables, text)
    lines = []
    for table in tables:
        value = histograms.get(table.name)
        if re.search(_COUNTERS.format(name=re.escape(table.name)), text):
            value = "struct bpf_perf_event_value"  # what makes it no buffer: see ebpflab/perf_counters.py
        members = [f"__uint(type, {table.type})", *_sizes(table), *_kept(table, value)]
        if table.name in inner:
            members.append(f"__array(values, struct {_MAP}{inner[table.name]})")
        tag = f"{_MAP}{table.name} " if table.name in inner.values() else ""
        body = " ".join(f"{member};" for member in members)
        lines.append(f'#define {_DEFINE}{table.name} struct {tag}{{ {body} }} {table.name} SEC(".maps")\n')
    return "".join(lines)


def _sizes(table: Table) -> list[str]:
    # A storage has as many entries as it has owners.
    entries = [f"__uint(max_entries, {table.max_entries})"] if table.max_entries else []
    return [*entries, *([f"__uint(map_flags, {table.flags})"] if table.flags else [])]


def _kept(table: Table, value: str | None) -> list[str]:
    if table.type in BUFFERS:
        return [f"__type(value, {value})"] if value else []
    types = f"{_TYPES_HELD}{table.name}"
    if table.type in held.HOLDERS:
        return [f"__type(key, typeof({types}.key))"]
    key = [] if table.type in _NO_KEY else [f"__type(key, typeof({types}.key))"]
    return [*key, f"__type(value, {value or f'typeof({types}.leaf)'})"]


def addressed(text: str, tables: Sequence[Table]) -> str:
    """Return the program with the addresses of maps where BCC puts their numbers, and types of keys as we name them."""
    names = [table.name for table in tables]

    def address(match: re.Match[str]) -> str:
        name = names[int(match[2]) - 1]
        return f"&{name}" if match[1] else f"((u64)&{name})"

    text = ctext.replaced(_FD, address, text)
    if not names:
        return text
    types = re.compile(_TYPE_OF.format(names="|".join(map(re.escape, names))))
    return ctext.replaced(types, lambda match: f"{match[1]}{_TYPES_HELD}{match[2]}{match[3]}", text)
