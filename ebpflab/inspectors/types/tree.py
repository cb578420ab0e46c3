"""How a type is shown: as text, and as HTML whose embedded structs open without a script."""

from __future__ import annotations

from collections import deque
from html import escape
from typing import TYPE_CHECKING, NamedTuple

from ...formatting import Head, Note, Part, Table, html, number, text
from .members import holes, nodes, target

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ...btf import Btf
    from . import TypeInfo
    from .members import Hole, Member, Node

_TEXT_LINES = 40
_HTML_LINES = 1000  # those of embedded structs included
_LEVELS = 2  # of structs within structs that HTML can open
_WIDEST = 120  # characters of a declaration
_CACHE_LINE = 64
_UNOPENED = "structs further inside are not opened here; .expand(path) has their members"
_STYLE = """<style>
div.ebpflab .layout { font: 12px/1.5 var(--jp-code-font-family, monospace); max-height: 480px; overflow: auto }
div.ebpflab .layout i { color: var(--jp-ui-font-color2, #6b7280); font-style: normal }
div.ebpflab .layout i { display: inline-block; min-width: 4em; padding-right: 1em; text-align: right }
div.ebpflab .layout summary { cursor: pointer; list-style: none }
div.ebpflab .layout summary::after { content: " \\25b8" }
div.ebpflab .layout details[open] > summary::after { content: " \\25be" }
</style>"""


class _Line(NamedTuple):
    # Of a struct: a member (a bitfield's offset is byte:bit), or bytes that none covers.
    depth: int
    offset: str
    size: str
    said: str
    start: int
    member: Member | None = None


def as_text(info: TypeInfo) -> str:
    """Return a head line and at most 40 lines of members or values; the rest is counted."""
    if info.values:
        return text([_head(info), *_values(info, _TEXT_LINES), *_others(info)])
    lines = list(_lines(info.source.btf, info.nodes, info.gaps, info.size))
    if not lines:
        return text([_head(info), *_others(info)])
    shown, left = lines[:_TEXT_LINES], lines[_TEXT_LINES:]
    widest = [max(len(line.offset) for line in shown), max(len(line.size) for line in shown)]
    rows = tuple((i.offset.rjust(widest[0]), i.size.rjust(widest[1]), "  " * i.depth + i.said) for i in shown)
    return text([_head(info), Table(("offset", "size", "member"), rows), *_left(left), *_others(info)])


def as_html(info: TypeInfo) -> str:
    """Return the same as HTML, up to a bound of about 200 kB, with embedded structs that open on a click."""
    if info.values:
        return html([_head(info), *_values(info, _HTML_LINES), *_others(info)])
    lines = list(_lines(info.source.btf, info.nodes, info.gaps, info.size))
    shown, left = lines[:_HTML_LINES], lines[_HTML_LINES:]
    tree = _Tree(info.source.btf, _HTML_LINES - len(shown))
    body = "".join(tree.branch(shown))
    notes = [*_left(left), *([Note(_UNOPENED)] if tree.unopened else []), *_others(info)]
    layout = f'{_STYLE}<div class="ebpflab"><div class="layout">{body}</div></div>' if body else ""
    return html([_head(info)]) + layout + (html(notes) if notes else "")


def _others(info: TypeInfo) -> list[Note]:
    count = len(info.namesakes)
    what = "another type has" if count == 1 else f"{count} other types have"
    return [Note(f"{what} this name, in other source files: .namesakes")] if count else []


class _Tree:
    # Lines of HTML, those of an embedded struct inside its own line as long as there are some left to spend.

    def __init__(self, btf: Btf, spare: int) -> None:
        self._btf = btf
        self._spare = spare
        self.unopened = False

    def branch(self, lines: Iterable[_Line], level: int = 0) -> Iterator[str]:
        for line in lines:
            inside = self._inside(line, level + 1) if line.member else []
            if inside:
                yield f"<details><summary>{_row(line)}</summary>{''.join(self.branch(inside, level + 1))}</details>"
            else:
                yield f"<div>{_row(line)}</div>"

    def _inside(self, line: _Line, level: int) -> list[_Line]:
        assert line.member is not None
        leads = target(self._btf, line.member.type_id)
        # The members of an anonymous struct stand below it already.
        if leads is None or leads.dereferences or not line.member.name:
            return []
        if level > _LEVELS or self._spare < len(leads.type.members):
            self.unopened = self.unopened or bool(leads.type.members)
            return []
        found, size = nodes(self._btf, leads.type.id), leads.type.size
        lines = list(_lines(self._btf, found, holes(found, size), size, line.depth + 1, line.start))
        if len(lines) > self._spare:
            self.unopened = True
            return []
        self._spare -= len(lines)
        return lines


def _row(line: _Line) -> str:
    style = f' style="padding-left:{2 * line.depth}em"' if line.depth else ""
    muted = "" if line.member else ' class="muted"'
    return f"<i>{line.offset}</i><i>{line.size}</i><span{muted}{style}>{escape(line.said)}</span>"


def _lines(
    btf: Btf, found: tuple[Node, ...], unused: tuple[Hole, ...], size: int | None, depth: int = 0, start: int = 0
) -> Iterator[_Line]:
    # Those of a type that starts so many bytes into the one that is shown. A hole stands before what is behind it.
    gaps = deque(unused)
    for more, member in found:
        while gaps and member.offset >= gaps[0].offset + gaps[0].size:
            yield _hole(gaps.popleft(), depth + more, start, "hole")
        at = start + member.offset
        offset = f"{at}:{member.bit}" if member.bits else str(at)
        yield _Line(depth + more, offset, number(member.size), _declaration(btf, member), at, member)
    for gap in gaps:
        yield _hole(gap, depth, start, "padding" if gap.offset + gap.size == size else "hole")


def _hole(gap: Hole, depth: int, start: int, what: str) -> _Line:
    return _Line(depth, str(start + gap.offset), number(gap.size), f"({what})", start + gap.offset)


def _declaration(btf: Btf, member: Member) -> str:
    bits = f":{member.bits}" if member.bits else ""
    said = btf.c_type(member.type_id, member.name) + bits
    return said if len(said) <= _WIDEST else f"{said[: _WIDEST - 1]}…"


def _head(info: TypeInfo) -> Head:
    size = "no size" if info.size is None else _counted(info.size, "byte")
    return Head(info.c_type, size, "ok", ", ".join([*_facts(info), f"from {info.source.name}"]))


def _facts(info: TypeInfo) -> Iterator[str]:
    btf = info.source.btf
    if info.kind == "typedef":
        yield f"typedef of {btf.c_type(btf[info.type_id].type_id)}"
    if info.values:
        yield _counted(len(info.values), "value")
    if not info.nodes or not info.size:
        return
    yield f"{_counted(-(-info.size // _CACHE_LINE), 'cache line')} of {_CACHE_LINE}"
    yield _counted(len(info.members), "member")
    if info.holes:
        yield f"{_counted(len(info.holes), 'hole')} of {_counted(sum(hole.size for hole in info.holes), 'byte')}"
    if info.padding:
        yield f"{_counted(info.padding, 'byte')} of padding at the end"


def _counted(count: int, thing: str) -> str:
    return f"{number(count)} {thing}{'' if count == 1 else 's'}"


def _values(info: TypeInfo, limit: int) -> list[Part]:
    # As text: identifiers and flags read badly with thousands separators.
    rows = tuple((value.name, str(value.value)) for value in info.values[:limit])
    left = info.values[limit:]
    more = [Note(f"... {_counted(len(left), 'more value')}; .fields has all of them")] if left else []
    return [Table(("name", "value"), rows), *more]


def _left(lines: list[_Line]) -> list[Part]:
    count = sum(1 for line in lines if line.member and line.member.name)
    return [Note(f"... {_counted(count, 'more member')}; .fields has all of them")] if lines else []
