# What has to be settled before the verifier runs: what kind of program it is where libbpf does not know the
# section, and the hook of programs that are checked against its types.

from __future__ import annotations

import contextlib
import ctypes as ct
import os

from ... import _syscalls
from ...program_types import ATTACH_TYPES, Section
from .base import failed
from .replace import replaced

_SLEEPABLE = 1 << 4  # BPF_F_SLEEPABLE, include/uapi/linux/bpf.h
_LINK = 1 << 13  # BPF_F_LINK
_STRUCT_OPS = 26  # BPF_MAP_TYPE_STRUCT_OPS
_ENOTSUPP = 524  # include/linux/errno.h; the kernel's own, and not for user space


def aim(lib: ct.CDLL, pointer: int, section: Section, hook: str, held: contextlib.ExitStack) -> None:
    # `hook` is where the program shall go, whatever its section says; `held` keeps what loading takes. Raises OSError.
    unknown = not lib.bpf_program__type(pointer)
    if unknown:
        lib.bpf_program__set_type(pointer, section.type.type)
        lib.bpf_program__set_expected_attach_type(pointer, ATTACH_TYPES.get(section.prefix, 0))
    if section.sleepable:
        lib.bpf_program__set_flags(pointer, _SLEEPABLE)
    program, status = 0, 0
    if section.kind == "freplace":
        victim = held.enter_context(replaced(lib, hook, section.target))
        program, hook = victim.fd, victim.function
    # Of a section that it knows, libbpf resolves the hook itself.
    if section.type.typed and (program or unknown or hook != section.target):
        status = lib.bpf_program__set_attach_target(pointer, program, hook.encode())
    if status:
        raise failed(status)


def aim_map(lib: ct.CDLL, pointer: int) -> None:
    # Have a struct_ops map registered by a link, which goes with its descriptor, wherever the kernel can (Linux 6.4).
    if lib.bpf_map__type(pointer) == _STRUCT_OPS:
        others = lib.bpf_map__map_flags(pointer) & ~_LINK
        lib.bpf_map__set_map_flags(pointer, others | _LINK if _links_struct_ops() else others)


class _MapCreate(ct.Structure):
    # union bpf_attr of BPF_MAP_CREATE, up to what a struct_ops map takes.
    _fields_ = [
        ("map_type", ct.c_uint32),
        ("key_size", ct.c_uint32),
        ("value_size", ct.c_uint32),
        ("max_entries", ct.c_uint32),
        ("map_flags", ct.c_uint32),
        ("_other", ct.c_ubyte * 40),
        ("btf_vmlinux_value_type_id", ct.c_uint32),
    ]


def _links_struct_ops() -> bool:
    # Asks for a struct that no kernel has: ENOTSUPP says that there is no such struct, EINVAL no such flag.
    wanted = _MapCreate(_STRUCT_OPS, 4, 64, 1, _LINK)
    wanted.btf_vmlinux_value_type_id = 0xFFFFFFF
    try:
        os.close(_syscalls.bpf(_syscalls.MAP_CREATE, wanted))
    except OSError as refused:
        return refused.errno == _ENOTSUPP
    return True
