# Which function of which program a freplace program takes the place of.

from __future__ import annotations

import contextlib
import ctypes as ct
import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass

from ... import _libbpf
from ...errors import AttachError, HookNotFoundError
from ...similar import did_you_mean, nearest
from .base import failed

_EXT = 28  # BPF_PROG_TYPE_EXT: takes the place of others, and cannot be replaced itself
_NAME = 15  # bytes that the kernel keeps of a name: BPF_OBJ_NAME_LEN without its zero
_STATIC = 0  # BTF_FUNC_STATIC, include/uapi/linux/btf.h


@dataclass(frozen=True)
class Replaced:
    # A function of a program in the kernel, and a descriptor of that program.
    fd: int
    program: str
    function: str

    def __str__(self) -> str:
        return f"{self.program}:{self.function}"


@contextlib.contextmanager
def replaced(lib: ct.CDLL, place: str, function: str) -> Iterator[Replaced]:
    # `place` is PROGRAM[:FUNCTION], and `function` what the section says. The descriptor is closed at the end.
    # Raises OSError when the kernel refuses to tell, AttachError when there is no such program, more than one, or
    # no function in it that can be replaced.
    program, _, named = (part.strip() for part in place.partition(":"))
    wanted = named or function
    number = int(program) if program.isdecimal() else _number(lib, program)
    with _opened(lib, number) as fd:
        if fd is None:
            raise HookNotFoundError(f"no program has the id {number}", hint="bpftool prog list shows all programs")
        info = _info(lib, fd)
        name = info.name.decode(errors="replace")
        _check(f"program {number} ({name})", wanted, _functions(lib, fd, info))
        yield Replaced(fd, name, wanted)


def _number(lib: ct.CDLL, name: str) -> int:
    # The only program of this name.
    programs = dict(_programs(lib))
    found = [number for number, each in programs.items() if each == name[:_NAME]]
    if len(found) == 1:
        return found[0]
    if found:
        listed = ", ".join(map(str, found))
        hint = f"name one by its id, as in {found[-1]}:FUNCTION"
        raise AttachError(f"{len(found)} programs are called {name!r}: {listed}", hint=hint)
    near = nearest(name, set(programs.values()))
    hint = did_you_mean(near) or "load the program first; bpftool prog list shows all programs"
    raise HookNotFoundError(f"no program is called {name!r}", nearest=near, hint=hint)


def _programs(lib: ct.CDLL) -> Iterator[tuple[int, str]]:
    # Number and name of every program that can be replaced.
    number = ct.c_uint32(0)
    while not (status := lib.bpf_prog_get_next_id(number, ct.byref(number))):
        with _opened(lib, number.value) as fd:
            info = _info(lib, fd) if fd is not None else None
        if info is not None and info.type != _EXT:
            yield number.value, info.name.decode(errors="replace")
    if status != -errno.ENOENT:
        raise failed(status)


@contextlib.contextmanager
def _opened(lib: ct.CDLL, number: int) -> Iterator[int | None]:
    # A descriptor of the program, or None if it does not exist (any more).
    fd = lib.bpf_prog_get_fd_by_id(number)
    if fd == -errno.ENOENT:
        yield None
        return
    if fd < 0:
        raise failed(fd)
    try:
        yield fd
    finally:
        os.close(fd)


def _info(lib: ct.CDLL, fd: int, functions: ct.Array[ct.c_uint32] | None = None) -> _libbpf.ProgInfo:
    # In `functions` the kernel writes pairs, an instruction's offset and a BTF type (struct bpf_func_info).
    info, size = _libbpf.ProgInfo(), ct.c_uint32(ct.sizeof(_libbpf.ProgInfo))
    if functions is not None:
        info.nr_func_info, info.func_info_rec_size = len(functions) // 2, 8
        info.func_info = ct.addressof(functions)
    status = lib.bpf_obj_get_info_by_fd(fd, ct.byref(info), ct.byref(size))
    if status:
        raise failed(status)
    return info


def _functions(lib: ct.CDLL, fd: int, info: _libbpf.ProgInfo) -> dict[str, bool]:
    # The functions of a program and whether each is static; the first is the program itself. Empty without BTF.
    pairs = (ct.c_uint32 * (2 * info.nr_func_info))()
    if not info.btf_id or not pairs:
        return {}
    _info(lib, fd, pairs)
    btf = lib.btf__load_from_kernel_by_id(info.btf_id)
    if not btf:
        raise failed(ct.get_errno())
    try:
        types = [_libbpf.BtfType.from_address(lib.btf__type_by_id(btf, number)) for number in pairs[1::2]]
        return {lib.btf__name_by_offset(btf, each.name_off).decode(): each.info & 0xFFFF == _STATIC for each in types}
    finally:
        lib.btf__free(btf)


def _check(program: str, function: str, functions: dict[str, bool]) -> None:
    if not functions:
        hint = "compile it with clang -g"
        raise AttachError(f"{program} carries no BTF, so that none of its functions can be replaced", hint=hint)
    listed = ", ".join(name for name, static in functions.items() if not static)
    if not function:
        hint = f"add it to the target, as in PROGRAM:FUNCTION; those that can be replaced: {listed}"
        raise AttachError(f"which function of {program} to replace is not said", hint=hint)
    if function not in functions:
        near = nearest(function, functions)
        hint = did_you_mean(near) or f"those that can be replaced: {listed}"
        raise HookNotFoundError(f"{program} has no function {function!r}", nearest=near, hint=hint)
    if functions[function]:
        raise AttachError(
            f"{function} of {program} is static, and only global functions can be replaced",
            hint=f"declare it there without static, as __attribute__((noinline)) int {function}(...)",
        )
