# Programs of single sockets and of a network namespace's sockets, and of remote controls.
#
# A socket keeps its program as long as it lives, whoever has it open: that may be longer than this process, and
# is journalled. A socket of another process is borrowed for each call only, so that closing it still closes it.

from __future__ import annotations

import contextlib
import ctypes as ct
import errno
import os
import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ... import _libbpf, _syscalls, journal
from ...errors import AttachError
from . import sockmaps
from .base import Attachment, Request, failed, kernel_link
from .netns import in_netns, interface_index, open_netns

# include/uapi/asm-generic/socket.h, which all machines of _syscalls share
_SO_GET_FILTER, _SO_DETACH_FILTER = 26, 27
_SO_LOCK_FILTER, _SO_ATTACH_BPF = 44, 50
_SO_ATTACH_REUSEPORT_EBPF, _SO_DETACH_REUSEPORT_BPF = 52, 68
_ETH_P_ALL = 3  # include/uapi/linux/if_ether.h
_CLOSED = (errno.EBADF, errno.ENOTSOCK, errno.ESRCH)  # what has become of a descriptor
_ENOTSUPP = 524  # the kernel's own, include/linux/errno.h
_LIRC_MODE2, _SK_LOOKUP = 16, 36  # enum bpf_attach_type, include/uapi/linux/bpf.h

_getsockopt = ct.CDLL(None, use_errno=True).getsockopt


def _filter(request: Request) -> Attachment:
    text = request.target.place
    if not re.match(r"(fd|pid):", text):
        return _on_interface(request)
    if "netns" in request.target.options:
        what = f"{request.name}: netns= is where an interface is looked for, and {text} is a socket"
        raise AttachError(what, hint=f"write {text}")
    with _borrowed(*_numbers(text)) as held:
        if held.getsockopt(socket.SOL_SOCKET, _SO_LOCK_FILTER):
            what = f"{request.name}: whoever opened the socket {text} has locked its filter"
            raise AttachError(what, errno=errno.EPERM, hint="nothing but closing it helps (SO_LOCK_FILTER, socket(7))")
        if _has_filter(held):
            what = f"{request.name}: the socket {text} has a filter already"
            raise AttachError(what, errno=errno.EBUSY, hint="take it off first (SO_DETACH_FILTER, socket(7))")
        return _to_socket(request, held, _SO_ATTACH_BPF, _SO_DETACH_FILTER)


def _on_interface(request: Request) -> Attachment:
    # A packet socket of our own that nobody reads: the filter runs before there has to be room for the packet.
    with in_netns(request.target.options.get("netns")):
        interface_index(request.target.place)
        own = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)  # of no protocol, so it receives nothing yet
    try:
        own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 0)  # the kernel makes that its minimum
        own.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_BPF, request.fd)
        own.bind((request.target.place, _ETH_P_ALL))
    except BaseException:
        own.close()
        raise
    return Attachment(None, own.close)


def _reuseport(request: Request) -> Attachment:
    text = request.target.place
    refused = {
        errno.EINVAL: (f"{text} was not bound with SO_REUSEPORT", "set SO_REUSEPORT before bind()"),
        _ENOTSUPP: (f"{text} is neither a TCP nor a UDP socket", "give one that is"),
    }
    with _borrowed(*_numbers(text)) as held:
        try:
            return _to_socket(request, held, _SO_ATTACH_REUSEPORT_EBPF, _SO_DETACH_REUSEPORT_BPF)
        except OSError as error:
            if error.errno not in refused:
                raise
            what, hint = refused[error.errno]
            raise AttachError(f"{request.name}: {what}", errno=error.errno, hint=hint) from None


def _to_socket(request: Request, held: socket.socket, attach: int, detach: int) -> Attachment:
    pid, fd = _numbers(request.target.place)
    entry = journal.record("socket", pid=pid, fd=fd, inode=_inode(held), detach=detach)
    try:
        held.setsockopt(socket.SOL_SOCKET, attach, request.fd)
    except BaseException:
        entry.done()
        raise

    def close() -> None:
        if entry.ours:
            undo_socket(entry.facts)
            entry.done()

    return Attachment(None, close)


def undo_socket(facts: dict[str, Any]) -> None:
    # Take the program off, wherever the socket is open by now; if nowhere, it went with it. Raises AttachError.
    for pid, fd in _holders(facts["pid"], facts["fd"], facts["inode"]):
        try:
            with _borrowed(pid, fd) as held:
                if _inode(held) == facts["inode"]:
                    _take_off(held, facts["detach"])
                    return
        except OSError as error:
            if error.errno not in _CLOSED:
                what = f"cannot take the program off socket {fd} of process {pid}: {os.strerror(error.errno or 0)}"
                raise AttachError(what, errno=error.errno, hint="it goes when the socket is closed") from None


def _take_off(held: socket.socket, detach: int) -> None:
    if detach == _SO_DETACH_FILTER and not _has_filter(held, bpf=True):
        return
    try:
        held.setsockopt(socket.SOL_SOCKET, detach, 0)
    except FileNotFoundError:  # somebody else did
        return


def _numbers(text: str) -> tuple[int, int]:
    # Process and descriptor of a target.
    found = re.fullmatch(r"fd:(\d+)|pid:(\d+):(\d+)", text)
    if found is None:
        hint = "write fd:FD for a socket of this process, or pid:PID:FD for another's"
        raise AttachError(f"{text!r} is no socket", hint=hint)
    return (os.getpid(), int(found[1])) if found[1] else (int(found[2]), int(found[3]))


@contextlib.contextmanager
def _borrowed(pid: int, fd: int) -> Iterator[socket.socket]:
    # A copy of a socket's descriptor. Raises OSError: EBADF, ENOTSOCK, ESRCH, EPERM.
    copy = os.dup(fd) if pid == os.getpid() else _syscalls.descriptor_of(pid, fd)
    try:
        held = socket.socket(fileno=copy)
    except OSError:
        os.close(copy)
        raise
    with held:
        yield held


def _inode(held: socket.socket) -> int:
    # The number that tells sockets apart.
    return os.fstat(held.fileno()).st_ino


def _holders(pid: int, fd: int, inode: int) -> Iterator[tuple[int, int]]:
    # Where a socket is open: where it was, and after that whoever else has it.
    if _is_socket(Path(f"/proc/{'self' if pid == os.getpid() else pid}/fd/{fd}"), inode):
        yield pid, fd
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended, or is not for us to see
            numbers = [int(entry.name) for entry in (process / "fd").iterdir() if _is_socket(entry, inode)]
            yield from ((int(process.name), number) for number in numbers)


def _is_socket(entry: Path, inode: int) -> bool:
    try:
        return str(entry.readlink()) == f"socket:[{inode}]"
    except OSError:  # closed meanwhile
        return False


def _has_filter(held: socket.socket, *, bpf: bool = False) -> bool:
    # Asked for the length of a classic filter, the kernel says EACCES of a BPF program (sk_get_filter() in
    # net/core/filter.c). Python's getsockopt() would take the length for one in bytes.
    length = ct.c_uint32(0)
    status = _getsockopt(held.fileno(), socket.SOL_SOCKET, _SO_GET_FILTER, None, ct.byref(length))
    if not status:
        return not bpf and length.value > 0
    if ct.get_errno() != errno.EACCES:
        raise failed(ct.get_errno())
    return True


def _lookup(request: Request) -> Attachment:
    namespace = open_netns(request.target.place)
    try:
        return kernel_link(request.fd, namespace, _SK_LOOKUP)
    finally:
        os.close(namespace)


def _remote_control(request: Request) -> Attachment:
    # The device keeps the program until it is unplugged, whoever attached it and whether it is open
    # (lirc_bpf_attach() in drivers/media/rc/bpf-lirc.c).
    lib, device = request.lib, request.target.place
    info, size = _libbpf.ProgInfo(), ct.c_uint32(ct.sizeof(_libbpf.ProgInfo))
    status = lib.bpf_obj_get_info_by_fd(request.fd, ct.byref(info), ct.byref(size))
    if status:
        raise failed(status)
    with _opened(device) as fd:
        entry = journal.record("lirc", device=device, id=info.id)
        status = lib.bpf_prog_attach(request.fd, fd, _LIRC_MODE2, 0)
    if status:
        entry.done()
        raise failed(status)

    def close() -> None:
        if entry.ours:
            undo_lirc(entry.facts)
            entry.done()

    return Attachment(None, close)


def undo_lirc(facts: dict[str, Any]) -> None:
    # Take the program off a receiver, if both are still there. Raises OSError.
    lib = _libbpf.library()
    program = lib.bpf_prog_get_fd_by_id(facts["id"])
    if program < 0:
        _unless(errno.ENOENT, program)
        return
    try:
        with _opened(facts["device"]) as device:
            _unless(errno.ENOENT, lib.bpf_prog_detach2(program, device, _LIRC_MODE2))
    except FileNotFoundError:
        return
    finally:
        os.close(program)


def _unless(expected: int, status: int) -> None:
    if status and -status != expected:
        raise failed(status)


@contextlib.contextmanager
def _opened(path: str) -> Iterator[int]:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        yield fd
    finally:
        os.close(fd)


KINDS: dict[str, Callable[[Request], Attachment]] = {
    "socket_filter": _filter,
    "sk_reuseport": _reuseport,
    "sk_lookup": _lookup,
    "lirc_mode2": _remote_control,
    **sockmaps.KINDS,
}
