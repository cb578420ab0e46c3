# The type of the records of a ring or perf buffer: BCC's buffers do not name it, what is sent does.
#
# Nobody knows that type better than the compiler. So each call says it: beside what it sends stands a variable that
# nothing reads, `ebpflab_sent_to_BUFFER`, of a type that points to that of the record; ebpflab/records.py finds it in
# the BTF of the object. Strings, casts and functions of one name do not mislead it, and headers are no obstacle.

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from . import ctext
from .rewriter import Table

_CALL = re.compile(r"\bbpf_(perf_event_output|ringbuf_output|ringbuf_reserve)\(")
_BUFFER = re.compile(r"\(void \*\)\s*bpf_pseudo_fd\(1, -(\d+)\)")
# Where each function takes the buffer, and the record or, to reserve one, its size: man 7 bpf-helpers.
_PLACES = {"perf_event_output": (1, 3), "ringbuf_output": (0, 1), "ringbuf_reserve": (0, 1)}
_SIZE_OF = re.compile(r"\s*sizeof\b\s*(?:(\(.*\))|(\**\w+))\s*", re.DOTALL)
# A cast hides the type; what it is applied to has it.
_CAST = re.compile(r"\s*\(\s*(?:const\s+)?(?:void|char|u8)\s*\*\s*\)\s*(&?\s*\w+(?:(?:\.|->)\w+)*)\s*")
_UNKNOWN = "(void *)0"


def marked(text: str, tables: Sequence[Table]) -> str:
    """Return a rewritten program in which each call that sends a record tells the compiler of what type it is.

    Parameters
    ----------
    text
        The program, with the numbers of tables in place.
    tables
        The tables; the N-th is ``bpf_pseudo_fd(1, -N)``.

    Examples
    --------
    >>> marked("int f(void *c) { return 0; }", [])
    'int f(void *c) { return 0; }'
    """
    for at, mark in sorted(_marks(text, tables), reverse=True):
        start, end = at
        text = f"{text[:start]} ({mark}, {text[start:end].strip()}){text[end:]}"
    return text


def _marks(text: str, tables: Sequence[Table]) -> Iterator[tuple[tuple[int, int], str]]:
    bare = ctext.plain(text)
    for match in _CALL.finditer(bare):
        given = ctext.arguments(bare, match.end())
        first, second = _PLACES[match[1]]
        if len(given) <= second or (buffer := _BUFFER.search(bare, *given[first])) is None:
            continue
        sent = text[slice(*given[second])]
        cast = _CAST.fullmatch(sent)
        record = _reserved(sent) if match[1] == "ringbuf_reserve" else cast[1] if cast else sent
        yield given[second], f"ebpflab_sends({tables[int(buffer[1]) - 1].name}, {' '.join(record.split())})"


def _reserved(size: str) -> str:
    # A pointer to what is as large, from `sizeof(struct data_t)` or `sizeof(*data)`.
    found = _SIZE_OF.fullmatch(size)
    if found is None or (found[1] and ctext.closing(ctext.plain(found[1]), 0) < len(found[1]) - 1):
        return _UNKNOWN  # a number, or a sum
    return f"(typeof({found[1][1:-1] if found[1] else found[2]}) *)0"
