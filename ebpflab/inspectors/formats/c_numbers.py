"""Integers as C has them: a value, its width and its sign, and what the operators make of two."""

from __future__ import annotations

import operator
import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_FIXED = re.compile(r"_*(?P<sign>[us]|u?int)(?P<bits>8|16|32|64)(_t)?")
# Of a 64-bit kernel (include/linux/types.h, include/uapi/asm-generic/posix_types.h): bits, signed.
_NAMED = {
    "bool": (8, False),
    "char": (8, True),
    "short": (16, True),
    "int": (32, True),
    "long": (64, True),
    "uint": (32, False),
    "ulong": (64, False),
    "size_t": (64, False),
    "ssize_t": (64, True),
    "loff_t": (64, True),
    "pid_t": (32, True),
    "dev_t": (32, False),
    "gfp_t": (32, False),
    "sector_t": (64, False),
    "umode_t": (16, False),
}
_ORDER: dict[str, Callable[[int, int], bool]] = {
    "<": operator.lt,
    ">": operator.gt,
    "<=": operator.le,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}
_SUMS: dict[str, Callable[[int, int], int]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "&": operator.and_,
    "|": operator.or_,
    "^": operator.xor,
}
BASIC_WORDS = frozenset(
    (
        "unsigned",
        "signed",
        "char",
        "short",
        "int",
        "long",
        "void",
        "bool",
        "const",
        "volatile",
        "struct",
        "union",
        "enum",
    )
)


class Number(NamedTuple):
    """A C integer: ``value`` lies within what ``bits`` and ``signed`` allow."""

    value: int
    bits: int = 32
    signed: bool = True


def number(value: int, bits: int, signed: bool) -> Number:
    """Return the number that remains of a value in so many bits.

    Examples
    --------
    >>> number(-1, 8, signed=False)
    Number(value=255, bits=8, signed=False)
    """
    value &= (1 << bits) - 1
    return Number(value - (1 << bits) if signed and value >> (bits - 1) else value, bits, signed)


def literal(text: str) -> Number:
    """Return what an integer constant of C stands for, such as ``0x10UL``; it is at least an ``int``.

    Examples
    --------
    >>> literal("1ULL")
    Number(value=1, bits=64, signed=False)
    """
    digits = text.rstrip("uUlL")
    suffix = text[len(digits) :].lower()
    base = 16 if digits[:2].lower() == "0x" else 8 if digits[0] == "0" else 10
    value = int(digits, base)
    for bits in (32, 64):
        # A hexadecimal constant that does not fit an int may be an unsigned one (C11, 6.4.4.1).
        for signed in (True, False):
            fits = value < 1 << (bits - signed)
            allowed = (not signed or "u" not in suffix) and (bits == 64 or "l" not in suffix)
            if fits and allowed and (signed or "u" in suffix or base != 10):
                return Number(value, bits, signed)
    return number(value, 64, signed=False)


def integer_type(words: Sequence[str]) -> tuple[int, bool] | None:
    """Return bits and sign of a type named by these words, or None if that is not known.

    Examples
    --------
    >>> integer_type(["unsigned", "long"]), integer_type(["u8"]), integer_type(["const", "void", "*"])
    ((64, False), (8, False), (64, False))
    """
    plain = [word for word in words if word not in ("const", "volatile", "signed")]
    if "*" in plain:
        return 64, False
    if "enum" in plain:
        return 32, False
    fixed = _FIXED.fullmatch(plain[0]) if len(plain) == 1 else None
    if fixed:
        return int(fixed["bits"]), not fixed["sign"].startswith("u")
    unsigned = "unsigned" in plain
    rest = [word for word in plain if word != "unsigned"]
    name = next((word for word in ("char", "short", "long") if word in rest), rest[0] if rest else "int")
    known = _NAMED.get(name)
    return known and (known[0], known[1] and not unsigned)


def unary(sign: str, right: Number) -> Number:
    """Return what one of the operators ``- + ~ !`` makes of a number."""
    if sign == "!":
        return Number(int(not right.value))
    right = _promoted(right)
    value = {"-": -right.value, "~": ~right.value}.get(sign, right.value)
    return number(value, right.bits, right.signed)


def binary(sign: str, left: Number, right: Number) -> Number | None:
    """Return what an operator makes of two numbers, or None where C does not say (division by zero)."""
    if sign in ("&&", "||"):
        both = bool(left.value), bool(right.value)
        return Number(int(all(both) if sign == "&&" else any(both)))
    left, right = _promoted(left), _promoted(right)
    if sign in ("<<", ">>"):
        if not 0 <= right.value < left.bits:
            return None
        value = left.value << right.value if sign == "<<" else left.value >> right.value
        return number(value, left.bits, left.signed)
    bits = max(left.bits, right.bits)
    signed = all(each.signed or each.bits < bits for each in (left, right))
    a, b = number(left.value, bits, signed).value, number(right.value, bits, signed).value
    if sign in _ORDER:
        return Number(int(_ORDER[sign](a, b)))
    if sign in _SUMS:
        return number(_SUMS[sign](a, b), bits, signed)
    if sign not in ("/", "%") or not b:
        return None
    # C rounds towards zero, Python downwards.
    quotient = abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)
    return number(quotient if sign == "/" else a - quotient * b, bits, signed)


def _promoted(given: Number) -> Number:
    return given if given.bits >= 32 else Number(given.value)
