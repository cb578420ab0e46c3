# File descriptors for what maps refer to: processes, files, cgroups, sockets. What is opened here for one call is
# closed by the `held` of that call.

from __future__ import annotations

import contextlib
import operator
import os
import sys
from pathlib import Path
from typing import Any

from ..errors import MapError

_PIDFD_THREAD = os.O_EXCL  # include/uapi/linux/pidfd.h, Linux 6.9: also for threads that are no process


def packed(fd: int, size: int) -> bytes:
    return fd.to_bytes(size, sys.byteorder)


def descriptor(value: Any, held: contextlib.ExitStack, name: str, wanted: str, *, paths: bool = False) -> int:
    # Of an open object, a number that is one already, or a path where these make sense.
    if paths and isinstance(value, (str, os.PathLike)):
        fd = _open(Path(value), name)
        held.callback(os.close, fd)
        return fd
    if hasattr(value, "fileno"):
        return int(value.fileno())
    if hasattr(value, "__index__") and not isinstance(value, bool) and operator.index(value) >= 0:
        return operator.index(value)
    raise MapError(f"{name}: {value!r} is no {wanted}", hint=f"give {wanted}, or its file descriptor")


def _open(path: Path, name: str) -> int:
    try:
        return os.open(path, os.O_PATH if not path.is_dir() else os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise MapError(f"{name}: {path} cannot be opened: {error.strerror}", errno=error.errno) from None


def process(value: Any, held: contextlib.ExitStack, name: str) -> int:
    # A pidfd, of a pid or thread id; what has a descriptor is taken for one.
    if hasattr(value, "fileno"):
        return int(value.fileno())
    if isinstance(value, bool) or not hasattr(value, "__index__"):  # numpy's integers have it, too
        raise MapError(f"{name}: {value!r} is no process", hint="give a pid, or a pidfd with fileno()")
    try:
        fd = _pidfd(operator.index(value))
    except OSError as error:
        raise MapError(f"{name}: there is no process {value}: {error.strerror}", errno=error.errno) from None
    held.callback(os.close, fd)
    return fd


def _pidfd(pid: int) -> int:
    try:
        return os.pidfd_open(pid)
    except OSError:
        return os.pidfd_open(pid, _PIDFD_THREAD)
