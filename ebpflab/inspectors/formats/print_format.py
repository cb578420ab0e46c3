"""The ``print fmt:`` of a tracepoint's format file, taken apart.

The kernel prints a record with a C expression: a format string and its arguments, in which macros of
``include/trace/stages/stage3_trace_output.h`` such as ``__print_flags`` name values. ``f_show`` in the kernel's
``kernel/trace/trace_events.c`` writes that expression as the compiler saw it, with ``REC`` for the record and with
the values of those enumerators that the tracepoint exports. The grammar here is what such expressions need of C.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from . import c_numbers
from .c_numbers import BASIC_WORDS, Number
from .c_words import CLOSING, NotUnderstoodError, Token, arguments, unquoted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# Names of values: one of the flags that are set, or the one value that is equal.
TABLES = {
    "__print_flags": "flags",
    "__print_flags_u64": "flags",
    "__print_symbolic": "enum",
    "__print_symbolic_u64": "enum",
    "__print_symbolic64": "enum",
}
_LEVELS = ("||", "&&", "|", "^", "&", "== !=", "< > <= >=", "<< >>", "+ -", "* / %")
_STRENGTH = {sign: level for level, signs in enumerate(_LEVELS, 1) for sign in signs.split()}
# What the kernel prints is never this deep; what a fuzzer makes of it can be.
_DEEPEST = 32
_MOST_STEPS = 200


@dataclass(frozen=True)
class Text:
    """A string constant."""

    value: str


@dataclass(frozen=True)
class Place:
    """A field of the record: ``REC->field``, or an element of it."""

    field: str


@dataclass(frozen=True)
class Name:
    """A name whose value the print format does not tell."""

    name: str


@dataclass(frozen=True)
class Operation:
    """An operator with its one, two or three operands; ``cast``, with its type, is one as well."""

    sign: str
    operands: tuple[Node, ...]
    type: tuple[str, ...] = ()


@dataclass(frozen=True)
class Table:
    """A call that names the values of ``subject``: ``kind`` is "flags" or "enum", entries are value and name."""

    kind: str
    subject: Node
    separator: str
    entries: tuple[tuple[Node, str], ...]


@dataclass(frozen=True)
class Call:
    """A call of anything else, or a part of C that is no expression here."""

    name: str
    operands: tuple[Node, ...]


Node = Number | Text | Place | Name | Operation | Table | Call


_NULL = (Number(0), Name("NULL"), Number(0, 64, signed=False))


def calls(words: Sequence[Token]) -> Iterator[list[Token]]:
    """Return the words of every call that names values, wherever it stands among the words."""
    for start, token in enumerate(words):
        if token.kind == "name" and token.text in TABLES:
            depth = 0
            for end in range(start + 1, len(words)):
                depth += {"(": 1, ")": -1}.get(words[end].text, 0) if words[end].kind == "sign" else 0
                if depth == 0:
                    yield list(words[start : end + 1])
                    break


def parse(words: Sequence[Token]) -> Node:
    """Return the expression that these words are.

    Constants are worked out on the way, so what is left of them is one number.

    Raises
    ------
    NotUnderstoodError
        They are no expression, or one that is not understood.

    Examples
    --------
    >>> parse(tokens("(1UL << 2) | 4"))
    Number(value=4, bits=64, signed=False)
    """
    reader = _Reader(words)
    found = reader.expression()
    reader.end()
    return found


def apply(made: Operation, given: Sequence[Number]) -> Number | None:
    """Return what an operation makes of numbers, or None where C does not say."""
    if made.sign == "?":
        return given[1] if given[0].value else given[2]
    if made.sign == "cast":
        if made.type in (("bool",), ("_Bool",)):
            return Number(int(given[0].value != 0))
        known = c_numbers.integer_type(made.type)
        return c_numbers.number(given[0].value, *known) if known else given[0]
    if len(given) == 2:
        return c_numbers.binary(made.sign, *given)
    return None if made.sign in "*&" else c_numbers.unary(made.sign, given[0])


class _Reader:
    # A recursive descent; binary operators are read by their strength ("precedence climbing").
    def __init__(self, words: Sequence[Token]) -> None:
        self._words = words
        self._at = 0
        self._depth = 0
        self._steps = 0

    def end(self) -> None:
        if self._at < len(self._words):
            raise NotUnderstoodError(f"unexpected {self._words[self._at].text}")

    def expression(self) -> Node:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise NotUnderstoodError(f"more than {_DEEPEST} expressions in one another")
        found = self._binary(1)
        if self._taken("?"):
            yes = self.expression()
            self._expect(":")
            found = self._operation("?", found, yes, self.expression())
        self._depth -= 1
        return found

    def _binary(self, weakest: int) -> Node:
        left = self._unary()
        while (sign := self._sign()) in _STRENGTH and _STRENGTH[sign] >= weakest:
            self._at += 1
            left = self._operation(sign, left, self._binary(_STRENGTH[sign] + 1))
        return left

    def _unary(self) -> Node:
        signs: list[tuple[str, tuple[str, ...]]] = []
        while True:
            sign = self._sign()
            if sign in ("-", "+", "~", "!", "*", "&"):
                self._at += 1
                signs.append((sign, ()))
            elif words := self._cast():
                signs.append(("cast", words))
            else:
                break
        found = self._postfix()
        for sign, words in reversed(signs):
            found = self._operation(sign, found, type_=words)
        return found

    def _cast(self) -> tuple[str, ...]:
        # "(type)" before an operand; a name that C does not know is a type if an operand follows it.
        at, words = self._at + 1, []
        if self._sign() != "(":
            return ()
        while at < len(self._words) and (self._words[at].kind == "name" or self._words[at].text == "*"):
            words.append(self._words[at].text)
            at += 1
        closed = at < len(self._words) and self._words[at] == Token("sign", ")")
        if not words or not closed or words[0] == "*" or at + 1 >= len(self._words):
            return ()
        follows = self._words[at + 1]
        operand = follows.kind != "sign" or follows.text in ("(", "~", "!")
        if not (operand or not BASIC_WORDS.isdisjoint(words) or c_numbers.integer_type(words)):
            return ()
        self._at = at + 1
        return tuple(words)

    def _postfix(self) -> Node:
        found = self._primary()
        while (sign := self._sign()) in ("->", ".", "["):
            self._at += 1
            if sign == "[":
                index = self.expression()
                self._expect("]")
                found = found if isinstance(found, Place) else Call("[]", (found, index))
            else:
                name = self._next("name").text
                found = Place(name) if sign == "->" and found == Name("REC") else Call(sign, (found,))
        return found

    def _primary(self) -> Node:
        token = self._next()
        if token.kind == "number":
            try:
                return c_numbers.literal(token.text)
            except ValueError:  # 08
                self._refuse(token)
        if token.kind == "char":
            return Number(ord(unquoted(token.text)) & 0xFF)
        if token.kind == "string":
            parts = [unquoted(token.text)]
            while self._at < len(self._words) and self._words[self._at].kind == "string":
                parts.append(unquoted(self._next().text))
            return Text("".join(parts))
        if token.kind == "name":
            return self._call(token.text) if self._sign() == "(" else Name(token.text)
        if token.text != "(" or self._sign() == "{":  # GNU C's ({ statements })
            self._refuse(token)
        found = self.expression()
        self._expect(")")
        return found

    def _call(self, name: str) -> Node:
        given = self._bracket("(")
        if name == "sizeof":
            known = c_numbers.integer_type([token.text for token in given])
            return Number(known[0] // 8, 64, signed=False) if given and known else Call(name, ())
        split = arguments(given) if given else []
        if name not in TABLES:
            return Call(name, tuple(self._inner(words) for words in split))
        first = 2 if TABLES[name] == "flags" else 1
        if len(split) < first:
            raise NotUnderstoodError(f"{name} without a table")
        separator = self._inner(split[1]) if first == 2 else Text("")
        entries: list[tuple[Node, str]] = []
        for words in filter(None, split[first:]):
            if (entry := self._entry(name, words)) is None:
                break
            entries.append(entry)
        between = separator.value if isinstance(separator, Text) else ""  # NULL: nothing between them
        return Table(TABLES[name], self._inner(split[0]), between, tuple(entries))

    def _entry(self, name: str, words: Sequence[Token]) -> tuple[Node, str] | None:
        if words[0].text != "{" or words[-1].text != "}":
            raise NotUnderstoodError(f"{name} has an entry that is no {{ value, name }}")
        value, *rest = arguments(words[1:-1])
        said = self._inner(rest[0]) if rest else Number(0)
        if said in _NULL:
            return None  # the end of the table
        if not isinstance(said, Text):
            raise NotUnderstoodError(f"{name} has an entry without a name")
        return self._inner(value), said.value

    def _inner(self, words: Sequence[Token]) -> Node:
        inner = _Reader(words)
        inner._depth = self._depth + 1
        found = inner.expression()
        inner.end()
        return found

    def _operation(self, sign: str, *operands: Node, type_: tuple[str, ...] = ()) -> Node:
        made = Operation(sign, operands, type_)
        if all(isinstance(each, Number) for each in operands):
            known = apply(made, [each for each in operands if isinstance(each, Number)])
            if known is not None:
                return known
        self._steps += 1
        if self._steps > _MOST_STEPS:
            raise NotUnderstoodError(f"an expression of more than {_MOST_STEPS} steps")
        return made

    def _bracket(self, opening: str) -> list[Token]:
        # The words up to the bracket that closes this one, which is left behind.
        start, open_ = self._at + 1, [CLOSING[opening]]
        while open_:
            self._at += 1
            if self._at >= len(self._words):
                raise NotUnderstoodError(f"a {open_[-1]} is missing")
            token = self._words[self._at]
            if token.kind == "sign" and token.text in CLOSING:
                open_.append(CLOSING[token.text])
            elif token.kind == "sign" and token.text == open_[-1]:
                open_.pop()
        self._at += 1
        return list(self._words[start : self._at - 1])

    def _sign(self) -> str:
        token = self._words[self._at] if self._at < len(self._words) else None
        return token.text if token and token.kind == "sign" else ""

    def _taken(self, sign: str) -> bool:
        self._at += (found := self._sign() == sign)
        return found

    def _expect(self, sign: str) -> None:
        if not self._taken(sign):
            raise NotUnderstoodError(f"a {sign} is missing")

    def _next(self, kind: str = "") -> Token:
        if self._at >= len(self._words):
            raise NotUnderstoodError("the expression ends too early")
        token = self._words[self._at]
        if kind and token.kind != kind:
            self._refuse(token)
        self._at += 1
        return token

    def _refuse(self, token: Token) -> NoReturn:
        raise NotUnderstoodError(f"unexpected {token.text}")
