"""What a tracepoint's fields mean, in words for people."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import TYPE_CHECKING

from ...errors import DecodeError, KernelSupportError, PrivilegeError
from .. import enumerators
from . import meanings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .meanings import Meaning, Symbols
    from .parser import Field

_WIDEST = 56  # characters for the names of a field's values


@functools.lru_cache(maxsize=64)
def meaning(print_fmt: str, fields: tuple[str, ...], category: str) -> Meaning:
    """Return what a print format says of these fields; names of constants are looked up in the kernel's BTF.

    Parameters
    ----------
    print_fmt
        What follows ``print fmt:``.
    fields
        The names of the record's fields.
    category
        The tracepoint's, which often is the name of the module that has it; "" if it may be of another kernel.
    """
    notes = []

    def resolve(names: Sequence[str]) -> dict[str, int]:
        try:
            found = enumerators.values(names, category)
        except (KernelSupportError, PrivilegeError, DecodeError) as error:
            notes.append(f"names of constants could not be looked up: {error.what}")
            return {}
        if found and not category:
            notes.append(f"this kernel's BTF was asked for the values of {_listed(list(found))}")
        return found

    said = meanings.meaning(print_fmt, fields, resolve)
    return replace(said, notes=(*said.notes, *notes))


def describe(field: Field, symbols: Sequence[Symbols]) -> str:
    """Return what is to be known of a field beyond its type, in a few words; "" if there is nothing."""
    said = [_named(each) for each in symbols if each.field == field.name and each.entries]
    if field.string:
        said.append("string")
    if field.user:
        said.append("pointer to memory of the process")
    return "; ".join(dict.fromkeys(said))


def _named(symbols: Symbols) -> str:
    about = f" of {symbols.expression}" if symbols.expression else ""
    if symbols.kind == "flags":
        return f"flags{about}: {_listed([name for _, name in symbols.entries], symbols.separator or ' ')}"
    return f"enum{about}: {_listed([f'{value}={name}' for value, name in symbols.entries])}"


def _listed(names: Sequence[str], separator: str = ", ") -> str:
    # As many as fit a column.
    shown: list[str] = []
    room = _WIDEST
    for name in map(one_line, names):
        room -= len(name) + len(separator)
        if room < 0 and shown:
            return separator.join([*shown, "..."])
        shown.append(name)
    return separator.join(shown)


def one_line(text: str) -> str:
    """Return text with its line breaks and control characters as blanks."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def in_bcc(category: str, event: str, fields: Sequence[Field]) -> list[str]:
    """Return how BCC's C names the hook of a tracepoint and reads a field; [] where the category is not known.

    Examples
    --------
    >>> in_bcc("sched", "sched_wake_idle_without_ipi", tracefs.format("sched:sched_wake_idle_without_ipi").members)
    ['in BCC: TRACEPOINT_PROBE(sched, sched_wake_idle_without_ipi); args->cpu']
    """
    plain = [f"; args->{field.name}" for field in fields if not (field.data_loc or field.rel_loc)]
    return [f"in BCC: TRACEPOINT_PROBE({category}, {event}){''.join(plain[-1:])}"] if category else []
