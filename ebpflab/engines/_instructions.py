# The instructions of a program, before the kernel has it and afterwards, with the names that belong to their numbers.

from __future__ import annotations

import ctypes as ct
import os
import struct
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from .. import _libbpf
from ..btf import Kind
from ..errors import DecodeError, EbpflabError, KernelSupportError, PrivilegeError
from ..inspectors.btf_source import open_btf
from .base import Instructions, SourceLine

_INSN = struct.Struct("=BBhi")  # struct bpf_insn (include/uapi/linux/bpf.h): opcode, registers, offset, immediate
_FUNCTION = struct.Struct("=II")  # struct bpf_func_info: insn_off, type_id
_LINE = struct.Struct("=IIII")  # struct bpf_line_info: insn_off, file_name_off, line_off, line_col
_CALL, _HELPER, _KFUNC = 0x85, 0, 2  # BPF_JMP | BPF_CALL, and what its source register says
_KALLSYMS = Path("/proc/kallsyms")


def helper_calls(lib: ct.CDLL, pointer: int) -> frozenset[int]:
    # The helper numbers in a program that libbpf has opened.
    return frozenset(_called(_as_opened(lib, pointer), _HELPER))


def loaded_instructions(lib: ct.CDLL, bpf_object: int | None, pointer: int, maps: Mapping[str, int]) -> Instructions:
    # What the kernel holds of a program; `bpf_object`, `pointer` and the values of `maps` are libbpf's.
    # Raises EbpflabError.
    held = _held(lib, lib.bpf_program__fd(pointer))
    if not held.code:
        return Instructions(b"", translated=True, jited_bytes=held.jited_bytes, problem=held.problem)
    helpers, kfuncs = _called(held.code, _HELPER), _called(held.code, _KFUNC)
    # Where calls reach far a kernel function keeps its number in BTF (bpf_jit_supports_far_kfunc_call).
    numbered = kfuncs & _called(_as_opened(lib, pointer), _KFUNC)
    near = _at_distance(helpers | kfuncs - numbered)
    names = _Names(lib, lib.bpf_object__btf(bpf_object))
    return Instructions(
        held.code,
        translated=True,
        lines=tuple(names.line(record) for record in held.lines),
        functions={at: names.type(type_id) for at, type_id in held.functions},
        maps=_map_names(lib, maps),
        calls=near,
        kfuncs={**near, **_in_btf(numbered)},
        jited_bytes=held.jited_bytes,
        # Of helpers that are hidden the kernel shows the number 0.
        problem="the kernel hides which functions are called: it takes CAP_SYSLOG to see them" if 0 in helpers else "",
    )


class _Held(NamedTuple):
    # What BPF_OBJ_GET_INFO_BY_FD gives of a program, as numbers; `problem` where there is no code.
    code: bytes
    lines: tuple[tuple[int, ...], ...] = ()
    functions: tuple[tuple[int, ...], ...] = ()
    jited_bytes: int = 0
    problem: str = ""


def _held(lib: ct.CDLL, fd: int) -> _Held:
    # Asked twice: for the sizes, then with room for what is wanted.
    sizes = _ask(lib, fd, _libbpf.ProgInfo())
    if not sizes.xlated_prog_len:
        return _Held(b"", problem="the kernel hides instructions: it takes CAP_BPF to see them")
    code = ct.create_string_buffer(sizes.xlated_prog_len)
    functions = ct.create_string_buffer(sizes.nr_func_info * sizes.func_info_rec_size)
    lines = ct.create_string_buffer(sizes.nr_line_info * sizes.line_info_rec_size)
    wanted = _libbpf.ProgInfo(
        xlated_prog_len=len(code),
        xlated_prog_insns=ct.addressof(code),
        nr_func_info=sizes.nr_func_info,
        func_info_rec_size=sizes.func_info_rec_size,  # the kernel takes no size but its own
        func_info=ct.addressof(functions),
        nr_line_info=sizes.nr_line_info,
        line_info_rec_size=sizes.line_info_rec_size,
        line_info=ct.addressof(lines),
    )
    if not _ask(lib, fd, wanted).xlated_prog_insns:
        hidden = "the kernel hides the instructions of programs with blinded constants (net.core.bpf_jit_harden)"
        return _Held(b"", jited_bytes=sizes.jited_prog_len, problem=f"{hidden}: it takes CAP_SYSLOG to see them")
    return _Held(
        code.raw,
        _records(lines.raw, sizes.line_info_rec_size, _LINE),
        _records(functions.raw, sizes.func_info_rec_size, _FUNCTION),
        sizes.jited_prog_len,
    )


class _Names:
    # What offsets and type ids mean in the BTF that the program was loaded with; libbpf keeps it.
    def __init__(self, lib: ct.CDLL, btf: int | None) -> None:
        self._lib = lib
        self._btf = btf

    def line(self, record: tuple[int, ...]) -> SourceLine:
        insn, file, text, place = record
        return SourceLine(insn, self._string(file), place >> 10, place & 0x3FF, self._string(text))

    def type(self, type_id: int) -> str:
        found = self._lib.btf__type_by_id(self._btf, type_id) if self._btf else None
        return self._string(_libbpf.BtfType.from_address(found).name_off) if found else ""

    def _string(self, offset: int) -> str:
        found: bytes | None = self._lib.btf__name_by_offset(self._btf, offset) if self._btf else None
        return (found or b"").decode("utf-8", "replace")


def _ask(lib: ct.CDLL, fd: int, info: _libbpf.ProgInfo) -> _libbpf.ProgInfo:
    size = ct.c_uint32(ct.sizeof(info))
    status = lib.bpf_obj_get_info_by_fd(fd, ct.byref(info), ct.byref(size))
    if status:
        raise EbpflabError(f"the kernel gives no instructions: {os.strerror(-status)}", stage="load")
    return info


def _records(data: bytes, size: int, record: struct.Struct) -> tuple[tuple[int, ...], ...]:
    # A newer kernel's records may be longer than those known here.
    return tuple(record.unpack_from(data, at) for at in range(0, len(data), size)) if size else ()


def _as_opened(lib: ct.CDLL, pointer: int) -> bytes:
    return ct.string_at(lib.bpf_program__insns(pointer), _INSN.size * lib.bpf_program__insn_cnt(pointer))


def _called(code: bytes, by: int) -> set[int]:
    # The immediates of the calls whose source register says `by`.
    shift = 4 if sys.byteorder == "little" else 0
    return {
        imm
        for opcode, registers, _, imm in _INSN.iter_unpack(code)
        if opcode == _CALL and registers >> shift & 15 == by
    }


def _map_names(lib: ct.CDLL, maps: Mapping[str, int]) -> dict[int, str]:
    names = {}
    for name, pointer in maps.items():
        info = _libbpf.MapInfo()
        size = ct.c_uint32(ct.sizeof(info))
        if not lib.bpf_obj_get_info_by_fd(lib.bpf_map__fd(pointer), ct.byref(info), ct.byref(size)):
            names[info.id] = name
    return names


def _at_distance(distances: set[int]) -> dict[int, str]:
    # The kernel calls by the distance from __bpf_call_base (do_misc_fixups in kernel/bpf/verifier.c).
    wanted = distances - {0}
    symbols = _KALLSYMS.read_bytes() if wanted and _KALLSYMS.exists() else b""
    end = symbols.find(b" __bpf_call_base\n")
    base = int(symbols[symbols.rfind(b"\n", 0, end) + 1 :].split(b" ", 1)[0], 16) if end >= 0 else 0
    found = {}
    for imm in wanted if base else ():
        # One line is "ffffffff81234560 T name", and after a tab the module.
        line = symbols.partition(b"\n%016x " % (base + imm & (1 << 64) - 1))[2].split(None, 2)
        if len(line) > 1:
            found[imm] = line[1].decode(errors="replace")
    return found


def _in_btf(numbers: set[int]) -> dict[int, str]:
    try:
        btf = open_btf().btf if numbers else None
        types = [btf[number] for number in numbers if 0 < number <= len(btf)] if btf is not None else []
    except (KernelSupportError, PrivilegeError, DecodeError):
        return {}
    return {t.id: t.name for t in types if t.kind is Kind.FUNC}
