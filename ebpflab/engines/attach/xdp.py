# XDP programs: a link to an interface, in the driver or in the network stack.

from __future__ import annotations

import contextlib
import ctypes as ct
import errno
import os
import re
from collections.abc import Iterator
from pathlib import Path

from ... import _libbpf
from ...errors import AttachError
from ...program_types import Target
from .base import Attachment, Request, kernel_link
from .netns import in_netns, interface_index

_BPF_XDP = 37  # enum bpf_attach_type, include/uapi/linux/bpf.h
_FLAGS = {"generic": 1 << 1, "native": 1 << 2}  # XDP_FLAGS_*_MODE, include/uapi/linux/if_link.h


def attach(request: Request) -> Attachment:
    target = request.target
    mode = target.options.get("mode", "")
    if mode and mode not in _FLAGS:
        raise _no_mode(mode)
    with in_netns(target.options.get("netns")):
        index = interface_index(target.place)
        try:
            link = kernel_link(request.fd, index, _BPF_XDP, flags=_FLAGS.get(mode, 0))
        except OSError as error:
            raise _explained(request, index, mode, error) from None
        try:
            place = str(Target(target.place, {**target.options, "mode": _mode(request.lib, index)}))
        except BaseException:
            link.close()
            raise
    return Attachment(link.fd, link.close, place)


def _no_mode(mode: str) -> AttachError:
    if mode == "offload":
        return AttachError(
            "ebpflab does not load programs into network cards, as mode=offload would",
            hint="mode=native runs the program in the driver",
        )
    return AttachError(f"XDP has no mode {mode!r}", hint="mode=native is in the driver, mode=generic in the stack")


def _query(lib: ct.CDLL, index: int) -> _libbpf.XdpQueryOpts:
    found = _libbpf.XdpQueryOpts(sz=ct.sizeof(_libbpf.XdpQueryOpts))
    status = lib.bpf_xdp_query(index, 0, ct.byref(found))
    if status:
        raise OSError(-status, os.strerror(-status))
    return found


def _mode(lib: ct.CDLL, index: int) -> str:
    return "native" if _query(lib, index).drv_prog_id else "generic"


def _explained(request: Request, index: int, mode: str, error: OSError) -> OSError | AttachError:
    name = request.target.place
    if error.errno in (errno.EBUSY, errno.EEXIST):
        return _busy(request.lib, name, index, error.errno)
    if error.errno == errno.EOPNOTSUPP and mode == "native":
        return AttachError(
            f"the driver of {name} cannot run XDP programs",
            errno=error.errno,
            hint=f"{name},mode=generic runs them in the network stack",
        )
    if error.errno in (errno.EOPNOTSUPP, errno.ERANGE, errno.EINVAL) and mode != "generic":
        return AttachError(
            f"the driver of {name} refuses to run the program: {os.strerror(error.errno)}",
            errno=error.errno,
            hint=f"its MTU may be too large for XDP; {name},mode=generic runs the program in the network stack",
        )
    return error


def _busy(lib: ct.CDLL, interface: str, index: int, error: int) -> AttachError:
    found = _query(lib, index)
    native = found.drv_prog_id or found.hw_prog_id
    number = native or found.skb_prog_id or found.prog_id
    holders = sorted(_holders(number))
    return AttachError(
        f"{interface} already has an XDP program: {_name(lib, number)}, id {number}, mode={_shown(native)}",
        errno=error,
        hint=_way_out(interface, holders, "xdp" if native else "xdpgeneric"),
    )


def _shown(native: int) -> str:
    return "native" if native else "generic"


def _way_out(interface: str, holders: list[int], keyword: str) -> str:
    if os.getpid() in holders:
        return "this process holds it: close that session, which ebpflab.sessions() lists"
    if holders:
        command = Path(f"/proc/{holders[0]}/comm").read_text().strip()
        return f"process {holders[0]} ({command}) holds it, and it goes when that process ends or detaches it"
    return f"no process holds it; `ip link set dev {interface} {keyword} off` takes it off, unless it is a pinned link"


def _name(lib: ct.CDLL, number: int) -> str:
    # What the kernel calls a program: the first 15 letters of its function's name.
    fd = lib.bpf_prog_get_fd_by_id(number)
    if fd < 0:
        return "one that has gone meanwhile"
    try:
        info, size = _libbpf.ProgInfo(), ct.c_uint32(ct.sizeof(_libbpf.ProgInfo))
        status = lib.bpf_obj_get_info_by_fd(fd, ct.byref(info), ct.byref(size))
    finally:
        os.close(fd)
    return (not status and info.name.decode()) or "one without a name"


def _holders(number: int) -> Iterator[int]:
    # The processes with a descriptor of an XDP link of the program (proc(5), /proc/PID/fdinfo).
    link = re.compile(rf"^link_type:\s*xdp$(?s:.*)^prog_id:\s*{number}$", re.MULTILINE)
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it ended meanwhile, or is not ours to look into
            if any(link.search(entry.read_text()) for entry in (process / "fdinfo").iterdir()):
                yield int(process.name)
