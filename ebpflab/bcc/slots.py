# Which tables of a program are histograms, and of what: powers of two, as BCC's two functions count them, or numbers.
#
# The table does not say it, the slot that a program counts in does: `sizes.increment(bpf_log2l(size))`, or a variable,
# a member of a struct or a parameter that was given such a value before. That is followed through the text, per table.

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from . import ctext
from .rewriter import Table

# The value types of prelude.h. bpf_log2l() gives 1 for 1, and bpf_log2() gives 0 for it.
LOG2L, LOG2, LINEAR = "bcc_log2_t", "bcc_log2_floor_t", "bcc_linear_t"
_OF = {"bpf_log2l": LOG2L, "bpf_log2": LOG2}
_DECLARED = r'\bBPF_HISTOGRAM\s*\(\s*{name}\b|\bBPF_(?:F_)?TABLE\w*\s*\(\s*"histogram"[^;]*,\s*{name}\s*,'
# What may count in a histogram, and what counts in any table.
_COUNTED = r"(?<![\w.>]){name}\s*\.\s*(?:increment|atomic_increment|update|insert|lookup\w*)\s*\("
_INCREMENTED = r"(?<![\w.>]){name}\s*\.\s*(?:increment|atomic_increment)\s*\("
_MACRO = re.compile(r"^[ \t]*#[ \t]*define[ \t]+(\w+)(\([^)\n]*\))?((?:\\\n|[^\n])*)", re.MULTILINE)
_FUNCTION = re.compile(r"\b(\w+)\s*\(([^(){};]*)\)\s*\{")
_WORD = re.compile(r"[A-Za-z_]\w*")
_DEEPEST = 8  # variables, one given to the next
_U64 = '"unsigned long long"'


def types(tables: Sequence[Table], text: str) -> Mapping[str, str]:
    # The value type of each table that is a histogram. `text`: the program, without comments.
    program = _Program(ctext.plain(text))
    found = {}
    for table in tables:
        name = re.escape(table.name)
        declared = re.search(_DECLARED.format(name=name), text) is not None
        counting = (_COUNTED if declared else _INCREMENTED).format(name=name)
        slots = {program.kind(slot, at) for slot, at in program.calls(counting)}
        only = next(iter(slots)) if len(slots) == 1 else LINEAR
        if table.leaf_desc == _U64 and (only != LINEAR or declared):
            found[table.name] = only
    return found


class _Program:
    def __init__(self, text: str) -> None:
        self._text = text
        macros = list(_MACRO.finditer(text))
        self._macros = {m[1]: m[3] for m in macros}
        named = [*_FUNCTION.finditer(text), *(m for m in macros if m[2])]
        self._functions = sorted((m.start(1), m[1], [_last_word(p) for p in m[2].split(",")]) for m in named)

    def calls(self, pattern: str) -> Iterator[tuple[str, int]]:
        # The first argument of each call, and where it is made.
        for match in re.finditer(pattern, self._text):
            yield _arguments(self._text, match.end())[0], match.start()

    def kind(self, slot: str, at: int, depth: int = 0) -> str:
        # What a slot is: an expression that stands at this place of the text.
        for word in _WORD.findall(slot):
            if word in _OF:
                return _OF[word]
            inner = self._macros.get(word) or self._returned(word)
            if inner is not None and depth < _DEEPEST and (kind := self.kind(inner, at, depth + 1)) != LINEAR:
                return kind
        if slot.lstrip().startswith("{") and depth < _DEEPEST:
            members = (item.rpartition("=")[2] for item in _arguments(slot, slot.index("{") + 1))
            return next((kind for each in members if (kind := self.kind(each, at, depth + 1)) != LINEAR), LINEAR)
        name = re.sub(r"^\s*(?:\([^()]*\)\s*)?&?\s*", "", slot).strip()
        if depth >= _DEEPEST or not re.fullmatch(r"\w+(?:(?:\.|->)\w+)?", name):
            return LINEAR
        return self._variable(name.replace("->", "."), at, depth + 1)

    def _variable(self, name: str, at: int, depth: int) -> str:
        # By the last value that it, or a member of it, was given before; a parameter, by the calls of its function.
        function, parameters, start = self._around(at)
        plain, _, member = name.partition(".")
        of = rf"(?:(?:\.|->)\s*{member})" if member else r"(?:(?:\.|->)\s*\w+)?"
        given = re.compile(rf"(?<![\w.>]){re.escape(plain)}\s*({of})\s*=(?!=)\s*")
        seen = set()
        for match in reversed(list(given.finditer(self._text, start, at))):
            value = _arguments(self._text, match.end())[0]
            kind = LINEAR if match[1] in seen else self.kind(value, match.start(), depth)
            if kind != LINEAR or not match[1]:
                return kind
            seen.add(match[1])
        if plain not in parameters:
            return LINEAR
        called = [c for c in self._call_arguments(function) if len(c[0]) == len(parameters)]
        kinds = {self.kind(given[parameters.index(plain)], place, depth) for given, place in called}
        return next(iter(kinds)) if len(kinds) == 1 else LINEAR

    def _around(self, at: int) -> tuple[str, list[str], int]:
        start, name, parameters = max((each for each in self._functions if each[0] <= at), default=(0, "", []))
        return name, parameters, start

    def _call_arguments(self, function: str) -> Iterator[tuple[list[str], int]]:
        own = {at for at, name, _ in self._functions if name == function}
        for match in re.finditer(rf"\b{re.escape(function)}\s*\(", self._text):
            if match.start() not in own:
                yield _arguments(self._text, match.end()), match.start()

    def _returned(self, function: str) -> str | None:
        start = next((at for at, name, _ in self._functions if name == function), None)
        if start is None:
            return None
        found = re.compile(r"\breturn\b([^;]*);").search(self._text, *ctext.body(self._text, start))
        return found[1] if found else None


def _arguments(text: str, start: int) -> list[str]:
    return [text[first:end] for first, end in ctext.arguments(text, start)]


def _last_word(parameter: str) -> str:
    words = _WORD.findall(parameter)
    return words[-1] if words else ""
