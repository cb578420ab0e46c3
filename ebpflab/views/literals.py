"""Keys and values of maps as text that people can read, change and give back."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Mapping
from typing import Any

from ..errors import MapError
from ..maps import BpfMap, Named, Record

LONGEST = 200  # characters that are shown
_TOO_LONG = 10_000
_YES_NO = {"true": True, "false": False}
_NO_LITERAL = object()
_LITERAL = re.compile(  # how one begins
    r"""[-+.\d'"(\[{]|[bru]{1,2}['"]|(?:None|True|False|nan|inf|set\(\))$""", re.IGNORECASE
)
_NO_FRACTIONS = {"nan": float("nan"), "inf": float("inf")}  # repr() of a float, and no literals of Python's


def text_of(value: Any) -> str:
    """Return a value as text that :func:`value_of` understands: a Python literal, or a word where that is plain.

    Examples
    --------
    >>> text_of("bash"), text_of("17"), text_of(Record)
    ('bash', "'17'", "{'pid': 17, 'comm': 'bash'}")
    """
    if isinstance(value, (Named, BpfMap)):
        return value.name
    return value if isinstance(value, str) and _is_plain(value) else _quoted(value)


def value_of(text: str, *, wants_text: bool) -> Any:
    """Return the Python value of a text: a literal such as ``17``, ``0x1f``, ``{'pid': 1}``, else the text itself.

    Parameters
    ----------
    text
        What somebody typed.
    wants_text
        Whether it goes where text is kept: there ``17`` is a text, too.

    Raises
    ------
    MapError
        When it is longer than any value, or was cut when it was shown.
    """
    if len(text) > _TOO_LONG:
        raise MapError(f"a value of {len(text):,} characters is too long", hint="assign it in a cell: s.maps[...][...]")
    if text.endswith("…") and len(text) >= LONGEST:
        raise MapError("the value was too long to be shown whole", hint="assign it in a cell: s.maps[...][...] = ...")
    plain = text.strip()
    value = _literal(plain)
    if wants_text:
        return value if isinstance(value, (str, bytes)) else text
    return _YES_NO.get(plain.lower(), plain) if value is _NO_LITERAL else value


def _literal(text: str) -> Any:
    if not _LITERAL.match(text):
        return _NO_LITERAL
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "\d" is for Python to warn of in programs
            return ast.literal_eval(_Fractions().visit(ast.parse(text, mode="eval")))
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):  # as ast has it
        return _NO_LITERAL


class _Fractions(ast.NodeTransformer):
    def visit_Name(self, node: ast.Name) -> ast.expr:
        return ast.Constant(_NO_FRACTIONS[node.id]) if node.id in _NO_FRACTIONS else node


def changed(given: Any, before: Any) -> Any:
    """Return of a value what differs from the one before: members by name, elements by index.

    Examples
    --------
    >>> changed({"pid": 17, "at": (1, 2)}, {"pid": 17, "at": (1, 3)})
    {'at': {1: 2}}
    """
    if isinstance(given, Mapping) and isinstance(before, Mapping):
        pairs = {name: (item, before.get(name, _NO_LITERAL)) for name, item in given.items()}
    elif isinstance(given, (tuple, list)) and isinstance(before, (tuple, list)) and len(given) == len(before):
        pairs = dict(enumerate(zip(given, before, strict=True)))
    else:
        return given
    return {name: changed(item, was) for name, (item, was) in pairs.items() if item != was}


def _is_plain(text: str) -> bool:
    # Whether it comes back as it is, without quotes.
    if not text or text != text.strip() or not text.isprintable() or text.lower() in _YES_NO:
        return False
    return _literal(text) is _NO_LITERAL


def _quoted(value: Any) -> str:
    # repr(), but for structs, which are dicts when they are written, and enums and inner maps, which are their names.
    if isinstance(value, Record):
        return _quoted(dict(value))
    if isinstance(value, Mapping) and not isinstance(value, BpfMap):
        return f"{{{', '.join(f'{name!r}: {_quoted(item)}' for name, item in value.items())}}}"
    if isinstance(value, (Named, BpfMap)):
        return repr(value.name)
    if isinstance(value, tuple):
        return f"({', '.join(map(_quoted, value))}{',' if len(value) == 1 else ''})"
    if isinstance(value, list):
        return f"[{', '.join(map(_quoted, value))}]"
    text = repr(value)
    return text if text.isprintable() else ascii(value)
