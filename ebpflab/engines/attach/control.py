# Programs that decide: LSM programs, functions that take the place of another program's, and structs of functions
# that the kernel calls, such as a TCP congestion control.

from __future__ import annotations

import ctypes as ct
import errno
import os
from collections.abc import Callable
from typing import Any

from ... import _libbpf, journal
from ...errors import AttachError, KernelSupportError
from ...inspectors import kernel
from .base import Attachment, Request, failed, kernel_link, libbpf_link
from .replace import replaced

_BPF_STRUCT_OPS = 44  # enum bpf_attach_type, include/uapi/linux/bpf.h
_STRUCT_OPS = 26  # BPF_MAP_TYPE_STRUCT_OPS
_LINK = 1 << 13  # BPF_F_LINK
_UNREGISTERED = (0, -errno.ENOENT, -errno.EINPROGRESS)  # the last: sockets are still using it, and it goes with them


def lsm_state(listed: tuple[str, ...] | None) -> str:
    # What is to be known about an LSM program, given the active modules (/sys/kernel/security/lsm), None if they
    # cannot be read. Without "bpf" among them a program attaches and never runs: then KernelSupportError.
    if listed is None:
        return "if the bpf LSM is active"
    if "bpf" in listed:
        return ""
    wanted = ",".join([*(name for name in listed if name != "capability"), "bpf"])
    raise KernelSupportError(
        f"the bpf LSM is not active, so the program would never run; active: {', '.join(listed)}",
        hint=f"boot with lsm={wanted} on the kernel command line",
        stage="attach",
    )


def _lsm(request: Request) -> Attachment:
    doubt = lsm_state(kernel.facts().lsms)
    link = request.lib.bpf_program__attach(request.pointer)
    return libbpf_link(request, link, ", ".join(filter(None, (request.target.place, doubt))))


def _freplace(request: Request) -> Attachment:
    # Looked up again rather than kept since the load: the program may have been loaded anew meanwhile.
    with replaced(request.lib, request.target.place, request.section.target) as victim:
        link = request.lib.bpf_program__attach_freplace(request.pointer, victim.fd, victim.function.encode())
        try:
            return libbpf_link(request, link, str(victim))
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            what = f"{victim} is busy: another program replaces it, or traces it with fentry or fexit"
            raise AttachError(what, errno=errno.EBUSY, hint="detach that one first") from None


def _struct_ops(request: Request) -> Attachment:
    linked = request.lib.bpf_map__map_flags(request.pointer) & _LINK
    try:
        return _by_link(request) if linked else _by_registration(request)
    except OSError as error:
        if error.errno == errno.EEXIST:
            what = f"{request.name} cannot be registered: the kernel has one of that name"
            hint = "give it another name, or detach the session that registered the other"
            raise AttachError(what, errno=errno.EEXIST, hint=hint) from None
        raise


def _by_link(request: Request) -> Attachment:
    lib = request.lib
    link = lib.bpf_map__attach_struct_ops(request.pointer)
    if link and lib.bpf_link__fd(link) != request.fd:
        return libbpf_link(request, link)
    # A libbpf before 1.2 has only filled the map, which the kernel takes once (EBUSY), and has no link yet.
    if link:
        lib.bpf_link__disconnect(link)
        lib.bpf_link__destroy(link)
    elif ct.get_errno() != errno.EBUSY:
        raise failed(ct.get_errno())
    return kernel_link(request.fd, 0, _BPF_STRUCT_OPS)


def _by_registration(request: Request) -> Attachment:
    # Before Linux 6.4: filling the map registers it, and the registration holds the map.
    lib = request.lib
    info = _info(lib, request.fd)
    entry = journal.record("struct_ops", map=info.id, name=info.name.decode())
    link = lib.bpf_map__attach_struct_ops(request.pointer)
    if not link:
        entry.done()
        if ct.get_errno() != errno.EBUSY:
            raise failed(ct.get_errno())
        what = (
            f"{request.name} was registered before, and this kernel takes a struct only once (Linux 6.4 takes it again)"
        )
        raise AttachError(what, errno=errno.EBUSY, hint="load the cell again")

    def close() -> None:
        if entry.ours:
            lib.bpf_link__disconnect(link)
            lib.bpf_link__destroy(link)
            _unregister(lib, request.fd, request.name)
            entry.done()

    return Attachment(None, close)


def undo_struct_ops(facts: dict[str, Any]) -> None:
    # Unregister the struct of a process that died before it could. Raises OSError or AttachError.
    lib = _libbpf.library()
    fd = lib.bpf_map_get_fd_by_id(facts["map"])
    if fd == -errno.ENOENT:
        return
    if fd < 0:
        raise failed(fd)
    try:
        info = _info(lib, fd)
        if info.type == _STRUCT_OPS and info.name.decode() == facts["name"]:  # the number may be another map's now
            _unregister(lib, fd, facts["name"])
    finally:
        os.close(fd)


def _unregister(lib: ct.CDLL, fd: int, name: str) -> None:
    status = lib.bpf_map_delete_elem(fd, ct.byref(ct.c_uint32(0)))
    if status not in _UNREGISTERED:
        error = failed(status)
        raise AttachError(f"{name} cannot be unregistered: {error.strerror}", errno=error.errno)


def _info(lib: ct.CDLL, fd: int) -> _libbpf.MapInfo:
    info, size = _libbpf.MapInfo(), ct.c_uint32(ct.sizeof(_libbpf.MapInfo))
    status = lib.bpf_obj_get_info_by_fd(fd, ct.byref(info), ct.byref(size))
    if status:
        raise failed(status)
    return info


KINDS: dict[str, Callable[[Request], Attachment]] = {
    "lsm": _lsm,
    "freplace": _freplace,
    "struct_ops": _struct_ops,
}
