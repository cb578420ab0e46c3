# One instruction as text, in the words of the verifier's log (kernel/bpf/disasm.c). The encoding is that of
# Documentation/bpf/standardization/instruction-set.rst and of struct bpf_insn in include/uapi/linux/bpf.h.

from __future__ import annotations

import functools
from typing import NamedTuple

from ..engines.base import Instructions
from ..tables import helpers

LOAD_64 = 0x18  # the only instruction of 16 bytes: BPF_LD | BPF_IMM | BPF_DW

# The parts of an opcode: the class, and what the class makes of the other bits.
_CLASS, _SIZE, _MODE, _OPERATION, _REGISTER = 0x07, 0x18, 0xE0, 0xF0, 0x08
_LD, _LDX, _ST, _STX, _ALU, _JMP, _JMP32, _ALU64 = range(8)
_ABSOLUTE, _INDIRECT, _PLAIN, _SIGN_EXTENDING, _ATOMIC = 0x20, 0x40, 0x60, 0x80, 0xC0
# The kernel's own, in what it made of a program (include/linux/filter.h): loads and atomics that may fault, a barrier.
_MAY_FAULT_EXTENDING, _MAY_FAULT_ATOMIC, _BARRIER = (0x40, 0xC0), 0xE0, 0xC2

_SIZES = {0x00: "32", 0x08: "16", 0x10: "8", 0x18: "64"}
_ARITHMETIC = {
    0x00: "+=", 0x10: "-=", 0x20: "*=", 0x30: "/=", 0x40: "|=", 0x50: "&=", 0x60: "<<=", 0x70: ">>=", 0x90: "%=",
    0xA0: "^=", 0xB0: "=", 0xC0: "s>>=",
}  # fmt: skip
_CONDITIONS = {
    0x10: "==", 0x20: ">", 0x30: ">=", 0x40: "&", 0x50: "!=", 0x60: "s>", 0x70: "s>=", 0xA0: "<", 0xB0: "<=",
    0xC0: "s<", 0xD0: "s<=",
}  # fmt: skip
_ATOMICS = {0x00: "add", 0x40: "or", 0x50: "and", 0xA0: "xor"}
_FETCH, _EXCHANGE, _COMPARE_EXCHANGE, _LOAD_ACQUIRE, _STORE_RELEASE = 0x01, 0xE1, 0xF1, 0x100, 0x110
_NEGATE, _MOVE, _BYTE_ORDER = 0x80, 0xB0, 0xD0
_SIGNED = {0x30: "s/=", 0x90: "s%="}
_NARROWED = {8: "(s8)", 16: "(s16)", 32: "(s32)"}
_OF_FUNCTION, _OF_KERNEL = 1, 2  # source register of a call
_MAP_FD, _MAP_VALUE, _FUNCTION, _MAP_INDEX, _MAP_INDEX_VALUE = 1, 2, 4, 5, 6  # source register of a 64-bit load


class Insn(NamedTuple):
    # struct bpf_insn; `high` is the immediate of the second half of a 64-bit load, None where that is missing.
    at: int
    code: int
    dst: int
    src: int
    off: int
    imm: int
    high: int | None = None


def words(insn: Insn, given: Instructions) -> str:
    # The text; "unknown" for what the instruction set does not have, or not yet.
    kind = insn.code & _CLASS
    if kind in (_ALU, _ALU64):
        text = _alu(insn, kind == _ALU64)
    elif kind in (_JMP, _JMP32):
        text = _jump(insn, kind == _JMP32, given)
    elif kind == _LD:
        text = _load(insn, given)
    else:
        text = _memory(insn, kind, given.translated)
    return f"({insn.code:02x}) {text or 'unknown'}"


def _alu(insn: Insn, wide: bool) -> str:
    operation, register = insn.code & _OPERATION, bool(insn.code & _REGISTER)
    letter = "r" if wide else "w"
    to, source = f"{letter}{insn.dst}", f"{letter}{insn.src}" if register else str(insn.imm)
    if operation == _BYTE_ORDER:
        if wide and register:
            return ""
        name = "bswap" if wide else "be" if register else "le"
        return f"r{insn.dst} = {name}{insn.imm} r{insn.dst}"
    if operation == _NEGATE:
        return "" if register else f"{to} = -{to}"
    if operation == _MOVE and register:
        return _move(insn, wide, to, source)
    sign = _SIGNED.get(operation) if insn.off == 1 else None
    words = sign or _ARITHMETIC.get(operation)
    return f"{to} {words} {source}" if words else ""


def _move(insn: Insn, wide: bool, to: str, source: str) -> str:
    # The offset of a register's move says what becomes of the value: of an address in an arena, of one for this CPU.
    if wide and insn.off == 1:
        casts = insn.imm & 0xFFFFFFFF
        return f"{to} = addr_space_cast({source}, {casts >> 16}, {casts & 0xFFFF})"
    if wide and insn.off == -1:
        return f"{to} = &(void __percpu *)({source})"
    return f"{to} = {_NARROWED.get(insn.off, '')}{source}"


def _jump(insn: Insn, narrow: bool, given: Instructions) -> str:
    operation, register = insn.code & _OPERATION, bool(insn.code & _REGISTER)
    letter = "w" if narrow else "r"
    if operation in _CONDITIONS:
        right = f"{letter}{insn.src}" if register else f"{insn.imm & 0xFFFFFFFF:#x}"
        return f"if {letter}{insn.dst} {_CONDITIONS[operation]} {right} goto pc{insn.off:+d}"
    if insn.code == 0x85:
        return f"call {_callee(insn, given)}"
    if insn.code == 0xE5 and insn.src == 0:
        return f"may_goto pc{insn.off:+d}"
    fixed = {
        0x05: f"goto pc{insn.off:+d}",
        0x06: f"gotol pc{insn.imm:+d}",
        0x0D: f"gotox r{insn.dst}",
        0x95: "exit",
    }
    return fixed.get(insn.code, "")


def _callee(insn: Insn, given: Instructions) -> str:
    if insn.src == _OF_FUNCTION:
        # The kernel moves the distance, and numbers its functions where it was.
        distance = insn.off if given.translated else insn.imm
        return f"pc{distance:+d}{_function(insn.at + 1 + distance, given)}"
    if insn.src == _OF_KERNEL:
        return f"{given.kfuncs.get(insn.imm, 'kernel-function')}#{insn.imm}"
    name = _helper_names().get(insn.imm) if insn.src == 0 else None
    return f"{name or given.calls.get(insn.imm, 'unknown')}#{insn.imm}"


def _load(insn: Insn, given: Instructions) -> str:
    size, mode = _SIZES[insn.code & _SIZE], insn.code & _MODE
    if insn.code == LOAD_64:
        return f"r{insn.dst} = {_value(insn, given)}" if insn.high is not None else ""
    if mode in (_ABSOLUTE, _INDIRECT) and size != "64":
        place = str(insn.imm) if mode == _ABSOLUTE else f"r{insn.src} + {insn.imm}"
        return f"r0 = *(u{size} *)skb[{place}]"
    return ""


def _value(insn: Insn, given: Instructions) -> str:
    if insn.src in (_MAP_FD, _MAP_VALUE):
        name = given.maps.get(insn.imm, f"id:{insn.imm}" if given.translated else f"fd:{insn.imm}")
        return f"map[{name}]" if insn.src == _MAP_FD else f"map[{name}][0]+{insn.high}"
    if insn.src in (_MAP_INDEX, _MAP_INDEX_VALUE):
        return f"map[idx:{insn.imm}]" + (f"+{insn.high}" if insn.src == _MAP_INDEX_VALUE else "")
    if insn.src == _FUNCTION:
        return f"subprog[{insn.imm:+d}]{_function(insn.at + 1 + insn.imm, given)}"
    return f"{(insn.high or 0) << 32 & 0xFFFFFFFF00000000 | insn.imm & 0xFFFFFFFF:#x}"


def _function(at: int, given: Instructions) -> str:
    return f"#{given.functions[at]}" if at in given.functions else ""


def _memory(insn: Insn, kind: int, translated: bool) -> str:
    size, mode = f"u{_SIZES[insn.code & _SIZE]}", insn.code & _MODE
    if kind == _LDX:
        place = f"r{insn.src} {insn.off:+d}"
        extending = mode == _SIGN_EXTENDING or (translated and mode in _MAY_FAULT_EXTENDING)
        if extending and size != "u64":
            return f"r{insn.dst} = *({size.replace('u', 's')} *)({place})"
        return f"r{insn.dst} = *({size} *)({place})" if mode == _PLAIN else ""
    place = f"r{insn.dst} {insn.off:+d}"
    if mode == _PLAIN:
        return f"*({size} *)({place}) = {insn.imm if kind == _ST else f'r{insn.src}'}"
    if kind == _ST:
        return "nospec" if translated and insn.code == _BARRIER else ""
    atomic = mode == _ATOMIC or (translated and mode == _MAY_FAULT_ATOMIC)
    return _atomic(insn, size, place) if atomic else ""


def _atomic(insn: Insn, size: str, place: str) -> str:
    source, function = f"r{insn.src}", "atomic64" if size == "u64" else "atomic"
    if insn.imm == _LOAD_ACQUIRE:
        return f"r{insn.dst} = load_acquire(({size} *)({source} {insn.off:+d}))"
    if insn.imm == _STORE_RELEASE:
        return f"store_release(({size} *)({place}), {source})"
    if insn.imm == _EXCHANGE:
        return f"{source} = {function}_xchg(({size} *)({place}), {source})"
    if insn.imm == _COMPARE_EXCHANGE:
        return f"r0 = {function}_cmpxchg(({size} *)({place}), r0, {source})"
    if insn.imm in _ATOMICS:
        return f"lock *({size} *)({place}) {_ARITHMETIC[insn.imm]} {source}"
    if (name := _ATOMICS.get(insn.imm & ~_FETCH)) is not None:
        return f"{source} = {function}_fetch_{name}(({size} *)({place}), {source})"
    return ""


@functools.cache
def _helper_names() -> dict[int, str]:
    return dict(enumerate(helpers(), 1))
