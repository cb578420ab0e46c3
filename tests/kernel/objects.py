"""The kernel's own lists of BPF programs, maps and links, read without the code under test."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import re
import shutil
import subprocess
import time
from pathlib import Path

Object = tuple[str, int]  # ("prog", 17)

_KINDS = ("prog", "map", "link")
_FREED_WITHIN = 10.0  # seconds; the kernel frees after an RCU grace period, from a worker
_SOON = 0.5


def live() -> set[Object]:
    """Every program, map and link of the kernel, by bpf(2)'s BPF_*_GET_NEXT_ID; raises OSError."""
    library = ctypes.CDLL("libbpf.so.1", use_errno=True)
    found = set()
    for kind in _KINDS:
        following = getattr(library, f"bpf_{kind}_get_next_id")
        following.argtypes = (ctypes.c_uint32, ctypes.POINTER(ctypes.c_uint32))
        number = ctypes.c_uint32(0)
        while not (status := following(number, ctypes.byref(number))):
            found.add((kind, number.value))
        if -status != errno.ENOENT:
            raise OSError(-status, os.strerror(-status))
    return found


def by_bpftool() -> set[Object] | None:
    """The same as bpftool tells it; None where there is no bpftool."""
    bpftool = shutil.which("bpftool", path=f"{os.environ['PATH']}:/usr/sbin")
    if bpftool is None:
        return None
    listed = set()
    for kind in _KINDS:
        text = subprocess.run([bpftool, "-j", kind, "list"], check=True, capture_output=True, timeout=20).stdout
        listed |= {(kind, entry["id"]) for entry in json.loads(text or "[]")}
    return listed


def held_by_others() -> set[Object]:
    """What processes hold that are neither this one nor descend from it: other people's, whatever we do."""
    held = set()
    for process in Path("/proc").glob("[0-9]*"):
        if not _descends(int(process.name)):
            held |= _held_by(process)
    return held


def held_by(pid: int) -> set[Object]:
    """What a process holds, by its file descriptors."""
    return _held_by(Path(f"/proc/{pid}"))


def leaked_since(before: set[Object]) -> set[Object]:
    """What came after `before`, is nobody else's, and does not go away."""
    begin = time.monotonic()
    left = live() - before
    while left and time.monotonic() < begin + _FREED_WITHIN:
        time.sleep(0.002)
        left &= live()
        # Looking through all processes takes long, and is hardly ever needed.
        if left and time.monotonic() > begin + _SOON:
            left -= held_by_others()
    return left


def _held_by(process: Path) -> set[Object]:
    held = set()
    with contextlib.suppress(FileNotFoundError, ProcessLookupError, PermissionError):  # it ended meanwhile
        for entry in (process / "fdinfo").iterdir():
            text = _text(entry)
            held |= {
                (kind, int(number)) for kind, number in re.findall(r"^(prog|map|link)_id:\s*(\d+)", text, re.MULTILINE)
            }
    return held


def _text(path: Path) -> str:
    # Descriptors come and go while they are listed; the one that lists them is among them.
    try:
        return path.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def _descends(pid: int) -> bool:
    # Whether a process is this one or was started by it, at whatever distance.
    while pid > 1:
        if pid == os.getpid():
            return True
        status = _text(Path(f"/proc/{pid}/stat"))
        pid = int(status.rpartition(")")[2].split()[1]) if status else 0
    return False
