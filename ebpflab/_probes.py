# Asks bpf(2) whether the kernel has something: loads a program of a few instructions, or creates a map of one
# entry, and closes it at once. No program runs, and nothing of the system's own is attached to.
#
# libbpf's own probes (src/libbpf_probes.c) are not used: they answer no to any error, missing privileges
# included, know no type that is newer than the library, and version 1.1 reads the verifier's words of
# Linux 6.14 and later as a yes for every helper.

from __future__ import annotations

import contextlib
import ctypes as ct
import errno
import os
import struct
import sys
from collections.abc import Iterator
from typing import NamedTuple

from . import _libbpf, _syscalls

_u32, _u64, _size, _int, _ptr = ct.c_uint32, ct.c_uint64, ct.c_size_t, ct.c_int, ct.c_void_p
_LOG_SIZE = 1 << 14

SLEEPABLE = 1 << 4  # BPF_F_SLEEPABLE
_HASH = 1  # BPF_MAP_TYPE_HASH
_MODULE_SLOT = 1  # in fd_array; slot 0 stands for the kernel itself


class Answer(NamedTuple):
    # What the kernel said: errno 0 if it took it; the verifier's log, which is empty if it never got that far.
    errno: int
    log: str = ""


class Program(NamedTuple):
    # What bpf(2) has to be told about a program besides its instructions.
    type: int
    attach_type: int = 0
    btf_id: int = 0  # what it is attached to: a type id of the kernel's BTF
    flags: int = 0


class Map(NamedTuple):
    type: int
    key_size: int = 4
    value_size: int = 4
    max_entries: int = 1
    flags: int = 0
    needs: str = ""  # "inner": a map to hold; "btf": a descriptor of BTF
    kernel_type: int = 0  # type id of the value in the kernel's BTF, instead of types in that


class _LoadOpts(ct.Structure):
    # struct bpf_prog_load_opts.
    _fields_ = [
        ("sz", _size),
        ("attempts", _int),
        ("expected_attach_type", _u32),
        ("prog_btf_fd", _u32),
        ("prog_flags", _u32),
        ("prog_ifindex", _u32),
        ("kern_version", _u32),
        ("attach_btf_id", _u32),
        ("attach_prog_fd", _u32),
        ("attach_btf_obj_fd", _u32),
        ("fd_array", _ptr),
        ("func_info", _ptr),
        ("func_info_cnt", _u32),
        ("func_info_rec_size", _u32),
        ("line_info", _ptr),
        ("line_info_cnt", _u32),
        ("line_info_rec_size", _u32),
        ("log_level", _u32),
        ("log_size", _u32),
        ("log_buf", _ptr),
    ]


class _MapOpts(ct.Structure):
    # struct bpf_map_create_opts. The padding at the end is spelled out: libbpf insists that it is zero.
    _fields_ = [
        ("sz", _size),
        ("btf_fd", _u32),
        ("btf_key_type_id", _u32),
        ("btf_value_type_id", _u32),
        ("btf_vmlinux_value_type_id", _u32),
        ("inner_map_fd", _u32),
        ("map_flags", _u32),
        ("map_extra", _u64),
        ("numa_node", _u32),
        ("map_ifindex", _u32),
    ]


class _LinkAttributes(ct.Structure):
    # union bpf_attr of BPF_LINK_CREATE; `rest` is the union of what each kind of link takes.
    _fields_ = [
        ("prog_fd", _u32),
        ("target", _u32),
        ("attach_type", _u32),
        ("flags", _u32),
        ("rest", _u64 * 6),
    ]


class _BtfInfo(ct.Structure):
    # struct bpf_btf_info.
    _fields_ = [
        ("btf", _u64),
        ("btf_size", _u32),
        ("id", _u32),
        ("name", _u64),
        ("name_len", _u32),
        ("kernel_btf", _u32),
    ]


def _instruction(code: int, *, source: int = 0, offset: int = 0, immediate: int = 0) -> bytes:
    # struct bpf_insn, whose two registers are bit fields of one byte; the destination is always r0.
    registers = source << 4 if sys.byteorder == "little" else source
    return struct.pack("=BBhi", code, registers, offset, immediate)


_EXIT = _instruction(0x95)
RETURN_ZERO = _instruction(0xB7) + _EXIT  # r0 = 0; exit


def call_helper(number: int) -> bytes:
    return _instruction(0x85, immediate=number) + _EXIT


def call_kernel(btf_id: int, *, module: bool = False) -> bytes:
    # A call of a kernel function by its BTF id: BPF_PSEUDO_KFUNC_CALL.
    return _instruction(0x85, source=2, offset=_MODULE_SLOT if module else 0, immediate=btf_id) + _EXIT


def load(program: Program, code: bytes = RETURN_ZERO, module: int = -1) -> Answer:
    # Load a program and let go of it. `module` is the BTF descriptor of the module whose function it calls.
    with _libbpf.interrupts_later():
        fd, log = _load(program, code, module)
        if fd >= 0:
            os.close(fd)
    return Answer(max(-fd, 0), log)


@contextlib.contextmanager
def loaded(program: Program) -> Iterator[int]:
    # The descriptor of a program that returns 0; negative where the kernel refused it. The caller must not
    # be interrupted in between: it holds the with statement inside `interrupts_later`.
    fd, _ = _load(program, RETURN_ZERO, -1)
    try:
        yield fd
    finally:
        if fd >= 0:
            os.close(fd)


def _load(program: Program, code: bytes, module: int) -> tuple[int, str]:
    log = ct.create_string_buffer(_LOG_SIZE)
    slots = (_int * 2)(0, module)
    options = _LoadOpts(
        sz=ct.sizeof(_LoadOpts),
        expected_attach_type=program.attach_type,
        prog_flags=program.flags,
        attach_btf_id=program.btf_id,
        fd_array=ct.addressof(slots) if module >= 0 else None,
        log_level=1,
        log_size=len(log),
        log_buf=ct.addressof(log),
    )
    size = len(code) // len(_EXIT)
    fd = _libbpf.library().bpf_prog_load(program.type, None, b"GPL", code, size, ct.byref(options))
    return fd, log.value.decode(errors="replace")


def create(wanted: Map) -> Answer:
    # Create a map and let go of it.
    lib = _libbpf.library()
    with _libbpf.interrupts_later(), contextlib.ExitStack() as stack:

        def held(fd: int) -> int:
            if fd >= 0:
                stack.callback(os.close, fd)
            return fd

        options = _MapOpts(sz=ct.sizeof(_MapOpts), map_flags=wanted.flags, btf_vmlinux_value_type_id=wanted.kernel_type)
        if wanted.needs == "inner":
            inner = held(lib.bpf_map_create(_HASH, None, 4, 4, 1, None))
            if inner < 0:
                return Answer(-inner)
            options.inner_map_fd = inner
        if wanted.needs == "btf":
            btf = held(lib.bpf_btf_load(_BTF_OF_INT, len(_BTF_OF_INT), None))
            if btf < 0:
                return Answer(-btf)
            options.btf_fd = btf
            if not wanted.kernel_type:
                options.btf_key_type_id = options.btf_value_type_id = 1
        sizes = (wanted.key_size, wanted.value_size, wanted.max_entries)
        return Answer(max(-held(lib.bpf_map_create(wanted.type, None, *sizes, ct.byref(options))), 0))


def _btf_of_int() -> bytes:
    # BTF with one type: a signed int of 32 bits (include/uapi/linux/btf.h).
    strings = b"\0int\0"
    types = struct.pack("=IIII", 1, 1 << 24, 4, 1 << 24 | 32)
    return struct.pack("=HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(types), len(types), len(strings)) + types + strings


_BTF_OF_INT = _btf_of_int()


def link(program: Program, target: int, attach_type: int, *rest: int) -> Answer:
    # Ask for a link of a program to a target that does not exist, so that the kernel's error tells how far it
    # got. Should it succeed all the same, the link goes again at once.
    with _libbpf.interrupts_later(), loaded(program) as fd:
        if fd < 0:
            return Answer(-fd)
        attributes = _LinkAttributes(fd, target & 0xFFFFFFFF, attach_type, 0, (_u64 * 6)(*rest))
        try:
            os.close(_syscalls.bpf(_syscalls.LINK_CREATE, attributes))
        except OSError as error:
            return Answer(error.errno or errno.EIO)
    return Answer(0)


def link_symbol(program: Program, attach_type: int, symbol: bytes) -> Answer:
    # The same for a link to functions of the kernel by name: flags, cnt, syms.
    text = ct.create_string_buffer(symbol)
    symbols = (_u64 * 1)(ct.addressof(text))
    return link(program, 0, attach_type, _two(0, 1), ct.addressof(symbols))


def link_file(program: Program, attach_type: int, path: bytes) -> Answer:
    # The same for a link to a place in a file: path, offsets, ref_ctr_offsets, cookies, cnt, flags.
    text, offsets = ct.create_string_buffer(path), (_u64 * 1)(0)
    return link(program, 0, attach_type, ct.addressof(text), ct.addressof(offsets), 0, 0, _two(1, 0))


def _two(first: int, second: int) -> int:
    # Two members of 32 bits as one of 64.
    return int.from_bytes(struct.pack("=II", first, second), sys.byteorder)


class _Nothing(ct.Structure):
    # Zeros, as many as the first versions of both attributes have.
    _fields_ = [("zeros", _u64 * 9)]


_NO_COMMAND, _NO_FLAGS = 0x7FFF, 1 << 31


def filtered() -> tuple[str, ...]:
    # The system calls that a filter (seccomp) refuses. The kernel's own answer to this nonsense is EINVAL, before it
    # looks at who asks: flags are the first that perf_event_open(2) checks, and kernel.perf_event_paranoid comes later.
    # (Before Linux 5.19 bpf(2) without CAP_BPF is an exception, but there the missing capability is the cause.)
    def bpf() -> int:
        return _syscalls.bpf(_NO_COMMAND, _Nothing())

    def perf_event_open() -> int:
        return _syscalls.perf_event_open(_Nothing(), -1, -1, _NO_FLAGS)

    refused = []
    for call in (bpf, perf_event_open):
        try:
            os.close(call())
        except OSError as error:
            if error.errno in (errno.EPERM, errno.EACCES, errno.ENOSYS):
                refused.append(f"{call.__name__}(2)")
    return tuple(refused)


def trace(program: Program) -> Answer:
    # Attach a program to the function that it was loaded for, by a link, and let go of it.
    with _libbpf.interrupts_later(), loaded(program) as fd:
        attached = _libbpf.library().bpf_raw_tracepoint_open(None, fd) if fd >= 0 else fd
        if attached >= 0:
            os.close(attached)
    return Answer(max(-attached, 0))


def modules() -> dict[str, int]:
    # The BTF id of every kernel module that has BTF; empty where the kernel does not let us look.
    lib, found, number = _libbpf.library(), {}, _u32(0)
    while not lib.bpf_btf_get_next_id(number, ct.byref(number)):
        with module(number.value) as fd:
            name = ct.create_string_buffer(64)
            info = _BtfInfo(name=ct.addressof(name), name_len=len(name))
            size = _u32(ct.sizeof(info))
            if fd >= 0 and not lib.bpf_obj_get_info_by_fd(fd, ct.byref(info), ct.byref(size)) and info.kernel_btf:
                found[name.value.decode()] = number.value
    return found


@contextlib.contextmanager
def module(number: int) -> Iterator[int]:
    # A descriptor of the BTF with this id; negative where there is none any more.
    fd = _libbpf.library().bpf_btf_get_fd_by_id(number)
    try:
        yield fd
    finally:
        if fd >= 0:
            os.close(fd)
