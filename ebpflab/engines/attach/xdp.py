# XDP programs: a link to an interface, in the driver or in the network stack.

from __future__ import annotations

import ctypes as ct
import errno
import fcntl
import os
import socket
import struct

from ... import _libbpf
from ...errors import AttachError
from ...program_types import Target
from .._attached import shown, way_out
from .base import Attachment, Request, kernel_link
from .netns import in_netns, interface_index

_GET_MTU = 0x8921  # SIOCGIFMTU, include/uapi/linux/sockios.h
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
    if error.errno == errno.ERANGE and mode != "generic":
        lower = f"lower the MTU, of its peer as well (ip link set dev {name} mtu 1500)"
        hint = f'{lower}; SEC("xdp.frags") and {name},mode=generic take large frames'
        what = (
            f"the driver of {name} refuses to run the program: frames may be too large for XDP, its MTU is {_mtu(name)}"
        )
        return AttachError(what, errno=error.errno, hint=hint)
    if error.errno in (errno.EOPNOTSUPP, errno.EINVAL) and mode != "generic":
        return AttachError(
            f"the driver of {name} refuses to run the program: {os.strerror(error.errno)}",
            errno=error.errno,
            hint=f"{name},mode=generic runs the program in the network stack",
        )
    return error


def _mtu(interface: str) -> int:
    # struct ifreq of netdevice(7), in the network namespace of this thread: 16 bytes of name, and a number.
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as any_socket:
        answer = fcntl.ioctl(any_socket, _GET_MTU, struct.pack("16si20x", interface.encode(), 0))
    return int(struct.unpack_from("16si", answer)[1])


def _busy(lib: ct.CDLL, interface: str, index: int, error: int) -> AttachError:
    found = _query(lib, index)
    native = found.drv_prog_id or found.hw_prog_id
    number = native or found.skb_prog_id or found.prog_id
    keyword = "xdp" if native else "xdpgeneric"
    by_hand = f"`ip link set dev {interface} {keyword} off` takes it off, unless it is a pinned link"
    return AttachError(
        f"{interface} already has an XDP program: {shown(lib, number)}, mode={_shown(native)}",
        errno=error,
        hint=way_out([number], f"no process holds it; {by_hand}"),
    )


def _shown(native: int) -> str:
    return "native" if native else "generic"
