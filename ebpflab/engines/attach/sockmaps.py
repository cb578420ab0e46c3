# Programs of the sockets in a map: SEC("sk_msg") for what they send, SEC("sk_skb/...") for what they receive.
#
# A socket takes along the programs that the map has when it is put in, and keeps them until it leaves: detaching
# therefore empties the map. That outlives us where a program uses its own map, and sockets of other processes are
# in it: program, map and socket then hold each other. So it is journalled, link or not.

from __future__ import annotations

import ctypes as ct
import errno
import os
from collections.abc import Callable
from typing import Any

from ... import _libbpf, journal
from ...errors import AttachError, HookNotFoundError
from ...similar import did_you_mean, nearest
from .base import Attachment, Request, failed, kernel_link

# enum bpf_attach_type, include/uapi/linux/bpf.h; SEC("sk_skb") leaves it open.
_ATTACH_TYPES = {
    "sk_msg": 7,
    "sk_skb/stream_parser": 4,
    "sk_skb/stream_verdict": 5,
    "sk_skb/verdict": 38,
    "sk_skb": 5,
}


class _MapInfo(ct.Structure):
    # struct bpf_map_info up to its name.
    _fields_ = [
        ("type", ct.c_uint32),
        ("id", ct.c_uint32),
        ("key_size", ct.c_uint32),
        ("value_size", ct.c_uint32),
        ("max_entries", ct.c_uint32),
        ("map_flags", ct.c_uint32),
        ("name", ct.c_char * 16),
    ]


def attach(request: Request) -> Attachment:
    lib, map_name = request.lib, request.target.place
    map_fd = _map(request)
    info = _map_info(lib, map_fd)
    entry = journal.record("sockmap", id=info.id, name=info.name.decode())
    try:
        link = _link(request, map_fd, _ATTACH_TYPES[request.section.prefix])
    except BaseException as error:
        entry.done()
        if isinstance(error, OSError) and error.errno == errno.EBUSY:
            what = f"{request.name}: the map {map_name} has another program in the place of this one"
            raise AttachError(what, errno=errno.EBUSY, hint="give each its own map, or detach the other") from None
        raise

    def close() -> None:
        if entry.ours:
            # Before, so that sockets which are in another map as well are told; after, for those that came between.
            _empty(lib, map_fd)
            link.close()
            _empty(lib, map_fd)
            entry.done()
        elif link.fd is not None:  # a forked child's copy
            link.close()

    return Attachment(link.fd, close)


def undo(facts: dict[str, Any]) -> None:
    # What a dead process left: raises OSError.
    lib = _libbpf.library()
    fd = lib.bpf_map_get_fd_by_id(facts["id"])
    if fd == -errno.ENOENT:
        return
    if fd < 0:
        raise failed(fd)
    try:
        if _map_info(lib, fd).name.decode() == facts["name"]:
            _empty(lib, fd)
    finally:
        os.close(fd)


def _map(request: Request) -> int:
    name, maps = request.target.place, request.sock_maps
    fd = request.map_fd(name) if name in maps else None
    if fd is not None:
        return fd
    near = nearest(name, maps)
    hint = did_you_mean(near) or (f"maps of sockets: {', '.join(maps)}" if maps else None)
    hint = hint or "define a map of type BPF_MAP_TYPE_SOCKMAP or BPF_MAP_TYPE_SOCKHASH in the cell"
    raise HookNotFoundError(f"{request.name}: the cell has no map of sockets called {name!r}", nearest=near, hint=hint)


def _link(request: Request, map_fd: int, attach_type: int) -> Attachment:
    try:
        return kernel_link(request.fd, map_fd, attach_type)
    except OSError as error:
        if error.errno != errno.EINVAL:  # what kernels before 6.10 say of such a link
            raise
    lib = request.lib
    _refuse_to_replace(lib, map_fd, attach_type)
    status = lib.bpf_prog_attach(request.fd, map_fd, attach_type, 0)
    if status:
        raise failed(status)
    return Attachment(None, lambda: lib.bpf_prog_detach2(request.fd, map_fd, attach_type))


def _refuse_to_replace(lib: ct.CDLL, map_fd: int, attach_type: int) -> None:
    # Without a link the kernel would put the new program in the old one's place. It can be asked since 5.18.
    count, flags = ct.c_uint32(), ct.c_uint32()
    status = lib.bpf_prog_query(map_fd, attach_type, 0, ct.byref(flags), None, ct.byref(count))
    if not status and count.value:
        raise failed(errno.EBUSY)


def _map_info(lib: ct.CDLL, fd: int) -> _MapInfo:
    info, size = _MapInfo(), ct.c_uint32(ct.sizeof(_MapInfo))
    status = lib.bpf_obj_get_info_by_fd(fd, ct.byref(info), ct.byref(size))
    if status:
        raise failed(status)
    return info


def _empty(lib: ct.CDLL, fd: int) -> None:
    size = _map_info(lib, fd).key_size
    key, following = None, ct.create_string_buffer(size)
    keys: dict[bytes, None] = {}
    # When a key has gone meanwhile, a hash begins anew.
    while not lib.bpf_map_get_next_key(fd, key, following) and following.raw not in keys:
        keys[following.raw] = None
        key = ct.create_string_buffer(following.raw, size)
    for each in keys:  # an array of sockets says EINVAL of the free places
        lib.bpf_map_delete_elem(fd, each)


KINDS: dict[str, Callable[[Request], Attachment]] = {"sk_skb": attach, "sk_msg": attach}
