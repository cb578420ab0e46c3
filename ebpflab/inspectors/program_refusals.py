# Why the kernel takes no program of a kind, whatever is in it: it is asked with the smallest program there is.

from __future__ import annotations

import errno

from .. import _probes
from ..program_types import ATTACH_TYPES, Section
from .kernel import facts, kernel_config

_FEW = 4096  # BPF_MAXINSNS: instructions that any program may have
_UNKNOWN = (errno.EINVAL, errno.EOPNOTSUPP)


def explain(section: Section) -> tuple[str, str] | None:
    # What this kernel does not know about such a program, and what to do; None if it takes the smallest one, or says
    # something else than that it does not know it.
    row = section.type
    if row.typed or not row.type or row.attach == "map":
        return None  # they are loaded for a hook, without which none is taken
    attach_type = ATTACH_TYPES.get(section.prefix, 0)
    if _probes.load(_probes.Program(row.type, attach_type)).errno not in _UNKNOWN:
        return None
    if attach_type and not _probes.load(_probes.Program(row.type)).errno:
        return (
            f'this kernel has {row.kind} programs, and none of SEC("{section.prefix}")',
            f"it takes a newer kernel than {facts().release}; features() lists what this one has",
        )
    return f"this kernel has no {row.kind} programs{_missing(row.config)}", "features() lists those that it has"


def _missing(options: tuple[str, ...]) -> str:
    # Which of the build options that bring it the kernel was built without.
    config = kernel_config()
    lacking = [option for option in options if config is not None and option not in config]
    return f": it was built without {' and '.join(lacking)}" if lacking else ""


def takes_few(section: Section) -> bool:
    # Whether this process may load no program of more than 4096 instructions (bpf_prog_load() in kernel/bpf/syscall.c).
    code = _probes.RETURN_ZERO[:8] * _FEW + _probes.RETURN_ZERO[8:]
    kind = section.type.type or 1  # BPF_PROG_TYPE_SOCKET_FILTER
    return _probes.load(_probes.Program(kind, ATTACH_TYPES.get(section.prefix, 0)), code).errno == errno.E2BIG
