"""Types of BTF for Python: numpy dtypes, ctypes classes, and the text of a module that defines both.

==================  =====================================  ==============================================
C                   numpy                                  ctypes
==================  =====================================  ==============================================
integer, enum       same width and sign                    the same
``bool``            bool                                   ``c_bool``
``char[N]``         ``S<N>``                               ``c_char * N``
pointer             uint64                                 ``c_void_p``
bitfield            the bytes that it lies in, uint8       a bitfield
array               subarray                               array
struct, union       nested dtype; a union's overlap        ``Structure``, ``Union``
anonymous ones      their members, in place                their members, by ``_anonymous_``
flexible array      left out                               array of length 0
128-bit integer     16 bytes, ``V16``                      ``c_uint8 * 16``
==================  =====================================  ==============================================

Both have the byte order of the BTF; where that is not the machine's, a pointer is a ``c_uint64`` for ctypes. numpy
has no bitfields: :attr:`.TypeInfo.fields` says which bits of the bytes are meant.
"""

from __future__ import annotations

import ctypes
import sys
from typing import TYPE_CHECKING, Any, Literal

from ...errors import DecodeError
from ._ctypes_layout import Expression, Plan, Planner, other_order
from .members import members, size_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from ...btf import Btf
    from ...columns import Layout
    from .members import Member

_MAX_SIZE = 1 << 26  # bytes of a type: more is damage


def dtype(btf: Btf, type_id: int) -> np.dtype[Any]:
    """Return the numpy dtype of a type, with every member where C has it.

    Raises
    ------
    DecodeError
        The type has no size, or numpy cannot have it, or BTF contradicts itself about it.

    Examples
    --------
    >>> dtype(btf, btf.find("list_head").id).fields["prev"]
    (dtype('uint64'), 8)
    """
    from ...columns import Layout

    return _numpy(btf, Layout(btf), type_id)


def ctypes_class(btf: Btf, type_id: int) -> Any:
    """Return the ctypes type of a type, checked: every offset and size is that of the BTF.

    Raises
    ------
    DecodeError
        The type has no size, or ctypes cannot lay it out so, or BTF contradicts itself about it.

    Examples
    --------
    >>> ctypes_class(btf, btf.find("list_head").id).prev.offset
    8
    """
    _checked_size(btf, type_id)
    planner = Planner(btf)
    expression, _ = planner.expression(type_id)
    return _evaluate(expression, _build(btf, planner), _swapped(btf))


def source(btf: Btf, type_ids: Sequence[int]) -> str:
    """Return a Python module with a ctypes type ``NAME`` and a numpy dtype ``NAME_dtype`` for each type.

    Structs that they contain come before them; an enum also has ``NAME_values``, a dict. Two types of one name, and
    names that are words of Python, get an underscore at their end. The module needs numpy only, and asserts sizes.

    Parameters
    ----------
    type_ids
        Of types that have a name.

    Raises
    ------
    DecodeError
        As for :func:`ctypes_class` and :func:`dtype`.

    Examples
    --------
    >>> print(source(btf, [btf.find("list_head").id]))
    import ctypes
    ...
    """
    from ...columns import Layout
    from ._python_module import module

    planner = Planner(btf)
    expressions = {}
    for type_id in type_ids:
        _checked_size(btf, type_id)
        expressions[type_id] = planner.expression(type_id)[0]
    _build(btf, planner)  # a module that would be wrong is not written
    layout = Layout(btf)
    return module(btf, planner, expressions, lambda wanted: _numpy(btf, layout, wanted), _swapped(btf))


def _numpy(btf: Btf, layout: Layout, type_id: int) -> np.dtype[Any]:
    _checked_size(btf, type_id)
    try:
        return layout.dtype(type_id)
    except (ValueError, TypeError, OverflowError) as error:
        raise DecodeError(f"numpy cannot have {btf.c_type(type_id)}: {error}.") from None


def _swapped(btf: Btf) -> bool:
    return btf.byteorder != sys.byteorder


def _checked_size(btf: Btf, type_id: int) -> int:
    size = size_of(btf, type_id)
    if size is None or size > _MAX_SIZE:
        said = "no size" if size is None else f"{size:,} bytes"
        raise DecodeError(f"{btf.c_type(type_id)} has {said}, so Python cannot hold it.")
    return size


def _build(btf: Btf, planner: Planner) -> dict[str, Any]:
    # All classes of the planner, each checked.
    classes: dict[str, Any] = {}
    for plan in planner.plans.values():
        try:
            classes[plan.name] = _class(plan, classes, _swapped(btf))
        except (ValueError, TypeError, OverflowError, AttributeError) as error:
            raise DecodeError(f"ctypes cannot have {plan.comment or plan.name}: {error}.") from None
        if ctypes.sizeof(classes[plan.name]) != plan.size:
            raise DecodeError(f"ctypes makes {plan.comment} of {ctypes.sizeof(classes[plan.name])} bytes.")
        if plan.type_id:
            _check(btf, plan, classes[plan.name])
    return classes


def _class(plan: Plan, classes: dict[str, Any], swapped: bool) -> Any:
    bits = plan.base == "Bits"
    base = _structure(swapped) if bits else getattr(ctypes, plan.base)
    body: dict[str, Any] = {"__doc__": plan.comment}
    if plan.packed:
        body |= {"_pack_": 1, "_layout_": "ms"}  # Python 3.14 asks for _layout_, older ones do not look at it
    if plan.anonymous:
        body["_anonymous_"] = plan.anonymous
    # ctypes swaps the bytes of a struct of bitfields by its base, those of all others by their members.
    fields = [
        (f.name, _evaluate(f.type, classes, swapped and not bits)) + ((f.bits,) if f.bits else ()) for f in plan.fields
    ]
    return type(base)(plan.name, (base,), body | {"_fields_": fields})


def _structure(swapped: bool) -> Any:
    if not swapped:
        return ctypes.Structure
    return ctypes.BigEndianStructure if sys.byteorder == "little" else ctypes.LittleEndianStructure


def _evaluate(expression: Expression, classes: dict[str, Any], swapped: bool) -> Any:
    if not expression.own:
        found = classes[expression.word]
    elif swapped:
        word, attribute = other_order(expression.word)
        found = getattr(ctypes, word)
        found = getattr(found, attribute) if attribute else found
    else:
        found = getattr(ctypes, expression.word)
    for length in reversed(expression.lengths):
        found = found * length
    return found


def _check(btf: Btf, plan: Plan, made: Any) -> None:
    # ctypes' own word on where each member is, against BTF; of a bitfield, which bits change as it is written.
    sample = None
    for member in members(btf, plan.type_id):
        if member.bits:
            sample = sample or made()
            right = _writes(sample, member, btf.byteorder)
        else:
            field = getattr(made, member.name)
            right = (field.offset, field.size) == (member.offset, member.size)
        if not right:
            raise DecodeError(f"ctypes does not put {member.name!r} of {btf.c_type(plan.type_id)} where BTF has it.")


def _writes(sample: Any, member: Member, byteorder: Literal["little", "big"]) -> bool:
    start, length = member.offset, (member.bit + member.bits + 7) // 8
    shift = member.bit if byteorder == "little" else 8 * length - member.bit - member.bits
    expected = ((1 << member.bits) - 1 << shift).to_bytes(length, byteorder)
    setattr(sample, member.name, -1)
    view = memoryview(sample).cast("B")
    written = bytes(view[start : start + length]) == expected
    setattr(sample, member.name, 0)
    return written and not any(view[start : start + length])
