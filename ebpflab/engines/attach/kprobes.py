# Functions of the kernel, by breakpoints (kprobes) or, many at once, by ftrace (kprobe.multi).

from __future__ import annotations

import ctypes as ct
import errno
import struct
from collections.abc import Callable

from ... import _libbpf
from ...errors import AttachError
from ...inspectors import functions
from ...program_types import ATTACH_TYPES, is_pattern, kprobe_target
from .base import Attachment, Request, counted, each_of, failed, kernel_link
from .perf import perf_link

_MULTI = 42  # BPF_TRACE_KPROBE_MULTI
_RETURN = 1  # BPF_F_KPROBE_MULTI_RETURN
_MOST = 1000  # links of one attachment; each takes a descriptor, and milliseconds to be taken off again
# ftrace lists the place of a weak function that another one replaced under such a name.
_REPLACED = "__ftrace_invalid_address__"


def _kprobe(request: Request) -> Attachment:
    place = request.target.place
    if not is_pattern(place):
        return _one(request, place)
    # One link for each function, as BCC does it: kernels older than kprobe.multi have no other way.
    names = _expand(place)
    if len(names) > _MOST:
        what = f"{place} stands for {len(names)} functions, and a {request.section.kind} takes {_MOST} at most"
        raise AttachError(what, hint='SEC("kprobe.multi") takes any number')
    return each_of(lambda name: _one(request, name), names, place)


def _one(request: Request, place: str) -> Attachment:
    returns = request.section.kind == "kretprobe"
    function, offset = kprobe_target(place, returns=returns)
    options = _libbpf.KprobeOpts(sz=ct.sizeof(_libbpf.KprobeOpts), retprobe=returns, offset=offset)
    attach = request.lib.bpf_program__attach_kprobe_opts
    return perf_link(request, attach(request.pointer, function.encode(), ct.byref(options)))


def _multi(request: Request) -> Attachment:
    # The pattern is expanded here: libbpf 1.1 tries functions that cannot be traced, and fails with the first.
    pattern, prefix = request.target.place, request.section.prefix
    names = _expand(pattern)
    symbols = (ct.c_char_p * len(names))(*(name.encode() for name in names))
    flags = _RETURN if prefix == "kretprobe.multi" else 0
    # link_create.kprobe_multi: flags, cnt, syms, addrs, cookies (include/uapi/linux/bpf.h).
    more = struct.pack("=IIQQQ", flags, len(names), ct.addressof(symbols), 0, 0)
    place = counted(pattern, len(names)) if len(names) > 1 else names[0]
    return kernel_link(request.fd, 0, ATTACH_TYPES.get(prefix, _MULTI), more=more, place=place)


def _expand(pattern: str) -> list[str]:
    # The traceable functions of a name or a glob.
    known = functions.traceable()
    if known is None:
        if is_pattern(pattern):
            raise failed(errno.EACCES)
        return [pattern]
    found = sorted(name for name in functions.matching(pattern, known) if not name.startswith(_REPLACED))
    refused = [] if found else sorted(functions.matching(pattern, functions.functions()))
    if refused and pattern not in refused:
        listed = ", ".join(refused[:5]) + (", ..." if len(refused) > 5 else "")
        what = f"what matches {pattern!r} may not be traced: {listed}"
        raise AttachError(what, errno=errno.EINVAL, hint="functions that call them may do as well")
    if not found:
        raise failed(errno.ENOENT)
    return found


def _ksyscall(request: Request) -> Attachment:
    returns = request.section.prefix == "kretsyscall"
    options = _libbpf.KsyscallOpts(sz=ct.sizeof(_libbpf.KsyscallOpts), retprobe=returns)
    attach = request.lib.bpf_program__attach_ksyscall
    return perf_link(request, attach(request.pointer, request.target.place.encode(), ct.byref(options)))


KINDS: dict[str, Callable[[Request], Attachment]] = {
    "kprobe": _kprobe,
    "kretprobe": _kprobe,
    "kprobe.multi": _multi,
    "kprobe.session": _multi,
    "ksyscall": _ksyscall,
}
