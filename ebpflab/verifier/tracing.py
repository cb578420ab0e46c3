# Where the content of a register or stack slot came from: definitions, last to first, along the verifier's path.

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .instructions import Operation
from .log import Path
from .values import value


@dataclass(frozen=True)
class Definition:
    # What instruction `index` did to `register` (R0 or fp-8). `kind` is an operation's kind or
    #   fill, spill    read back from the stack, stored on it
    #   test           a branch that depends on the register
    #   argument       given to a function by the call at `index`
    #   returned       by a function of the program, at the `exit` at `index`
    #   clobbered      emptied by a call
    #   buffer         written by the helper that was called with the slot's address
    #   start          the program's or function's own argument: there is no instruction
    #   unwritten      nothing on the path wrote it
    #   lost           the log does not reach back to it
    kind: str
    index: int
    register: str


def definitions(path: Path, at: int, register: str, *, number: bool = False) -> Iterator[Definition]:
    # Walk back from instruction `at`, before it ran. Where two registers were added, `number` chooses the one that
    # is no known number; otherwise it is the register itself, that is: the pointer.
    insns, frame, index = path.insns, path.insns[at].frame, at
    while index > 0 and path.effort > 0:
        index -= 1
        path.effort -= 1
        insn = insns[index]
        if insn.frame > frame:
            if register == "R0" and insns[index + 1].frame == frame and insn.operation.kind == "exit":
                yield Definition("returned", index, register)
                frame = insn.frame
            continue
        if insn.frame < frame:
            yield Definition("argument", index, register)
            if register not in _ARGUMENTS or insn.operation.function:
                return
            frame = insn.frame
            continue
        found, register = _step(path, index, register, number)
        if found is not None:
            yield found
            if found.kind in _ENDS or not register:
                return
    beginning = _beginning(path, register, frame, index)
    path.lost = path.lost or beginning == "lost"
    yield Definition(beginning, 0, register)


_ARGUMENTS = {f"R{n}" for n in range(1, 6)}
_ENDS = {"load", "call", "constant", "clobbered", "buffer", "atomic", "other"}


def _beginning(path: Path, register: str, frame: int, index: int) -> str:
    if index or not path.whole or frame:
        return "lost"
    given = register in _ARGUMENTS if path.function else register == "R1"
    return "start" if given or register == "R10" else "unwritten"


def _step(path: Path, index: int, register: str, number: bool) -> tuple[Definition | None, str]:
    # What instruction `index` did to the register, and which register or slot to follow from there.
    if register.startswith("fp"):
        return _slot_step(path, index, register)
    done = path.insns[index].operation
    if done.kind == "branch" and register in (f"R{done.base}", f"R{done.source}"):
        return Definition("test", index, register), register
    if done.kind == "call" and done.function and register == "R0":
        return Definition("call", index, register), ""
    if done.kind == "call" and register in _ARGUMENTS:
        return Definition("clobbered", index, register), ""
    if done.target is None or register != f"R{done.target}":
        return None, register
    if done.kind == "load" and (slot := slot_of(path, index, done)):
        return Definition("fill", index, register), slot
    if done.kind == "move":
        return Definition("move" if not done.operator else "arithmetic", index, register), f"R{done.source}"
    if done.kind == "arithmetic":
        return Definition("arithmetic", index, register), _operand(path, index, done, register, number)
    return Definition(done.kind, index, register), ""


def _operand(path: Path, index: int, done: Operation, register: str, number: bool) -> str:
    if done.source is None:
        return register
    other = f"R{done.source}"
    mine, others = value(path.value(index, register)), value(path.value(index, other))
    if others.kind not in ("scalar", ""):  # a pointer was added to a number
        return register if number else other
    if not number or others.number is not None:
        return register
    if mine.kind == "scalar" and mine.number is None and mine.unbounded and not others.unbounded:
        return register
    return other


def slot_of(path: Path, index: int, done: Operation) -> str:
    # The stack slot, in steps of 8 bytes, that an instruction reads or writes; "" if it is not the stack.
    start = offset_of(path, index, done)
    return "" if start is None else f"fp{start // 8 * 8}"


def offset_of(path: Path, index: int, done: Operation) -> int | None:
    # The distance from the top of the stack of what an instruction reads or writes; None if it is not the stack.
    if done.base is None:
        return None
    if done.base == 10:
        return done.offset
    base = path.value(index, f"R{done.base}")
    if not base.startswith("fp"):
        return None
    found = value(base)
    return found.offset + done.offset if found.kind == "fp" and "var_off" not in found.more else None


def _slot_step(path: Path, index: int, slot: str) -> tuple[Definition | None, str]:
    done = path.insns[index].operation
    if done.kind in ("store", "atomic") and slot_of(path, index, done) == slot:
        kind = "spill" if done.source is not None else "constant"
        return Definition(kind, index, slot), "" if done.source is None else f"R{done.source}"
    if done.kind == "call" and done.function and _given(path, index, int(slot[2:])):
        return Definition("buffer", index, slot), ""
    return None, slot


def _given(path: Path, index: int, slot: int) -> bool:
    # Whether a helper got the address of a buffer that this slot may be part of, and its length.
    for register in sorted(_ARGUMENTS):
        found = value(path.value(index, register))
        if found.kind == "fp" and found.offset <= slot:
            length = value(path.value(index, f"R{int(register[1:]) + 1}")).umax
            return length is not None and found.offset + length > slot
    return False
