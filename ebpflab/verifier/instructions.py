# One instruction of a log, from the words of kernel/bpf/disasm.c: what it reads and what it writes.

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache


@dataclass(frozen=True)
class Operation:
    # `kind` is load, store, atomic, move, constant, arithmetic, branch, jump, call, exit or other. Registers are
    # numbers; `source` is None where the operand is the constant `operand`. Of memory: base, offset, size in bytes.
    kind: str
    target: int | None = None
    source: int | None = None
    base: int | None = None
    offset: int = 0
    size: int = 8
    operator: str = ""
    operand: str = ""
    jump: int = 0
    function: str = ""  # a helper or kernel function; empty for a function of the program itself


_OTHER = Operation("other")
_REGISTER = r"[rw](\d{1,2})"
_MEMORY = r"\*?\(([us])(\d{1,2}) \*\)\(r(\d{1,2}) ([+-]\d{1,9})\)"
_LOAD = re.compile(rf"{_REGISTER} = {_MEMORY}")
_STORE = re.compile(rf"{_MEMORY} = (\S+)")
_ATOMIC = re.compile(rf"(?:lock {_MEMORY} (\S+) {_REGISTER}|{_REGISTER} = (\w*)\({_MEMORY})")
_MOVE = re.compile(rf"{_REGISTER} = (-|[bl]e\d+ |bswap\d+ |\(s\d+\) ?|addr_space_cast\()?{_REGISTER}\b")
_CONSTANT = re.compile(rf"{_REGISTER} = (-?\w+)")
_ARITHMETIC = re.compile(rf"{_REGISTER} (s?[-+*/%&|^<>]{{1,2}})= (?:\(s\d+\) ?)?(\S+)")
_BRANCH = re.compile(rf"if {_REGISTER} (\S+) (\S+) goto (?:pc)?([+-]?\d{{1,9}})")
_JUMP = re.compile(r"(?:goto|gotol|may_goto|goto_or_nop) (?:pc)?([+-]?\d{1,9})")
_CALL = re.compile(r"call(?:x)? (\S+)")
_PACKET = re.compile(r"r0 = \*\(u(\d{1,2}) \*\)skb\[")


def _operand(word: str) -> tuple[int | None, str]:
    match = re.fullmatch(_REGISTER, word)
    return (int(match[1]), "") if match else (None, word)


@lru_cache(maxsize=4096)
def operation(text: str) -> Operation:
    # Of `(79) r1 = *(u64 *)(r0 +0)`, or what stands behind the code.
    words = text[5:] if text.startswith("(") and text[3:5] == ") " else text
    for read in (_memory, _jumps, _registers):
        if found := read(words):
            return found
    return _OTHER


def _at(match: re.Match[str], group: int) -> Operation:
    # The place in memory: size in bits, base, and offset, from a group on.
    return Operation("", base=int(match[group + 1]), offset=int(match[group + 2]), size=int(match[group]) // 8)


def _memory(words: str) -> Operation | None:
    if match := _LOAD.match(words):
        return replace(_at(match, 3), kind="load", target=int(match[1]))
    if match := _STORE.match(words):
        source, operand = _operand(match[5])
        return replace(_at(match, 2), kind="store", source=source, operand=operand)
    if match := _ATOMIC.match(words):
        if match[6]:
            return replace(_at(match, 2), kind="atomic", source=int(match[6]))
        return replace(_at(match, 10), kind="atomic", target=int(match[7]))
    if match := _PACKET.match(words):
        return Operation("load", 0, size=int(match[1]) // 8)
    return None


def _jumps(words: str) -> Operation | None:
    if match := _BRANCH.match(words):
        source, operand = _operand(match[3])
        return Operation(
            "branch", base=int(match[1]), source=source, operand=operand, operator=match[2], jump=int(match[4])
        )
    if match := _JUMP.match(words):
        return Operation("jump", jump=int(match[1]))
    if match := _CALL.match(words):
        name = "" if match[1].startswith("pc") else match[1].partition("#")[0]
        return Operation("call", function=name)
    return Operation("exit") if words.startswith("exit") else None


def _registers(words: str) -> Operation | None:
    if match := _MOVE.match(words):
        return Operation("move", int(match[1]), source=int(match[3]), operator=(match[2] or "").strip("( "))
    if match := _ARITHMETIC.match(words):
        source, operand = _operand(match[3])
        return Operation("arithmetic", int(match[1]), source=source, operand=operand, operator=match[2])
    if match := _CONSTANT.match(words):
        return Operation("constant", int(match[1]), operand=match[2])
    return None
