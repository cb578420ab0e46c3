# What every way of attaching is given, and what it gives back.

from __future__ import annotations

import contextlib
import ctypes as ct
import errno
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ... import _syscalls
from ...program_types import Section, Target

# What the kernel says of a function that it does not let be probed (register_kprobe() in kernel/kprobes.c).
_REFUSED = (errno.EINVAL, errno.EADDRNOTAVAIL, errno.ENOENT, errno.EILSEQ, errno.EOPNOTSUPP)


@dataclass(frozen=True)
class Request:
    # One loaded program and where it shall go. `pointer` is libbpf's struct bpf_program, or of a struct_ops map
    # its struct bpf_map; `map_fd` gives the descriptor of a map of the same object, or None, and `sock_maps` are
    # those that hold sockets.
    lib: ct.CDLL
    pointer: int
    fd: int
    name: str
    section: Section
    target: Target
    map_fd: Callable[[str], int | None]
    sock_maps: tuple[str, ...] = ()


@dataclass(frozen=True)
class Attachment:
    # `fd` is the link's descriptor, or None where the kernel has no link for it; `close` detaches, once.
    # `place` is the target as it turned out, when that says more than what was asked for.
    fd: int | None
    close: Callable[[], Any]
    place: str = ""


def libbpf_link(request: Request, link: int | None, place: str = "") -> Attachment:
    # What a bpf_program__attach_*() returned. Raises OSError when it is NULL.
    if not link:
        raise failed(ct.get_errno())
    lib = request.lib
    return Attachment(lib.bpf_link__fd(link), lambda: lib.bpf_link__destroy(link), place)


class LinkCreate(ct.Structure):
    # union bpf_attr's link_create up to the union of what each attach type adds; 32 bytes of that are enough.
    _fields_ = [
        ("prog_fd", ct.c_uint32),
        ("target", ct.c_uint32),  # target_fd or target_ifindex
        ("attach_type", ct.c_uint32),
        ("flags", ct.c_uint32),
        ("more", ct.c_ubyte * 48),
    ]


def kernel_link(
    fd: int, target: int, attach_type: int, *, flags: int = 0, more: bytes = b"", place: str = ""
) -> Attachment:
    # BPF_LINK_CREATE itself, for links that an older libbpf does not know. `more` are the bytes of the attach
    # type's own struct. Raises OSError.
    attributes = LinkCreate(fd, target, attach_type, flags)
    attributes.more[: len(more)] = more
    link = _syscalls.bpf(_syscalls.LINK_CREATE, attributes)
    return Attachment(link, lambda: os.close(link), place)


def each_of(
    attach: Callable[[Any], Attachment], places: Iterable[Any], place: str, what: str = "functions"
) -> Attachment:
    # One attachment for each of the functions that a pattern stands for. The kernel does not take every function that
    # it lists: those that it refuses are left out, unless it refuses all.
    parts: list[Attachment] = []
    refused = None
    with contextlib.ExitStack() as undo:
        for each in places:
            try:
                parts.append(attach(each))
            except OSError as error:
                if error.errno not in _REFUSED:
                    raise
                refused = error
                continue
            undo.callback(parts[-1].close)
        undo.pop_all()
    if refused is not None and not parts:
        raise refused
    return together(parts, counted(place, len(parts), what))


def counted(place: str, number: int, what: str = "functions") -> str:
    # How a target is shown that stands for several.
    return f"{place} ({number} {what})" if number > 1 else place


def together(parts: Sequence[Attachment], place: str = "") -> Attachment:
    # Several attachments that come and go as one.
    def close() -> None:
        with contextlib.ExitStack() as stack:
            for part in parts:
                stack.callback(part.close)

    return Attachment(parts[0].fd if len(parts) == 1 else None, close, place)


def failed(error: int) -> OSError:
    # An OSError with the words of its number; libbpf gives both signs.
    return OSError(abs(error), os.strerror(abs(error)))
