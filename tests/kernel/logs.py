"""What this kernel's verifier writes of instructions, asked without the code under test."""

from __future__ import annotations

import ctypes
import os
import re

from bytecode import RETURN_ZERO, instruction

_SYSCALL_BPF = {"x86_64": 321, "aarch64": 280}[os.uname().machine]
_PROG_LOAD, _SOCKET_FILTER, _ALL = 5, 1, 2
_SIZE = 1 << 16
# The number, since Linux 6.16 the registers that are live, and behind the text a state, since 6.3 after a semicolon.
_LINE = r"^ *{}: (?:[0-9.]{{10}} )?(\([0-9a-f]{{2}}\) [^;\n]*?) *(?:;.*)?$"
_buffer = ctypes.create_string_buffer(_SIZE)


class _Attributes(ctypes.Structure):
    # The first members of union bpf_attr for BPF_PROG_LOAD.
    _fields_ = [
        ("prog_type", ctypes.c_uint32),
        ("insn_cnt", ctypes.c_uint32),
        ("insns", ctypes.c_uint64),
        ("license", ctypes.c_uint64),
        ("log_level", ctypes.c_uint32),
        ("log_size", ctypes.c_uint32),
        ("log_buf", ctypes.c_uint64),
        ("kern_version", ctypes.c_uint32),
        ("prog_flags", ctypes.c_uint32),
    ]


def log_of(code: bytes) -> str:
    """The log of a socket filter; it is let go at once if the kernel takes it."""
    program, licence = ctypes.create_string_buffer(code, len(code)), ctypes.create_string_buffer(b"GPL")
    _buffer[0] = b"\0"
    attributes = _Attributes(
        _SOCKET_FILTER,
        len(code) // 8,
        ctypes.addressof(program),
        ctypes.addressof(licence),
        _ALL,
        _SIZE,
        ctypes.addressof(_buffer),
    )
    call = ctypes.CDLL(None, use_errno=True).syscall
    fd = call(_SYSCALL_BPF, _PROG_LOAD, ctypes.byref(attributes), ctypes.sizeof(attributes))
    if fd >= 0:
        os.close(fd)
    return _buffer.value.decode(errors="replace")


def text_in(log: str, number: int) -> str | None:
    """What a log writes of the instruction of this number, wherever it does first."""
    found = re.search(_LINE.format(number), log, re.MULTILINE)
    return found[1] if found else None


def text_of(code: bytes) -> str | None:
    """What the log writes of an instruction, "unknown" of an opcode that it refuses; None where it writes nothing."""
    # Jumps of all variants end in what follows.
    log = log_of(code + instruction(0xB7) * 40 + RETURN_ZERO)
    if re.search(r"^unknown opcode [0-9a-f]+$", log, re.MULTILINE):
        return "unknown"
    return text_in(log, 0)
