# What the kernel says of a program that it holds.

from __future__ import annotations

import ctypes as ct
import os

from .. import _libbpf
from ..errors import EbpflabError
from .base import ProgramInfo


def loaded_info(lib: ct.CDLL, name: str, section: str, pointer: int) -> ProgramInfo:
    # `pointer` is libbpf's. Raises EbpflabError.
    fd = lib.bpf_program__fd(pointer)
    info, size = _libbpf.ProgInfo(), ct.c_uint32(ct.sizeof(_libbpf.ProgInfo))
    status = lib.bpf_obj_get_info_by_fd(fd, ct.byref(info), ct.byref(size))
    if status:
        raise EbpflabError(f"{name}: the kernel gives no information: {os.strerror(-status)}", stage="load")
    return ProgramInfo(
        name,
        section,
        insns=info.xlated_prog_len // 8,
        type=info.type,
        fd=fd,
        id=info.id,
        tag=bytes(info.tag).hex(),
        jited=bool(info.jited_prog_len),
        run_cnt=info.run_cnt,
        run_ns=info.run_time_ns,
        verified=info.verified_insns,
    )
