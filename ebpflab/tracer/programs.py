"""The programs that a process has loaded, by the file descriptors that it holds: names, sizes, runs.

``/proc/PID/fdinfo`` says ``prog_id`` of the descriptor of a program, and of that of a link the id of its program
(``bpf_prog_show_fdinfo()`` and ``bpf_link_show_fdinfo()`` in kernel/bpf/syscall.c).
"""

from __future__ import annotations

import contextlib
import ctypes as ct
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from .. import _libbpf
from ..errors import EbpflabError
from ..program_types import PROGRAM_TYPES

if TYPE_CHECKING:
    import pandas as pd

_ID = re.compile(r"^prog_id:\s*(\d+)$", re.MULTILINE)
_RUN_TIME = 0  # BPF_STATS_RUN_TIME
_KINDS = {row.type: row.kind for row in reversed(PROGRAM_TYPES)}


class Program(NamedTuple):
    """What the kernel says of a program: sizes in bytes, ``run_ns`` in nanoseconds of all its runs."""

    id: int
    name: str  # the kernel keeps 15 letters
    type: int
    xlated_bytes: int
    jited_bytes: int
    run_cnt: int
    run_ns: int
    verified: int


def held_by(pid: int) -> list[Program]:
    """Return the programs whose descriptors a process holds, in the order of their loading; none if it is gone.

    Raises
    ------
    EbpflabError
        When the kernel gives no information, for lack of CAP_SYS_ADMIN for example.
    """
    ids: set[int] = set()
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for path in Path(f"/proc/{pid}/fdinfo").iterdir():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                ids.update(map(int, _ID.findall(path.read_text(errors="replace"))))
    return [program for number in sorted(ids) if (program := _program(number)) is not None]


def loaded_by(pid: int) -> pd.DataFrame:
    """Return the programs that a process holds, as a frame.

    Parameters
    ----------
    pid
        A process: this one (``os.getpid()``), or that of a tracer.

    Returns
    -------
    pandas.DataFrame
        name, type, section (empty: the kernel does not keep it), insns, jited, run_cnt, run_ns, verified: the columns
        of :attr:`ebpflab.session.Session.programs`; and xlated_bytes, jited_bytes: the instructions as the kernel
        keeps them, and the machine code.

    Raises
    ------
    EbpflabError
        When the kernel gives no information.

    Examples
    --------
    >>> loaded_by(os.getpid())[["name", "jited_bytes"]]
    """
    return table(held_by(pid))


def table(programs: list[Program]) -> pd.DataFrame:
    """Return programs as a frame; see :func:`loaded_by`."""
    import pandas as pd

    columns = ["name", "type", "section", "insns", "jited", "run_cnt", "run_ns", "verified"]
    rows = [
        (p.name, _KINDS.get(p.type, str(p.type)), "", p.xlated_bytes // 8, p.jited_bytes > 0, p.run_cnt, p.run_ns,
         p.verified, p.xlated_bytes, p.jited_bytes)
        for p in programs
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=[*columns, "xlated_bytes", "jited_bytes"])


@contextlib.contextmanager
def counting_runs() -> Iterator[None]:
    """Have the kernel count how often and how long programs run, while the block runs (Linux 5.8).

    It counts for all programs of the machine, and each of their runs takes some ten nanoseconds longer meanwhile.

    Raises
    ------
    EbpflabError
        When the kernel refuses.

    Examples
    --------
    >>> with counting_runs():
    ...     os.getppid()
    """
    fd = int(_libbpf.library().bpf_enable_stats(_RUN_TIME))
    if fd < 0:
        hint = "it takes Linux 5.8 and CAP_SYS_ADMIN; the sysctl kernel.bpf_stats_enabled does the same"
        raise EbpflabError(f"the kernel does not count runs: {os.strerror(-fd)}", hint=hint)
    try:
        yield
    finally:
        os.close(fd)


def _program(number: int) -> Program | None:
    # None if it is gone by now.
    lib = _libbpf.library()
    fd = int(lib.bpf_prog_get_fd_by_id(number))
    if fd == -2:  # ENOENT
        return None
    status = fd
    if fd >= 0:
        info, size = _libbpf.ProgInfo(), ct.c_uint32(ct.sizeof(_libbpf.ProgInfo))
        try:
            status = int(lib.bpf_obj_get_info_by_fd(fd, ct.byref(info), ct.byref(size)))
        finally:
            os.close(fd)
    if status < 0:
        raise EbpflabError(f"program {number}: the kernel gives no information: {os.strerror(-status)}")
    name, sizes = info.name.decode("utf-8", "replace"), (info.xlated_prog_len, info.jited_prog_len)
    return Program(info.id, name, info.type, *sizes, info.run_cnt, info.run_time_ns, info.verified_insns)
