"""Instructions spelled out in bytes: every opcode there can be, with what tells its variants apart."""

from __future__ import annotations

import struct

_FETCH = (0x00, 0x01, 0x40, 0x41, 0x50, 0x51, 0xA0, 0xA1, 0xE1, 0xF1, 0x100, 0x110)  # what an atomic's immediate says
_OFFSETS = (0, 1, -1, 8, 16, 32)  # offsets: signed division, address spaces, per-CPU addresses, sign extension
LOAD_64 = 0x18


def instruction(code: int, dst: int = 0, src: int = 0, off: int = 0, imm: int = 0) -> bytes:
    """Struct bpf_insn (include/uapi/linux/bpf.h), little endian."""
    return struct.pack("<BBhi", code, dst | src << 4, off, imm)


RETURN_ZERO = instruction(0xB7) + instruction(0x95)


def variants():
    """About 3,000 instructions, each by itself; a 64-bit load with its second half."""
    for code in range(256):
        if code == LOAD_64:
            for imm, high in ((5, 0), (-5, 0), (5, 7), (-5, -7), (0x7FFFFFFF, 1)):
                yield instruction(code, 2, imm=imm) + instruction(0, imm=high)
            continue
        # Jumps and calls have no destination; helper 0 is none, and the kernel calls it bpf_unspec.
        yield from (instruction(code, imm=imm) for imm in (0, 16) if (code, imm) != (0x85, 0))
        for imm in _immediates(code):
            yield from (instruction(code, 2, src, off, imm) for src, off in ((0, 0), (1, 0), (1, 1), (2, 5)))
        if code & 0xF0 in (0x30, 0x90, 0xB0):
            yield from (instruction(code, 2, 1, off, 0) for off in _OFFSETS)


def _immediates(code: int) -> tuple[int, ...]:
    # A load from memory has none.
    atomic = code & 7 == 3 and code & 0xE0 == 0xC0
    return _FETCH if atomic else (0,) if code & 7 == 1 else (16, -5, 0x20001)
