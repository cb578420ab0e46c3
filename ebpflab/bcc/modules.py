# Which kernel module has the types of a program: those that are in no BTF but its own.
#
# A module's BTF goes on where the kernel's ends (split BTF, Documentation/bpf/btf.rst). It has all that the module's
# source uses and the kernel lacks, also what another module defines as well: so one module is enough for a program.

from __future__ import annotations

import functools
from collections.abc import Set
from pathlib import Path

from .. import btf_plan, cache
from ..btf import Btf, Kind
from ..compile import vmlinux

FOLDER = Path("/sys/kernel/btf")
_TAGGED = (Kind.STRUCT, Kind.UNION, *btf_plan.ENUMS)


def module_for(tags: Set[str], named: Set[str]) -> str:
    # The module that defines most of the tags, such as "struct xfs_inode", of those that are named if one is; or "".
    if not (tags or named) or not FOLDER.is_dir():
        return ""
    names = sorted(path.name for path in FOLDER.iterdir() if path.name != vmlinux.KERNEL_BTF.name)
    candidates = [name for name in names if name in named] or (names if tags else [])
    counted = {name: len(tags & _tags(name, digest(name))) for name in candidates}
    best = max(counted, key=lambda name: counted[name], default="")
    return best if counted.get(best) or best in named else ""


def digest(name: str) -> str:
    # Changes with the module; empty if it is not loaded.
    path = FOLDER / name
    return cache.key(path.read_bytes())[:16] if path.is_file() else ""


def btf(name: str) -> Btf:
    # The types of the kernel and of a module; of the kernel alone if no module is named.
    return Btf.parse((FOLDER / name).read_bytes(), _kernel()) if name else _kernel()


@functools.lru_cache(maxsize=256)
def _tags(name: str, digest: str) -> frozenset[str]:
    # The tags of a module's own types, kept in a file once they were looked for: that takes the kernel's BTF.
    path = cache.directory("bcc") / f"{vmlinux.btf_hash()}-{digest}.tags"
    if not path.exists():
        types = btf(name)
        own = (types[number] for number in range(len(_kernel()) + 1, len(types) + 1))
        found = {btf_plan.tag(t) for t in own if t.name and t.kind in _TAGGED}
        cache.write(path, "\n".join(sorted(found)).encode())
    return frozenset(path.read_text().split("\n"))


@functools.lru_cache(maxsize=1)
def _kernel() -> Btf:
    return Btf.parse(vmlinux.KERNEL_BTF.read_bytes())
