# The part of libbpf's C API that ebpflab calls: names, argument types, result types. Declarations only.
#
# Source: libbpf/src/{libbpf,bpf,btf}.h as of 1.1; everything here exists from 1.0 on, when libbpf began
# to return NULL or a negative errno instead of pointers that hold an error.

from __future__ import annotations

import contextlib
import ctypes as ct
import functools
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from . import toolchain

_int, _u32, _size, _str, _ptr = ct.c_int, ct.c_uint32, ct.c_size_t, ct.c_char_p, ct.c_void_p

# name: (result, arguments)
_FUNCTIONS: dict[str, tuple[type | None, tuple[type, ...]]] = {
    "libbpf_version_string": (_str, ()),
    "libbpf_major_version": (_u32, ()),
    "libbpf_minor_version": (_u32, ()),
    "libbpf_set_print": (_ptr, (_ptr,)),
    "libbpf_num_possible_cpus": (_int, ()),
    "bpf_object__open_mem": (_ptr, (_ptr, _size, _ptr)),
    "bpf_object__load": (_int, (_ptr,)),
    "bpf_object__close": (None, (_ptr,)),
    "bpf_object__btf": (_ptr, (_ptr,)),
    "bpf_object__next_program": (_ptr, (_ptr, _ptr)),
    "bpf_object__next_map": (_ptr, (_ptr, _ptr)),
    "bpf_program__name": (_str, (_ptr,)),
    "bpf_program__section_name": (_str, (_ptr,)),
    "bpf_program__type": (_int, (_ptr,)),
    "bpf_program__autoload": (ct.c_bool, (_ptr,)),
    "bpf_program__set_autoload": (ct.c_int, (_ptr, ct.c_bool)),
    "bpf_program__fd": (_int, (_ptr,)),
    "bpf_program__insns": (_ptr, (_ptr,)),
    "bpf_program__insn_cnt": (_size, (_ptr,)),
    "bpf_program__set_log_buf": (_int, (_ptr, _ptr, _size)),
    "bpf_program__set_log_level": (_int, (_ptr, _u32)),
    "bpf_program__set_type": (_int, (_ptr, _int)),
    "bpf_program__set_expected_attach_type": (_int, (_ptr, _int)),
    "bpf_program__expected_attach_type": (_int, (_ptr,)),
    "bpf_program__set_flags": (_int, (_ptr, _u32)),
    "bpf_program__set_attach_target": (_int, (_ptr, _int, _str)),
    "bpf_program__attach": (_ptr, (_ptr,)),
    "bpf_program__attach_kprobe_opts": (_ptr, (_ptr, _str, _ptr)),
    "bpf_program__attach_kprobe_multi_opts": (_ptr, (_ptr, _str, _ptr)),
    "bpf_program__attach_ksyscall": (_ptr, (_ptr, _str, _ptr)),
    "bpf_program__attach_usdt": (_ptr, (_ptr, _int, _str, _str, _str, _ptr)),
    "bpf_program__attach_perf_event_opts": (_ptr, (_ptr, _int, _ptr)),
    "bpf_program__attach_iter": (_ptr, (_ptr, _ptr)),
    "bpf_program__attach_cgroup": (_ptr, (_ptr, _int)),
    "bpf_program__attach_netns": (_ptr, (_ptr, _int)),
    "bpf_program__attach_xdp": (_ptr, (_ptr, _int)),
    "bpf_program__attach_freplace": (_ptr, (_ptr, _int, _str)),
    "bpf_map__attach_struct_ops": (_ptr, (_ptr,)),
    "bpf_tc_hook_create": (_int, (_ptr,)),
    "bpf_tc_hook_destroy": (_int, (_ptr,)),
    "bpf_tc_attach": (_int, (_ptr, _ptr)),
    "bpf_tc_detach": (_int, (_ptr, _ptr)),
    "bpf_tc_query": (_int, (_ptr, _ptr)),
    "bpf_xdp_query": (_int, (_int, _int, _ptr)),
    "bpf_prog_attach": (_int, (_int, _int, _int, ct.c_uint)),
    "bpf_prog_detach2": (_int, (_int, _int, _int)),
    "bpf_prog_query": (_int, (_int, _int, _u32, ct.POINTER(_u32), ct.POINTER(_u32), ct.POINTER(_u32))),
    "bpf_enable_stats": (_int, (_int,)),
    "bpf_prog_get_next_id": (_int, (_u32, ct.POINTER(_u32))),
    "bpf_prog_get_fd_by_id": (_int, (_u32,)),
    "bpf_map_get_fd_by_id": (_int, (_u32,)),
    "bpf_map_lookup_elem_flags": (_int, (_int, _ptr, _ptr, ct.c_uint64)),
    "bpf_map_update_elem": (_int, (_int, _ptr, _ptr, ct.c_uint64)),
    "bpf_map_lookup_and_delete_elem": (_int, (_int, _ptr, _ptr)),
    "bpf_map_lookup_batch": (_int, (_int, _ptr, _ptr, _ptr, _ptr, ct.POINTER(_u32), _ptr)),
    "bpf_map_delete_elem": (_int, (_int, _ptr)),
    "bpf_map_get_next_key": (_int, (_int, _ptr, _ptr)),
    "bpf_program__attach_tracepoint": (_ptr, (_ptr, _str, _str)),
    "bpf_program__attach_raw_tracepoint": (_ptr, (_ptr, _str)),
    "bpf_program__attach_uprobe_opts": (_ptr, (_ptr, _int, _str, _size, _ptr)),
    "bpf_map__name": (_str, (_ptr,)),
    "bpf_map__type": (_int, (_ptr,)),
    "bpf_map__fd": (_int, (_ptr,)),
    "bpf_map__key_size": (_u32, (_ptr,)),
    "bpf_map__value_size": (_u32, (_ptr,)),
    "bpf_map__max_entries": (_u32, (_ptr,)),
    "bpf_map__map_flags": (_u32, (_ptr,)),
    "bpf_map__set_map_flags": (_int, (_ptr, _u32)),
    "bpf_map__set_key_size": (_int, (_ptr, _u32)),
    "bpf_map__set_value_size": (_int, (_ptr, _u32)),
    "bpf_map__set_max_entries": (_int, (_ptr, _u32)),
    "bpf_map__inner_map": (_ptr, (_ptr,)),
    "bpf_map__set_inner_map_fd": (_int, (_ptr, _int)),
    "bpf_map__initial_value": (_ptr, (_ptr, ct.POINTER(_size))),
    "bpf_map__is_internal": (ct.c_bool, (_ptr,)),
    "bpf_link__fd": (_int, (_ptr,)),
    "bpf_link__destroy": (_int, (_ptr,)),
    "bpf_link__disconnect": (None, (_ptr,)),
    "bpf_iter_create": (_int, (_int,)),
    "bpf_prog_test_run_opts": (_int, (_int, _ptr)),
    "bpf_obj_get_info_by_fd": (_int, (_int, _ptr, ct.POINTER(_u32))),
    "bpf_prog_load": (_int, (_int, _str, _str, _str, _size, _ptr)),
    "bpf_map_create": (_int, (_int, _str, _u32, _u32, _u32, _ptr)),
    "bpf_btf_load": (_int, (_str, _size, _ptr)),
    "bpf_btf_get_next_id": (_int, (_u32, ct.POINTER(_u32))),
    "bpf_btf_get_fd_by_id": (_int, (_u32,)),
    "bpf_raw_tracepoint_open": (_int, (_str, _int)),
    "btf__load_vmlinux_btf": (_ptr, ()),
    "btf__parse": (_ptr, (_str, _ptr)),
    "btf__free": (None, (_ptr,)),
    "btf__load_from_kernel_by_id": (_ptr, (_u32,)),
    "btf__type_cnt": (_u32, (_ptr,)),
    "btf__type_by_id": (_ptr, (_ptr, _u32)),
    "btf__name_by_offset": (_str, (_ptr, _u32)),
    "btf__raw_data": (_ptr, (_ptr, ct.POINTER(_u32))),
    "btf_dump__new": (_ptr, (_ptr, _ptr, _ptr, _ptr)),
    "btf_dump__dump_type": (_int, (_ptr, _u32)),
    "btf_dump__free": (None, (_ptr,)),
}


class OpenOpts(ct.Structure):
    # struct bpf_object_open_opts, as far as `kernel_log_level` would follow; sz tells libbpf how much is filled.
    _fields_ = [("sz", _size), ("object_name", _str)]


class UprobeOpts(ct.Structure):
    # struct bpf_uprobe_opts. The padding of `retprobe` is spelled out: libbpf insists that unknown bytes are zero.
    _fields_ = [
        ("sz", _size),
        ("ref_ctr_offset", _size),
        ("bpf_cookie", ct.c_uint64),
        ("retprobe", ct.c_bool),
        ("_pad", ct.c_ubyte * 7),
        ("func_name", _str),
    ]


class KprobeOpts(ct.Structure):
    # struct bpf_kprobe_opts up to `retprobe`.
    _fields_ = [
        ("sz", _size),
        ("bpf_cookie", ct.c_uint64),
        ("offset", _size),
        ("retprobe", ct.c_bool),
        ("_pad", ct.c_ubyte * 7),
    ]


class KprobeMultiOpts(ct.Structure):
    # struct bpf_kprobe_multi_opts up to `retprobe`.
    _fields_ = [
        ("sz", _size),
        ("syms", ct.POINTER(_str)),
        ("addrs", _ptr),
        ("cookies", _ptr),
        ("cnt", _size),
        ("retprobe", ct.c_bool),
        ("_pad", ct.c_ubyte * 7),
    ]


class KsyscallOpts(ct.Structure):
    # struct bpf_ksyscall_opts.
    _fields_ = [("sz", _size), ("bpf_cookie", ct.c_uint64), ("retprobe", ct.c_bool), ("_pad", ct.c_ubyte * 7)]


class IterOpts(ct.Structure):
    # struct bpf_iter_attach_opts.
    _fields_ = [("sz", _size), ("link_info", _ptr), ("link_info_len", _u32), ("_pad", ct.c_ubyte * 4)]


class TcHook(ct.Structure):
    # struct bpf_tc_hook.
    _fields_ = [
        ("sz", _size),
        ("ifindex", _int),
        ("attach_point", _int),
        ("parent", _u32),
        ("_pad", ct.c_ubyte * 4),
    ]


class TcOpts(ct.Structure):
    # struct bpf_tc_opts.
    _fields_ = [
        ("sz", _size),
        ("prog_fd", _int),
        ("flags", _u32),
        ("prog_id", _u32),
        ("handle", _u32),
        ("priority", _u32),
        ("_pad", ct.c_ubyte * 4),
    ]


class XdpQueryOpts(ct.Structure):
    # struct bpf_xdp_query_opts up to attach_mode.
    _fields_ = [
        ("sz", _size),
        ("prog_id", _u32),
        ("drv_prog_id", _u32),
        ("hw_prog_id", _u32),
        ("skb_prog_id", _u32),
        ("attach_mode", ct.c_ubyte),
        ("_pad", ct.c_ubyte * 7),
    ]


class TestRunOpts(ct.Structure):
    # struct bpf_test_run_opts up to `batch_size`.
    _fields_ = [
        ("sz", _size),
        ("data_in", _ptr),
        ("data_out", _ptr),
        ("data_size_in", _u32),
        ("data_size_out", _u32),
        ("ctx_in", _ptr),
        ("ctx_out", _ptr),
        ("ctx_size_in", _u32),
        ("ctx_size_out", _u32),
        ("retval", _u32),
        ("repeat", _int),
        ("duration", _u32),
        ("flags", _u32),
        ("cpu", _u32),
        ("batch_size", _u32),
    ]


class ProgInfo(ct.Structure):
    # struct bpf_prog_info (include/uapi/linux/bpf.h) up to verified_insns; the kernel fills what it knows of it.
    _fields_ = [
        ("type", _u32),
        ("id", _u32),
        ("tag", ct.c_ubyte * 8),
        ("jited_prog_len", _u32),
        ("xlated_prog_len", _u32),
        ("jited_prog_insns", ct.c_uint64),
        ("xlated_prog_insns", ct.c_uint64),
        ("load_time", ct.c_uint64),
        ("created_by_uid", _u32),
        ("nr_map_ids", _u32),
        ("map_ids", ct.c_uint64),
        ("name", ct.c_char * 16),
        ("ifindex", _u32),
        ("gpl_compatible", _u32),
        ("netns_dev", ct.c_uint64),
        ("netns_ino", ct.c_uint64),
        ("nr_jited_ksyms", _u32),
        ("nr_jited_func_lens", _u32),
        ("jited_ksyms", ct.c_uint64),
        ("jited_func_lens", ct.c_uint64),
        ("btf_id", _u32),
        ("func_info_rec_size", _u32),
        ("func_info", ct.c_uint64),
        ("nr_func_info", _u32),
        ("nr_line_info", _u32),
        ("line_info", ct.c_uint64),
        ("jited_line_info", ct.c_uint64),
        ("nr_jited_line_info", _u32),
        ("line_info_rec_size", _u32),
        ("jited_line_info_rec_size", _u32),
        ("nr_prog_tags", _u32),
        ("prog_tags", ct.c_uint64),
        ("run_time_ns", ct.c_uint64),
        ("run_cnt", ct.c_uint64),
        ("recursion_misses", ct.c_uint64),
        ("verified_insns", _u32),
        ("attach_btf_obj_id", _u32),
    ]


class MapInfo(ct.Structure):
    # struct bpf_map_info up to the name.
    _fields_ = [
        ("type", _u32),
        ("id", _u32),
        ("key_size", _u32),
        ("value_size", _u32),
        ("max_entries", _u32),
        ("map_flags", _u32),
        ("name", ct.c_char * 16),
    ]


class BatchOpts(ct.Structure):
    # struct bpf_map_batch_opts.
    _fields_ = [("sz", _size), ("elem_flags", ct.c_uint64), ("flags", ct.c_uint64)]


class BtfType(ct.Structure):
    # struct btf_type (include/uapi/linux/btf.h); the low half of `info` is a function's linkage.
    _fields_ = [("name_off", _u32), ("info", _u32), ("size_or_type", _u32)]


PRINT = ct.CFUNCTYPE(_int, _int, _ptr, _ptr)  # libbpf_print_fn_t: level, format, va_list
DUMP = ct.CFUNCTYPE(None, _ptr, _ptr, _ptr)  # btf_dump_printf_fn_t: ctx, format, va_list

_libc = ct.CDLL(None)
_vsnprintf = _libc.vsnprintf
_vsnprintf.argtypes = [_ptr, _size, _ptr, _ptr]
_vsnprintf.restype = _int


def format_va(fmt: int, va_list: int, buffer: ct.Array[ct.c_char]) -> bytes:
    # A va_list argument reaches a callback as a pointer on x86-64, arm64 and riscv64 (it is an array, a large
    # structure passed by reference, or a pointer), and vsnprintf takes it in the same form.
    length = _vsnprintf(ct.addressof(buffer), len(buffer), fmt, va_list)
    return ct.string_at(ct.addressof(buffer), min(length, len(buffer) - 1))


@contextlib.contextmanager
def interrupts_later() -> Iterator[None]:
    # An interrupt during a call is raised in the first Python code that runs, which is a callback of ours, and
    # ctypes drops exceptions of callbacks: both the interrupt and what libbpf said would be lost. So it waits.
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or before is None:
        yield
        return
    came: list[tuple[int, FrameType | None]] = []
    signal.signal(signal.SIGINT, lambda number, frame: came.append((number, frame)))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if came and callable(before):
            before(*came[0])


class Messages(threading.local):
    # libbpf has one print function per process; it runs in the thread that called libbpf, so a
    # thread-local list keeps the messages of sessions in different threads apart.
    lines: list[str] | None = None


messages = Messages()
_print_buffer = threading.local()


@PRINT  # type: ignore[untyped-decorator]
def _collect(level: int, fmt: int, va_list: int) -> int:
    if messages.lines is not None and level <= 1:  # LIBBPF_WARN, LIBBPF_INFO
        buffer = getattr(_print_buffer, "buffer", None)
        if buffer is None:
            buffer = _print_buffer.buffer = ct.create_string_buffer(16384)
        messages.lines.append(format_va(fmt, va_list, buffer).decode("utf-8", "replace").rstrip("\n"))
    return 0


@functools.cache
def library() -> ct.CDLL:
    # The shared library with every function typed. Raises ToolMissingError when there is none.
    lib = ct.CDLL(str(toolchain.find_libbpf()), use_errno=True)
    for name, (result, arguments) in _FUNCTIONS.items():
        function = getattr(lib, name)
        function.restype, function.argtypes = result, arguments
    collect_messages(lib)
    return lib


def collect_messages(lib: ct.CDLL) -> None:
    # Others in this process (BCC, a user's own ctypes) may have set a print function of theirs since.
    lib.libbpf_set_print(ct.cast(_collect, _ptr))
