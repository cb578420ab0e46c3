"""What may follow at the cursor of a notebook's cell."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ..errors import EbpflabError
from . import attach_points, magic_line, names, words
from .magic_line import Notebook
from .names import Item
from .place import Place, place_at

if TYPE_CHECKING:
    from collections.abc import Callable

_DIRECTIVES = ("define", "include", "if", "ifdef", "ifndef", "else", "elif", "endif", "undef", "pragma", "error")
_HEADERS = ("vmlinux.h", "bpf/bpf_helpers.h", "bpf/bpf_core_read.h", "bpf/bpf_tracing.h", "bpf/bpf_endian.h",
            "bpf/usdt.bpf.h", "linux/bpf.h")  # fmt: skip
_NO_NOTEBOOK = Notebook()


class Completions(NamedTuple):
    """What may stand in the place of ``fragment``, the last characters before the cursor; the best first."""

    fragment: str
    items: tuple[Item, ...]


def complete(text: str, offset: int, notebook: Notebook = _NO_NOTEBOOK) -> Completions | None:
    r"""Return what may follow at an offset of a cell; None where the cell is none of ebpflab's.

    What the kernel does not tell this process is left out, without an error.

    Parameters
    ----------
    text
        The whole cell, with its line ``%%bpf``; or a cell of Python with a line ``%bpf``.
    offset
        The cursor, in characters from the start.
    notebook
        What only the notebook knows.

    Examples
    --------
    >>> complete("%%bpf --wa", 10)
    Completions(fragment='--wa', items=(Item(text='--watch', kind='option', ...),))
    """
    place = place_at(text, offset)
    if place is None:
        return None
    try:
        fragment, items = _answer(place, notebook)
    except (EbpflabError, OSError):
        # No BTF, no tracefs, no permission: there is nothing to offer, and somebody is typing.
        return Completions(place.fragment, ())
    return Completions(fragment, tuple(items[: names.MOST]))


def _answer(place: Place, notebook: Notebook) -> tuple[str, list[Item]]:
    if place.kind == "line":
        return magic_line.line(place, notebook)
    if place.kind == "command":
        return magic_line.command(place, notebook)
    answer = _ANSWERS.get(place.kind)
    return place.fragment, answer(place) if answer else []


def _section(place: Place) -> list[Item]:
    # Behind a name stands the section of a variable, elsewhere that of a program.
    assert place.source is not None
    code = place.source.code
    at = code.index(place.offset - len(place.fragment) - 1) - 3  # the string, a parenthesis, SEC
    if (code.kind(at) == "word" and code.text(at) != "static") or code.text(at) == "]":
        return attach_points.data_sections(place.fragment, is_map=code.text(at - 1) == "}")
    return attach_points.sections(place.fragment)


def _directive(place: Place) -> list[Item]:
    return [Item(word, "keyword") for word in _DIRECTIVES if word.startswith(place.fragment)]


def _include(place: Place) -> list[Item]:
    return [Item(name, "header") for name in _HEADERS if name.startswith(place.fragment)]


_ANSWERS: dict[str, Callable[[Place], list[Item]]] = {
    "section": _section,
    "member": words.after_member,
    "tag": words.tags,
    "map": words.after_ampersand,
    "word": words.words,
    "directive": _directive,
    "include": _include,
}
