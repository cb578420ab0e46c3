# Which types a C file needs, from its words alone: aya-tool's "input stub", without a compiler.

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ...btf import Kind
from ...btf_layout import RECORDS
from ...btf_plan import ENUMS
from ...btf_writer import plan

if TYPE_CHECKING:
    from ..btf_source import BtfSource

# Comments, strings and characters, directives with the lines that go on from them, attributes.
_ASIDE = re.compile(
    r'//[^\n]*|/\*.*?(?:\*/|\Z)|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'|^[ \t]*#(?:\\\r?\n|[^\n])*'
    r"|__attribute__\s*\(\([^()]*(?:\([^()]*\)[^()]*)*\)\)",
    re.DOTALL | re.MULTILINE,
)
_TAG = re.compile(r"\b(struct|union|enum)\s+([A-Za-z_]\w*)(\s*[{;])?")
_WORD = re.compile(r"(?<![\w.>])[A-Za-z_]\w*")
_TYPEDEF = re.compile(r"\btypedef\b[^;{}]*\b(\w+)\s*;|\}\s*(\w+)\s*;")
_MEMBER = re.compile(r"(?:->|\.)\s*([A-Za-z_]\w*)")
_READ = re.compile(r"\bBPF_(?:CORE|PROBE)_READ\w*\(([^()]*(?:\([^()]*\)[^()]*)*)\)")


def types_of(text: str, source: BtfSource) -> tuple[int, ...]:
    # The tags that the text names, its typedefs and its enumerators, less what it defines itself; then whatever the
    # members that it reads point at. Raises TypeNotFoundError for a tag that is in neither.
    code = _ASIDE.sub(" ", text)
    own = {tag for _, tag, body in _TAG.findall(code) if body}
    own |= {name for pair in _TYPEDEF.findall(code) for name in pair if name}
    # A tracepoint's context is no type of the kernel: a cell has it from the format file.
    own |= {tag for _, tag, _ in _TAG.findall(code) if tag.startswith("tracepoint__")}
    tags = dict.fromkeys(f"{kind} {tag}" for kind, tag, _ in _TAG.findall(code) if tag not in own)
    found = dict.fromkeys(source.find(tag) for tag in tags)
    words = set(_WORD.findall(_TAG.sub(" ", code))) - own
    found |= dict.fromkeys(t.id for word in sorted(words) if (t := source.btf.find(word, Kind.TYPEDEF)))
    found |= dict.fromkeys(_enums(source, words))
    members = set(_MEMBER.findall(code))
    members |= {word for read in _READ.findall(code) for word in re.findall(r"[A-Za-z_]\w*", read)}
    return _reached(source, found, members)


def _enums(source: BtfSource, words: set[str]) -> list[int]:
    # The numbers of C's own words true and false are in an enum of the kernel.
    return [t.id for t in source.btf.of_kind(*ENUMS) if any(value.name in words for value in t.values)]


def _reached(source: BtfSource, found: dict[int, None], members: set[str]) -> tuple[int, ...]:
    seen: set[int] = set()
    while True:
        records = [source.btf[entry.type_id] for entry in plan(source.btf, found, core=False).entries]
        fresh = [t for t in records if t.id not in seen and source.btf.strip(t.id).kind in RECORDS]
        if not fresh:
            return tuple(found)
        seen.update(t.id for t in fresh)
        for t in fresh:
            found |= dict.fromkeys(_targets(source, source.btf.strip(t.id).id, members))


def _targets(source: BtfSource, record: int, members: set[str]) -> list[int]:
    # The records that members of these names point at, also those of unnamed records inside.
    btf, found, queue = source.btf, [], [record]
    while queue:
        for member in btf[queue.pop()].members:
            core = btf.strip(member.type_id)
            if core.kind in RECORDS and not core.name:
                queue.append(core.id)
            while core.kind is Kind.PTR:
                core = btf.strip(core.type_id)
                if member.name in members and core.kind in RECORDS and core.name:
                    found.append(core.id)
    return found
