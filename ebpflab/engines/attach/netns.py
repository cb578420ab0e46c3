# Network namespaces and the interfaces in them. A namespace is entered for the calls of one thread, which comes
# back for certain; libbpf's netlink calls and BPF_LINK_CREATE go to the namespace of the thread that makes them.

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
from collections.abc import Iterator

from ... import _libbpf, _syscalls
from ...errors import HookNotFoundError, PrivilegeError
from ...inspectors.network import explain_interface, explain_namespace, namespace_path

_CLONE_NEWNET = 0x40000000  # include/uapi/linux/sched.h
_NS_GET_NSTYPE = 0xB703  # include/uapi/linux/nsfs.h


@contextlib.contextmanager
def in_netns(text: str | None) -> Iterator[None]:
    # This thread's calls in a namespace: a name of ip-netns(8), a path, or the id of a process that is in it; None
    # stays. Raises HookNotFoundError when there is none such, PrivilegeError, and OSError.
    if text in (None, "self"):
        yield
        return
    fd = open_netns(text)
    try:
        with entered(fd):
            yield
    finally:
        os.close(fd)


@contextlib.contextmanager
def entered(fd: int) -> Iterator[None]:
    # The same with a descriptor. Raises PrivilegeError and OSError.
    with _libbpf.interrupts_later():
        before = open_netns("self")
        try:
            _enter(fd)
            try:
                yield
            finally:
                _syscalls.setns(before, _CLONE_NEWNET)
        finally:
            os.close(before)


def open_netns(text: str) -> int:
    # A descriptor of a namespace, which is the caller's to close; `self` is the one that this thread is in.
    path = namespace_path(text)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except PermissionError:
        raise _denied("it takes CAP_SYS_PTRACE to look into that process") from None
    except OSError as error:
        raise explain_namespace(text) or error from None
    if not _is_netns(fd):
        os.close(fd)
        raise HookNotFoundError(f"{path} is no network namespace", hint="such a path is /proc/PID/ns/net, for example")
    return fd


def _enter(fd: int) -> None:
    try:
        _syscalls.setns(fd, _CLONE_NEWNET)
    except PermissionError:
        raise _denied("it takes CAP_SYS_ADMIN, here and in the user namespace that owns it") from None


def _denied(cause: str) -> PrivilegeError:
    way = "start the notebook in that namespace instead, with ip netns exec or nsenter --net"
    what = "the kernel refused to enter another network namespace"
    return PrivilegeError(what, cause=cause, hint=f"{cause}; {way}", stage="attach")


def _is_netns(fd: int) -> bool:
    # ioctl_ns(2); other files do not know the request.
    try:
        return fcntl.ioctl(fd, _NS_GET_NSTYPE) == _CLONE_NEWNET
    except OSError:
        return False


def interface_index(name: str) -> int:
    # An interface of the namespace that this thread is in. Raises HookNotFoundError with the nearest of them.
    try:
        return socket.if_nametoindex(name)
    except OSError as error:
        raise explain_interface(name) or error from None
