# Programs that are attached already, and the processes that hold them: for errors that say that a place is taken.

from __future__ import annotations

import contextlib
import ctypes as ct
import errno
import os
import re
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path

from .. import _libbpf

_MOST = 1024  # programs of one place that are asked for
_GONE = (errno.ENOENT, errno.ESRCH)
# Of /proc/PID/fdinfo, proc(5): the program behind a descriptor of a program or of a link, and that it is a link.
_PROGRAM = re.compile(r"^prog_id:\s*(\d+)$", re.MULTILINE)
_LINK = re.compile(r"^link_type:", re.MULTILINE)


def query(lib: ct.CDLL, target: int, attach_type: int) -> tuple[list[int], int]:
    # The ids of the programs of a cgroup, a network namespace (descriptors) or an interface (its index), without those
    # that it has from above, and the flags that they were attached with. Raises OSError.
    numbers, count, flags = (ct.c_uint32 * _MOST)(), ct.c_uint32(_MOST), ct.c_uint32()
    status = lib.bpf_prog_query(target, attach_type, 0, ct.byref(flags), numbers, ct.byref(count))
    if status:
        raise OSError(abs(status), os.strerror(abs(status)))
    return list(numbers[: count.value]), flags.value


def program_id(lib: ct.CDLL, fd: int) -> int:
    # The id of a program that this process holds; 0 where the kernel does not tell.
    return int(_info(lib, fd).id)


def program_name(lib: ct.CDLL, number: int) -> str:
    # What the kernel calls a program: the first 15 letters of its function's name.
    fd = lib.bpf_prog_get_fd_by_id(number)
    if fd < 0:
        return "one that has gone meanwhile" if -fd in _GONE else "one that this process may not look at"
    try:
        return _info(lib, fd).name.decode() or "one without a name"
    finally:
        os.close(fd)


def shown(lib: ct.CDLL, number: int) -> str:
    return f"{program_name(lib, number)}, id {number}"


def holders(programs: Collection[int]) -> dict[int, int]:
    # How many of these programs each process holds by a link, who has the most first; where nobody has a link to one,
    # by a descriptor of the program itself.
    by_link, by_program = Counter[int](), Counter[int]()
    for pid, text in _descriptors():
        found = _PROGRAM.search(text)
        if found and int(found[1]) in programs:
            (by_link if _LINK.search(text) else by_program)[pid] += 1
    return dict((by_link or by_program).most_common())


def linked(place: re.Pattern[str]) -> set[int]:
    # The programs of the links of which fdinfo says this.
    found = {_PROGRAM.search(text) for _, text in _descriptors() if _LINK.search(text) and place.search(text)}
    return {int(each[1]) for each in found if each}


def way_out(programs: Collection[int], otherwise: str) -> str:
    # How to get rid of what these programs are attached to; `otherwise` where no process is seen to hold one.
    held = holders(programs)
    if os.getpid() in held:
        what = "it: close that session" if len(programs) == 1 else f"{held[os.getpid()]} of them: close sessions"
        return f"this process holds {what}, which ebpflab.sessions() lists"
    if not held:
        return otherwise
    pid, count = next(iter(held.items()))
    name = _command(pid)
    if len(programs) == 1:
        return f"process {pid} ({name}) holds it, and it goes when that process ends or detaches it"
    return f"process {pid} ({name}) holds {count} of them, and they go when that process ends or detaches them"


def _command(pid: int) -> str:
    # What a process runs, as ps(1) shows it.
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return "ended meanwhile"


def _descriptors() -> Iterator[tuple[int, str]]:
    # Every process's descriptors, as fdinfo tells of them.
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it ended meanwhile, or is not ours to look into
            for entry in (process / "fdinfo").iterdir():
                with contextlib.suppress(OSError):  # as is that by which the folder was listed
                    yield int(process.name), entry.read_text()


def _info(lib: ct.CDLL, fd: int) -> _libbpf.ProgInfo:
    # All zeros where the kernel does not tell.
    info, size = _libbpf.ProgInfo(), ct.c_uint32(ct.sizeof(_libbpf.ProgInfo))
    lib.bpf_obj_get_info_by_fd(fd, ct.byref(info), ct.byref(size))
    return info
