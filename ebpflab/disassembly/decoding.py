# Bytes -> instructions, each with the line of C that it was made from.

from __future__ import annotations

import bisect
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from ..engines.base import Instructions, SourceLine
from .words import LOAD_64, Insn, words

_INSN = struct.Struct("=BBhi")  # struct bpf_insn: opcode, two registers, offset, immediate
_NOWHERE = SourceLine(0, "", 0, 0, "")


@dataclass(frozen=True)
class Instruction:
    """One instruction of a program.

    Attributes
    ----------
    insn
        Its number; a 64-bit load counts as two, as it does in the verifier's log and in jumps.
    text
        In the words of the verifier's log, such as ``(61) r2 = *(u32 *)(r1 +0)``.
    code
        Its 8 bytes, or 16.
    function
        The function that it is in; empty where the program has no BTF.
    file, line, column
        Where its source is, counted from 1; line 0 where the compiler names none.
    source
        The text of that line, without the blanks around it.
    """

    insn: int
    text: str
    code: bytes
    function: str = ""
    file: str = ""
    line: int = 0
    column: int = 0
    source: str = ""


def disassemble(given: Instructions) -> tuple[Instruction, ...]:
    """Return the instructions in a program's bytes; whatever is none of this instruction set says ``unknown``.

    Parameters
    ----------
    given
        The bytes, with the names of what they refer to as far as they are known.

    Examples
    --------
    >>> [insn.text for insn in disassemble(Instructions(bytes.fromhex("b700000000000000 9500000000000000")))]
    ['(b7) r0 = 0', '(95) exit']
    """
    starts = [line.insn for line in given.lines]
    functions = sorted(given.functions)
    found = []
    for at, text, code in _decoded(given):
        line = given.lines[place - 1] if (place := bisect.bisect_right(starts, at)) else _NOWHERE
        function = given.functions[functions[place - 1]] if (place := bisect.bisect_right(functions, at)) else ""
        found.append(Instruction(at, text, code, function, line.file, line.line, line.column, line.text.strip()))
    return tuple(found)


def _decoded(given: Instructions) -> Iterator[tuple[int, str, bytes]]:
    code, at = given.code, 0
    whole = len(code) // _INSN.size
    while at < whole:
        start = at * _INSN.size
        opcode, registers, off, imm = _INSN.unpack_from(code, start)
        # The registers are bit fields of one byte, which compilers fill from the end that the byte order has.
        dst, src = (registers & 15, registers >> 4) if sys.byteorder == "little" else (registers >> 4, registers & 15)
        two = opcode == LOAD_64 and at + 1 < whole
        high = _INSN.unpack_from(code, start + _INSN.size)[3] if two else None
        text = words(Insn(at, opcode, dst, src, off, imm, high), given)
        yield at, text, code[start : start + _INSN.size * (1 + two)]
        at += 1 + two
    if rest := code[whole * _INSN.size :]:
        yield at, f"({rest[0]:02x}) unknown", rest
