"""The C of BPF programs for Pygments: colours in displays, and in pages that nbconvert and Sphinx make of notebooks.

``pyproject.toml`` registers it as the lexer ``bpf``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from pygments.lexers.c_cpp import CLexer
from pygments.token import Comment, Keyword, Name

# Types that vmlinux.h and the prelude bring; struct, union and enum tags are names.
_TYPE = re.compile(
    r"(?:__)?[us](?:8|16|32|64)|__[bl]e(?:16|32|64)|bool|\w+_t"  # kernel style, and the typedefs with a meaning
).fullmatch
_HELPER = re.compile(r"bpf_\w+").fullmatch
_MACRO = re.compile(r"[A-Z_][A-Z0-9_]*[A-Z][A-Z0-9_]*|__(?:uint|type|array|ulong)").fullmatch
_MAGIC = re.compile(r"\s*%%bpf\b[^\n]*(?:\n|\Z)")


class BpfLexer(CLexer):  # type: ignore[misc]
    """C with the types, helpers and macros of BPF programs, and a first line ``%%bpf NAME ...`` if there is one."""

    name = "eBPF C"
    aliases = ("bpf",)
    filenames = ("*.bpf.c",)
    url = "https://docs.kernel.org/bpf/"

    def get_tokens_unprocessed(self, text: str, stack: Any = ("root",)) -> Iterator[tuple[int, Any, str]]:
        """Split a cell into tokens: (offset, kind of token, text)."""
        magic = _MAGIC.match(text)
        start = magic.end() if magic else 0
        if magic:
            # It is no C: the parser of declarations would stumble over it.
            yield 0, Comment.Preproc, text[:start]
        for offset, kind, value in super().get_tokens_unprocessed(text[start:], stack):
            yield start + offset, _kind(kind, value), value


def _kind(kind: Any, value: str) -> Any:
    if kind not in Name:
        return kind
    if _TYPE(value):
        return Keyword.Type
    if _HELPER(value):
        return Name.Builtin
    return Name.Constant if _MACRO(value) else kind
