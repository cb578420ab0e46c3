"""The text of a Python module with ctypes classes and numpy dtypes."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from ._ctypes_layout import identifier, other_order
from .members import STRUCTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import numpy as np

    from ...btf import Btf
    from ._ctypes_layout import Expression, Plan, Planner

_HEAD = '''"""Types as BTF has them: a ctypes type NAME and a numpy dtype NAME_dtype for each; made by ebpflab."""

import ctypes
import sys

import numpy as np

assert sys.byteorder == "{byteorder}", "this module is of a machine with another byte order"
'''


def module(
    btf: Btf,
    planner: Planner,
    expressions: Mapping[int, Expression],
    dtype: Callable[[int], np.dtype[Any]],
    swapped: bool,
) -> str:
    """Return the module: each class of the planner with its dtype, then what else was asked for.

    Parameters
    ----------
    expressions
        What was asked for: type id -> ctypes type.
    dtype
        Gives the numpy dtype of a type id.
    swapped
        Whether the BTF has the other byte order than this machine.
    """
    parts = [_HEAD.format(byteorder=sys.byteorder)]
    known: dict[np.dtype[Any], str] = {}
    for plan in planner.plans.values():
        parts.append(_class(plan, swapped))
        if plan.type_id and plan.type_id not in planner.inlined:
            parts.append(_named_dtype(planner, plan.name, dtype(plan.type_id), known))
    for type_id, expression in expressions.items():
        named = btf[type_id]
        # A class is there already, for a typedef if it has the same name.
        if named.kind not in STRUCTS and (expression.lengths or identifier(named.name) != expression.word):
            parts += _other(btf, planner, type_id, _type(expression, swapped), dtype(type_id), known)
    return "\n".join(parts)


def _class(plan: Plan, swapped: bool) -> str:
    # ctypes swaps the bytes of a struct of bitfields by its base, those of all others by their members.
    bits = plan.base == "Bits"
    foreign = "BigEndianStructure" if sys.byteorder == "little" else "LittleEndianStructure"
    base = plan.base if not bits else foreign if swapped else "Structure"
    lines = ["", f"class {plan.name}(ctypes.{base}):", f"    # {_comment(plan.comment)}"]
    if plan.packed:
        lines += ["    _pack_ = 1", '    _layout_ = "ms"']
    if plan.anonymous:
        lines.append(f"    _anonymous_ = [{', '.join(map(_quoted, plan.anonymous))}]")
    if not plan.packed and not plan.anonymous:
        lines.append("    pass")
    # Set from outside, as Python would change names that start with two underscores inside of a class.
    lines += ["", "", f"{plan.name}._fields_ = ["]
    for field in plan.fields:
        said = f"{_quoted(field.name)}, {_type(field.type, swapped and not bits)}"
        said += f", {field.bits}" if field.bits else ""
        lines.append(f"    ({said})," + (f"  # {_comment(field.comment)}" if field.comment else ""))
    return "\n".join([*lines, "]", f"assert ctypes.sizeof({plan.name}) == {plan.size}", ""])


def _other(
    btf: Btf, planner: Planner, type_id: int, spelled: str, dtype: np.dtype[Any], known: dict[np.dtype[Any], str]
) -> Iterator[str]:
    found = btf[type_id]
    name = planner.word(found.name or f"anonymous_{type_id}")
    yield f"{name} = {spelled}  # {_comment(btf.c_type(type_id))}"
    yield _named_dtype(planner, name, dtype, {} if dtype.fields is None else known)
    if found.values:
        rows = "".join(f"    {_quoted(value.name)}: {value.value},\n" for value in found.values)
        yield f"{planner.word(f'{name}_values')} = {{\n{rows}}}\n"


def _named_dtype(planner: Planner, name: str, dtype: np.dtype[Any], known: dict[np.dtype[Any], str]) -> str:
    word = planner.word(f"{name}_dtype")
    said = _dtype(dtype, known)
    if dtype.fields is not None:
        known.setdefault(dtype, word)
    return f"{word} = np.dtype({said})\nassert {word}.itemsize == {dtype.itemsize}\n"


def _dtype(dtype: np.dtype[Any], known: Mapping[np.dtype[Any], str]) -> str:
    # What np.dtype() takes. A dtype that has a name already is called by it, even if it is that of another struct.
    if dtype.fields is not None and dtype in known:
        return known[dtype]
    if dtype.subdtype is not None:
        element, shape = dtype.subdtype
        return f"({_dtype(element, known)}, {shape})"
    if dtype.fields is None:
        return _quoted(dtype.str)
    places = [(name, *dtype.fields[name][:2]) for name in dtype.names or ()]
    rows = {
        "names": ", ".join(_quoted(name) for name, *_ in places),
        "formats": ", ".join(_dtype(inner, known) for _, inner, _ in places),
        "offsets": ", ".join(str(offset) for *_, offset in places),
    }
    lists = "".join(f"    {_quoted(key)}: [{said}],\n" for key, said in rows.items())
    return f'{{\n{lists}    "itemsize": {dtype.itemsize},\n}}'


def _type(expression: Expression, swapped: bool) -> str:
    said = f"ctypes.{expression.word}" if expression.own else expression.word
    if expression.own and swapped:
        said = ".".join(filter(None, ("ctypes", *other_order(expression.word))))
    for length in reversed(expression.lengths):
        said = f"{f'({said})' if '*' in said else said} * {length}"
    return said


def _quoted(name: str) -> str:
    # JSON's literal is also Python's, if it leaves letters outside of ASCII as they are.
    return json.dumps(name, ensure_ascii=False)


def _comment(said: str) -> str:
    # Names of damaged BTF hold anything; a line break in one must not end the comment.
    return "".join(c if c.isprintable() else "?" for c in said)
